//! Group commit: the commands of a partition go out as record batches, one publish in flight at a time.
//!
//! What is sent while a publish is in flight gathers into the next batch, so there is no timer: an idle partition adds
//! no latency and a busy one packs by itself. A publish is tried again with the same `Nats-Msg-Id`, in order; outcomes
//! that are seen on `live` count as its acknowledgement. Whoever sent a command waits for its outcome, at most 60 s.

mod answer;
mod lane;
mod run;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natter_schemas::codec::{OutcomeBatch, OutcomeHeader};
use natter_schemas::position::Position;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::run::Shared;
use self::slot::Slot;
use crate::connection::Log;
use crate::error::LogError;

pub use self::answer::{Answer, Full, Overloaded, Waiter};
pub use self::lane::{Claimed, PUBLISHER_QUEUE_BYTES_MAX};

/// Publishes commands and answers them. Cheap to clone; stops with its last clone.
#[derive(Debug)]
pub struct Publisher<W: Waiter> {
    shared: Arc<Shared<W>>,
    /// End with the last clone.
    tasks: Arc<JoinSet<()>>,
}

/// Partitions that publish at a time. A batch costs the machine (broker, processor, projections) more than a millisecond of
/// CPU however few its commands are: partitions that all publish whenever they can use up every core at any load, and each
/// command waits for the others' batches. One after the other, their batches are fewer and larger.
fn turns() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

impl<W: Waiter> Clone for Publisher<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks: Arc::clone(&self.tasks) }
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
            turns: Semaphore::new(turns()),
            progress: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for partition in 0..log.partitions() {
            tasks.spawn(Arc::clone(&shared).publish_all(partition));
        }
        tasks.spawn(Arc::clone(&shared).expire());
        tasks.spawn(Arc::clone(&shared).watch_space());
        Ok(Self { shared, tasks: Arc::new(tasks) })
    }

    /// Takes a command, encoded ([`natter_schemas::codec::encode`]), for `partition`.
    ///
    /// # Errors
    /// A queue or the log is full; `waiter` is dropped.
    pub fn send(&self, partition: u16, encoded: &[u8], waiter: W) -> Result<(), Overloaded> {
        let slot = self.shared.slot(partition);
        let taken = if self.shared.stopping.load(Ordering::Relaxed) {
            Err(Full::Stopping)
        } else if let Some(full) = slot.refusal() {
            Err(full)
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
        slot.set_decided(header.command_sequence());
        let (claimed, highest) = slot.with(|lane| lane.claim(header));
        if let Some(highest) = highest {
            slot.set_seen(highest);
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
                    Ok(Some(raw.placed(position, policy, outcome)))
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
