//! What clients get: replies, events and signals. Each is one JSON object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{Body, Command, Kind, Visibility};
use crate::error::ErrorCode;
use crate::event::Event;
use crate::id::{ConversationId, MessageId};
use crate::names::{DisplayName, ExternalId, Ref, Tenant, UserId};
use crate::outcome::{Accepted, Decision};
use crate::position::Position;
use crate::wire::times::as_rfc3339;

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// Accepted.
    Ok {
        /// The request's id.
        id: String,
        /// What happened.
        ok: Answer,
    },
    /// Refused or rejected.
    Error {
        /// The request's id; null where the frame had none that could be read.
        id: Option<String>,
        /// Why.
        error: ErrorBody,
    },
}

/// What an accepted command came to. Fields that do not apply are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The message's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// The message's seq, or the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it happened, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Where it stands in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// This is the first outcome of the same `ref` (or imported line), again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Nothing was left to do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A name of the one table.
    pub code: ErrorCode,
    /// What exactly; names the field and the limit.
    pub message: String,
    /// When to try again, in milliseconds; null: not by itself.
    pub retry_after_ms: Option<u64>,
}

impl ErrorBody {
    /// An error with the table's words.
    pub fn of(code: ErrorCode) -> Self {
        Self::new(code, code.description())
    }

    /// An error with its own words. Retryable ones ask for a second.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: code.retryable().then_some(1000) }
    }

    /// The same, to be tried again after `retry_after_ms`.
    #[must_use]
    pub const fn retry_after(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}

/// What a decided command is answered with.
///
/// # Errors
/// The rejection, for the sender.
pub fn answer(command: &Command, decision: &Decision, stored_ms: u64, position: Position) -> Result<Answer, ErrorBody> {
    let accepted = match decision {
        Decision::Rejected(rejection) => return Err(ErrorBody::new(rejection.error_code(), rejection.detail.clone())),
        Decision::Accepted(accepted) => accepted,
    };
    let at = |unix_ms| Some(crate::wire::times::rfc3339(unix_ms));
    let mut answer = Answer {
        conversation: accepted.conversation(),
        at: at(command.at_ms(stored_ms)),
        position: Some(position),
        ..Answer::default()
    };
    match accepted {
        Accepted::Sent { message, seq, .. } => {
            answer.message = Some(*message);
            answer.seq = Some(*seq);
        }
        Accepted::Read { seq, .. } => answer.seq = Some(*seq),
        Accepted::Existing { .. } | Accepted::NameKept => answer.unchanged = true,
        Accepted::Unchanged { seq, .. } => {
            answer.seq = *seq;
            answer.unchanged = true;
        }
        Accepted::Repeated(first) => {
            answer.message = first.message;
            answer.seq = first.seq;
            answer.at = at(first.at_ms);
            answer.position = Some(Position::outcome(position.partition, first.sequence, first.index));
            answer.duplicate = true;
        }
        Accepted::ImportedBefore { .. } => answer.duplicate = true,
        _ => {}
    }
    Ok(answer)
}

/// An event as clients see it, pushed or read from the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFrame {
    /// Its name, such as `message.sent`.
    pub event: String,
    /// The conversation, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation: Option<ConversationId>,
    /// Who did it.
    pub sender: UserId,
    /// When it happened.
    #[serde(with = "as_rfc3339")]
    pub at: u64,
    /// Where it stands in the log.
    pub position: Position,
    /// The sender's own name of the command; only the sender's sessions see it.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<Ref>,
    /// A message's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<MessageId>,
    /// A message's seq, a cursor, or the last seq when members came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
    /// A message's text as everybody sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Words were masked.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub masked: bool,
    /// A conversation's or a user's new name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<DisplayName>,
    /// Users who came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub members: Option<Vec<UserId>>,
    /// Members now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member_count: Option<u32>,
    /// A new conversation's kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// A new conversation's visibility.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub visibility: Option<Visibility>,
    /// A new conversation's external id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external: Option<ExternalId>,
}

