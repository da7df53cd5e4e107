//! Messages of a conversation: the hot view, behind it the history, and EVT where neither has them.

use std::ops::RangeInclusive;

use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::id::MessageId;
use natter_schemas::limits::{HOT_MESSAGES, PAGE_MESSAGES_MAX};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::wire::reads::{Message, MessagesPage};
use natter_schemas::wire::server::ErrorBody;

use super::access::{Known, not_found};
use super::then::AsOf;
use super::{Asking, MessageRange, Reads, as_seen_by, error_body};
use crate::error::ViewError;
use crate::redis::messages::{HotMessages, hot};

impl Reads {
    /// A page of messages, by seq, without a hole; of those that there were at a moment of the past, if one is named.
    ///
    /// # Errors
    /// `not_found`, `not_member`, `invalid_field` for a position of another partition, `behind`, `history_behind`, `unavailable`.
    pub async fn messages(
        &self,
        asking: Asking<'_>,
        address: &Address,
        range: MessageRange,
        limit: u32,
        as_of: Option<AsOf>,
    ) -> Result<MessagesPage, ErrorBody> {
        let limit = u64::from(limit.clamp(1, PAGE_MESSAGES_MAX));
        let (known, then) = match as_of {
            None => (self.joined(asking, address).await?, None),
            Some(as_of) => {
                let (known, then) = self.then(asking, address, as_of).await?;
                (known, Some(then))
            }
        };
        let last_then = then.as_ref().map_or(u64::MAX, |then| then.last_seq);
        let seqs = match range {
            MessageRange::AroundMessage(message) => {
                let seq = self.seq_of(asking, &known, message).await?;
                around(Some(seq).filter(|seq| *seq <= last_then).ok_or_else(not_found)?, limit)
            }
            range => seqs(range, known.seen.row.last_seq.min(last_then), limit),
        };
        let found = self.hot(asking, &known, seqs.clone()).await?;
        let last_seq = found.last_seq.min(last_then);
        let wanted = *seqs.start()..=(*seqs.end()).min(last_seq);
        let below = *wanted.start()..=(*wanted.end()).min(found.first_hot_seq - 1);
        let shows = found.watermark.sequence;
        let mut messages = if below.is_empty() { Vec::new() } else { self.cold(asking, &known, below, shows).await? };
        messages.extend(found.messages.into_iter().filter(|message| message.seq <= last_seq));
        if messages.len() as u64 != length(&wanted) {
            let reason =
                format!("{} messages of conversation {} where {wanted:?} should be", messages.len(), known.id());
            return Err(error_body(&ViewError::Corrupt(reason)));
        }
        Ok(MessagesPage {
            more_before: *wanted.start() > 1 && last_seq > 0,
            more_after: *wanted.end() < last_seq,
            messages,
            last_seq,
            position: then.map_or(Position::batch(known.partition, shows), |then| then.position),
        })
    }

    async fn hot(
        &self,
        asking: Asking<'_>,
        known: &Known,
        seqs: RangeInclusive<u64>,
    ) -> Result<HotMessages, ErrorBody> {
        let (partition, id) = (known.partition, known.id());
        let read = |redis| {
            let seqs = seqs.clone();
            async move { hot(&redis, partition, id, seqs, asking.user).await }
        };
        let found = self.redis.at_least(partition, known.shows, |found| &found.watermark, read).await;
        found.map_err(|error| error_body(&error))
    }

