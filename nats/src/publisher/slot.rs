//! One partition's place in the publisher: its lane behind a lock, and what others wait for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{Notify, watch};

use super::lane::Lane;
use crate::error::LogError;
use crate::telemetry;

/// One partition.
pub(super) struct Slot<W> {
    lane: Mutex<Lane<W>>,
    pub(super) unanswered: AtomicUsize,
    pub(super) log_full: AtomicBool,
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
            log_full: AtomicBool::new(false),
            wake: Notify::new(),
            seen: watch::Sender::new(0),
            meters,
        })
    }

    /// Whether what was queued is to be refused because the log is nearly full, from now on; says whether that is new.
    pub(super) fn set_log_full(&self, full: bool) -> bool {
        self.log_full.swap(full, Ordering::Relaxed) != full
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
