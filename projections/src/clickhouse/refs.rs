//! Refs of long ago, looked up in the history.

use std::collections::HashMap;

use clickhouse::Row;
use natter_schemas::event::RefScope;
use natter_schemas::evidence::Answered;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::limits::{REF_BYTES_MAX, TENANT_BYTES_MAX, USER_BYTES_MAX};
use natter_schemas::names::{Ref, Tenant, UserId};
use serde::Deserialize;

use super::connection::{ClickHouse, read};
use crate::error::ViewError;

/// Whose ref is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefQuery {
    /// The application.
    pub tenant: Tenant,
    /// The sender.
    pub sender: UserId,
    /// The scope.
    pub scope: RefScope,
    /// The ref.
    pub reference: Ref,
    /// The conversation that the command names or has made before; `None`: there is none, or the scope says nothing of it.
    pub conversation: Option<ConversationId>,
}

#[derive(Row, Deserialize)]
struct Found {
    tenant: String,
    sender: String,
    reference: String,
    command: String,
    conversation: u64,
    sequence: u64,
    idx: u32,
    at: i64,
    log_at: i64,
    message: u64,
    seq: u64,
    content: u64,
    external: String,
    kind: String,
}

/// What each of `queries` was answered with, where the history up to the batch `last` knows it: the newest since
/// `since_ms` of log time (Unix ms). Only refs that were left ([`left_ref`](natter_schemas::event::Event::left_ref)) are found.
///
/// # Errors
/// Transient.
pub async fn find_refs(
    clickhouse: &ClickHouse,
    partition: u16,
    last: u64,
    since_ms: u64,
    queries: &[RefQuery],
) -> Result<Vec<Option<Answered>>, ViewError> {
    // The conversation narrows the search to one range of the primary key. What made a conversation by its ref alone is found by
    // the ref's index.
    let (somewhere, anywhere): (Vec<&RefQuery>, Vec<&RefQuery>) = queries
        .iter()
        .filter(|query| query.place() != Place::Nowhere)
        .partition(|query| query.place() != Place::Anywhere);
    let mut rows = Vec::new();
    for (queries, is_somewhere) in [(somewhere, true), (anywhere, false)] {
        for queries in queries.chunks(ASKED_AT_ONCE) {
            rows.extend(find_some(clickhouse, partition, last, since_ms, queries, is_somewhere).await?);
        }
    }
    rows.sort_unstable_by_key(|row| (row.sequence, row.idx));
    let mut by_ref: HashMap<(&str, &str, &str), Vec<&Found>> = HashMap::new();
    for row in &rows {
        by_ref.entry((&row.tenant, &row.sender, &row.reference)).or_default().push(row);
    }
    // Rising by position: of several, the newest is taken.
    let newest = |query: &RefQuery| {
        let of_ref = by_ref.get(&(query.tenant.as_str(), query.sender.as_str(), query.reference.as_str()))?;
        of_ref.iter().rev().find(|row| row.answers(query)).map(|row| row.answered())
    };
    Ok(queries.iter().map(newest).collect())
}

/// Where the rows of a scope lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    In(ConversationId),
    Anywhere,
    /// What the command names has never been there.
    Nowhere,
}

impl RefQuery {
    fn place(&self) -> Place {
        match self.scope {
            RefScope::User => Place::In(ConversationId::from_raw(0)),
            RefScope::Created => Place::Anywhere,
            RefScope::Conversation(_) | RefScope::Direct(_) | RefScope::External(_) => {
                self.conversation.map_or(Place::Nowhere, Place::In)
            }
        }
    }
}

/// So many fit a query of [`QUERY_BYTES_MAX`] however long the names in it are.
const ASKED_AT_ONCE: usize = 1000;
const QUERY_BYTES_MAX: &str = "2097152";
const _: () = assert!(ASKED_AT_ONCE * 2 * (TENANT_BYTES_MAX + USER_BYTES_MAX + 2 * REF_BYTES_MAX + 20) < 1 << 20);

async fn find_some(
    clickhouse: &ClickHouse,
    partition: u16,
    last: u64,
    since_ms: u64,
    queries: &[&RefQuery],
    is_somewhere: bool,
) -> Result<Vec<Found>, ViewError> {
    let references: Vec<&str> = queries.iter().map(|query| query.reference.as_str()).collect();
    let senders: Vec<(&str, &str, &str)> =
        queries.iter().map(|query| (query.tenant.as_str(), query.sender.as_str(), query.reference.as_str())).collect();
    let conversations: Vec<u64> = queries
        .iter()
        .filter_map(|query| match query.place() {
            Place::In(conversation) => Some(conversation.get()),
            Place::Anywhere | Place::Nowhere => None,
        })
        .collect();
    let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
    let narrowed = if is_somewhere { "conversation IN ?" } else { "command = 'conversation.create' AND 0 = length(?)" };
    // The refs by themselves for the index; with their senders because everybody may count from 1.
    let sql = format!(
        "SELECT tenant, sender, reference, command, conversation, sequence, idx, at, log_at, message, seq, content, \
         JSONExtractString(detail, 'external') AS external, JSONExtractString(detail, 'kind') AS kind FROM {} \
         WHERE partition = ? AND {narrowed} AND sequence <= ? AND reference IN ? AND (tenant, sender, reference) IN ? \
         AND log_at >= fromUnixTimestamp64Milli(toInt64(?)) AND content != 0 ORDER BY sequence, idx",
        clickhouse.table("events")
    );
    let query = clickhouse.client().query(&sql).bind(partition).bind(conversations).bind(last);
    let query = query.bind(references).bind(senders).bind(since);
    let query = query.with_setting("max_query_size", QUERY_BYTES_MAX);
    read("looking up refs in the history", query.fetch_all()).await
}

impl Found {
    fn answers(&self, query: &RefQuery) -> bool {
        let is_create = self.command == "conversation.create";
        let is_there = query.conversation.is_some_and(|conversation| conversation.get() == self.conversation);
        self.tenant == query.tenant.as_str()
            && self.sender == query.sender.as_str()
            && self.reference == query.reference.as_str()
            && match query.scope {
                RefScope::User => self.command == "user.update",
                RefScope::Created => is_create && self.kind == "group" && self.external.is_empty(),
                RefScope::Direct(_) | RefScope::External(_) => is_create && is_there,
                RefScope::Conversation(_) => !is_create && is_there,
            }
    }

    fn answered(&self) -> Answered {
        let unix_ms = |at: i64| u64::try_from(at).unwrap_or(0);
        Answered {
            content: self.content,
            sequence: self.sequence,
            index: self.idx,
            at_ms: unix_ms(self.at),
            log_ms: unix_ms(self.log_at),
            conversation: (self.conversation != 0).then(|| ConversationId::from_raw(self.conversation)),
            message: (self.message != 0).then(|| MessageId::from_raw(self.message)),
            // Only messages: the refs of cursors are not remembered, and members' events keep their seq to themselves.
            seq: (self.message != 0).then_some(self.seq),
        }
    }
}
