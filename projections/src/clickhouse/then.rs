//! What the history says of a conversation as it was at a position.

use clickhouse::Row;
use natter_schemas::id::ConversationId;
use natter_schemas::names::UserId;
use natter_schemas::position::Position;
use natter_schemas::wire::server::EventFrame;
use serde::Deserialize;

use super::connection::{ClickHouse, read};
use crate::error::ViewError;

/// How far somebody was in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Who.
    pub user: UserId,
    /// The last seq that the user sent, other than by an imported line, or read; 0: none.
    pub read_seq: u64,
    /// The last seq that the user sent; 0: none.
    pub sent_seq: u64,
}

#[derive(Row, Deserialize)]
struct ProgressColumns {
    sender: String,
    read_seq: u64,
    sent_seq: u64,
}

#[derive(Row, Deserialize)]
struct DetailColumn {
    detail: String,
}

const UNTIL: &str = "partition = ? AND conversation = ? AND sequence <= ? AND (sequence, idx) <= (?, ?)";

impl ClickHouse {
    /// Who came and went in a conversation up to `until`, by position: events of these names only, each once.
    ///
    /// # Errors
    /// Transient; `Corrupt` where a stored event is not readable.
    pub async fn comings_and_goings(
        &self,
        conversation: ConversationId,
        until: Position,
    ) -> Result<Vec<EventFrame>, ViewError> {
        let sql = format!(
            "SELECT detail FROM {} WHERE {UNTIL} AND event IN ('conversation.created', 'conversation.added', \
             'conversation.joined', 'conversation.left') ORDER BY sequence, idx LIMIT 1 BY sequence, idx",
            self.table("events")
        );
        let query = bind_until(self.client().query(&sql), conversation, until);
        let rows: Vec<DetailColumn> = read("reading who was a member, in the history", query.fetch_all()).await?;
        let frame = |row: DetailColumn| {
            let corrupt = |error| ViewError::corrupt(format!("an event of conversation {conversation}"), error);
            serde_json::from_str(&row.detail).map_err(corrupt)
        };
        rows.into_iter().map(frame).collect()
    }

    /// How far everybody was who had sent or read something in a conversation by `until`.
    ///
    /// # Errors
    /// Transient.
    pub async fn progress(&self, conversation: ConversationId, until: Position) -> Result<Vec<Progress>, ViewError> {
        let sql = format!(
            "SELECT sender, maxIf(seq, event = 'conversation.read' OR origin != 'import') AS read_seq, \
             maxIf(seq, event = 'message.sent') AS sent_seq FROM {} \
             WHERE {UNTIL} AND event IN ('message.sent', 'conversation.read') GROUP BY sender",
            self.table("events")
        );
        let query = bind_until(self.client().query(&sql), conversation, until);
        let rows: Vec<ProgressColumns> = read("reading cursors of the history", query.fetch_all()).await?;
        let progress = |ProgressColumns { sender, read_seq, sent_seq }| {
            let user = UserId::trusted(&sender);
            Progress { user, read_seq, sent_seq }
        };
        Ok(rows.into_iter().map(progress).collect())
    }
}

fn bind_until(
    query: clickhouse::query::Query,
    conversation: ConversationId,
    until: Position,
) -> clickhouse::query::Query {
    let Position { partition, sequence, index } = until;
    // The row of a batch itself has the greatest index, and no conversation.
    query.bind(partition).bind(conversation.get()).bind(sequence).bind(sequence).bind(index.unwrap_or(u32::MAX))
}
