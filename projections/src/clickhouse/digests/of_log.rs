//! The digests of the rows that the log comes to, by the fold that fills the tables.

use std::fmt::Write as _;

use natter_nats::LogId;
use natter_schemas::event::Placed;
use natter_schemas::position::{INDEX_MAX, Position, version};
use xxhash_rust::xxh3::xxh3_64;

use super::super::fold::Rows;
use super::super::rows::{BATCH_INDEX, ConversationRow, EventRow, MemberRow, MessageRow, UserRow};
use super::{RowDigest, SPREAD, Table};
use crate::error::ViewError;

/// The rows that the batch at `position` comes to: the newest of each key where rows replace each other.
///
/// # Errors
/// The batch cannot be decoded.
pub fn of_batch(
    log: &LogId,
    position: Position,
    bytes: &[u8],
    outcomes: &[Placed],
) -> Result<Vec<RowDigest>, ViewError> {
    let mut rows = Rows::default();
    rows.fold_placed(log, position, bytes, outcomes)?;
    let mut digests = Vec::with_capacity(rows.len());
    digests.extend(rows.events.iter().chain(&rows.batches).map(event));
    digests.extend(rows.messages.iter().map(message));
    digests.extend(rows.conversations.values().map(conversation));
    digests.extend(rows.members.values().map(member));
    digests.extend(rows.users.values().map(user));
    Ok(digests)
}

macro_rules! digest {
    ($first:expr $(, $rest:expr)*) => {{
        let mut text = $first.to_string();
        $(write!(text, "\n{}", $rest).expect("memory takes every byte");)*
        xxh3_64(text.as_bytes())
    }};
}

fn event(row: &EventRow) -> RowDigest {
    let group = if row.conversation == 0 { row.sequence % SPREAD } else { row.conversation };
    let digest = digest!(
        row.partition,
        row.sequence,
        row.idx,
        row.tenant,
        row.conversation,
        row.at,
        row.stored_at,
        row.log_at,
        row.sender,
        row.reference,
        row.command,
        row.origin,
        row.event,
        row.code,
        row.message,
        row.seq,
        row.content,
        row.detail,
        row.policy,
        row.lists.join(","),
        row.log,
        row.records,
        row.bytes
    );
    let index = if row.idx == BATCH_INDEX { INDEX_MAX } else { row.idx };
    let version = version(row.sequence, index);
    RowDigest { table: Table::Events, group, key: String::new(), version, digest }
}

fn message(row: &MessageRow) -> RowDigest {
    let digest = digest!(
        row.tenant,
        row.conversation,
        row.seq,
        row.message,
        row.sender,
        row.at,
        row.stored_at,
        row.log_at,
        row.text,
        u8::from(row.masked),
        row.reference,
        row.partition,
        row.version
    );
    let (group, key) = (row.conversation, row.seq.to_string());
    RowDigest { table: Table::Messages, group, key, version: row.version, digest }
}

fn conversation(row: &ConversationRow) -> RowDigest {
    let digest = digest!(
        row.tenant,
        row.conversation,
        row.aspect,
        row.kind,
        row.visibility,
        row.external,
        row.creator,
        row.name,
        row.value,
        row.at,
        row.partition,
        row.version
    );
    let (group, key) = (row.conversation, row.aspect.clone());
    RowDigest { table: Table::Conversations, group, key, version: row.version, digest }
}

fn member(row: &MemberRow) -> RowDigest {
    let digest = digest!(
        row.tenant,
        row.conversation,
        row.user,
        row.aspect,
        u8::from(row.present),
        row.role,
        row.read_seq,
        row.at,
        row.partition,
        row.version
    );
    let (group, key) = (row.conversation, format!("{}\n{}", row.user, row.aspect));
    RowDigest { table: Table::Members, group, key, version: row.version, digest }
}

fn user(row: &UserRow) -> RowDigest {
    let digest = digest!(row.tenant, row.user, row.name, row.at, row.partition, row.version);
    let (group, key) = (xxh3_64(row.user.as_bytes()) % SPREAD, format!("{}\n{}", row.tenant, row.user));
    RowDigest { table: Table::Users, group, key, version: row.version, digest }
}
