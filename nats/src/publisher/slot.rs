//! One partition's place in the publisher: its lane behind a lock, and what others wait for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{Notify, watch};

use super::answer::Full;
use super::lane::Lane;
use crate::error::LogError;
use crate::telemetry;

/// One partition.
pub(super) struct Slot<W> {
    lane: Mutex<Lane<W>>,
    pub(super) unanswered: AtomicUsize,
    refusal: Mutex<Option<Full>>,
    /// The batch of `CMD_p` up to which outcomes were seen; 0: none was.
    decided: AtomicU64,
    /// Something gathers.
    pub(super) wake: Notify,
    /// The highest number of our batches whose outcomes were seen.
    pub(super) seen: watch::Sender<u64>,
    pub(super) meters: Meters,
}

impl<W> std::fmt::Debug for Slot<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slot").field("unanswered", &self.unanswered).finish_non_exhaustive()
    }
}

/// Metric handles, looked up once.
pub(super) struct Meters {
    pub(super) queue: Gauge,
    pub(super) unanswered: Gauge,
    pub(super) batch: Histogram,
    pub(super) ack: Histogram,
    pub(super) retries: Counter,
    pub(super) unknown: Counter,
    pub(super) overloaded: Counter,
}

impl<W> Slot<W> {
    pub(super) fn new(partition: u16) -> Result<Self, LogError> {
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
            refusal: Mutex::new(None),
            decided: AtomicU64::new(0),
            wake: Notify::new(),
            seen: watch::Sender::new(0),
            meters,
        })
    }

    /// Why commands are to be refused from now on, if they are; says whether that is new.
    pub(super) fn set_refusal(&self, refusal: Option<Full>) -> bool {
        std::mem::replace(&mut *self.refusal.lock().unwrap_or_else(PoisonError::into_inner), refusal) != refusal
    }

    /// Why commands are refused, if they are.
    pub(super) fn refusal(&self) -> Option<Full> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All batches of `CMD_p` up to this one are decided.
    pub(super) fn set_decided(&self, sequence: u64) {
        self.decided.fetch_max(sequence, Ordering::Relaxed);
    }

    /// The last batch of `CMD_p` that is known to be decided; 0: none is.
    pub(super) fn decided(&self) -> u64 {
        self.decided.load(Ordering::Relaxed)
    }

    /// The outcomes of batch `number` were seen, and so of all before it.
    pub(super) fn set_seen(&self, number: u64) {
        self.seen.send_if_modified(|seen| std::mem::replace(seen, number.max(*seen)) < number);
    }

    /// Waits until the outcomes of batch `number` were seen.
    pub(super) async fn passed(&self, number: u64) {
        if self.seen.subscribe().wait_for(|seen| *seen >= number).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sets the gauges.
    pub(super) fn measure(&self) {
        let (queued, unanswered) = self.with(|lane| (lane.queued(), lane.unanswered()));
        self.meters.queue.set(as_metric(queued));
        self.meters.unanswered.set(as_metric(unanswered));
    }

    /// The lane, locked; waiters are answered outside.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Lane<W>) -> T) -> T {
        let mut lane: MutexGuard<'_, Lane<W>> = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut lane);
        self.unanswered.store(lane.unanswered(), Ordering::Relaxed);
        done
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
const fn as_metric(count: usize) -> f64 {
    count as f64
}
