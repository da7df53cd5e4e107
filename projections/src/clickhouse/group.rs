//! What goes into the tables together, and in which order.

use natter_nats::LogId;
use serde::Serialize;
use tokio::try_join;

use super::connection::{ClickHouse, write};
use super::fold::Rows;
use super::native::Block;
use super::rows::{EventRow, MessageRow, WatermarkRow};
use crate::error::ViewError;

/// The rows of a group of batches. Those that are never replaced within a group are written for ClickHouse as soon as a batch is
/// folded: a group of them as rows, with a dozen texts each, would be several times as large.
#[derive(Debug, Default)]
pub(super) struct Group {
    current: Rows,
    messages: Block<MessageRow>,
    events: Block<EventRow>,
    batches: Block<EventRow>,
}

impl Group {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.messages.len() + self.events.len() + self.batches.len()
    }

    /// Folds the batch at `sequence` of `EVT_partition` in.
    ///
    /// # Errors
    /// It cannot be decoded; nothing of it is in the group then.
    pub(super) fn fold(&mut self, log: &LogId, partition: u16, sequence: u64, bytes: &[u8]) -> Result<(), ViewError> {
        self.current.fold(log, partition, sequence, bytes)?;
        push_all(&mut self.messages, self.current.messages.drain(..))?;
        push_all(&mut self.events, self.current.events.drain(..))?;
        push_all(&mut self.batches, self.current.batches.drain(..))
    }

    /// Says how far a partition is with these rows.
    pub(super) fn note(&mut self, note: WatermarkRow) {
        self.current.watermarks.insert(note.partition, note);
    }

    /// Puts everything on disk. A batch's own row says that all of it is there, so these rows come when everything else is
    /// there: neither two tables nor two parts of one insert are written as one. All the rest has no order, and goes in side by
    /// side: an insert is parsed, sorted, compressed and synced one after the other, by one thread.
    ///
    /// # Errors
    /// Transient: some of the rows may be there.
    pub(super) async fn insert(self, clickhouse: &ClickHouse) -> Result<(), ViewError> {
        let Self { current, messages, events, batches } = self;
        let Rows { conversations, members, users, watermarks, .. } = current;
        try_join!(
            insert(clickhouse, "messages", messages),
            insert(clickhouse, "events", events),
            insert(clickhouse, "members", block(members.into_values())?),
            insert(clickhouse, "conversations", block(conversations.into_values())?),
            insert(clickhouse, "users", block(users.into_values())?),
        )?;
        insert(clickhouse, "events", batches).await?;
        insert(clickhouse, "watermarks", block(watermarks.into_values())?).await
    }
}

fn block<T: clickhouse::Row + Serialize>(rows: impl Iterator<Item = T>) -> Result<Block<T>, ViewError> {
    let mut block = Block::default();
    push_all(&mut block, rows)?;
    Ok(block)
}

fn push_all<T: clickhouse::Row + Serialize>(
    into: &mut Block<T>,
    mut rows: impl Iterator<Item = T>,
) -> Result<(), ViewError> {
    rows.try_for_each(|row| into.push(&row)).map_err(|error| ViewError::corrupt("a row of the history", error))
}

/// Inserts rows into a table; nothing where there are none.
async fn insert<T: clickhouse::Row + Serialize>(
    clickhouse: &ClickHouse,
    table: &str,
    rows: Block<T>,
) -> Result<(), ViewError> {
    if rows.len() == 0 {
        return Ok(());
    }
    let name = clickhouse.table(table);
    let sql = format!("INSERT INTO {name}({}) FORMAT Native", T::COLUMN_NAMES.join(","));
    let inserted = async {
        let insert = clickhouse.client().insert_formatted_with(sql);
        // Several partitions that read a long log again may be in more than 100 different months.
        let insert = insert.with_setting("max_partitions_per_insert_block", "0");
        // A group has a key once (unless a step was handed in again), so looking for what is replaced within it is in vain, and takes a third
        // of an insert. What is there twice all the same goes when parts are merged, as it does between parts.
        let mut insert = insert.with_setting("optimize_on_insert", "0");
        for piece in rows.into_pieces() {
            insert.send(piece).await?;
        }
        insert.end().await
    };
    write(&format!("inserting into {name}"), inserted).await
}
