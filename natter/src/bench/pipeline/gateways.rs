//! Gateways without an edge: each has a connection, a publisher, and a live feed of every partition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use natter_nats::{Answer, LiveFeed, LiveItem, LiveStart, Publisher, Waiter};
use natter_schemas::codec::OutcomeBatch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::servers::Servers;
use crate::bench::latency::{Latencies, Percentiles};

/// Live batches that wait to be looked at.
const ITEMS_MAX: usize = 64;

/// A record on its way: when it was due.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    due: Instant,
    is_measured: bool,
}

impl Waiter for Sent {
    /// Called only for what was never answered, which shows as such in the counts.
    fn answer(self, _: Answer) {}
}

/// All gateways.
pub struct Gateways {
    publishers: Vec<Publisher<Sent>>,
    answers: Arc<Answers>,
    partitions: u16,
    _feeds: Vec<LiveFeed>,
    _answering: JoinSet<()>,
}

/// What came back.
#[derive(Default)]
pub struct Answers {
    count: AtomicU64,
    latency: Mutex<Arc<Latencies>>,
}

impl Gateways {
    /// Starts so many.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn start(servers: &Servers, count: u32) -> anyhow::Result<Self> {
        let answers = Arc::new(Answers::default());
        let (mut publishers, mut feeds, mut answering) = (Vec::new(), Vec::new(), JoinSet::new());
        let mut partitions = 1;
        for _ in 0..count {
            let log = servers.gateway_log().await?;
            partitions = log.partitions();
            let publisher = Publisher::start(&log)?;
            let (into, items) = mpsc::channel(ITEMS_MAX);
            for partition in 0..partitions {
                let waiting = publisher.clone();
                let hurried = Arc::new(move |partition| waiting.unanswered(partition) > 0);
                feeds.push(LiveFeed::open(&log, partition, LiveStart::Tail, hurried, into.clone()).await?);
            }
            answering.spawn(Arc::clone(&answers).take_all(publisher.clone(), items));
            publishers.push(publisher);
        }
        Ok(Self { publishers, answers, partitions, _feeds: feeds, _answering: answering })
    }

    /// Partitions of the log.
    pub const fn partitions(&self) -> u16 {
        self.partitions
    }

    /// What comes back.
    pub const fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// The publishers, one for each gateway.
    pub fn publishers(&self) -> Vec<Publisher<Sent>> {
        self.publishers.clone()
    }
}

impl Sent {
    /// A record that was due then.
    pub const fn new(due: Instant, is_measured: bool) -> Self {
        Self { due, is_measured }
    }

    /// Whether it is measured.
    pub const fn is_measured(&self) -> bool {
        self.is_measured
    }
}

impl Answers {
    /// Records that were answered so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Latencies are counted from nothing again.
    pub fn begin(&self) {
        *self.latency() = Arc::default();
    }

    /// Latencies since [`Answers::begin`].
    pub fn percentiles(&self) -> Percentiles {
        self.latency().percentiles()
    }

    fn latency(&self) -> MutexGuard<'_, Arc<Latencies>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims who waits, as a gateway does; what was decided is counted where it is decided.
    async fn take_all(self: Arc<Self>, publisher: Publisher<Sent>, mut items: mpsc::Receiver<LiveItem>) {
        while let Some(item) = items.recv().await {
            let LiveItem::Batch(live) = item else {
                tracing::warn!(?item, "the live feed has a hole");
                continue;
            };
            let Ok(batch) = OutcomeBatch::decode(&live.payload) else { continue };
            let (now, latency) = (Instant::now(), Arc::clone(&self.latency()));
            for claimed in publisher.claim(live.partition, &batch.header) {
                let measured = claimed.waiters.iter().filter(|sent| sent.is_measured);
                latency.record_all(measured.map(|sent| sent.due), now);
                self.count.fetch_add(claimed.waiters.len() as u64, Ordering::Relaxed);
            }
        }
    }
}
