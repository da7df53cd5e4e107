//! What can go wrong with a view, sorted by what to do about it.

use std::fmt::Display;

use natter_nats::LogError;
use natter_schemas::codec::CodecError;
use natter_schemas::position::Position;

/// Why a view could not be read or written. The variant says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The store is away, slow or not ready yet: try again with backoff.
    #[error("{0}")]
    Transient(String),
    /// Something lies in the log or the store that must not be there: stop this partition loudly.
    #[error("{0}")]
    Corrupt(String),
    /// The store, or what lies in it, does not belong to this log or cannot be used. The message names both sides and
    /// the command that mends it.
    #[error("{0}")]
    Mismatch(String),
    /// The view has not reached the position that a read asked for.
    #[error("the view has reached {reached}")]
    Behind {
        /// How far it is.
        reached: Position,
    },
}

impl ViewError {
    /// `doing` failed for now.
    pub fn transient(doing: impl Display, error: impl Display) -> Self {
        Self::Transient(format!("{doing}: {error}"))
    }

    /// `what` is not what it must be.
    pub fn corrupt(what: impl Display, error: impl Display) -> Self {
        Self::Corrupt(format!("{what}: {error}"))
    }

    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_) | Self::Behind { .. })
    }
}

impl From<CodecError> for ViewError {
    fn from(error: CodecError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<ViewError> for LogError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Transient(_) | ViewError::Behind { .. } => Self::Transient(error.to_string()),
            ViewError::Corrupt(text) => Self::Corrupt(text),
            ViewError::Mismatch(text) => Self::Mismatch(text),
        }
    }
}

impl From<LogError> for ViewError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Transient(text) => Self::Transient(text),
            LogError::Mismatch(text) => Self::Mismatch(text),
            LogError::Corrupt(_) | LogError::NotOwner { .. } => Self::Corrupt(error.to_string()),
        }
    }
}
