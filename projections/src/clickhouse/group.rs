//! What goes into the tables together, and in which order.

use natter_nats::LogId;
use serde::Serialize;
use tokio::try_join;

use super::connection::{ClickHouse, write};
use super::fold::Rows;
use super::native::Block;
use super::rows::{ConversationRow, EventRow, MemberRow, MessageRow, UserRow, WatermarkRow};
use crate::error::ViewError;

/// The rows of successive batches of one partition. Those that are never replaced among them are written for ClickHouse as soon as a
/// batch is folded: as rows, with a dozen texts each, they would be several times as large.
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
}

/// Puts the rows of some groups on disk, together. A batch's own row says that all of it is there, so these rows come when
/// everything else is there: neither two tables nor two parts of one insert are written as one. All the rest has no order, and goes
/// in side by side: an insert is parsed, sorted, compressed and synced one after the other, by one thread.
///
/// # Errors
/// Transient: some of the rows may be there.
pub(super) async fn insert(groups: Vec<Group>, clickhouse: &ClickHouse) -> Result<(), ViewError> {
    let mut all = Blocks::default();
    for Group { current, messages, events, batches } in groups {
        let Rows { conversations, members, users, watermarks, .. } = current;
        all.messages.push(messages);
        all.events.push(events);
        all.batches.push(batches);
        all.conversations.push(block(conversations.into_values())?);
        all.members.push(block(members.into_values())?);
        all.users.push(block(users.into_values())?);
        all.watermarks.push(block(watermarks.into_values())?);
    }
    try_join!(
        write_blocks(clickhouse, "messages", all.messages),
        write_blocks(clickhouse, "events", all.events),
        write_blocks(clickhouse, "members", all.members),
        write_blocks(clickhouse, "conversations", all.conversations),
        write_blocks(clickhouse, "users", all.users),
    )?;
    write_blocks(clickhouse, "events", all.batches).await?;
    write_blocks(clickhouse, "watermarks", all.watermarks).await
}

/// The same by tables.
#[derive(Default)]
struct Blocks {
    messages: Vec<Block<MessageRow>>,
    events: Vec<Block<EventRow>>,
    batches: Vec<Block<EventRow>>,
    conversations: Vec<Block<ConversationRow>>,
    members: Vec<Block<MemberRow>>,
    users: Vec<Block<UserRow>>,
    watermarks: Vec<Block<WatermarkRow>>,
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

/// Inserts blocks into a table, which makes one part of them; nothing where there are no rows.
async fn write_blocks<T: clickhouse::Row + Serialize>(
    clickhouse: &ClickHouse,
    table: &str,
    mut blocks: Vec<Block<T>>,
) -> Result<(), ViewError> {
    // An empty block would be the end of the others.
    blocks.retain(|block| block.len() > 0);
    if blocks.is_empty() {
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
        for piece in blocks.into_iter().flat_map(Block::into_pieces) {
            insert.send(piece).await?;
        }
        insert.end().await
    };
    write(&format!("inserting into {name}"), inserted).await
}
