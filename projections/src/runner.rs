//! The runner of one projector: one worker per (role, partition) that reads `EVT_p` from the view's own watermark
//! (invariants 3, 4 and 6). It knows nothing about the view, and every view is run by it.
//!
//! ```text
//! lease ──▶ watermark ──▶ checks ──▶ reader from watermark + 1 ──▶ apply ──▶ …
//!               ▲                                                    │
//!               └── the view stands elsewhere: another projector was ahead, or the store fell back
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_nats::clock::SharedClock;
use natter_nats::{Log, LogId, MESSAGES_MAX, PacedReader, Stored};
use natter_schemas::subjects::outcome_stream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ViewError;
use crate::shared::{self, Shared, Stopped};
use crate::telemetry::Telemetry;
use crate::watermark::Watermark;

/// Keeps one view: says how far it is, and takes it further.
pub trait Projector: Send + Sync + 'static {
    /// The role's name: one worker per (role, partition).
    fn role(&self) -> &'static str;

    /// The view's name in metrics and messages.
    fn view(&self) -> &'static str;

    /// How much one [`Projector::apply`] gets at most; one batch always fits.
    fn step_size(&self) -> StepSize;

    /// How long it rests after what it applied before it reads on, unless much is waiting: what gathers meanwhile is cheaper
    /// together, and the view is so much older at most.
    fn pace(&self) -> Duration;

    /// How often an idle projector looks whether its watermark is still what it wrote.
    fn check_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// What to do when the view of `partition` is of another log or ahead of it: a sentence with the command.
    fn mend(&self, partition: u16) -> String;

    /// How far the view is.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: try again. Any other: the partition stops.
    fn watermark(&self, partition: u16) -> impl Future<Output = Result<Watermark, ViewError>> + Send;

    /// Takes the view from `steps.after` to the last batch, or does nothing where it does not stand at `steps.after`.
    /// The answer is where it stands then.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: it may have been applied or not; the watermark says. Any other: the partition stops.
    fn apply(&self, steps: Steps<'_>) -> impl Future<Output = Result<Watermark, ViewError>> + Send;
}

/// Successive outcome batches of one partition; at least one.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// The log.
    pub log: &'a LogId,
    /// The partition.
    pub partition: u16,
    /// The sequence before the first batch.
    pub after: u64,
    /// The batches.
    pub batches: &'a [Stored],
}

/// How much is applied at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSize {
    /// Outcomes.
    pub records_max: u64,
    /// Bytes of the batches.
    pub bytes_max: usize,
}

/// Runs one projector for some or all partitions.
#[derive(Debug)]
pub struct Runner<P> {
    log: Log,
    projector: Arc<P>,
    clock: SharedClock,
    stopped: Stopped,
}

impl<P: Projector> Runner<P> {
    /// A runner of `projector` over `log`; the clock is for the lag only.
    pub fn new(log: Log, projector: P, clock: SharedClock) -> Self {
        Self { log, projector: Arc::new(projector), clock, stopped: watch::Sender::new(BTreeMap::new()) }
    }

    /// Partitions that have stopped, each with the reason: for the readiness check.
    pub fn stopped(&self) -> watch::Receiver<BTreeMap<u16, String>> {
        self.stopped.subscribe()
    }

    /// Looks whether the view of every partition can go on, before anybody works on it.
    ///
    /// # Errors
    /// Of the first one that cannot: as [`Runner::run_partition`]. [`ViewError::Transient`]: nobody knows.
    pub async fn examine(&self) -> Result<(), ViewError> {
        for partition in 0..self.log.partitions() {
            self.check(partition, &self.projector.watermark(partition).await?).await?;
        }
        Ok(())
    }

    /// Invariant 6: a watermark of another log, or above the log's end, is none.
    async fn check(&self, partition: u16, standing: &Watermark) -> Result<(), ViewError> {
        let (log, stream) = (&self.log, &outcome_stream(partition));
        let (view, mend) = (self.projector.view(), self.projector.mend(partition));
        if !standing.is_of(log.id()) {
            let id = log.id();
            return Err(ViewError::Mismatch(format!(
                "the {view} view of partition {partition} stands at {standing}, but this is log {id}: {mend}"
            )));
        }
        let bounds = log.bounds_from(stream, standing.sequence).await?;
        if standing.sequence > bounds.last {
            let last = bounds.last;
            return Err(ViewError::Mismatch(format!(
                "the {view} view of partition {partition} stands at {standing}, but {stream} ends at {last}: {mend}"
            )));
        }
        if standing.sequence + 1 < bounds.first && log.whole_bounds(stream).await?.first > 1 {
            let first = bounds.first;
            return Err(ViewError::Corrupt(format!(
                "the {view} view of partition {partition} stands at {standing}, but {stream} begins at {first}: what lies between was trimmed unread"
            )));
        }
        Ok(())
    }

    /// Keeps the view of this process's share of the partitions, by leases, until `shutdown`. A partition that cannot go on
    /// stops with an error in the log and in [`Runner::stopped`]; the others go on.
    pub async fn run(self, shutdown: CancellationToken) {
        shared::run(self, shutdown).await;
    }

    /// Keeps the view of one partition until `until`, without a lease: a projector beside another one is a waste, and
    /// does no harm.
    ///
    /// # Errors
    /// Why the partition stopped: it will not go on before somebody mends what the error names.
    pub async fn run_partition(&self, partition: u16, until: &CancellationToken) -> Result<(), ViewError> {
        let telemetry = Telemetry::new(self.projector.view(), partition);
        let worker = Worker { runner: self, partition, stream: outcome_stream(partition), telemetry, until };
        let ended = worker.run().await;
        worker.telemetry.stopped(ended.is_err());
        if let Err(error) = &ended {
            tracing::error!(view = self.projector.view(), partition, %error, "the projector of this partition stopped");
        }
        ended
    }
}

