//! The newest messages of each conversation.
//!
//! ```text
//! l:<conversation>   list   oldest first; each: seq (8 bytes, big endian), the message
//! ```
//!
//! What is visible is the newest [`HOT_MESSAGES`]; a list may be longer by [`SLACK`], so that it is not trimmed at every step.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use bincode::{Decode, Encode};
use natter_schemas::codec;
use natter_schemas::event::Event;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::limits::HOT_MESSAGES;
use natter_schemas::names::{Ref, UserId};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;

use super::connection::Redis;
use super::conversations;
use super::operation::Operation;
use super::query::{Answers, Query};
use crate::error::ViewError;
use crate::watermark::Watermark;

/// A list is trimmed to [`HOT_MESSAGES`] when it has more than this beyond them.
pub(crate) const SLACK: usize = 50;

/// The conversation's list.
pub(crate) fn key(conversation: ConversationId) -> String {
    format!("l:{conversation}")
}

/// A message as the list holds it, behind its seq.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Entry {
    message: MessageId,
    at_ms: u64,
    version: u64,
    sender: UserId,
    reference: Ref,
    text: String,
    masked: bool,
}

/// The messages that a step adds.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<ConversationId, Vec<(u64, Vec<u8>)>>);

impl Fold {
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        let Accepted::Sent { conversation, message, seq, replacement, .. } = event.accepted else { return };
        let list = self.0.entry(*conversation).or_default();
        if list.last().is_some_and(|(last, _)| last >= seq) {
            return;
        }
        let command = event.command;
        let entry = Entry {
            message: *message,
            at_ms: event.at_ms(),
            version: event.position.version(),
            sender: command.sender.clone(),
            reference: command.reference.clone(),
            text: event.visible_text().unwrap_or_default().to_owned(),
            masked: replacement.is_some(),
        };
        let mut bytes = seq.to_be_bytes().to_vec();
        bytes.extend(codec::encode(&entry));
        // Only the newest will be kept, however large the step.
        if list.len() >= 2 * HOT_MESSAGES {
            list.drain(..HOT_MESSAGES);
        }
        list.push((*seq, bytes));
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        operations.extend(self.0.into_iter().map(|(conversation, mut list)| {
            list.drain(..list.len().saturating_sub(HOT_MESSAGES));
            Operation::Messages { key: key(conversation), items: list.into_iter().map(|(_, bytes)| bytes).collect() }
        }));
    }
}

/// A part of a conversation's newest messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotMessages {
    /// What it shows.
    pub watermark: Watermark,
    /// Seq of the conversation's last message; 0: none.
    pub last_seq: u64,
    /// The lowest seq that the hot view answers for; what is below lies in the history only.
    pub first_hot_seq: u64,
    /// Those that were asked for and are hot, by seq, rising, without a hole.
    pub messages: Vec<Message>,
}

/// The messages with these seqs, as far as they are hot, as `reader` sees them.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn hot(
    redis: &Redis,
    partition: u16,
    conversation: ConversationId,
    seqs: RangeInclusive<u64>,
    reader: &UserId,
) -> Result<HotMessages, ViewError> {
    let mut query = Query::default();
    query.fields(&conversations::key(conversation), [conversations::HEAD].iter());
    query.seqs(&key(conversation), *seqs.start(), *seqs.end());
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    let last_seq = answers.many()?.number()?.unwrap_or(0);
    let first_hot_seq = (last_seq + 1).saturating_sub(HOT_MESSAGES as u64).max(1);
    let mut found = answers.many()?;
    let mut messages = Vec::with_capacity(found.len());
    for _ in 0..found.len() {
        messages.extend(message(partition, &mut found, reader)?.filter(|message| message.seq >= first_hot_seq));
    }
    let holes = messages.windows(2).any(|pair: &[Message]| pair[0].seq + 1 != pair[1].seq);
    if holes {
        return Err(ViewError::Corrupt(format!(
            "the newest messages of conversation {conversation} in redis have a hole"
        )));
    }
    Ok(HotMessages { watermark, last_seq, first_hot_seq, messages })
}

/// The next answer as a message, as `reader` sees it; `None`: there is none.
pub(crate) fn message(partition: u16, answers: &mut Answers, reader: &UserId) -> Result<Option<Message>, ViewError> {
    let Some(bytes) = answers.bytes()? else { return Ok(None) };
    let (seq, rest) =
        bytes.split_first_chunk().ok_or_else(|| ViewError::Corrupt("a message in redis without its seq".into()))?;
    let entry: Entry = codec::decode("a message in redis", rest)?;
    let own = entry.sender == *reader;
    Ok(Some(Message {
        message: entry.message,
        seq: u64::from_be_bytes(*seq),
        sender: entry.sender,
        at: entry.at_ms,
        text: entry.text,
        masked: entry.masked,
        position: Position::from_version(partition, entry.version),
        reference: own.then(|| entry.reference.as_str().to_owned()),
    }))
}