    /// Messages that are not hot any more, all of them: from the history, and from EVT where it is behind.
    async fn cold(
        &self,
        asking: Asking<'_>,
        known: &Known,
        seqs: RangeInclusive<u64>,
        shows: u64,
    ) -> Result<Vec<Message>, ErrorBody> {
        let complete = self.tails.history(known.partition).await?;
        let stored = complete.history.messages(asking.tenant, known.id(), *seqs.start(), *seqs.end()).await;
        let mut messages = stored.map_err(|error| error_body(&error))?;
        let wanted = length(&seqs);
        if (messages.len() as u64) < wanted {
            let above = self.tails.above(known.partition, known.id(), complete.upto, shows).await?;
            // The history may have some of them by now.
            let is_new = |seq| messages.binary_search_by_key(&seq, |message| message.seq).is_err();
            let added =
                above.iter().filter_map(message_of).filter(|found| seqs.contains(&found.seq) && is_new(found.seq));
            let added: Vec<Message> = added.collect();
            messages.extend(added);
            messages.sort_by_key(|message| message.seq);
        }
        if messages.len() as u64 == wanted {
            return Ok(messages.into_iter().map(|message| as_seen_by(asking.user, message)).collect());
        }
        // Seqs are dense: the history has lost something and is being filled again.
        Err(ErrorBody::of(ErrorCode::HistoryBehind).retry_after(1000))
    }

    async fn seq_of(&self, asking: Asking<'_>, known: &Known, message: MessageId) -> Result<u64, ErrorBody> {
        let last_seq = known.seen.row.last_seq;
        let newest = last_seq.saturating_sub(HOT_MESSAGES as u64) + 1..=last_seq;
        let found = self.hot(asking, known, newest).await?;
        if let Some(found) = found.messages.iter().find(|found| found.message == message) {
            return Ok(found.seq);
        }
        let complete = self.tails.history(known.partition).await?;
        let stored =
            complete.history.seq_of(asking.tenant, known.id(), message).await.map_err(|error| error_body(&error))?;
        if let Some(seq) = stored {
            return Ok(seq);
        }
        let above = self.tails.above(known.partition, known.id(), complete.upto, found.watermark.sequence).await?;
        let found = above.iter().filter_map(message_of).find(|found| found.message == message);
        found.map(|found| found.seq).ok_or_else(not_found)
    }
}

fn length(seqs: &RangeInclusive<u64>) -> u64 {
    (seqs.end() + 1).saturating_sub(*seqs.start())
}

/// The seqs that a range means.
fn seqs(range: MessageRange, last_seq: u64, limit: u64) -> RangeInclusive<u64> {
    match range {
        MessageRange::Newest | MessageRange::AroundMessage(_) => {
            seqs(MessageRange::Before(last_seq + 1), last_seq, limit)
        }
        MessageRange::Before(seq) => {
            let end = seq.saturating_sub(1).min(last_seq);
            (end + 1).saturating_sub(limit).max(1)..=end
        }
        MessageRange::After(seq) => {
            let start = seq.saturating_add(1);
            start..=start.saturating_add(limit - 1)
        }
        MessageRange::Around(seq) => around(seq, limit),
    }
}

/// `limit` seqs with `seq` in the middle.
fn around(seq: u64, limit: u64) -> RangeInclusive<u64> {
    let start = seq.saturating_sub(limit / 2).max(1);
    start..=start.saturating_add(limit - 1)
}

fn message_of(placed: &Placed) -> Option<Message> {
    let event = placed.event()?;
    let Accepted::Sent { message, seq, replacement, .. } = event.accepted else { return None };
    Some(Message {
        message: *message,
        seq: *seq,
        sender: event.command.sender.clone(),
        at: event.at_ms(),
        text: event.visible_text()?.to_owned(),
        masked: replacement.is_some(),
        position: event.position,
        reference: Some(event.command.reference.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(seqs(MessageRange::Newest, 100, 10), 91..=100);
        assert_eq!(seqs(MessageRange::Newest, 4, 10), 1..=4);
        assert!(seqs(MessageRange::Newest, 0, 10).is_empty());
        assert_eq!(seqs(MessageRange::Before(91), 100, 10), 81..=90);
        assert_eq!(seqs(MessageRange::Before(1000), 100, 10), 91..=100);
        assert!(seqs(MessageRange::Before(1), 100, 10).is_empty());
        assert_eq!(seqs(MessageRange::After(90), 100, 20), 91..=110);
        assert_eq!(seqs(MessageRange::Around(50), 100, 10), 45..=54);
        assert_eq!(seqs(MessageRange::Around(0), 100, 10), 1..=10);
    }
}
