//! How far the history is, read from `events`: the last sequence up to which every batch's own row is there.

use clickhouse::Row;
use natter_nats::LogId;
use serde::Deserialize;

use super::connection::{ClickHouse, within};
use crate::error::ViewError;
use crate::watermark::Watermark;

/// Sequences looked at in one query when a hole is searched.
const PAGE: u64 = 100_000;

#[derive(Row, Deserialize)]
struct Span {
    first_log: String,
    last_log: String,
    batches: u64,
    last: u64,
}

/// The watermark of `partition`, upward from `checked`, up to which it is known already.
///
/// # Errors
/// ClickHouse is away, or rows of two logs lie in it.
pub async fn watermark(clickhouse: &ClickHouse, partition: u16, checked: u64) -> Result<Watermark, ViewError> {
    let table = clickhouse.table("events");
    // The batches' own rows have conversation 0, so this reads one range of the primary key.
    let of_batches = format!("FROM {table} WHERE partition = ? AND conversation = 0 AND command = 'batch' AND sequence > ?");
    let sql = format!(
        "SELECT min(log) AS first_log, max(log) AS last_log, count(DISTINCT sequence) AS batches, max(sequence) AS last {of_batches}"
    );
    let span: Span =
        within("reading the history's watermark", clickhouse.client().query(&sql).bind(partition).bind(checked).fetch_one())
            .await?;
    if span.first_log != span.last_log {
        return Err(ViewError::Mismatch(format!(
            "the history of partition {partition} has rows of two logs, {} and {}: drop the databases {} and {}_store, then start the projector again",
            span.first_log, span.last_log, clickhouse.views(), clickhouse.views()
        )));
    }
    if span.last_log.is_empty() {
        return Ok(Watermark { log: None, sequence: checked });
    }
    let log: LogId = span.last_log.parse()?;
    if span.last == checked + span.batches {
        return Ok(Watermark::new(log, span.last));
    }
    let sql = format!("SELECT DISTINCT sequence {of_batches} ORDER BY sequence LIMIT {PAGE}");
    let mut reached = checked;
    loop {
        let query = clickhouse.client().query(&sql).bind(partition).bind(reached);
        let page: Vec<u64> = within("reading the history's watermark", query.fetch_all()).await?;
        let dense = page.iter().zip(reached + 1..).take_while(|(found, wanted)| *found == wanted).count() as u64;
        reached += dense;
        if dense < PAGE {
            return Ok(Watermark::new(log, reached));
        }
    }
}
