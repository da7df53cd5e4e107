//! Resends whose `ref` has left the hot view: looked up in the history.

use clickhouse::Row;
use natter_schemas::event::RefScope;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::limits::{REF_BYTES_MAX, TENANT_BYTES_MAX, USER_BYTES_MAX};
use natter_schemas::names::{Ref, Tenant, UserId};
use natter_schemas::outcome::Answered;
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
}

/// What each of `queries` was answered with, where the history up to the batch `last` knows it: the newest since
/// `since_ms` of log time (Unix ms). Only refs that are remembered at all
/// ([`remembers_ref`](natter_schemas::event::remembers_ref)) are found.
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
    let mut found = Vec::with_capacity(queries.len());
    for queries in queries.chunks(ASKED_AT_ONCE) {
        found.extend(find_some(clickhouse, partition, last, since_ms, queries).await?);
    }
    Ok(found)
}

/// So many fit a query of [`QUERY_BYTES_MAX`] however long the names in it are.
const ASKED_AT_ONCE: usize = 1000;
const QUERY_BYTES_MAX: &str = "2097152";
const _: () = assert!(ASKED_AT_ONCE * 2 * (TENANT_BYTES_MAX + USER_BYTES_MAX + 2 * REF_BYTES_MAX) < 1 << 20);

async fn find_some(
    clickhouse: &ClickHouse,
    partition: u16,
    last: u64,
    since_ms: u64,
    queries: &[RefQuery],
) -> Result<Vec<Option<Answered>>, ViewError> {
    let references: Vec<&str> = queries.iter().map(|query| query.reference.as_str()).collect();
    let senders: Vec<(&str, &str, &str)> =
        queries.iter().map(|query| (query.tenant.as_str(), query.sender.as_str(), query.reference.as_str())).collect();
    let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
    // The refs by themselves for the index; with their senders because everybody may count from 1.
    let sql = format!(
        "SELECT tenant, sender, reference, command, conversation, sequence, idx, at, log_at, message, seq, content FROM {} \
         WHERE partition = ? AND sequence <= ? AND reference IN ? AND (tenant, sender, reference) IN ? \
         AND log_at >= fromUnixTimestamp64Milli(toInt64(?)) AND event != '' AND origin != 'import' \
         AND command NOT IN ('conversation.read', 'policy.set') ORDER BY sequence, idx",
        clickhouse.table("events")
    );
    let query = clickhouse.client().query(&sql).bind(partition).bind(last).bind(references).bind(senders).bind(since);
    let query = query.with_setting("max_query_size", QUERY_BYTES_MAX);
    let rows: Vec<Found> = read("looking up refs in the history", query.fetch_all()).await?;
    // Rising by position: of several, the newest is taken.
    Ok(queries.iter().map(|query| rows.iter().rev().find(|row| row.answers(query)).map(Found::answered)).collect())
}

impl Found {
    fn answers(&self, query: &RefQuery) -> bool {
        let scope = match self.command.as_str() {
            "conversation.create" => RefScope::Create,
            "user.update" => RefScope::User,
            _ => RefScope::Conversation(ConversationId::from_raw(self.conversation)),
        };
        self.tenant == query.tenant.as_str()
            && self.sender == query.sender.as_str()
            && self.reference == query.reference.as_str()
            && scope == query.scope
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
