//! What is stored in `EVT_p`, as it is stored: the broker's republish on `live.<p>`, with every loss noticed and filled.
//!
//! Nothing is ever silently missing (invariant 8): each sequence must be the last + 1, else the batches between are got
//! from the stream; and because the last message before a silence may be the lost one, the feed asks whether there is
//! more each second while commands are unanswered, every 5 s otherwise, and at once after each reconnect.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_SEQUENCE;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use natter_schemas::limits::REFILL_BATCHES_MAX;
use natter_schemas::subjects::{LEASE_HEADER, live_subject, outcome_stream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::stored::{Stored, number};
use crate::telemetry;

/// One outcome batch, in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveBatch {
    /// The partition.
    pub partition: u16,
    /// Its sequence in `EVT_p`.
    pub sequence: u64,
    /// Revision of the lease under which it was written; 0: its header names none.
    pub lease: u64,
    /// Its bytes.
    pub payload: Bytes,
}

/// What a live feed gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveItem {
    /// The next batch.
    Batch(LiveBatch),
    /// Batches that cannot be refilled: too many, or no longer in the stream. The feed goes on behind `to`.
    Hole {
        /// The partition.
        partition: u16,
        /// The first sequence that is missing.
        from: u64,
        /// The last sequence that is missing.
        to: u64,
    },
    /// The stream is not what it was (it ends below what this feed has seen): the feed has ended.
    Broken {
        /// The partition.
        partition: u16,
        /// Always [`LogError::Corrupt`].
        error: LogError,
    },
}

/// Where a feed starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStart {
    /// Behind what the stream holds now.
    Tail,
    /// At this sequence.
    From(u64),
}

/// Whether somebody waits for an answer from a partition at this moment, such as `publisher.unanswered(p) > 0`.
pub type Hurried = Arc<dyn Fn(u16) -> bool + Send + Sync>;

/// The live feed of one partition. Ends when it is dropped, or when its receiver is.
#[derive(Debug)]
pub struct LiveFeed {
    partition: u16,
    start: u64,
    position: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl LiveFeed {
    /// Subscribes to `partition` and feeds `into`, in order; when `into` is full the feed waits, and catches up by refill.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn open(
        log: &Log,
        partition: u16,
        start: LiveStart,
        hurried: Hurried,
        into: mpsc::Sender<LiveItem>,
    ) -> Result<Self, LogError> {
        let asked = log.client().subscribe(live_subject(partition)).await;
        let subscriber = asked.map_err(|error| LogError::transient("cannot subscribe", error))?;
        // On the same connection, so the broker has the subscription when it answers.
        let bounds = log.bounds(&outcome_stream(partition)).await?;
        let last = match start {
            LiveStart::Tail => bounds.last,
            LiveStart::From(sequence) => sequence.saturating_sub(1),
        };
        let (moved, position) = watch::channel(last);
        let mut connects = log.connects();
        connects.mark_unchanged();
        let feed = Feed {
            log: log.clone(),
            stream: outcome_stream(partition),
            partition,
            last,
            moved,
            into,
            connects,
            hurried,
        };
        let mut task = JoinSet::new();
        task.spawn(feed.run(subscriber, last < bounds.last));
        Ok(Self { partition, start: last, position, _task: task })
    }

    /// Which partition.
    pub const fn partition(&self) -> u16 {
        self.partition
    }

    /// The sequence behind which this feed started: its first item is `start() + 1`.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The last sequence given, or passed over as a hole.
    pub fn position(&self) -> u64 {
        *self.position.borrow()
    }
}

/// The tail is checked so often while somebody waits.
const HURRIED_CHECK: Duration = Duration::from_secs(1);
/// And every so many of these otherwise.
const IDLE_CHECKS: u32 = 5;
/// Batches asked for at once.
const REFILL_STEP: u64 = 64;
/// A replica that lags is asked so often before the leader is.
const EMPTY_ANSWERS_MAX: u32 = 5;

struct Feed {
    log: Log,
    stream: String,
    partition: u16,
    last: u64,
    moved: watch::Sender<u64>,
    into: mpsc::Sender<LiveItem>,
    connects: watch::Receiver<u64>,
    hurried: Hurried,
}

/// Why a feed ends.
enum End {
    /// Nobody listens.
    Dropped,
    /// The stream is broken.
    Broken(LogError),
}

impl Feed {
    async fn run(mut self, subscriber: Subscriber, behind: bool) {
        if let End::Broken(error) = self.follow(subscriber, behind).await {
            tracing::error!(partition = self.partition, %error, "the live feed ends");
            // Where nobody listens nobody needs to know.
            self.into.send(LiveItem::Broken { partition: self.partition, error }).await.ok();
        }
    }

