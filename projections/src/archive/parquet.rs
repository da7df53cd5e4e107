//! A segment as a Parquet file: a row for every outcome, as in the history's `events`, and in front of a batch's outcomes a
//! row of its own with the batch's exact bytes, so that any reader of Parquet can ask it and the log can be read from it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use natter_nats::{LogId, Stored};
use natter_schemas::position::version;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::clickhouse::fold::Rows;
use crate::clickhouse::rows::{BATCH_INDEX, EventRow};
use crate::error::ViewError;

const ZSTD_LEVEL: i32 = 3;

/// What is not in the history's row.
const BROKER_AT: &str = "broker_at";
const LEASE: &str = "lease";
const RECORDS_TOLD: &str = "records_told";
const BATCH: &str = "batch";

/// One row.
struct Row<'a> {
    event: &'a EventRow,
    /// The text of a message, as everybody sees it.
    text: Option<&'a str>,
    /// The batch, in its own row.
    batch: Option<&'a Stored>,
}

/// What a column holds of a row.
enum Get {
    U32(fn(&Row<'_>) -> u32),
    U64(fn(&Row<'_>) -> u64),
    Time(fn(&Row<'_>) -> i64),
    Text(for<'r> fn(&'r Row<'_>) -> &'r str),
    Texts(for<'r> fn(&'r Row<'_>) -> &'r [String]),
    SomeU32(fn(&Row<'_>) -> Option<u32>),
    SomeU64(fn(&Row<'_>) -> Option<u64>),
    SomeTime(fn(&Row<'_>) -> Option<i64>),
    SomeText(for<'r> fn(&'r Row<'_>) -> Option<&'r str>),
    SomeBytes(fn(&Row<'_>) -> Option<Bytes>),
}

/// The columns, in their order; a column that is added goes to the end.
const COLUMNS: &[(&str, Get)] = &[
    ("partition", Get::U32(|row| row.event.partition.into())),
    ("sequence", Get::U64(|row| row.event.sequence)),
    ("idx", Get::U32(|row| row.event.idx)),
    ("tenant", Get::Text(|row| &row.event.tenant)),
    ("conversation", Get::U64(|row| row.event.conversation)),
    ("at", Get::Time(|row| row.event.at)),
    ("stored_at", Get::Time(|row| row.event.stored_at)),
    ("log_at", Get::Time(|row| row.event.log_at)),
    ("sender", Get::Text(|row| &row.event.sender)),
    ("reference", Get::Text(|row| &row.event.reference)),
    ("command", Get::Text(|row| &row.event.command)),
    ("origin", Get::Text(|row| &row.event.origin)),
    ("event", Get::Text(|row| &row.event.event)),
    ("code", Get::Text(|row| &row.event.code)),
    ("message", Get::U64(|row| row.event.message)),
    ("seq", Get::U64(|row| row.event.seq)),
    ("content", Get::U64(|row| row.event.content)),
    ("detail", Get::Text(|row| &row.event.detail)),
    ("policy", Get::Text(|row| &row.event.policy)),
    ("lists", Get::Texts(|row| &row.event.lists)),
    ("records", Get::U32(|row| row.event.records)),
    ("bytes", Get::U64(|row| row.event.bytes)),
    ("text", Get::SomeText(|row| row.text)),
    (BROKER_AT, Get::SomeTime(|row| Some(row.batch?.stored_ms.cast_signed()))),
    (LEASE, Get::SomeU64(|row| row.batch?.lease)),
    (RECORDS_TOLD, Get::SomeU32(|row| row.batch?.records)),
    (BATCH, Get::SomeBytes(|row| Some(row.batch?.payload.clone()))),
];

impl Get {
    /// The column's type, in Parquet's own words.
    fn schema(&self, name: &str) -> String {
        match self {
            Self::U32(_) => format!("required int32 {name} (INTEGER(32,false));"),
            Self::U64(_) => format!("required int64 {name} (INTEGER(64,false));"),
            Self::Time(_) => format!("required int64 {name} (TIMESTAMP(MILLIS,true));"),
            Self::Text(_) => format!("required binary {name} (UTF8);"),
            Self::Texts(_) => {
                format!("required group {name} (LIST) {{ repeated group list {{ required binary element (UTF8); }} }}")
            }
            Self::SomeU32(_) => format!("optional int32 {name} (INTEGER(32,false));"),
            Self::SomeU64(_) => format!("optional int64 {name} (INTEGER(64,false));"),
            Self::SomeTime(_) => format!("optional int64 {name} (TIMESTAMP(MILLIS,true));"),
            Self::SomeText(_) => format!("optional binary {name} (UTF8);"),
            Self::SomeBytes(_) => format!("optional binary {name};"),
        }
    }

    fn write(&self, rows: &[Row<'_>], to: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<(), ParquetError> {
        match self {
            Self::U32(get) => all::<Int32Type>(to, rows.iter().map(|row| get(row).cast_signed())),
            Self::U64(get) => all::<Int64Type>(to, rows.iter().map(|row| get(row).cast_signed())),
            Self::Time(get) => all::<Int64Type>(to, rows.iter().map(get)),
            Self::Text(get) => all::<ByteArrayType>(to, rows.iter().map(|row| ByteArray::from(get(row)))),
            Self::Texts(get) => lists(to, rows.iter().map(get)),
            Self::SomeU32(get) => some::<Int32Type>(to, rows.iter().map(|row| get(row).map(u32::cast_signed))),
            Self::SomeU64(get) => some::<Int64Type>(to, rows.iter().map(|row| get(row).map(u64::cast_signed))),
            Self::SomeTime(get) => some::<Int64Type>(to, rows.iter().map(get)),
            Self::SomeText(get) => some::<ByteArrayType>(to, rows.iter().map(|row| get(row).map(ByteArray::from))),
            Self::SomeBytes(get) => some::<ByteArrayType>(to, rows.iter().map(|row| get(row).map(ByteArray::from))),
        }
    }
}

fn all<T: DataType>(
    to: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl Iterator<Item = T::T>,
) -> Result<(), ParquetError> {
    column::<T>(to, &values.collect::<Vec<_>>(), None, None)
}

fn some<T: DataType>(
    to: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut there, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        there.extend(value);
    }
    column::<T>(to, &there, Some(&levels), None)
}

fn lists<'r>(
    to: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    rows: impl Iterator<Item = &'r [String]>,
) -> Result<(), ParquetError> {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for texts in rows {
        // An empty list takes a level too.
        defined.extend(std::iter::repeat_n(i16::from(!texts.is_empty()), texts.len().max(1)));
        repeated.extend((0..texts.len().max(1)).map(|index| i16::from(index > 0)));
        values.extend(texts.iter().map(|text| ByteArray::from(text.as_str())));
    }
    column::<ByteArrayType>(to, &values, Some(&defined), Some(&repeated))
}

fn column<T: DataType>(
    to: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let next = to.next_column()?;
    let mut writer = next.ok_or_else(|| ParquetError::General("more columns than the schema has".to_owned()))?;
    writer.typed::<T>().write_batch(values, defined, repeated)?;
    writer.close()
}

/// Successive batches of a partition as one file.
///
/// # Errors
/// `Corrupt`: a batch cannot be decoded.
pub(super) fn encode(log: &LogId, partition: u16, batches: &[Stored]) -> Result<Bytes, ViewError> {
    let mut folded = Rows::default();
    for batch in batches {
        folded.fold(log, partition, batch.sequence, &batch.payload)?;
    }
    let texts: HashMap<u64, &str> = folded.messages.iter().map(|row| (row.version, row.text.as_str())).collect();
    let mut outcomes = folded.events.iter().peekable();
    let mut rows = Vec::with_capacity(folded.events.len() + folded.batches.len());
    for (event, batch) in folded.batches.iter().zip(batches) {
        rows.push(Row { event, text: None, batch: Some(batch) });
        while let Some(event) = outcomes.next_if(|outcome| outcome.sequence == event.sequence) {
            let text = texts.get(&version(event.sequence, event.idx)).copied();
            rows.push(Row { event, text, batch: None });
        }
    }
    write(&rows).map_err(|error| ViewError::corrupt("a segment of the archive cannot be written", error))
}

fn write(rows: &[Row<'_>]) -> Result<Bytes, ParquetError> {
    let columns: String = COLUMNS.iter().map(|(name, get)| get.schema(name)).collect();
    let schema = Arc::new(parse_message_type(&format!("message natter {{ {columns} }}"))?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_created_by("natter".to_owned())
        // No two are alike.
        .set_column_dictionary_enabled(ColumnPath::from(BATCH), false)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (_, get) in COLUMNS {
        get.write(rows, &mut group)?;
    }
    group.close()?;
    Ok(file.into_inner()?.into())
}

/// The batches in a file, in their order.
///
/// # Errors
/// `Corrupt`: it is not such a file.
pub(super) fn decode(file: Bytes) -> Result<Vec<Stored>, ViewError> {
    read(file).map_err(|error| ViewError::corrupt("a segment of the archive cannot be read", error))
}

fn read(file: Bytes) -> Result<Vec<Stored>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let mut batches = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let group = Columns::of(&*group)?;
        let indexes = group.column::<Int32Type>("idx")?;
        let sequences = group.column::<Int64Type>("sequence")?;
        let stored = group.column::<Int64Type>(BROKER_AT)?;
        let leases = group.column::<Int64Type>(LEASE)?;
        let records = group.column::<Int32Type>(RECORDS_TOLD)?;
        let payloads = group.column::<ByteArrayType>(BATCH)?;
        for (row, payload) in payloads.into_iter().enumerate() {
            let Some(payload) = payload else { continue };
            let (index, sequence, stored_ms) = (indexes[row], sequences[row], stored[row]);
            if index.map(i32::cast_unsigned) != Some(BATCH_INDEX) {
                return Err(ParquetError::General(format!("row {row} has a batch and is no batch's own row")));
            }
            let absent = || ParquetError::General(format!("the batch in row {row} has no sequence or no time"));
            batches.push(Stored {
                sequence: sequence.ok_or_else(absent)?.cast_unsigned(),
                stored_ms: stored_ms.ok_or_else(absent)?.cast_unsigned(),
                lease: leases[row].map(i64::cast_unsigned),
                records: records[row].map(i32::cast_unsigned),
                behind: 0,
                // Copied, for a page's buffer would live as long as one of its batches.
                payload: Bytes::copy_from_slice(payload.data()),
            });
        }
    }
    Ok(batches)
}

/// The columns of a row group, by name; none of them in a list.
struct Columns<'a> {
    group: &'a dyn RowGroupReader,
    rows: usize,
}

impl<'a> Columns<'a> {
    fn of(group: &'a dyn RowGroupReader) -> Result<Self, ParquetError> {
        let rows = usize::try_from(group.metadata().num_rows());
        let rows = rows.map_err(|_| ParquetError::General("a row group of no possible length".to_owned()))?;
        Ok(Self { group, rows })
    }

    fn column<T: DataType>(&self, name: &str) -> Result<Vec<Option<T::T>>, ParquetError> {
        let at = self.group.metadata().columns().iter().position(|column| column.column_path().string() == name);
        let at = at.ok_or_else(|| ParquetError::General(format!("it has no column {name}")))?;
        let reader = T::get_column_reader(self.group.get_column_reader(at)?);
        let mut reader = reader.ok_or_else(|| ParquetError::General(format!("column {name} has another type")))?;
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        reader.read_records(self.rows, Some(&mut levels), None, &mut values)?;
        spread(name, self.rows, &levels, values)
    }
}

/// Values to their rows: only those that are there are stored.
fn spread<T>(name: &str, rows: usize, levels: &[i16], values: Vec<T>) -> Result<Vec<Option<T>>, ParquetError> {
    if levels.is_empty() && values.len() == rows {
        return Ok(values.into_iter().map(Some).collect());
    }
    if levels.len() != rows || values.len() != levels.iter().filter(|level| **level > 0).count() {
        let (found, values) = (levels.len(), values.len());
        return Err(ParquetError::General(format!("column {name} has {found} of {rows} rows, {values} values")));
    }
    let mut values = values.into_iter();
    Ok(levels.iter().map(|level| if *level > 0 { values.next() } else { None }).collect())
}
