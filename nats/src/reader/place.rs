//! Where a reader stands in a stream, and what must hold there.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::{self};

use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::stored::Stored;
use crate::telemetry;

/// A reader that is gone is forgotten by the broker after so long.
const INACTIVE: Duration = Duration::from_secs(30);

/// The next message of a stream.
#[derive(Debug)]
pub(super) struct Place {
    log: Log,
    stream: String,
    /// The sequence that is due.
    pub(super) next: u64,
}

/// Between two tries at reading.
pub(super) const fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}

impl Place {
    /// Before the message at `from` (≥ 1) of `stream`.
    pub(super) fn new(log: &Log, stream: &str, from: u64) -> Self {
        Self { log: log.clone(), stream: stream.to_owned(), next: from.max(1) }
    }

    /// Passes over what may pass, and counts it.
    pub(super) fn again(&self, error: LogError) -> Result<(), LogError> {
        if !error.is_transient() {
            return Err(error);
        }
        metrics::counter!(telemetry::READER_RECREATED, "stream" => self.stream.clone()).increment(1);
        tracing::debug!(stream = self.stream, next = self.next, %error, "reading again");
        Ok(())
    }

    /// What went wrong with the consumer.
    pub(super) fn failed(&self, error: impl std::fmt::Display) -> LogError {
        LogError::transient(format_args!("the consumer of {} from {} failed", self.stream, self.next), error)
    }

    /// The message, if it is the one that is due.
    pub(super) async fn due(&self, message: jetstream::Message) -> Result<Stored, LogError> {
        let stored = Stored::from_consumer(message)?;
        if stored.sequence == self.next {
            return Ok(stored);
        }
        // Either the stream lacks something, which `consumer` and this say, or the way here lost something.
        self.check_bounds().await?;
        match self.log.get_from_leader(&self.stream, self.next).await? {
            Some(_) => Err(LogError::Transient(format!("{} came where {} was due", stored.sequence, self.next))),
            None => Err(LogError::Corrupt(format!(
                "stream {} jumps from {} to {}",
                self.stream,
                self.next - 1,
                stored.sequence
            ))),
        }
    }

    /// After a silence: whether the stream has what is due, so that it should have come.
    pub(super) async fn is_there(&self) -> Result<bool, LogError> {
        Ok(self.log.bounds_from(&self.stream, self.next - 1).await?.last >= self.next)
    }

    /// What the archive has of what is due, where that was trimmed; none where the stream has it.
    pub(super) async fn archived(&self) -> Result<VecDeque<Stored>, LogError> {
        Ok(self.log.archived(&self.stream, self.next).await?.into())
    }

    /// A consumer that is asked to start below the stream's first sequence starts at the first, silently: so look first.
    async fn check_bounds(&self) -> Result<(), LogError> {
        let (stream, next) = (&self.stream, self.next);
        let bounds = self.log.bounds_from(stream, next - 1).await?;
        if next < bounds.first {
            let first = bounds.first;
            if !self.archived().await?.is_empty() {
                return Err(LogError::Transient(format!("{next} of {stream} was trimmed, and the archive has it")));
            }
            return Err(LogError::Corrupt(format!(
                "stream {stream} begins at {first}, but {next} is due: it was trimmed away unread"
            )));
        }
        if next > bounds.last + 1 {
            let last = bounds.last;
            return Err(LogError::Corrupt(format!(
                "stream {stream} ends at {last}, but {next} is due: the stream lost messages or is another"
            )));
        }
        Ok(())
    }

    /// A consumer that begins with the message that is due, kept in the broker's memory, without acknowledgements.
    pub(super) async fn consumer(&self) -> Result<Consumer<Config>, LogError> {
        self.check_bounds().await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            max_deliver: 1,
            ..pull::Config::default()
        };
        let made = self.log.jetstream().create_consumer_on_stream(config, &self.stream).await;
        made.map_err(|error| self.failed(error))
    }
}
