//! How far the history is, read from `events`: the last sequence up to which every batch's own row is there.
//!
//! A batch's own row is inserted when all else of it is on disk. Two projectors, and inserts that a crash cut short, may
//! leave rows above a hole: what counts is where the first hole begins.

use clickhouse::Row;
use natter_nats::LogId;
use serde::Deserialize;

use super::connection::{ClickHouse, read, write};
use crate::error::ViewError;
use crate::watermark::Watermark;

/// Sequences looked at in one query when a hole is searched.
const PAGE: u64 = 100_000;

/// The batches' own rows from some sequence on.
#[derive(Row, Deserialize)]
struct Span {
    first_log: String,
    last_log: String,
    batches: u64,
    first: u64,
    last: u64,
}

/// The watermark of `partition`. It is looked for upward from `checked`, up to which the caller knows the history to be
/// complete (0: nothing is known; then from where a projector noted it last). Where that batch is not there any more, the
/// store fell back, and everything is looked at.
///
/// # Errors
/// Transient; `Mismatch` where rows of two logs lie in it.
pub async fn watermark(clickhouse: &ClickHouse, partition: u16, checked: u64) -> Result<Watermark, ViewError> {
    let from = if checked > 0 { checked } else { noted(clickhouse, partition).await? };
    if from > 0 {
        let span = read(READING, span(clickhouse, partition, from)).await?;
        if span.first == from {
            return dense_end(clickhouse, partition, &span).await;
        }
    }
    let span = write(READING, span(clickhouse, partition, 1)).await?;
    if span.first == 1 { dense_end(clickhouse, partition, &span).await } else { Ok(Watermark::default()) }
}

/// What the history says about how far it is, taken at its word in nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Ids of the logs whose batches lie here, each once.
    pub logs: Vec<String>,
    /// The sequence up to which a projector noted that everything is here; 0: none did.
    pub noted: u64,
    /// The sequence up to which every batch's own row is here, looked up from the first.
    pub complete: u64,
    /// The highest sequence of which a batch's own row is here.
    pub last: u64,
}

/// What the history of `partition` says about how far it is. Unlike [`watermark`] it believes no note.
///
/// # Errors
/// Transient.
pub async fn claim(clickhouse: &ClickHouse, partition: u16) -> Result<Claim, ViewError> {
    let notes = clickhouse.table("watermarks");
    // Before the rows: they are inserted before they are noted.
    let sql = format!("SELECT max(greatest(applied, checked)) FROM {notes} WHERE partition = ?");
    let noted = read(READING, clickhouse.client().query(&sql).bind(partition).fetch_one()).await?;
    let sql = format!("SELECT DISTINCT log {} ORDER BY log", of_batches(clickhouse));
    let logs = write(READING, clickhouse.client().query(&sql).bind(partition).bind(1_u64).fetch_all()).await?;
    let span = write(READING, span(clickhouse, partition, 1)).await?;
    let complete = match span.first {
        1 => dense_from(clickhouse, partition, &span).await?,
        _ => 0,
    };
    Ok(Claim { logs, noted, complete, last: span.last })
}

const READING: &str = "reading the history's watermark";

/// The batches' own rows have conversation 0, so this reads one range of the primary key.
fn of_batches(clickhouse: &ClickHouse) -> String {
    let events = clickhouse.table("events");
    format!("FROM {events} WHERE partition = ? AND conversation = 0 AND command = 'batch' AND sequence >= ?")
}

async fn span(clickhouse: &ClickHouse, partition: u16, from: u64) -> Result<Span, clickhouse::error::Error> {
    let sql = format!(
        "SELECT min(log) AS first_log, max(log) AS last_log, uniqExact(sequence) AS batches, min(sequence) AS first, \
         max(sequence) AS last {}",
        of_batches(clickhouse)
    );
    clickhouse.client().query(&sql).bind(partition).bind(from).fetch_one().await
}

/// Where a projector looked last and found everything here; 0: nowhere.
async fn noted(clickhouse: &ClickHouse, partition: u16) -> Result<u64, ViewError> {
    let notes = clickhouse.table("watermarks");
    let sql = format!("SELECT argMax(checked, checked_at) FROM {notes} WHERE partition = ?");
    read(READING, clickhouse.client().query(&sql).bind(partition).fetch_one()).await
}

/// The last sequence before the first hole in `span`.
async fn dense_end(clickhouse: &ClickHouse, partition: u16, span: &Span) -> Result<Watermark, ViewError> {
    if span.first_log != span.last_log {
        let (one, other, mend) = (&span.first_log, &span.last_log, clickhouse.mend());
        return Err(ViewError::Mismatch(format!(
            "the history of partition {partition} has rows of two logs, {one} and {other}: {mend}"
        )));
    }
    let log: LogId = span.last_log.parse()?;
    Ok(Watermark::new(log, dense_from(clickhouse, partition, span).await?))
}

async fn dense_from(clickhouse: &ClickHouse, partition: u16, span: &Span) -> Result<u64, ViewError> {
    if span.last - span.first + 1 == span.batches {
        return Ok(span.last);
    }
    let sql = format!("SELECT DISTINCT sequence {} ORDER BY sequence LIMIT {PAGE}", of_batches(clickhouse));
    let mut reached = span.first;
    loop {
        let query = clickhouse.client().query(&sql).bind(partition).bind(reached + 1);
        let page: Vec<u64> = write(READING, query.fetch_all()).await?;
        let dense = page.iter().zip(reached + 1..).take_while(|(found, wanted)| *found == wanted).count() as u64;
        reached += dense;
        if dense < PAGE {
            return Ok(reached);
        }
    }
}
