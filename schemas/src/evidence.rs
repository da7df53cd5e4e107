//! Evidence: what a gateway read for a command before it sent it (invariant 14). Part of the command in the log, so a decision
//! made again reads nothing. Append-only like [`crate::command`].

use bincode::{Decode, Encode};

use crate::id::{ConversationId, MessageId};

/// What was read, and how far it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Evidence {
    /// The first accepted outcome of the command's own `ref`, among what its partition's log holds up to a batch.
    Ref {
        /// The outcome; `None`: the ref was not accepted within [`crate::limits::REF_LIFE_MS`].
        first: Option<Answered>,
        /// How far what was read is complete.
        complete: Complete,
    },
}

/// A batch of the command's partition up to which what was read is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Complete {
    /// The batch's sequence in `EVT_p`; 0: the log's beginning.
    pub sequence: u64,
    /// Log time after that batch, in Unix milliseconds; 0: the log's beginning.
    pub log_ms: u64,
}

/// The first accepted outcome of a ref, as far as a repeated command needs it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answered {
    /// Hash of the command's content ([`crate::event::content_hash`]).
    pub content: u64,
    /// Where it stands: sequence in `EVT_p`.
    pub sequence: u64,
    /// Where it stands: index in its batch.
    pub index: u32,
    /// When it happened, in Unix milliseconds.
    pub at_ms: u64,
    /// Its log time ([`crate::codec::Source::log_ms`]): the ref's age counts from here.
    pub log_ms: u64,
    /// The conversation, where there is one.
    pub conversation: Option<ConversationId>,
    /// The message, where there is one.
    pub message: Option<MessageId>,
    /// The message's seq, where there is one.
    pub seq: Option<u64>,
}