impl<P: Projector> Shared for Runner<P> {
    fn role(&self) -> &'static str {
        self.projector.role()
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn stopped(&self) -> &Stopped {
        &self.stopped
    }

    fn work(&self, partition: u16, until: &CancellationToken) -> impl Future<Output = Result<(), ViewError>> + Send {
        self.run_partition(partition, until)
    }
}

struct Worker<'a, P> {
    runner: &'a Runner<P>,
    partition: u16,
    stream: String,
    telemetry: Telemetry,
    until: &'a CancellationToken,
}

impl<P: Projector> Worker<'_, P> {
    /// Works until it is told to end. What may pass is waited out.
    async fn run(&self) -> Result<(), ViewError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut at = None;
        while !self.until.is_cancelled() {
            let before = at.clone();
            match self.follow(&mut at).await {
                Ok(Followed::End) => return Ok(()),
                Ok(Followed::Elsewhere) => {}
                Err(error) if error.is_transient() => {
                    self.telemetry.retried();
                    tracing::warn!(view = self.runner.projector.view(), partition = self.partition, %error, "trying again");
                    self.measure_lag(at.as_ref()).await;
                }
                Err(error) => return Err(error),
            }
            if at != before {
                backoff.reset();
            }
            self.until.run_until_cancelled(backoff.wait()).await;
        }
        Ok(())
    }

    /// While nothing is applied the lag grows all the same.
    async fn measure_lag(&self, at: Option<&Watermark>) {
        let Some(Watermark { sequence, .. }) = at else { return };
        if let Ok(Some(next)) = self.runner.log.get(&self.stream, sequence + 1).await
            && let Ok(bounds) = self.runner.log.bounds(&self.stream).await
        {
            let batches = bounds.last.saturating_sub(*sequence);
            self.telemetry.waiting(batches, &next, self.runner.clock.now_ms());
        }
    }

    /// Applies what follows the watermark until the work ends or the watermark stands elsewhere. Keeps in `known` where
    /// the view stood last.
    async fn follow(&self, known: &mut Option<Watermark>) -> Result<Followed, ViewError> {
        let projector = &*self.runner.projector;
        let mut at = projector.watermark(self.partition).await?;
        self.runner.check(self.partition, &at).await?;
        let mut reader = PacedReader::open(&self.runner.log, &self.stream, at.sequence + 1, projector.pace()).await?;
        loop {
            *known = Some(at.clone());
            let arrived = tokio::select! {
                biased;
                () = self.until.cancelled() => return Ok(Followed::End),
                arrived = reader.next_batch(MESSAGES_MAX) => arrived?,
                () = tokio::time::sleep(projector.check_interval()) => Vec::new(),
            };
            let (expected, standing) = match arrived.last() {
                Some(last) => (self.own(last.sequence), self.apply(at.sequence, &arrived).await?),
                None => (at.clone(), projector.watermark(self.partition).await?),
            };
            if standing != expected {
                self.telemetry.moved();
                let (view, partition) = (projector.view(), self.partition);
                tracing::info!(view, partition, %standing, %expected, "the view stands elsewhere: reading on from there");
                return Ok(Followed::Elsewhere);
            }
            at = expected;
        }
    }

    /// Applies batches in steps; the answer is where the view stands after them, or after the step that did not match.
    async fn apply(&self, mut after: u64, mut batches: &[Stored]) -> Result<Watermark, ViewError> {
        let projector = &*self.runner.projector;
        loop {
            let (step, rest) = batches.split_at(step_length(batches, projector.step_size()));
            let Some(last) = step.last() else { return Ok(self.own(after)) };
            let steps = Steps { log: self.runner.log.id(), partition: self.partition, after, batches: step };
            let started = Instant::now();
            let standing = projector.apply(steps).await?;
            if standing != self.own(last.sequence) {
                return Ok(standing);
            }
            self.telemetry.applied(step, started.elapsed(), self.runner.clock.now_ms());
            (after, batches) = (last.sequence, rest);
        }
    }

    fn own(&self, sequence: u64) -> Watermark {
        Watermark::new(self.runner.log.id().clone(), sequence)
    }
}

/// Why a worker stopped following.
enum Followed {
    /// It was told to.
    End,
    /// The view does not stand where this projector left it: another one went on, or the store fell back.
    Elsewhere,
}

/// How many of `batches` make the next step: at least one, where there is one.
fn step_length(batches: &[Stored], size: StepSize) -> usize {
    let (mut records, mut bytes) = (0, 0);
    let fits = |batch: &&Stored| {
        records += u64::from(batch.records.unwrap_or(0));
        bytes += batch.payload.len();
        records <= size.records_max && bytes <= size.bytes_max
    };
    batches.iter().take_while(fits).count().max(1).min(batches.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: u32, bytes: usize) -> Stored {
        let payload = vec![0; bytes].into();
        Stored { sequence: 1, stored_ms: 0, lease: None, records: Some(records), behind: 0, payload }
    }

    #[test]
    fn steps_end_between_batches_and_never_before_the_first() {
        let size = StepSize { records_max: 10, bytes_max: 100 };
        assert_eq!(step_length(&[], size), 0);
        assert_eq!(step_length(&[batch(11, 1), batch(1, 1)], size), 1);
        assert_eq!(step_length(&[batch(1, 200), batch(1, 1)], size), 1);
        assert_eq!(step_length(&[batch(5, 10), batch(5, 10), batch(1, 10)], size), 2);
        assert_eq!(step_length(&[batch(1, 60), batch(1, 40), batch(1, 1)], size), 2);
    }
}
