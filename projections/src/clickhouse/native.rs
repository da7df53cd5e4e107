//! Rows of one table as one block of ClickHouse's [Native format](https://clickhouse.com/docs/interfaces/formats/Native):
//! column by column, each with its name and type.
//!
//! ```text
//! columns, rows: varuint;  then of each column: name, type: string;  its values
//! number: little-endian    string: varuint length, bytes    array: where each ends, as u64, then all elements
//! LowCardinality: version, flags, words: u64; the words as strings; rows: u64; of each row the number of its word, u32
//! ```
//!
//! The server takes a block as it is, where rows have to be taken apart field by field: a group of inserts costs it a third of
//! the CPU. It converts what the table has in another type (arrays of `LowCardinality`).
//!
//! The crate's own `insert_native` (0.15.3) takes a column at once and has no `LowCardinality`, which is 8 of the 23 columns of
//! `events`: as strings each value is looked up by the server, and has up to 64 bytes instead of 4.

use std::marker::PhantomData;
use std::slice::{self, IterMut};

use bytes::Bytes;
use indexmap::IndexSet;
use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{Error as _, Impossible, SerializeSeq, SerializeStruct, Serializer};

/// Values are kept in pieces of this size, which never move: a column of megabytes that grows by being copied costs as much as
/// what is done with it.
const PIECE_BYTES: usize = 256 << 10;

/// Columns of strings that have few different values, `LowCardinality(String)` in every table.
const WORDS: [&str; 11] =
    ["tenant", "command", "origin", "event", "code", "policy", "log", "aspect", "kind", "visibility", "role"];

/// Rows of one table.
#[derive(Debug)]
pub(super) struct Block<T> {
    columns: Vec<Column>,
    rows: usize,
    of: PhantomData<fn(&T)>,
}

/// The values of one column.
#[derive(Debug, Default)]
struct Column {
    kind: &'static str,
    /// Of an array: how many elements there are up to the end of each row.
    ends: Pieces,
    elements: u64,
    /// Of a column of few words: which there are; `values` has the number of each row's word then.
    words: Option<Words>,
    values: Pieces,
}

/// The different values of a column, numbered in the order in which they came.
#[derive(Debug, Default)]
struct Words {
    all: IndexSet<Box<str>>,
    last: usize,
}

impl Words {
    /// The number of a word.
    fn number(&mut self, word: &str) -> usize {
        // Rows that follow each other mostly have the same.
        if self.all.get_index(self.last).is_none_or(|last| **last != *word) {
            self.last = self.all.get_index_of(word).unwrap_or_else(|| self.all.insert_full(word.into()).0);
        }
        self.last
    }

    /// What stands before the numbers of so many rows.
    fn head(&self, rows: usize) -> Vec<u8> {
        /// The one version that there is.
        const VERSION: u64 = 1;
        /// Numbers are `u32`, and the words are of this block alone and stand in it.
        const FLAGS: u64 = 2 | 1 << 9 | 1 << 10;
        let mut head = [VERSION, FLAGS, self.all.len() as u64].map(u64::to_le_bytes).concat();
        self.all.iter().for_each(|word| write_string(&mut head, word));
        head.extend_from_slice(&(rows as u64).to_le_bytes());
        head
    }
}

impl<T: clickhouse::Row> Default for Block<T> {
    fn default() -> Self {
        let column = |name| Column { words: WORDS.contains(name).then(Words::default), ..Column::default() };
        Self { columns: T::COLUMN_NAMES.iter().map(column).collect(), rows: 0, of: PhantomData }
    }
}

impl<T: clickhouse::Row + Serialize> Block<T> {
    /// How many rows there are.
    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    /// Puts a row behind the others.
    ///
    /// # Errors
    /// The row has a field of a type that no table has.
    pub(super) fn push(&mut self, row: &T) -> Result<(), Error> {
        row.serialize(Place(&mut self.columns))?;
        self.rows += 1;
        Ok(())
    }

    /// The block's bytes, in pieces.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        let mut head = Vec::new();
        write_varuint(&mut head, self.columns.len() as u64);
        write_varuint(&mut head, self.rows as u64);
        let columns = T::COLUMN_NAMES.iter().zip(self.columns).flat_map(move |(name, column)| {
            let mut head = Vec::new();
            write_string(&mut head, name);
            write_string(&mut head, column.kind);
            head.extend(column.words.map(|words| words.head(self.rows)).unwrap_or_default());
            std::iter::once(head).chain(column.ends.0).chain(column.values.0)
        });
        std::iter::once(head).chain(columns).map(Bytes::from)
    }
}