    async fn follow(&mut self, mut subscriber: Subscriber, behind: bool) -> End {
        let mut checks = tokio::time::interval_at(Instant::now() + HURRIED_CHECK, HURRIED_CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = 0;
        let mut check = behind;
        loop {
            if std::mem::take(&mut check) {
                idle = 0;
                if let Err(end) = self.check_tail().await {
                    return end;
                }
            }
            tokio::select! {
                message = subscriber.next() => {
                    let Some(message) = message else {
                        return End::Broken(LogError::Corrupt("the client of nats is closed".into()));
                    };
                    if let Err(end) = self.heard(message).await {
                        return end;
                    }
                    // Everything up to this one is there; what follows is asked for after the next silence.
                    checks.reset();
                    idle = 0;
                }
                _ = self.connects.changed() => check = true,
                _ = checks.tick() => {
                    idle += 1;
                    check = idle >= IDLE_CHECKS || (self.hurried)(self.partition);
                }
                () = self.into.closed() => return End::Dropped,
            }
        }
    }

    async fn heard(&mut self, message: Message) -> Result<(), End> {
        let headers = message.headers.as_ref();
        let Some(sequence) = number::<u64>(headers, NATS_SEQUENCE.as_ref()) else {
            tracing::warn!(subject = %message.subject, "a live message without a sequence is passed over");
            return Ok(());
        };
        if sequence <= self.last {
            return Ok(());
        }
        if sequence > self.last + 1 {
            self.refill(sequence - 1).await?;
        }
        let lease = number(headers, LEASE_HEADER).unwrap_or(0);
        self.give(sequence, lease, message.payload).await
    }

    /// Asks whether the stream holds more than has arrived; waits out what may pass.
    async fn check_tail(&mut self) -> Result<(), End> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let bounds = loop {
            if self.into.is_closed() {
                return Err(End::Dropped);
            }
            match self.log.bounds_from(&self.stream, self.last).await {
                Ok(bounds) => break bounds,
                Err(LogError::Transient(_)) => backoff.wait().await,
                Err(error) => return Err(End::Broken(error)),
            }
        };
        if bounds.last < self.last {
            let (stream, last) = (&self.stream, self.last);
            let fell =
                format!("stream {stream} ends at {}, but {last} was seen: it lost messages or is another", bounds.last);
            return Err(End::Broken(LogError::Corrupt(fell)));
        }
        self.refill(bounds.last).await
    }

    /// Gives everything behind `last` up to `to` from the stream, or a hole where that cannot be.
    async fn refill(&mut self, to: u64) -> Result<(), End> {
        if to - self.last > REFILL_BATCHES_MAX {
            return self.hole(to).await;
        }
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut empty = 0;
        while self.last < to {
            let from = self.last + 1;
            let got = self.log.get_batch(&self.stream, from, (to - self.last).min(REFILL_STEP)).await;
            if let Err(error) = &got {
                tracing::debug!(partition = self.partition, from, to, %error, "refilling again");
            }
            let got = got.unwrap_or_default();
            if got.is_empty() {
                empty += 1;
                if empty % EMPTY_ANSWERS_MAX == 0 {
                    self.check_there(to).await?;
                }
                if self.into.is_closed() {
                    return Err(End::Dropped);
                }
                backoff.wait().await;
            }
            for stored in got {
                if stored.sequence > to {
                    // Nothing up to `to` is left in the stream.
                    self.hole(to).await?;
                    break;
                }
                self.refilled(stored).await?;
            }
        }
        Ok(())
    }

    async fn refilled(&mut self, stored: Stored) -> Result<(), End> {
        if stored.sequence <= self.last {
            return Ok(());
        }
        if stored.sequence > self.last + 1 {
            self.hole(stored.sequence - 1).await?;
        }
        metrics::counter!(telemetry::LIVE_REFILLED, "partition" => self.partition.to_string()).increment(1);
        self.give(stored.sequence, stored.lease.unwrap_or(0), stored.payload).await
    }

    /// The replicas have nothing where something should be: asks the leader whether there is.
    async fn check_there(&mut self, to: u64) -> Result<(), End> {
        let next = self.last + 1;
        match self.log.get_from_leader(&self.stream, next).await {
            Ok(Some(_)) | Err(LogError::Transient(_)) => Ok(()),
            Ok(None) => match self.log.bounds_from(&self.stream, self.last).await {
                Ok(bounds) if bounds.last < self.last => Err(End::Broken(LogError::Corrupt(format!(
                    "stream {} ends at {}, but {} was seen",
                    self.stream, bounds.last, self.last
                )))),
                Ok(bounds) => self.hole(to.min(bounds.first.max(next + 1) - 1)).await,
                Err(LogError::Transient(_)) => Ok(()),
                Err(error) => Err(End::Broken(error)),
            },
            Err(error) => Err(End::Broken(error)),
        }
    }

    async fn hole(&mut self, to: u64) -> Result<(), End> {
        let hole = LiveItem::Hole { partition: self.partition, from: self.last + 1, to };
        metrics::counter!(telemetry::LIVE_HOLES, "partition" => self.partition.to_string()).increment(1);
        tracing::warn!(partition = self.partition, from = self.last + 1, to, "a hole in the live feed");
        self.send(hole, to).await
    }

    async fn give(&mut self, sequence: u64, lease: u64, payload: Bytes) -> Result<(), End> {
        let batch = LiveBatch { partition: self.partition, sequence, lease, payload };
        self.send(LiveItem::Batch(batch), sequence).await
    }

    async fn send(&mut self, item: LiveItem, last: u64) -> Result<(), End> {
        self.into.send(item).await.map_err(|_| End::Dropped)?;
        self.last = last;
        self.moved.send_replace(last);
        Ok(())
    }
}
