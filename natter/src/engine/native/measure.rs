//! Steps over the values of a column, without looking at them.

use super::super::errors::EngineError;
use super::layout::Layout;

/// Bytes of blocks, and how far they were read.
pub struct Reader<'blocks> {
    bytes: &'blocks [u8],
    at: usize,
}

impl<'blocks> Reader<'blocks> {
    pub fn new(bytes: &'blocks [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// What was read since that position.
    pub fn since(&self, position: usize) -> &'blocks [u8] {
        &self.bytes[position..self.at]
    }

    /// A number in LEB128.
    pub fn count(&mut self) -> Result<usize, EngineError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| broken());
            }
        }
        Err(broken())
    }

    /// A text behind its length.
    pub fn text(&mut self) -> Result<&'blocks str, EngineError> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| broken())
    }

    /// Steps over a column's values.
    pub fn step_over(&mut self, layout: &Layout, rows: usize) -> Result<(), EngineError> {
        self.states(layout)?;
        self.values(layout, rows)
    }

    /// What stands in front of all values: versions and modes of whatever types are within.
    fn states(&mut self, layout: &Layout) -> Result<(), EngineError> {
        match layout {
            Layout::Fixed(_) | Layout::Text => Ok(()),
            Layout::Nullable(of) | Layout::List(of) => self.states(of),
            Layout::Tuple(elements) => elements.iter().try_for_each(|element| self.states(element)),
            Layout::LowCardinality(_) | Layout::Json => self.expect(1),
            Layout::Variant(alternatives) => {
                // Which alternative each row is of is written out.
                self.expect(0)?;
                alternatives.iter().try_for_each(|alternative| self.states(alternative))
            }
        }
    }

    fn values(&mut self, layout: &Layout, rows: usize) -> Result<(), EngineError> {
        match layout {
            Layout::Fixed(bytes) => self.skip(rows, *bytes),
            Layout::Text | Layout::Json => (0..rows).try_for_each(|_| {
                let length = self.count()?;
                self.skip(1, length)
            }),
            Layout::Nullable(of) => {
                self.skip(rows, 1)?;
                self.values(of, rows)
            }
            Layout::List(of) => {
                self.skip(rows.saturating_sub(1), 8)?;
                let elements = if rows == 0 { 0 } else { self.number()? };
                self.values(of, elements)
            }
            Layout::Tuple(elements) => elements.iter().try_for_each(|element| self.values(element, rows)),
            Layout::LowCardinality(of) => self.low_cardinality(of, rows),
            Layout::Variant(alternatives) => {
                let begin = self.at;
                self.skip(rows, 1)?;
                let which = self.since(begin);
                alternatives.iter().enumerate().try_for_each(|(index, alternative)| {
                    let of_it = which.iter().filter(|which| usize::from(**which) == index).count();
                    self.values(alternative, of_it)
                })
            }
        }
    }

    /// Flags with the width of an index, the values that there are, and an index each.
    fn low_cardinality(&mut self, of: &Layout, rows: usize) -> Result<(), EngineError> {
        const OWN_VALUES: usize = 0x200;
        const WIDTH: usize = 0xff;
        if rows == 0 {
            return Ok(());
        }
        let flags = self.number()?;
        if flags & OWN_VALUES == 0 || flags & WIDTH > 3 {
            return Err(broken());
        }
        let values = self.number()?;
        self.values(of, values)?;
        let indexes = self.number()?;
        self.skip(indexes, 1 << (flags & WIDTH))
    }

    fn expect(&mut self, wanted: usize) -> Result<(), EngineError> {
        if self.number()? == wanted { Ok(()) } else { Err(broken()) }
    }

    fn number(&mut self) -> Result<usize, EngineError> {
        let bytes = self.take(8)?.try_into().map_err(|_| broken())?;
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| broken())
    }

    fn skip(&mut self, times: usize, bytes: usize) -> Result<(), EngineError> {
        self.take(times.checked_mul(bytes).ok_or_else(broken)?).map(|_| ())
    }

    fn take(&mut self, count: usize) -> Result<&'blocks [u8], EngineError> {
        let end = self.at.checked_add(count).ok_or_else(broken)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(broken)?;
        self.at = end;
        Ok(taken)
    }
}

fn broken() -> EngineError {
    EngineError::internal("a block of the Native format is not what its types say")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns from ClickHouse's documentation of the format, byte for byte.
    #[test]
    fn columns_are_stepped_over_to_their_end() {
        for (kind, rows, column) in [
            ("String", 3, "02616200 0163"),
            ("Nullable(UInt8)", 3, "000100 050009"),
            (
                "Array(UInt32)",
                3,
                "0300000000000000 0300000000000000 0500000000000000 0a000000 14000000 1e000000 28000000 32000000",
            ),
            ("Array(LowCardinality(String))", 1, "0100000000000000 0000000000000000"),
            ("Tuple(UInt32, String)", 2, "0a000000 14000000 0161 026262"),
            ("Map(UInt8, UInt8)", 2, "0200000000000000 0300000000000000 010203 0a141e"),
            (
                "LowCardinality(String)",
                5,
                "0100000000000000 0006000000000000 0400000000000000 00 0161 0162 0163 0500000000000000 0102010302",
            ),
            (
                "LowCardinality(Nullable(String))",
                4,
                "0100000000000000 0006000000000000 0400000000000000 00 00 0161 0162 0400000000000000 02000103",
            ),
            ("Variant(String, UInt64)", 3, "0000000000000000 0100ff 026869 2a00000000000000"),
            ("JSON", 1, "0100000000000000 077b2261223a317d"),
            ("Nullable(Nothing)", 3, "010101 303030"),
            ("Tuple()", 2, "3030"),
        ] {
            let mut bytes = hex::decode(column.replace(' ', "")).expect("hex");
            let length = bytes.len();
            bytes.push(0xaa);
            let mut reader = Reader::new(&bytes);
            reader.step_over(&Layout::of(kind).expect(kind), rows).expect(kind);
            assert_eq!(reader.position(), length, "{kind}");
        }
    }

    #[test]
    fn forms_that_are_not_known_are_errors() {
        for (kind, column) in [
            ("LowCardinality(String)", "0200000000000000"),
            ("LowCardinality(String)", "0100000000000000 0005000000000000 0000000000000000 0000000000000000"),
            ("Variant(String, UInt64)", "0100000000000000 00"),
            ("JSON", "0000000000000000 00"),
        ] {
            let bytes = hex::decode(column.replace(' ', "")).expect("hex");
            assert!(Reader::new(&bytes).step_over(&Layout::of(kind).expect(kind), 1).is_err(), "{kind}: {column}");
        }
    }
}
