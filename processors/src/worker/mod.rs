//! One worker per partition: reads commands in order, decides them, writes outcomes (DESIGN 1.3, 4.3, 4.4).
//!
//! While one outcome batch is being stored, the next commands gather and, if they are many, are decided: group commit
//! without a timer. Nothing here is state: whatever goes wrong, the worker ends and another begins at the log's end.

mod catch_up;
mod commands;
mod decider;
mod draft;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::clock::SharedClock;
use natter_schemas::limits::{COMMAND_AGE_MS_MAX, OUTCOME_BATCH_BYTES_MAX, OUTCOME_BATCH_SOURCES_MAX};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

pub use commands::{Group, StoredCommands};
pub use decider::Decider;
pub use draft::OutcomeMessage;

use crate::error::Halt;
use crate::ports::{CommandReader, Surroundings};
use crate::telemetry;

/// A tick that was not stored is tried again after so long.
const TICK_RETRY: Duration = Duration::from_secs(1);

/// Works on a partition under `lease` until it must stop, and says why. Dropping the future at any point loses nothing
/// and doubles nothing.
pub async fn run<S: Surroundings>(around: Arc<S>, lease: u64, clock: SharedClock) -> Halt {
    match Worker::begin(around, lease, clock).await {
        Ok(worker) => match worker.work().await {
            Ok(never) => match never {},
            Err(halt) => halt,
        },
        Err(halt) => halt,
    }
}

struct Worker<S> {
    around: Arc<S>,
    lease: u64,
    decider: Decider<S>,
    /// Batches that were read; as many as one outcome batch takes at most. A full queue makes the reader wait.
    arrived: mpsc::Receiver<StoredCommands>,
    /// Read, and too much for the last group.
    left_over: Option<StoredCommands>,
    /// The reader, which never ends well, and at most one write. They end with the worker.
    tasks: JoinSet<Result<(), Halt>>,
    writing: bool,
    /// A tick on its way.
    ticking: JoinSet<Result<(), Halt>>,
    tick_at: Instant,
    partition: String,
}

impl<S: Surroundings> Worker<S> {
    async fn begin(around: Arc<S>, lease: u64, clock: SharedClock) -> Result<Self, Halt> {
        let decider = Decider::begin(Arc::clone(&around), lease).await?;
        let reader = around.read_commands(decider.commands() + 1).await?;
        let partition = around.partition().to_string();
        tracing::info!(partition, lease, after = decider.commands(), "deciding");
        let (arrivals, arrived) = mpsc::channel(OUTCOME_BATCH_SOURCES_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(reader, arrivals, clock, partition.clone()));
        let (left_over, writing, ticking) = (None, false, JoinSet::new());
        let tick_at =
            Instant::now() + if decider.is_log_time_behind() { Duration::ZERO } else { around.tick_interval() };
        Ok(Self { around, lease, decider, arrived, left_over, tasks, writing, ticking, tick_at, partition })
    }

    async fn work(mut self) -> Result<Infallible, Halt> {
        loop {
            let group = self.gather().await?;
            let began = Instant::now();
            let message = self.decider.decide(group).await?;
            metrics::histogram!(telemetry::DECIDE).record(began.elapsed());
            let is_behind = self.decider.is_log_time_behind() && self.arrived.is_empty();
            self.tick_at = Instant::now() + if is_behind { Duration::ZERO } else { self.around.tick_interval() };
            self.written().await?;
            self.write(message);
        }
    }

