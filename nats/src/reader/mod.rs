//! An ordered reader of a stream: nothing left out, nothing twice, or an error that says so (invariant 7).
//!
//! What was trimmed comes from the archive, where there is one. Else it stands on a pull consumer without acknowledgements, kept in the broker's memory, whose requests are sized by bytes;
//! one request always waits at the broker, so what is stored while the partition idles comes at once. Whatever goes
//! wrong, the consumer is made again from the last sequence + 1.

mod paced;
mod place;

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, MessagesError};
use async_nats::jetstream::{self};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use self::place::Place;
use crate::backoff::Backoff;
use crate::connection::{Log, SUBSCRIPTION_CAPACITY};
use crate::error::LogError;
use crate::stored::Stored;

pub use self::paced::PacedReader;

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
pub struct ReaderOptions {
    /// Bytes that may be under way or buffered; not below the largest message, 8 MiB.
    pub max_bytes: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { max_bytes: BYTES_MIN }
    }
}

/// A request that is smaller than a message would never be answered.
const BYTES_MIN: usize = 8 * 1024 * 1024 + 64 * 1024;
/// Messages asked for at once, at most; the bytes are the real limit.
pub const MESSAGES_MAX: usize = 4096;
/// The client library asks anew when half of them have been read. What a slow reader leaves must fit into its subscription: else
/// some are dropped, and only the end of that request, half a minute later, tells.
const _: () = assert!(MESSAGES_MAX + MESSAGES_MAX / 2 < SUBSCRIPTION_CAPACITY);
/// The broker says so often that it is there; twice as long without a word, and the consumer is made again.
const HEARTBEAT: Duration = Duration::from_secs(2);
const EXPIRES: Duration = Duration::from_secs(30);

/// Reads a stream in order.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    options: ReaderOptions,
    source: Option<Source>,
    connects: watch::Receiver<u64>,
    backoff: Backoff,
}

/// Where the next message comes from.
#[derive(Debug)]
enum Source {
    /// What the archive gave.
    Archive(VecDeque<Stored>),
    Stream(Box<Consumer>),
}

struct Consumer {
    messages: pull::Stream,
    /// What arrived but was not asked for yet, when [`Reader::next_batch`] looked for more.
    ahead: VecDeque<Result<jetstream::Message, MessagesError>>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of `stream` whose first message will be the one at `from` (≥ 1), which need not exist yet.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]: `from` is below the stream's first sequence, or beyond the one that comes next.
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn open(log: &Log, stream: &str, from: u64, options: ReaderOptions) -> Result<Self, LogError> {
        let options = ReaderOptions { max_bytes: options.max_bytes.max(BYTES_MIN) };
        let (place, connects) = (Place::new(log, stream, from), log.connects());
        let mut reader = Self { place, options, source: None, connects, backoff: place::patience() };
        reader.source = Some(reader.take_up().await?);
        Ok(reader)
    }

    /// The sequence that [`Reader::next`] gives next.
    pub const fn next_sequence(&self) -> u64 {
        self.place.next
    }

    /// The next message, as soon as it is stored. Whatever may pass is waited out here. Cancel-safe.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]: the sequence jumps, the next one was trimmed away, or the stream ends below it. Names
    /// both numbers. The reader stays where it is.
    pub async fn next(&mut self) -> Result<Stored, LogError> {
        loop {
            match self.try_next().await {
                Ok(stored) => {
                    self.place.next = stored.sequence + 1;
                    self.backoff.reset();
                    return Ok(stored);
                }
                Err(error) => {
                    self.source = None;
                    self.place.again(error)?;
                    self.backoff.wait().await;
                }
            }
        }
    }

    /// The next message and everything that has already arrived behind it, up to `max` messages. Cancel-safe.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Stored>, LogError> {
        let mut batch = vec![self.next().await?];
        while batch.len() < max && self.has_arrived() {
            batch.push(self.next().await?);
        }
        Ok(batch)
    }

    /// Whether a good next message is here already, so that [`Reader::next`] will not wait.
    fn has_arrived(&mut self) -> bool {
        let consumer = match &mut self.source {
            Some(Source::Stream(consumer)) => consumer,
            Some(Source::Archive(batches)) => return !batches.is_empty(),
            None => return false,
        };
        if consumer.ahead.is_empty()
            && let Some(Some(arrived)) = consumer.messages.next().now_or_never()
        {
            consumer.ahead.push_back(arrived);
        }
        let Some(Ok(message)) = consumer.ahead.front() else { return false };
        message.info().is_ok_and(|info| info.stream_sequence == self.place.next)
    }

    async fn try_next(&mut self) -> Result<Stored, LogError> {
        if let Some(Source::Archive(batches)) = &mut self.source
            && batches.is_empty()
        {
            self.source = None;
        }
        if self.source.is_none() {
            self.source = Some(self.take_up().await?);
        }
        let consumer = match &mut self.source {
            Some(Source::Stream(consumer)) => consumer,
            Some(Source::Archive(batches)) => {
                return batches.pop_front().ok_or_else(|| LogError::Transient("the archive gave nothing".into()));
            }
            None => return Err(LogError::Transient("no consumer".into())),
        };
        let ahead = consumer.ahead.pop_front();
        let arrived = if ahead.is_some() {
            ahead
        } else {
            tokio::select! {
                biased;
                arrived = consumer.messages.next() => arrived,
                // The broker may have been started again, and the consumer was in its memory.
                _ = self.connects.changed() => return Err(LogError::Transient("connected anew".into())),
            }
        };
        let message = arrived.ok_or_else(|| LogError::Transient("the consumer ended".into()))?;
        let message = message.map_err(|error| LogError::transient("the consumer failed", error))?;
        self.place.due(message).await
    }

    async fn take_up(&mut self) -> Result<Source, LogError> {
        let archived = self.place.archived().await?;
        if !archived.is_empty() {
            return Ok(Source::Archive(archived));
        }
        self.connects.mark_unchanged();
        let messages = self
            .place
            .consumer()
            .await?
            .stream()
            .max_messages_per_batch(MESSAGES_MAX)
            .max_bytes_per_batch(self.options.max_bytes)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .map_err(|error| self.place.failed(error))?;
        Ok(Source::Stream(Box::new(Consumer { messages, ahead: VecDeque::new() })))
    }
}
