//! Blocks of the Native format as a client of a newer revision reads them (`client_protocol_version` in the URL).
//!
//! The library writes revision 0 and takes no other (tried: it is no setting). A revision adds two things to a block of what analysts ask: a `BlockInfo`
//! in front of it, and behind each column's type a byte that says whether its values are written in a way of their own; here they never are. To find
//! where a column ends its values have to be stepped over ([`measure`]), by its type ([`layout`]).
//! Source: ClickHouse's documentation, "Native format", sections "Protocol revision" and "Data types".

mod layout;
mod measure;

use self::layout::Layout;
use self::measure::Reader;
use super::errors::{EngineError, code};

/// Below it (but for 0) columns of low cardinality are to be sent as plain ones, which no client asks for any more.
const LOW_CARDINALITY: u64 = 54_405;
/// From here on each column says whether its values are written in a way of their own.
const CUSTOM_SERIALIZATION: u64 = 54_454;
/// From here on a `BlockInfo` has a third field: buckets out of order, a list.
const OUT_OF_ORDER_BUCKETS: u64 = 54_480;

/// Settings without which the values could not be stepped over: JSON as text (which every revision reads), types by name.
pub const SETTINGS: [(&str, &str); 2] =
    [("output_format_native_write_json_as_string", "1"), ("output_format_native_encode_types_in_binary_format", "0")];

/// Refuses a revision whose blocks differ in more than what is done here.
///
/// # Errors
/// `NOT_IMPLEMENTED` (48).
pub fn check(revision: u64) -> Result<(), EngineError> {
    if (1..LOW_CARDINALITY).contains(&revision) {
        return Err(EngineError::new(
            code::NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            format!("client_protocol_version {revision} is not supported: 0 is, and {LOW_CARDINALITY} and above"),
        ));
    }
    Ok(())
}

/// Whole blocks of revision 0, as blocks of this revision.
///
/// # Errors
/// `NOT_IMPLEMENTED` (48), with the column's name, where values of its type cannot be stepped over.
pub fn revised(blocks: Vec<u8>, revision: u64) -> Result<Vec<u8>, EngineError> {
    if revision == 0 {
        return Ok(blocks);
    }
    let mut reader = Reader::new(&blocks);
    let mut out = Vec::with_capacity(blocks.len() + 256);
    while !reader.is_at_end() {
        // No overflow rows, no bucket: 1 false, 2 -1, and an empty list where that is known.
        out.extend_from_slice(b"\x01\x00\x02\xff\xff\xff\xff");
        out.extend_from_slice(if revision >= OUT_OF_ORDER_BUCKETS { b"\x03\x00\x00" } else { b"\x00" });
        let begin = reader.position();
        let (columns, rows) = (reader.count()?, reader.count()?);
        out.extend_from_slice(reader.since(begin));
        for _ in 0..columns {
            let begin = reader.position();
            let (name, kind) = (reader.text()?, reader.text()?);
            out.extend_from_slice(reader.since(begin));
            if revision >= CUSTOM_SERIALIZATION {
                out.push(0);
            }
            let begin = reader.position();
            if rows > 0 {
                let layout = Layout::of(kind).ok_or_else(|| unknown(name, kind))?;
                reader.step_over(&layout, rows)?;
            }
            out.extend_from_slice(reader.since(begin));
        }
    }
    Ok(out)
}

fn unknown(name: &str, kind: &str) -> EngineError {
    EngineError::new(
        code::NOT_IMPLEMENTED,
        "NOT_IMPLEMENTED",
        format!(
            "column {name} cannot be sent in the Native format of this revision, because it is {kind}: cast it, for example by toString()"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks as the library writes them: `SELECT number AS a, toLowCardinality('x') AS b`, one row each.
    fn blocks() -> Vec<u8> {
        let column = b"\x02\x01\x01a\x06UInt64\x07\0\0\0\0\0\0\0\x01b\x16LowCardinality(String)";
        let values = b"\x01\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x00\x01x\x01\0\0\0\0\0\0\0\x01";
        [&column[..], values].concat().repeat(2)
    }

    #[test]
    fn a_revision_adds_what_its_clients_read() {
        assert_eq!(revised(blocks(), 0).expect("as it is"), blocks());
        let added = |revision| revised(blocks(), revision).expect("revised").len() - blocks().len();
        assert_eq!(added(54_405), 2 * 8, "clickhouse-connect: a BlockInfo");
        assert_eq!(added(54_460), 2 * (8 + 2), "clickhouse-go: and a byte for each column");
        assert_eq!(added(54_485), 2 * (10 + 2));
        let one = revised(b"\x01\x01\x05check\x05UInt8\x01".to_vec(), 54_460).expect("revised");
        assert_eq!(one, b"\x01\x00\x02\xff\xff\xff\xff\x00\x01\x01\x05check\x05UInt8\x00\x01");
        assert_eq!(revised(Vec::new(), 54_460).expect("nothing"), b"");
    }

    #[test]
    fn old_revisions_and_unknown_types_are_refused() {
        assert!([0, 54_405, 54_460, 60_000].iter().all(|revision| check(*revision).is_ok()));
        assert_eq!(check(54_404).expect_err("refused").code, code::NOT_IMPLEMENTED);
        let state = b"\x01\x01\x01s\x1dAggregateFunction(sum, UInt8)\x01".to_vec();
        let refused = revised(state, 54_460).expect_err("refused");
        assert!(refused.code == code::NOT_IMPLEMENTED && refused.message.contains("column s"), "{refused}");
    }

    #[test]
    fn what_ends_too_early_is_an_error_and_no_panic() {
        let whole = blocks();
        for end in (1..whole.len()).filter(|end| *end != whole.len() / 2) {
            assert!(revised(whole[..end].to_vec(), 54_460).is_err(), "cut at {end}");
        }
        let endless =
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01a\x06UInt64".to_vec();
        assert!(revised(endless, 54_460).is_err());
    }
}
