//! Who waits for a command, and what they are told.

use natter_schemas::event::Placed;

/// Who waits for a command's outcome.
pub trait Waiter: Send + 'static {
    /// Called once, on the task of the live feed or of the publisher: it must not block.
    fn answer(self, answer: Answer);
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are outcomes; a box would be one more allocation per command"
)]
pub enum Answer {
    /// Its outcome, with its place.
    Outcome(Placed),
    /// It was never published and will not be: the sender may send it again (`unavailable`).
    Unsent,
    /// It may be in the log; no outcome was seen in time (`outcome_unknown`).
    Unknown,
}

impl Waiter for tokio::sync::oneshot::Sender<Answer> {
    fn answer(self, answer: Answer) {
        // Who no longer listens needs no answer.
        self.send(answer).ok();
    }
}

/// A command that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; try again in {retry_after_ms} ms")]
pub struct Overloaded {
    /// When to try again, in milliseconds.
    pub retry_after_ms: u64,
    /// What is full.
    pub reason: Full,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many commands of this partition have no outcome yet.
    #[error("too many commands are unanswered")]
    Queue,
    /// The partition's streams have less than a tenth of their room left.
    #[error("the log is nearly full")]
    Log,
    /// Too many bytes of the partition's commands are undecided: its processor is away or behind.
    #[error("too many stored commands are undecided")]
    Behind,
    /// The process is draining.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Full {
    pub(super) const fn overloaded(self) -> Overloaded {
        let retry_after_ms = match self {
            Self::Queue => 500,
            Self::Log | Self::Behind => 10_000,
            Self::Stopping => 1_000,
        };
        Overloaded { retry_after_ms, reason: self }
    }
}
