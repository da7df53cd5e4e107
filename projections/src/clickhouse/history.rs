//! What reads ask of the history: messages and events of a conversation.

use clickhouse::Row;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::{Ref, Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;
use natter_schemas::wire::server::EventFrame;
use serde::{Deserialize, Serialize};

use super::connection::{ClickHouse, read};
use crate::error::ViewError;

/// An event of the history with what only its sender may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The frame, without the `ref`.
    pub frame: EventFrame,
    /// The sender's own name of the command.
    pub reference: Ref,
}

/// What the history says of one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct StoredOutcome {
    /// The event's name; empty: nothing happened.
    pub event: String,
    /// Why it was rejected; empty: accepted.
    pub code: String,
    /// The message; 0: none.
    pub message: u64,
    /// The seq or cursor; 0: none.
    pub seq: u64,
    /// The policy in force, as hex; empty: the default.
    pub policy: String,
    /// Names of the word lists that the text touched.
    pub lists: Vec<String>,
}

#[derive(Row, Deserialize)]
struct MessageColumns {
    seq: u64,
    message: u64,
    sender: String,
    at: i64,
    text: String,
    masked: bool,
    reference: String,
    partition: u16,
    version: u64,
}

#[derive(Row, Deserialize)]
struct EventColumns {
    sequence: u64,
    idx: u32,
    seq: u64,
    event: String,
    detail: String,
    reference: String,
}

impl ClickHouse {
    /// Messages of a conversation with `first <= seq <= last`, by seq. References are the senders' own: the caller shows
    /// each to nobody else.
    ///
    /// # Errors
    /// Transient.
    pub async fn messages(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        first: u64,
        last: u64,
    ) -> Result<Vec<Message>, ViewError> {
        if first > last {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT seq, message, sender, at, text, masked, reference, partition, version FROM {} \
             WHERE tenant = ? AND conversation = ? AND seq >= ? AND seq <= ? ORDER BY seq, version DESC LIMIT 1 BY seq",
            self.table("messages")
        );
        let query = self.client().query(&sql).bind(tenant.as_str()).bind(conversation.get()).bind(first).bind(last);
        let rows: Vec<MessageColumns> = read("reading messages of the history", query.fetch_all()).await?;
        Ok(rows.into_iter().map(MessageColumns::into_message).collect())
    }

    /// The row of the outcome at `position`, which concerns `conversation` (`None`: no conversation, or it was rejected).
    ///
    /// # Errors
    /// Transient.
    pub async fn outcome(
        &self,
        position: Position,
        conversation: Option<ConversationId>,
    ) -> Result<Option<StoredOutcome>, ViewError> {
        let sql = format!(
            "SELECT event, code, message, seq, policy, lists FROM {} \
             WHERE partition = ? AND conversation = ? AND sequence = ? AND idx = ? LIMIT 1",
            self.table("events")
        );
        let query = self
            .client()
            .query(&sql)
            .bind(position.partition)
            .bind(conversation.map_or(0, ConversationId::get))
            .bind(position.sequence)
            .bind(position.index.unwrap_or(0));
        read("looking up an outcome in the history", query.fetch_optional()).await
    }

    /// The seq of a message by its id.
    ///
    /// # Errors
    /// Transient.
    pub async fn seq_of(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        message: MessageId,
    ) -> Result<Option<u64>, ViewError> {
        let sql = format!(
            "SELECT seq FROM {} WHERE tenant = ? AND conversation = ? AND message = ? LIMIT 1",
            self.table("messages")
        );
        let query = self.client().query(&sql).bind(tenant.as_str()).bind(conversation.get()).bind(message.get());
        read("looking up a message in the history", query.fetch_optional()).await
    }

    /// Up to `limit` events of a conversation after `after` and up to the batch `last`, by position.
    ///
    /// # Errors
    /// Transient; `Corrupt` where a stored event is not readable.
    pub async fn events(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        mut after: Position,
        last: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, ViewError> {
        let limit = limit as usize;
        let mut rows: Vec<EventColumns> = Vec::new();
        loop {
            let found = self.event_rows(conversation, after, last, limit).await?;
            let is_end = found.len() < limit;
            rows.extend(found);
            rows.dedup_by_key(|row| (row.sequence, row.idx));
            let Some(row) = rows.last().filter(|_| !is_end && rows.len() < limit) else { break };
            after = Position::outcome(after.partition, row.sequence, row.idx);
        }
        rows.truncate(limit);
        let mut events = rows.into_iter().map(EventColumns::into_event).collect::<Result<Vec<_>, _>>()?;
        self.fill_texts(tenant, conversation, &mut events).await?;
        Ok(events)
    }

    /// Up to `limit` rows; one that was inserted twice may be there twice. `LIMIT 1 BY` would see to that, and read the
    /// whole conversation for it (measured, 3,000,000 events: 250 ms instead of 20).
    async fn event_rows(
        &self,
        conversation: ConversationId,
        after: Position,
        last: u64,
        limit: usize,
    ) -> Result<Vec<EventColumns>, ViewError> {
        let sql = format!(
            "SELECT sequence, idx, seq, event, detail, reference FROM {} \
             WHERE partition = ? AND conversation = ? AND sequence >= ? AND (sequence, idx) > (?, ?) AND sequence <= ? \
             AND event != '' ORDER BY sequence, idx LIMIT {limit}",
            self.table("events")
        );
        let query = self
            .client()
            .query(&sql)
            .bind(after.partition)
            .bind(conversation.get())
            .bind(after.sequence)
            .bind(after.sequence)
            .bind(after.index.unwrap_or(u32::MAX))
            .bind(last);
        read("reading events of the history", query.fetch_all()).await
    }

    /// Texts lie in `messages`, once: a second query brings them.
    async fn fill_texts(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        events: &mut [StoredEvent],
    ) -> Result<(), ViewError> {
        let sent = |event: &StoredEvent| event.frame.message.and(event.frame.seq);
        let (Some(first), Some(last)) = (events.iter().filter_map(sent).min(), events.iter().filter_map(sent).max())
        else {
            return Ok(());
        };
        let mut messages = self.messages(tenant, conversation, first, last).await?.into_iter().peekable();
        for event in events {
            let Some(seq) = sent(event) else { continue };
            while messages.next_if(|message| message.seq < seq).is_some() {}
            event.frame.text = messages.next_if(|message| message.seq == seq).map(|message| message.text);
        }
        Ok(())
    }
}

impl MessageColumns {
    fn into_message(self) -> Message {
        Message {
            message: MessageId::from_raw(self.message),
            seq: self.seq,
            sender: UserId::trusted(&self.sender),
            at: u64::try_from(self.at).unwrap_or(0),
            text: self.text,
            masked: self.masked,
            position: Position::from_version(self.partition, self.version),
            reference: Some(self.reference),
        }
    }
}

impl EventColumns {
    fn into_event(self) -> Result<StoredEvent, ViewError> {
        let frame = serde_json::from_str(&self.detail).map_err(|error| {
            let Self { sequence, idx, seq, event, .. } = &self;
            ViewError::corrupt(format!("the history's row of {event} at {sequence}:{idx} (seq {seq})"), error)
        })?;
        Ok(StoredEvent { frame, reference: Ref::trusted(&self.reference) })
    }
}
