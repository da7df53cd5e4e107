//! One line of an existing history, checked.

use natter_schemas::error::ErrorCode;
use natter_schemas::names::{DisplayName, ExternalId, MessageText, UserId};

use super::identity::Identity;

/// A line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the source, from 1.
    pub number: u64,
    /// Who.
    pub user: UserId,
    /// What the source calls the user; `None`: by the id.
    pub called: Option<DisplayName>,
    /// When (RFC 3339).
    pub at: String,
    /// What.
    pub what: What,
    /// What makes it the same line in every source; `None`: its source and number do.
    pub identity: Option<Identity>,
}

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The user wrote something in a room.
    Message {
        /// The room's name; becomes the conversation's external id.
        room: ExternalId,
        /// What was written.
        text: MessageText,
    },
    /// The user took another name.
    Rename {
        /// Which.
        to: DisplayName,
    },
}

/// Why a line is refused before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As in the table of errors.
    pub code: ErrorCode,
    /// What exactly.
    pub message: String,
}

impl Refusal {
    /// A field that is missing or beyond its limit.
    pub fn field(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::InvalidField, message: message.into() }
    }
}
