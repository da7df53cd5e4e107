//! Group commit: the commands of a partition go out as record batches, one publish in flight at a time.
//!
//! What is sent while a publish is in flight gathers into the next batch, so there is no timer: an idle partition adds
//! no latency and a busy one packs by itself. A publish is tried again with the same `Nats-Msg-Id`, in order; outcomes
//! that are seen on `live` count as its acknowledgement. Whoever sent a command waits for its outcome, at most 60 s.

mod lane;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram};
use natter_schemas::codec::{OutcomeBatch, OutcomeHeader};
use natter_schemas::event::Placed;
use natter_schemas::limits::PUBLISH_RETRY_MS_MAX;
use natter_schemas::position::Position;
use natter_schemas::subjects::{RECORDS_HEADER, command_subject};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::lane::{Lane, Outgoing};
use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::space::FREE_SHARE_MIN;
use crate::telemetry;

pub use self::lane::{Claimed, PUBLISHER_QUEUE_BYTES_MAX};

/// Who waits for a command's outcome.
pub trait Waiter: Send + 'static {
    /// Called once, on the task of the live feed or of the publisher: it must not block.
    fn answer(self, answer: Answer);
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The process is draining.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Full {
    const fn overloaded(self) -> Overloaded {
        let retry_after_ms = match self {
            Self::Queue => 500,
            Self::Log => 10_000,
            Self::Stopping => 1_000,
        };
        Overloaded { retry_after_ms, reason: self }
    }
}

const RETRY_MAX: Duration = Duration::from_millis(PUBLISH_RETRY_MS_MAX);
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often those who waited too long are looked for; a publisher without a connection looks for one as often.
const TICK: Duration = Duration::from_millis(500);

/// Publishes commands and answers them. Cheap to clone; stops with its last clone.
#[derive(Debug)]
pub struct Publisher<W: Waiter> {
    shared: Arc<Shared<W>>,
    _tasks: Arc<JoinSet<()>>,
}

impl<W: Waiter> Clone for Publisher<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), _tasks: Arc::clone(&self._tasks) }
    }
}

