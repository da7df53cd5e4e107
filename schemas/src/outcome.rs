//! Outcomes as the log holds them (bincode): the command as received, once, and what was decided about it.
//! Append-only like [`crate::command`].

use bincode::{Decode, Encode};

use crate::command::Command;
use crate::error::ErrorCode;
use crate::evidence::Answered;
use crate::id::{ConversationId, MessageId};
use crate::names::UserId;
use crate::policy::PolicyHash;

/// What was received and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// The command, or bytes that are none.
    pub received: Received,
    /// Which policy of the batch's list was in force; `None`: the default policy.
    pub policy: Option<u16>,
    /// What had to be learnt beside the facts to decide.
    pub learnt: Learnt,
    /// What was decided.
    pub decision: Decision,
}

/// What stood in the command batch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Received {
    /// A command.
    Command(Command),
    /// Bytes that do not decode; the decision is `undecodable`.
    Undecodable(Vec<u8>),
}

/// What the worker learnt beside the facts, recorded so that EVT alone explains every outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Learnt {
    /// Nothing was asked.
    Nothing,
    /// A `policy.set` whose policy is not stored, or cannot be used.
    PolicyUnknown,
    /// The policy in force is not stored any more, or cannot be used by this binary.
    PolicyUnusable,
}

/// What was decided about a command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    /// It happened. At most one event follows.
    Accepted(Accepted),
    /// It did not, and changes nothing.
    Rejected(Rejection),
}

/// Why a command was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rejection {
    /// [`ErrorCode::number`].
    pub code: u16,
    /// What exactly, for people; names the field and the limit.
    pub detail: String,
}

impl Rejection {
    /// A rejection with `code`.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code: code.number(), detail: detail.into() }
    }

    /// The code; one that this binary does not know reads as `internal`.
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::from_number(self.code).unwrap_or(ErrorCode::Internal)
    }
}

/// What happened. Values are absolute (never "one more"), so that folding an outcome twice is folding it once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Accepted {
    /// A conversation was made. Its first members are the sender and, in this order, `members`.
    Created {
        /// Its id.
        conversation: ConversationId,
        /// The members beside the sender, without repetitions.
        members: Vec<UserId>,
    },
    /// The direct chat of this pair, or the imported room, is there already.
    Existing {
        /// Its id.
        conversation: ConversationId,
    },
    /// Members were added; they have read everything up to `seq`.
    Added {
        /// Which conversation.
        conversation: ConversationId,
        /// Those who were no members before.
        members: Vec<UserId>,
        /// The conversation's last seq.
        seq: u64,
        /// Members now.
        member_count: u32,
    },
    /// The sender joined and has read everything up to `seq`.
    Joined {
        /// Which conversation.
        conversation: ConversationId,
        /// The conversation's last seq.
        seq: u64,
        /// Members now.
        member_count: u32,
    },
    /// The sender left.
    Left {
        /// Which conversation.
        conversation: ConversationId,
        /// Members now.
        member_count: u32,
    },
    /// The conversation has the command's name.
    Renamed {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// The sender has read up to `seq`.
    Read {
        /// Which conversation.
        conversation: ConversationId,
        /// The cursor now.
        seq: u64,
        /// The other user of a direct chat, who is told.
        peer: Option<UserId>,
    },
    /// A message.
    Sent {
        /// Which conversation.
        conversation: ConversationId,
        /// Its id.
        message: MessageId,
        /// Its place in the conversation; the sender's cursor moves there too, unless the message is an imported line.
        seq: u64,
        /// What everybody sees, where the text was masked.
        replacement: Option<String>,
        /// Names of the word lists that it touched.
        lists: Vec<String>,
        /// Of an imported line: the run that it extends up to its seq. Nobody has it unread.
        run: Option<Run>,
    },
    /// The user has the command's name.
    UserUpdated,
    /// The tenant's policy in this partition.
    PolicySet {
        /// Its hash; `None`: the default.
        hash: Option<PolicyHash>,
    },
    /// Nothing was left to do (already a member, already read so far, no member who left).
    Unchanged {
        /// Which conversation, where there is one.
        conversation: Option<ConversationId>,
        /// The cursor, for a `conversation.read`.
        seq: Option<u64>,
    },
    /// The ref was accepted before: the same answer again.
    Repeated(Answered),
    /// This line of an imported source was taken before.
    ImportedBefore {
        /// Which conversation, where there is one.
        conversation: Option<ConversationId>,
    },
    /// The imported line is taken, but the user keeps the name that is later than the line's.
    NameKept,
}

/// Where successive imported lines of a conversation begin: seqs without a live message between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Run {
    /// Its number in the conversation, from 1.
    pub number: u64,
    /// Seq of its first line.
    pub from: u64,
    /// Imported lines of the conversation before it.
    pub before: u64,
}

impl Accepted {
    /// The conversation concerned.
    pub fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Created { conversation, .. }
            | Self::Existing { conversation }
            | Self::Added { conversation, .. }
            | Self::Joined { conversation, .. }
            | Self::Left { conversation, .. }
            | Self::Renamed { conversation }
            | Self::Read { conversation, .. }
            | Self::Sent { conversation, .. } => Some(*conversation),
            Self::Unchanged { conversation, .. } | Self::ImportedBefore { conversation } => *conversation,
            Self::Repeated(answered) => answered.conversation,
            Self::UserUpdated | Self::NameKept | Self::PolicySet { .. } => None,
        }
    }

    /// Whether anything happened now: such an outcome is an event.
    pub const fn is_event(&self) -> bool {
        !matches!(
            self,
            Self::Existing { .. }
                | Self::Unchanged { .. }
                | Self::NameKept
                | Self::Repeated(_)
                | Self::ImportedBefore { .. }
        )
    }
}
