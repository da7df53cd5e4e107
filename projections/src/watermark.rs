//! How far a view is.

use std::fmt;

use natter_nats::LogId;

use crate::error::ViewError;

/// How far a view of one partition has come: which log, and the last sequence of `EVT_p` that it has applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermark {
    /// The log; `None`: the view is empty.
    pub log: Option<LogId>,
    /// The last applied sequence; 0: none.
    pub sequence: u64,
}

impl Watermark {
    /// `sequence` of `log`.
    pub const fn new(log: LogId, sequence: u64) -> Self {
        Self { log: Some(log), sequence }
    }

    /// Whether it is one of `log`; an empty view's is one of any.
    pub fn is_of(&self, log: &LogId) -> bool {
        self.log.as_ref().is_none_or(|own| own == log)
    }

    /// The earlier one of two looks at the same view: what both together show surely.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: the view was emptied between them, or is another log's now.
    pub fn earlier(self, other: Self) -> Result<Self, ViewError> {
        if self.log != other.log {
            return Err(ViewError::Transient(format!("the view stood at {self}, then at {other}")));
        }
        Ok(if other.sequence < self.sequence { other } else { self })
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.log {
            Some(log) => write!(formatter, "sequence {} of log {log}", self.sequence),
            None => formatter.write_str("nothing"),
        }
    }
}