impl<W: Waiter> Publisher<W> {
    /// Starts a publisher for every partition of `log`.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the machine gives no random bytes.
    pub fn start(log: &Log) -> Result<Self, LogError> {
        let slots: Result<Box<[Slot<W>]>, LogError> = (0..log.partitions()).map(Slot::new).collect();
        let shared = Arc::new(Shared {
            log: log.clone(),
            slots: slots?,
            stopping: AtomicBool::new(false),
            progress: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for partition in 0..log.partitions() {
            tasks.spawn(Arc::clone(&shared).publish_all(partition));
        }
        tasks.spawn(Arc::clone(&shared).expire());
        tasks.spawn(Arc::clone(&shared).watch_space());
        Ok(Self { shared, _tasks: Arc::new(tasks) })
    }

    /// Takes a command, encoded ([`natter_schemas::codec::encode`]), for `partition`.
    ///
    /// # Errors
    /// A queue or the log is full; `waiter` is dropped.
    pub fn send(&self, partition: u16, encoded: &[u8], waiter: W) -> Result<(), Overloaded> {
        let slot = self.shared.slot(partition);
        let taken = if self.shared.stopping.load(Ordering::Relaxed) {
            Err(Full::Stopping)
        } else if slot.log_full.load(Ordering::Relaxed) {
            Err(Full::Log)
        } else {
            let now = Instant::now();
            slot.with(|lane| lane.push(encoded, waiter, now)).map_err(|()| Full::Queue)
        };
        match taken {
            Ok(wake) => {
                if wake {
                    slot.wake.notify_one();
                }
                Ok(())
            }
            Err(full) => {
                slot.meters.overloaded.increment(1);
                Err(full.overloaded())
            }
        }
    }

    /// Takes out who waits for outcomes of this batch, for callers that decode outcomes themselves; else
    /// [`Publisher::outcomes_seen`]. Every batch of `live.<partition>` goes through one of the two.
    pub fn claim(&self, partition: u16, header: &OutcomeHeader) -> Vec<Claimed<W>> {
        let slot = self.shared.slot(partition);
        let (claimed, highest) = slot.with(|lane| lane.claim(header));
        if let Some(highest) = highest {
            slot.seen.send_if_modified(|seen| std::mem::replace(seen, highest.max(*seen)) < highest);
        }
        if !claimed.is_empty() {
            self.shared.progress.notify_waiters();
        }
        claimed
    }

    /// Answers all whose outcomes are in this batch, which stands at `sequence` of `EVT_partition`.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]: an outcome cannot be decoded; who waited for it is told [`Answer::Unknown`].
    pub fn outcomes_seen(&self, partition: u16, sequence: u64, batch: &OutcomeBatch<'_>) -> Result<(), LogError> {
        let claimed = self.claim(partition, &batch.header);
        if claimed.is_empty() {
            return Ok(());
        }
        let records = batch.records();
        let mut failed = None;
        for Claimed { first_index, waiters } in claimed {
            for (index, waiter) in (first_index..).zip(waiters) {
                let decoded = records.as_ref().map_err(Clone::clone).and_then(|records| {
                    let Some(raw) = records.get(index as usize) else { return Ok(None) };
                    let outcome = raw.decode()?;
                    let policy = outcome.policy.and_then(|at| batch.header.policies.get(usize::from(at)).copied());
                    let position = Position::outcome(partition, sequence, index);
                    Ok(Some(Placed { position, stored_ms: raw.stored_ms, log_ms: raw.log_ms, policy, outcome }))
                });
                match decoded {
                    Ok(Some(placed)) => waiter.answer(Answer::Outcome(placed)),
                    Ok(None) => waiter.answer(Answer::Unknown),
                    Err(error) => {
                        failed.get_or_insert(error);
                        waiter.answer(Answer::Unknown);
                    }
                }
            }
        }
        failed.map_or(Ok(()), |error| {
            Err(LogError::Corrupt(format!("batch {sequence} of partition {partition}: {error}")))
        })
    }

    /// Commands of `partition` without an outcome so far.
    pub fn unanswered(&self, partition: u16) -> usize {
        self.shared.slot(partition).unanswered.load(Ordering::Relaxed)
    }

    /// Takes no more commands, and waits until all are answered, at most `deadline`. Gives how many are not.
    pub async fn flush(&self, deadline: Duration) -> usize {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + deadline;
        loop {
            let progress = self.shared.progress.notified();
            let left: usize = (0..self.shared.log.partitions()).map(|partition| self.unanswered(partition)).sum();
            if left == 0 || tokio::time::timeout_at(end, progress).await.is_err() {
                return left;
            }
        }
    }
}

#[derive(Debug)]
struct Shared<W> {
    log: Log,
    slots: Box<[Slot<W>]>,
    stopping: AtomicBool,
    /// Somebody was answered.
    progress: Notify,
}

/// One partition.
struct Slot<W> {
    lane: Mutex<Lane<W>>,
    unanswered: AtomicUsize,
    log_full: AtomicBool,
    /// Something gathers.
    wake: Notify,
    /// The highest number of our batches whose outcomes were seen.
    seen: watch::Sender<u64>,
    meters: Meters,
}

impl<W> std::fmt::Debug for Slot<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slot").field("unanswered", &self.unanswered).finish_non_exhaustive()
    }
}

/// Metric handles, looked up once.
struct Meters {
    queue: Gauge,
    unanswered: Gauge,
    batch: Histogram,
    ack: Histogram,
    retries: Counter,
    unknown: Counter,
    overloaded: Counter,
}

impl<W> Slot<W> {
    fn new(partition: u16) -> Result<Self, LogError> {
        let publisher =
            getrandom::u64().map_err(|error| LogError::transient("no random bytes for a publisher id", error))?;
        let label = partition.to_string();
        let meters = Meters {
            queue: metrics::gauge!(telemetry::PUBLISHER_QUEUE, "partition" => label.clone()),
            unanswered: metrics::gauge!(telemetry::PUBLISHER_UNANSWERED, "partition" => label.clone()),
            batch: metrics::histogram!(telemetry::PUBLISHER_BATCH, "partition" => label.clone()),
            ack: metrics::histogram!(telemetry::PUBLISHER_ACK, "partition" => label.clone()),
            retries: metrics::counter!(telemetry::PUBLISHER_RETRIES, "partition" => label.clone()),
            unknown: metrics::counter!(telemetry::PUBLISHER_UNKNOWN, "partition" => label.clone()),
            overloaded: metrics::counter!(telemetry::PUBLISHER_OVERLOADED, "partition" => label),
        };
        Ok(Self {
            lane: Mutex::new(Lane::new(publisher)),
            unanswered: AtomicUsize::new(0),
            log_full: AtomicBool::new(false),
            wake: Notify::new(),
            seen: watch::Sender::new(0),
            meters,
        })
    }

    /// The lane, locked; waiters are answered outside.
    fn with<T>(&self, act: impl FnOnce(&mut Lane<W>) -> T) -> T {
        let mut lane: MutexGuard<'_, Lane<W>> = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut lane);
        self.unanswered.store(lane.unanswered(), Ordering::Relaxed);
        done
    }
}