    /// Takes what has arrived, and waits for more as long as there is little and a write is under way.
    async fn gather(&mut self) -> Result<Group, Halt> {
        let mut group = Group::default();
        loop {
            while let Some(batch) = self.left_over.take().or_else(|| self.arrived.try_recv().ok()) {
                if !group.takes(&batch) {
                    self.left_over = Some(batch);
                    return Ok(group);
                }
                group.push(batch);
            }
            let enough = 2 * group.outcome_bytes() >= OUTCOME_BATCH_BYTES_MAX;
            if !group.is_empty() && (enough || !self.writing) {
                return Ok(group);
            }
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                Some(ticked) = self.ticking.join_next() => self.ticked(ticked),
                () = sleep_until(self.tick_at), if self.ticking.is_empty() => self.tick(),
                batch = self.arrived.recv() => {
                    // Without its sender the reader has ended, and `join_next` says why.
                    self.left_over = batch;
                }
            }
            let batches = self.arrived.len();
            metrics::gauge!(telemetry::QUEUE, "partition" => self.partition.clone())
                .set(u32::try_from(batches).unwrap_or(u32::MAX));
        }
    }

    fn write(&mut self, message: OutcomeMessage) {
        let (around, lease, partition) = (Arc::clone(&self.around), self.lease, self.partition.clone());
        self.writing = true;
        self.tasks.spawn(async move {
            let OutcomeMessage { sequence, bytes, records, tally } = message;
            around.append(bytes, sequence, lease, records).await?;
            metrics::histogram!(telemetry::BATCH).record(f64::from(records));
            metrics::gauge!(telemetry::PAUSED, "partition" => partition).set(0.0);
            tally.record();
            Ok(())
        });
    }

    /// Moves log time on (invariant 16). Its batch comes back like any other.
    fn tick(&mut self) {
        let around = Arc::clone(&self.around);
        self.ticking.spawn(async move { around.tick().await });
        self.tick_at = Instant::now() + self.around.tick_interval();
    }

    fn ticked(&mut self, ticked: Result<Result<(), Halt>, JoinError>) {
        match ticked {
            Ok(Ok(())) => metrics::counter!(telemetry::TICKS).increment(1),
            Ok(Err(error)) => self.tick_failed(&error),
            Err(error) => self.tick_failed(&error),
        }
    }

    fn tick_failed(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!(partition = self.partition, %error, "a tick was not stored");
        self.tick_at = Instant::now() + TICK_RETRY;
    }

    /// Waits until what was written is stored.
    async fn written(&mut self) -> Result<(), Halt> {
        while self.writing {
            if let Some(ended) = self.tasks.join_next().await {
                self.ended(ended)?;
            }
        }
        Ok(())
    }

    /// A task ended: the write well, or either of them badly.
    fn ended(&mut self, ended: Result<Result<(), Halt>, JoinError>) -> Result<(), Halt> {
        ended.map_err(|error| Halt::Transient(format!("a task of the worker failed: {error}")))??;
        self.writing = false;
        Ok(())
    }
}

/// Reads and decodes until something is wrong.
async fn read(
    mut reader: impl CommandReader,
    arrivals: mpsc::Sender<StoredCommands>,
    clock: SharedClock,
    partition: String,
) -> Result<(), Halt> {
    let mut at_end = false;
    loop {
        let stored = reader.next().await?;
        let batch = StoredCommands::decode(&stored)?;
        // The clocks can only be compared by what was stored just now.
        if at_end || batch.stored_ms > clock.now_ms() {
            compare_clocks(batch.stored_ms, clock.now_ms(), &partition);
        }
        at_end = batch.behind == 0;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(telemetry::LAG, "partition" => partition.clone()).set(batch.behind as f64);
        if arrivals.send(batch).await.is_err() {
            return Err(Halt::Transient("the worker is gone".to_owned()));
        }
    }
}

fn compare_clocks(stored_ms: u64, now_ms: u64, partition: &str) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    let seconds = stored_ms.abs_diff(now_ms) as f64 / 1000.0;
    let skew = if stored_ms < now_ms { -seconds } else { seconds };
    metrics::gauge!(telemetry::CLOCK_SKEW, "partition" => partition.to_owned()).set(skew);
    if stored_ms.abs_diff(now_ms) > COMMAND_AGE_MS_MAX {
        metrics::counter!(telemetry::CLOCK_WRONG).increment(1);
        tracing::warn!(stored_ms, now_ms, "the broker's clock and this machine's are more than a minute apart");
    }
}
