//! Signals between gateways: packed, over core NATS, at most once, never stored.

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use natter_schemas::signal::{PlacedSignal, pack, unpack};
use natter_schemas::subjects::signal_subject;
use tokio::sync::mpsc;

use crate::connection::Log;
use crate::error::LogError;
use crate::telemetry;

/// Signals that wait to be sent; beyond it they are dropped.
const QUEUE_MAX: usize = 4096;
/// Signals of one turn, packed per partition.
const PACK_MAX: usize = 512;

/// Sends signals. Cheap to clone; stops with its last clone.
#[derive(Debug, Clone)]
pub struct SignalSender {
    queue: mpsc::Sender<(u16, PlacedSignal)>,
}

impl SignalSender {
    /// Starts the sender: whatever came while the last was sent goes out packed.
    pub fn start(log: &Log) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(send_all(log.clone(), queued));
        Self { queue }
    }

    /// Sends a signal of `partition` (its conversation's), or drops it where too many wait.
    pub fn send(&self, partition: u16, signal: PlacedSignal) {
        if self.queue.try_send((partition, signal)).is_err() {
            metrics::counter!(telemetry::SIGNALS_DROPPED).increment(1);
        }
    }
}

async fn send_all(log: Log, mut queued: mpsc::Receiver<(u16, PlacedSignal)>) {
    let mut taken = Vec::with_capacity(PACK_MAX);
    let mut packs: Vec<Vec<PlacedSignal>> = vec![Vec::new(); usize::from(log.partitions())];
    while queued.recv_many(&mut taken, PACK_MAX).await > 0 {
        for (partition, signal) in taken.drain(..) {
            packs[usize::from(partition)].push(signal);
        }
        for (partition, signals) in (0..).zip(&mut packs) {
            if !signals.is_empty() {
                publish(&log, partition, signals).await;
                signals.clear();
            }
        }
    }
}

async fn publish(log: &Log, partition: u16, signals: &Vec<PlacedSignal>) {
    // While the broker is away the client library would keep them, and a late signal is worse than none.
    let sent =
        log.is_connected() && log.client().publish(signal_subject(partition), Bytes::from(pack(signals))).await.is_ok();
    if !sent {
        metrics::counter!(telemetry::SIGNALS_DROPPED).increment(signals.len() as u64);
    }
}

/// The signals of one partition.
#[derive(Debug)]
pub struct SignalFeed {
    subscriber: Subscriber,
}

impl SignalFeed {
    /// Subscribes to the signals of `partition`.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn open(log: &Log, partition: u16) -> Result<Self, LogError> {
        let subscribed = log.client().subscribe(signal_subject(partition)).await;
        Ok(Self { subscriber: subscribed.map_err(|error| LogError::transient("cannot subscribe to signals", error))? })
    }

    /// The next signals; `None`: the connection is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<PlacedSignal>> {
        loop {
            let message = self.subscriber.next().await?;
            match unpack(&message.payload) {
                Ok(signals) => return Some(signals),
                Err(error) => tracing::debug!(subject = %message.subject, %error, "signals are passed over"),
            }
        }
    }
}
