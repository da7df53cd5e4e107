//! What HTTP reads answer. Every one says the position that it shows.

use serde::{Deserialize, Serialize};

use crate::command::{Kind, Visibility};
use crate::id::{ConversationId, MessageId};
use crate::names::{DisplayName, ExternalId, UserId};
use crate::position::Position;
use crate::wire::server::EventFrame;
use crate::wire::times::as_rfc3339;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub message: MessageId,
    /// Its place in the conversation.
    pub seq: u64,
    /// Who sent it.
    pub sender: UserId,
    /// When it was sent.
    #[serde(with = "as_rfc3339")]
    pub at: u64,
    /// The text as everybody sees it.
    pub text: String,
    /// Words were masked.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub masked: bool,
    /// Where it stands in the log.
    pub position: Position,
    /// The sender's own name of the command; only the sender sees it.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
}

/// A conversation as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub conversation: ConversationId,
    /// Direct or group.
    pub kind: Kind,
    /// Private or public.
    pub visibility: Visibility,
    /// Its name.
    pub name: Option<DisplayName>,
    /// The host application's name of it.
    pub external: Option<ExternalId>,
    /// The other user of a direct chat.
    pub peer: Option<UserId>,
    /// Whether the reader is a member (else it is public).
    pub member: bool,
    /// Members now.
    pub member_count: u32,
    /// Seq of its last message; 0: none.
    pub last_seq: u64,
    /// Its last message.
    pub last_message: Option<Message>,
    /// The reader's cursor.
    pub read_seq: u64,
    /// Messages above `read_seq` that are no imported lines.
    pub unread: u64,
    /// When something last happened in it, as lists are ordered ([`crate::event::Event::active_at_ms`]).
    #[serde(with = "as_rfc3339")]
    pub active_at: u64,
    /// Position of its last event.
    pub version: Position,
}

/// `GET /v1/conversations`: newest activity first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationsPage {
    /// The page.
    pub conversations: Vec<Conversation>,
    /// Pass as `cursor` for the next page; null: this is the last.
    pub next_cursor: Option<String>,
    /// What each partition's answer shows.
    pub positions: Vec<Position>,
}

/// `GET /v1/conversations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationRead {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// What the answer shows.
    pub position: Position,
}

/// `GET /v1/conversations/{id}/messages`: by seq, rising.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesPage {
    /// The page.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more_before: bool,
    /// Whether there are newer ones.
    pub more_after: bool,
    /// Seq of the conversation's last message.
    pub last_seq: u64,
    /// What the answer shows.
    pub position: Position,
}

/// `GET /v1/conversations/{id}/events`: by position, rising.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPage {
    /// The page.
    pub events: Vec<EventFrame>,
    /// Pass as `after` for the next page; null: there are no more up to `position`.
    pub next_after: Option<Position>,
    /// What the answer shows.
    pub position: Position,
}

/// A member of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The user's display name.
    pub name: Option<DisplayName>,
    /// `owner` or `member`.
    pub role: String,
    /// When the user came.
    #[serde(with = "as_rfc3339")]
    pub joined_at: u64,
    /// The user's cursor.
    pub read_seq: u64,
}

/// `GET /v1/conversations/{id}/members`: by user id, rising.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersPage {
    /// The page.
    pub members: Vec<Member>,
    /// Pass as `cursor` for the next page; null: this is the last.
    pub next_cursor: Option<String>,
    /// Members in all.
    pub member_count: u32,
    /// What the answer shows.
    pub position: Position,
}