impl EventFrame {
    /// The frame of an event, without the sender's `ref`: one encoding serves everybody but the sender.
    pub fn of(event: &Event<'_>) -> Self {
        let command = event.command;
        let mut frame = Self {
            event: event.name().to_owned(),
            conversation: event.accepted.conversation(),
            sender: command.sender.clone(),
            at: event.at_ms(),
            position: event.position,
            reference: None,
            message: None,
            seq: None,
            text: event.visible_text().map(str::to_owned),
            masked: false,
            name: None,
            members: None,
            member_count: None,
            kind: None,
            visibility: None,
            external: None,
        };
        frame.fill_from_command(&command.body);
        frame.fill_from_accepted(event.accepted);
        frame
    }

    fn fill_from_command(&mut self, body: &Body) {
        match body {
            Body::CreateDirect { .. } => {
                self.kind = Some(Kind::Direct);
                self.visibility = Some(Visibility::Private);
            }
            Body::CreateGroup { visibility, name, external, .. } => {
                self.kind = Some(Kind::Group);
                self.visibility = Some(*visibility);
                self.name.clone_from(name);
                self.external.clone_from(external);
            }
            Body::Rename { name, .. } | Body::UpdateUser { name } => self.name = Some(name.clone()),
            _ => {}
        }
    }

    fn fill_from_accepted(&mut self, accepted: &Accepted) {
        match accepted {
            Accepted::Created { members, .. } => {
                self.member_count = u32::try_from(members.len() + 1).ok();
                self.members = Some(members.clone());
            }
            Accepted::Added { members, seq, member_count, .. } => {
                self.members = Some(members.clone());
                self.seq = Some(*seq);
                self.member_count = Some(*member_count);
            }
            Accepted::Joined { seq, member_count, .. } => {
                self.seq = Some(*seq);
                self.member_count = Some(*member_count);
            }
            Accepted::Left { member_count, .. } => self.member_count = Some(*member_count),
            Accepted::Read { seq, .. } => self.seq = Some(*seq),
            Accepted::Sent { message, seq, replacement, .. } => {
                self.message = Some(*message);
                self.seq = Some(*seq);
                self.masked = replacement.is_some();
            }
            _ => {}
        }
    }
}

/// What members of a conversation hear of an import into it, instead of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFrame {
    /// Always `conversation.imported`.
    pub event: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// Seq of the first line since the last event; absent where none was added.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<u64>,
    /// Seq of the last line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
    /// Up to where in the log this tells of.
    pub position: Position,
}

/// A signal as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalFrame {
    /// Its name, such as `typing`.
    pub signal: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// Who signals.
    pub sender: UserId,
}

/// The first frame of a session: `{"session":"opened",…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// Always `session.opened`.
    pub event: String,
    /// This session.
    pub session: String,
    /// The application.
    pub tenant: Tenant,
    /// The user.
    pub user: UserId,
    /// The server pings this often, in milliseconds; silence for two intervals closes the session.
    pub ping_interval_ms: u64,
    /// When the token ends and the session is closed.
    #[serde(with = "as_rfc3339")]
    pub expires: u64,
    /// Limits that clients should know.
    pub limits: Limits,
    /// The position of each partition from which on events are pushed.
    pub positions: BTreeMap<u16, Position>,
}

/// Limits that clients should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A frame, in bytes.
    pub frame_bytes: usize,
    /// A text, in Unicode scalars.
    pub text_scalars: usize,
    /// A name, in Unicode scalars.
    pub name_scalars: usize,
    /// Members named by one command.
    pub command_members: usize,
    /// Unanswered commands of one session.
    pub unanswered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            frame_bytes: l::FRAME_BYTES_MAX,
            text_scalars: l::TEXT_SCALARS_MAX,
            name_scalars: l::NAME_SCALARS_MAX,
            command_members: l::COMMAND_MEMBERS_MAX,
            unanswered: l::SESSION_UNANSWERED_MAX,
        }
    }
}