/// Bytes in pieces.
#[derive(Debug, Default)]
struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    /// The piece with room for so many bytes more.
    fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.0.last().is_none_or(|last| last.capacity() - last.len() < bytes) {
            // A short column stays short: pieces grow to their size one after the other.
            let last = self.0.last().map_or(256, Vec::capacity);
            self.0.push(Vec::with_capacity((last * 4).clamp(bytes, PIECE_BYTES.max(bytes))));
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

/// The longest varuint.
const VARUINT_BYTES: usize = 10;

fn write_varuint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

fn write_string(into: &mut Vec<u8>, text: &str) {
    write_varuint(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

/// Where a value goes: a row into all columns, a field into one.
struct Place<'a>(&'a mut [Column]);

impl<'a> Place<'a> {
    /// The column of a field, which is of this type in every row.
    fn column(self, kind: &'static str) -> Result<&'a mut Column, Error> {
        let [column] = self.0 else { return unsupported() };
        column.kind = kind;
        Ok(column)
    }

    fn number<const N: usize>(self, kind: &'static str, bytes: [u8; N]) -> Result<(), Error> {
        self.column(kind)?.values.room(N).extend_from_slice(&bytes);
        Ok(())
    }
}

fn unsupported<T>() -> Result<T, Error> {
    Err(Error::custom("no column has this type"))
}

macro_rules! unsupported {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$answer, Error> { unsupported() })*
    };
    ($($method:ident<T>($($argument:ty),*);)*) => {
        $(fn $method<T: Serialize + ?Sized>(self, $(_: $argument),*) -> Result<(), Error> { unsupported() })*
    };
}

impl<'a> Serializer for Place<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeStruct = Fields<'a>;
    type SerializeSeq = List<'a>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_struct(self, _: &'static str, fields: usize) -> Result<Fields<'a>, Error> {
        if fields == self.0.len() { Ok(Fields(self.0.iter_mut())) } else { unsupported() }
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.number("Bool", [u8::from(value)])
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.number("UInt16", value.to_le_bytes())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.number("UInt32", value.to_le_bytes())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.number("UInt64", value.to_le_bytes())
    }

    /// What has a sign is a time.
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.number("DateTime64(3, 'UTC')", value.to_le_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        let [Column { words: Some(words), .. }] = self.0 else {
            write_string(self.column("String")?.values.room(VARUINT_BYTES + value.len()), value);
            return Ok(());
        };
        let number = u32::try_from(words.number(value)).map_err(Error::custom)?;
        self.number("LowCardinality(String)", number.to_le_bytes())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Error> {
        self.column("Array(String)").map(List)
    }

    unsupported! {
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_u8(u8) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
    unsupported! {
        serialize_some<T>(&T);
        serialize_newtype_struct<T>(&'static str, &T);
        serialize_newtype_variant<T>(&'static str, u32, &'static str, &T);
    }
}

/// The columns of the fields that are still to come.
struct Fields<'a>(IterMut<'a, Column>);

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
        self.0.next().map_or_else(unsupported, |column| value.serialize(Place(slice::from_mut(column))))
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A list of texts.
struct List<'a>(&'a mut Column);

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Place(slice::from_mut(self.0)))?;
        self.0.elements += 1;
        if self.0.kind == "String" { Ok(()) } else { unsupported() }
    }

    fn end(self) -> Result<(), Error> {
        let ends = self.0.elements.to_le_bytes();
        self.0.ends.room(ends.len()).extend_from_slice(&ends);
        self.0.kind = "Array(String)";
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clickhouse::Row;
    use serde::Deserialize;

    use super::*;

    #[derive(Row, Serialize, Deserialize)]
    struct Line {
        id: u16,
        at: i64,
        name: String,
        command: String,
        lists: Vec<String>,
        seen: bool,
    }

    fn line(id: u16, name: &str, lists: &[&str]) -> Line {
        Line {
            id,
            at: -1,
            name: name.to_owned(),
            command: format!("c{}", id % 2),
            lists: lists.iter().map(ToString::to_string).collect(),
            seen: true,
        }
    }

    fn bytes<T: clickhouse::Row + Serialize>(block: Block<T>) -> Vec<u8> {
        block.into_pieces().flatten().collect()
    }

    #[test]
    fn rows_become_columns() {
        let mut block = Block::default();
        block.push(&line(1, "", &[])).unwrap();
        block.push(&line(0x204, "é", &["a", "bc"])).unwrap();
        block.push(&line(5, "", &[])).unwrap();
        assert_eq!(block.len(), 3);
        let expected: [&[u8]; 7] = [
            b"\x06\x03",
            b"\x02id\x06UInt16\x01\x00\x04\x02\x05\x00",
            b"\x02at\x14DateTime64(3, 'UTC')\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x04name\x06String\x00\x02\xc3\xa9\x00",
            &[
                &b"\x07command\x16LowCardinality(String)"[..],
                &[1, 0x602, 2].map(u64::to_le_bytes).concat(),
                b"\x02c1\x02c0",
                &3_u64.to_le_bytes(),
                &[0, 1, 0].map(u32::to_le_bytes).concat(),
            ]
            .concat(),
            &[b"\x05lists\x0dArray(String)", &[0, 2, 2].map(u64::to_le_bytes).concat()[..], b"\x01a\x02bc"].concat(),
            b"\x04seen\x04Bool\x01\x01\x01",
        ];
        assert_eq!(bytes(block), expected.concat());
    }

    #[test]
    fn values_are_whole_wherever_a_piece_ends() {
        let names: Vec<String> = (0..3000_usize).map(|number| "x".repeat(number)).collect();
        let mut block = Block::default();
        for name in &names {
            block.push(&line(0, name, &[])).unwrap();
        }
        let mut values = Vec::new();
        for name in &names {
            write_string(&mut values, name);
        }
        assert!(values.len() > 10 * PIECE_BYTES, "it takes many pieces");
        let all = bytes(block);
        let head = b"\x04name\x06String";
        let at = all.windows(head.len()).position(|window| window == head).unwrap() + head.len();
        assert_eq!(all[at..at + values.len()], values);
    }

    #[test]
    fn a_field_that_no_column_takes_is_refused() {
        #[derive(Row, Serialize, Deserialize)]
        struct Odd {
            ratio: f64,
        }
        #[derive(Row, Serialize, Deserialize)]
        struct Numbers {
            of: Vec<u64>,
        }
        assert!(Block::default().push(&Odd { ratio: 0.5 }).is_err());
        assert!(Block::default().push(&Numbers { of: vec![1] }).is_err());
    }
}