impl<W: Waiter> Shared<W> {
    fn slot(&self, partition: u16) -> &Slot<W> {
        &self.slots[usize::from(partition)]
    }

    async fn publish_all(self: Arc<Self>, partition: u16) {
        let slot = self.slot(partition);
        loop {
            match slot.with(Lane::take) {
                Some(batch) => self.publish(partition, batch).await,
                None => slot.wake.notified().await,
            }
        }
    }

    /// Publishes one batch: until it is acknowledged, or seen on `live`, or too old.
    async fn publish(&self, partition: u16, batch: Outgoing) {
        let slot = self.slot(partition);
        slot.meters.batch.record(batch.records);
        let started = Instant::now();
        let deadline = batch.since + RETRY_MAX;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, batch.message_id.as_str());
        headers.insert(RECORDS_HEADER, batch.records.to_string());
        let payload = Bytes::from(batch.bytes);
        let mut seen = slot.seen.subscribe();
        let mut connects = self.log.connects();
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            connects.mark_unchanged();
            let attempt = self.attempt(partition, headers.clone(), payload.clone());
            let failed = tokio::select! {
                biased;
                () = passed(&mut seen, batch.number) => break,
                () = tokio::time::sleep_until(deadline) => return self.give_up(partition, batch.number),
                acknowledged = attempt => match acknowledged {
                    Ok(()) => break,
                    Err(error) => error,
                },
                // What was sent over the old connection may never be answered.
                _ = connects.changed() => "connected anew".to_owned(),
            };
            slot.meters.retries.increment(1);
            tracing::debug!(partition, number = batch.number, error = failed, "publishing again");
            tokio::select! {
                () = passed(&mut seen, batch.number) => break,
                () = backoff.wait() => {}
            }
        }
        slot.meters.ack.record(started.elapsed());
    }

    async fn attempt(&self, partition: u16, headers: HeaderMap, payload: Bytes) -> Result<(), String> {
        if !self.log.is_connected() {
            // The client library would keep a copy of every try and send them all when it is back.
            tokio::time::sleep(TICK).await;
            return Err("not connected".into());
        }
        let stored = self.log.link().publish(command_subject(partition), headers, payload, ACK_TIMEOUT).await;
        stored.map(drop).map_err(|error| format!("{error:?}"))
    }

    fn give_up(&self, partition: u16, number: u64) {
        let slot = self.slot(partition);
        let waiters = slot.with(|lane| lane.remove(number)).unwrap_or_default();
        if !waiters.is_empty() {
            tracing::warn!(partition, number, commands = waiters.len(), "a batch could not be published in time");
        }
        self.answer_all(slot, waiters, &Answer::Unknown);
    }

    /// Answers those who waited too long.
    async fn expire(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let now = ticks.tick().await;
            for slot in &self.slots {
                if let Some(before) = now.checked_sub(RETRY_MAX) {
                    let expired = slot.with(|lane| lane.expire(before));
                    self.answer_all(slot, expired.unsent, &Answer::Unsent);
                    self.answer_all(slot, expired.unknown, &Answer::Unknown);
                }
                let (queued, unanswered) = slot.with(|lane| (lane.queued(), lane.unanswered()));
                slot.meters.queue.set(as_metric(queued));
                slot.meters.unanswered.set(as_metric(unanswered));
            }
        }
    }

    /// Refuses commands while a partition's streams are nearly full (invariant 7).
    async fn watch_space(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(2 * TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for partition in 0..self.log.partitions() {
                // Without an answer the last one counts.
                if let Ok(free) = self.log.free_share(partition).await {
                    let full = free < FREE_SHARE_MIN;
                    if self.slot(partition).log_full.swap(full, Ordering::Relaxed) != full {
                        tracing::warn!(partition, free, full, "room in the partition's streams");
                    }
                }
            }
        }
    }

    fn answer_all(&self, slot: &Slot<W>, waiters: Vec<W>, answer: &Answer) {
        if waiters.is_empty() {
            return;
        }
        slot.meters.unknown.increment(waiters.len() as u64);
        for waiter in waiters {
            waiter.answer(answer.clone());
        }
        self.progress.notify_waiters();
    }
}

/// Waits until the outcomes of batch `number` were seen.
fn passed(seen: &mut watch::Receiver<u64>, number: u64) -> impl Future<Output = ()> + Send + '_ {
    async move {
        if seen.wait_for(|seen| *seen >= number).await.is_err() {
            std::future::pending().await
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
const fn as_metric(count: usize) -> f64 {
    count as f64
}
