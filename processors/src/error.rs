//! Why a processor stops deciding, sorted by what to do about it.

use natter_nats::LogError;
use natter_projections::error::ViewError;
use natter_schemas::codec::CodecError;

/// Why a worker stopped. Whatever it is, what the worker knew is thrown away: the next one begins at the log's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Something is away or slow: begin again with backoff.
    #[error("{0}")]
    Transient(String),
    /// The Redis view is too far behind to decide on: the partition pauses until it has caught up (invariant 9).
    #[error("the redis view has reached {watermark}, too far behind {last}: the partition pauses")]
    Behind {
        /// The last sequence of `EVT_p` that the view has applied.
        watermark: u64,
        /// The last sequence of `EVT_p`.
        last: u64,
    },
    /// Another worker owns the partition now.
    #[error("{0}")]
    NotOwner(String),
    /// Log, views or policies are not what they must be: stop this partition loudly. Beginning again does not help.
    #[error("{0}")]
    Corrupt(String),
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        let text = error.to_string();
        match error {
            LogError::Transient(_) => Self::Transient(text),
            LogError::NotOwner { .. } => Self::NotOwner(text),
            LogError::Corrupt(_) | LogError::Mismatch(_) => Self::Corrupt(text),
        }
    }
}

impl From<ViewError> for Halt {
    fn from(error: ViewError) -> Self {
        if error.is_transient() { Self::Transient(error.to_string()) } else { Self::Corrupt(error.to_string()) }
    }
}

impl From<CodecError> for Halt {
    fn from(error: CodecError) -> Self {
        Self::Corrupt(error.to_string())
    }
}
