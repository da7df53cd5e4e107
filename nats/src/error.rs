//! What can go wrong with the log, sorted by what to do about it.

use std::fmt::Display;

use natter_schemas::codec::CodecError;

/// Why something with the log did not work. The variant says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The broker is away, slow or not ready yet: try again with backoff.
    #[error("{0}")]
    Transient(String),
    /// The log is not what it must be (a jump in the sequences, bytes that do not decode): stop this partition loudly.
    /// Trying again does not help.
    #[error("{0}")]
    Corrupt(String),
    /// Another worker wrote where this one's batch should be: it is the owner now, step down (invariant 3).
    #[error(
        "partition {partition} is not ours: sequence {sequence} was written under lease {found}, not under lease {own}"
    )]
    NotOwner {
        /// The partition.
        partition: u16,
        /// The sequence in `EVT_p` where the batch should be.
        sequence: u64,
        /// Revision of the lease under which the batch was to be written.
        own: u64,
        /// Revision of the lease under which the batch that stands there was written; 0: its header names none.
        found: u64,
    },
    /// The configuration and the log (or the log's parts) contradict each other: do not start. The message says both.
    #[error("{0}")]
    Mismatch(String),
}

impl LogError {
    /// `doing` failed for now.
    pub fn transient(doing: impl Display, error: impl Display) -> Self {
        Self::Transient(format!("{doing}: {error}"))
    }

    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

impl From<CodecError> for LogError {
    fn from(error: CodecError) -> Self {
        Self::Corrupt(error.to_string())
    }
}
