//! A reader that keeps its own pace: what is stored while it is busy or rests comes in one go.
//!
//! For projections. Being told of each batch costs the broker, the network and three tasks more than reading it; a view that
//! is some milliseconds behind harms nobody, because decisions have their overlay and reads can wait for a position. An idle
//! stream is heard at once all the same: one request for one message waits at the broker.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::BYTES_MIN;
use super::place::{self, Place};
use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::stored::Stored;

/// How long a request waits at the broker of an idle stream. Then the stream is asked whether there is something.
const IDLE: Duration = Duration::from_secs(5);

/// Reads a stream in order, at most once in `pace` unless much is waiting.
pub struct PacedReader {
    place: Place,
    pace: Duration,
    not_before: Instant,
    /// What the archive gave; while there is some, nothing is asked of the stream.
    archived: VecDeque<Stored>,
    consumer: Option<Consumer<Config>>,
    /// A request that is being answered.
    pull: Option<Batch>,
    arrived: Vec<Stored>,
    connects: watch::Receiver<u64>,
    backoff: Backoff,
}

impl std::fmt::Debug for PacedReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PacedReader")
            .field("place", &self.place)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl PacedReader {
    /// A reader of `stream` whose first message will be the one at `from` (≥ 1), which need not exist yet.
    ///
    /// # Errors
    /// As [`super::Reader::open`].
    pub async fn open(log: &Log, stream: &str, from: u64, pace: Duration) -> Result<Self, LogError> {
        let mut reader = Self {
            place: Place::new(log, stream, from),
            pace,
            not_before: Instant::now(),
            archived: VecDeque::new(),
            consumer: None,
            pull: None,
            arrived: Vec::new(),
            connects: log.connects(),
            backoff: place::patience(),
        };
        reader.consume().await?;
        Ok(reader)
    }

    /// What follows, at least one message and at most `max` (up to [`super::MESSAGES_MAX`]), as soon as the pace allows. Whatever may pass is waited out
    /// here. Cancel-safe.
    ///
    /// # Errors
    /// As [`super::Reader::next`].
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Stored>, LogError> {
        loop {
            match self.try_next_batch(max).await {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => {
                    self.backoff.reset();
                    return Ok(batch);
                }
                Err(error) => {
                    (self.consumer, self.pull) = (None, None);
                    self.archived.clear();
                    self.place.again(error)?;
                    if !self.arrived.is_empty() {
                        return Ok(std::mem::take(&mut self.arrived));
                    }
                    self.backoff.wait().await;
                }
            }
        }
    }

    /// One request to its end; nothing where none was waiting.
    async fn try_next_batch(&mut self, max: usize) -> Result<Vec<Stored>, LogError> {
        if !self.archived.is_empty() {
            let count = self.archived.len().min(max);
            self.place.next += count as u64;
            return Ok(self.archived.drain(..count).collect());
        }
        if self.pull.is_none() {
            sleep_until(self.not_before).await;
            if self.consumer.is_none() {
                self.consume().await?;
                if !self.archived.is_empty() {
                    return Ok(Vec::new());
                }
            }
            self.pull = Some(self.ask(max).await?);
        }
        let Some(messages) = &mut self.pull else { return Ok(Vec::new()) };
        loop {
            let message = tokio::select! {
                biased;
                message = messages.next() => message,
                // The broker may have been started again, and the consumer was in its memory.
                _ = self.connects.changed() => return Err(LogError::Transient("connected anew".into())),
            };
            match message {
                Some(Ok(message)) => {
                    self.arrived.push(self.place.due(message).await?);
                    self.place.next += 1;
                }
                // Also where the next message is too large for what is left of the request.
                Some(Err(_)) if !self.arrived.is_empty() => break,
                Some(Err(error)) => return Err(self.place.failed(error)),
                None => break,
            }
        }
        self.pull = None;
        let batch = std::mem::take(&mut self.arrived);
        if batch.is_empty() && self.place.is_there().await? {
            return Err(self.place.failed("it gives nothing, though there is something"));
        }
        // Who has much to catch up with does not rest.
        self.not_before = Instant::now() + if is_cut(&batch, max) { Duration::ZERO } else { self.pace };
        Ok(batch)
    }

    /// Asks for all there is, and where there is nothing, for what comes next.
    async fn ask(&mut self, max: usize) -> Result<Batch, LogError> {
        let Some(consumer) = &self.consumer else { return Err(LogError::Transient("no consumer".into())) };
        let asked = consumer.fetch().max_messages(max).max_bytes(BYTES_MIN).expires(IDLE).messages().await;
        asked.map_err(|error| self.place.failed(error))
    }

    /// Takes up where it stands: in the archive, or else at the stream.
    async fn consume(&mut self) -> Result<(), LogError> {
        self.archived = self.place.archived().await?;
        if !self.archived.is_empty() {
            return Ok(());
        }
        self.connects.mark_unchanged();
        self.consumer = Some(self.place.consumer().await?);
        Ok(())
    }
}

/// Whether an answer ended for its size, not because it was all there is.
fn is_cut(batch: &[Stored], max: usize) -> bool {
    let bytes: usize = batch.iter().map(|stored| stored.payload.len()).sum();
    batch.len() >= max || (bytes > BYTES_MIN / 2 && batch.last().is_some_and(|last| last.behind > 0))
}
