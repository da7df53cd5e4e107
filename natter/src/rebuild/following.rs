//! The next generation follows the log: by the runner and the projector that keep the live one, without their leases.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use natter_nats::Log;
use natter_nats::clock::SystemClock;
use natter_projections::error::ViewError;
use natter_projections::runner::{Projector, Runner, StepSize, Steps};
use natter_projections::watermark::Watermark;
use natter_schemas::subjects::outcome_stream;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Who came to where the log ended so short a time ago keeps up with it.
const KEEPS_UP_WITHIN: Duration = Duration::from_secs(30);
/// Steps a second at least where the rate is limited: large ones would make it work in fits.
const STEPS_A_SECOND: u64 = 4;

/// What a rebuild does just now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It makes the new generation, or finds the one that was begun.
    #[default]
    Begin,
    /// It applies the log.
    Build,
    /// It compares both generations.
    Compare,
    /// It puts the new one in the place of the live one.
    Switch,
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// What it does.
    pub step: Step,
    /// Batches of the log that the new generation has, over all partitions.
    pub batches: u64,
    /// Batches of the log.
    pub batches_total: u64,
    /// Outcomes applied by this run.
    pub records: u64,
    /// Outcomes a second.
    pub records_per_second: f64,
    /// Until it is at the log's end, where that can be said.
    pub seconds_left: Option<f64>,
}

/// What was applied so far.
struct Seen {
    records: AtomicU64,
    batches: AtomicU64,
    reached: BTreeMap<u16, AtomicU64>,
}

impl Seen {
    fn reaches(&self, partition: u16, sequence: u64) {
        if let Some(reached) = self.reached.get(&partition) {
            reached.store(sequence, Ordering::Relaxed);
        }
    }
}

/// A projector that is watched, and held to a rate.
struct Watched<P> {
    projector: P,
    seen: Arc<Seen>,
    throttle: Option<Throttle>,
}

/// So many records a second over all partitions.
struct Throttle {
    records_per_second: NonZeroU64,
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// Waits for its turn, and takes the time that `records` may take.
    async fn wait(&self, records: u64) {
        let takes = Duration::from_micros(records.saturating_mul(1_000_000) / self.records_per_second);
        let mut free_at = self.free_at.lock().await;
        let begins = (*free_at).max(Instant::now());
        *free_at = begins + takes;
        drop(free_at);
        sleep_until(begins).await;
    }
}

impl<P: Projector> Projector for Watched<P> {
    fn role(&self) -> &'static str {
        self.projector.role()
    }

    fn view(&self) -> &'static str {
        self.projector.view()
    }

    fn step_size(&self) -> StepSize {
        let StepSize { records_max, bytes_max } = self.projector.step_size();
        let fair =
            self.throttle.as_ref().map_or(u64::MAX, |throttle| throttle.records_per_second.get() / STEPS_A_SECOND);
        StepSize { records_max: records_max.min(fair), bytes_max }
    }

    fn pace(&self) -> Duration {
        self.projector.pace()
    }

    fn check_interval(&self) -> Duration {
        self.projector.check_interval()
    }

    fn mend(&self, _partition: u16) -> String {
        format!("drop it with `natter rebuild --discard {}` and begin anew", self.view())
    }

    async fn watermark(&self, partition: u16) -> Result<Watermark, ViewError> {
        let found = self.projector.watermark(partition).await?;
        self.seen.reaches(partition, found.sequence);
        Ok(found)
    }

    async fn apply(&self, steps: Steps<'_>) -> Result<Watermark, ViewError> {
        let Steps { partition, batches, .. } = steps;
        let records = batches.iter().map(|batch| u64::from(batch.records.unwrap_or(0))).sum();
        if let Some(throttle) = &self.throttle {
            throttle.wait(records).await;
        }
        let standing = self.projector.apply(steps).await?;
        self.seen.reaches(partition, standing.sequence);
        self.seen.records.fetch_add(records, Ordering::Relaxed);
        self.seen.batches.fetch_add(batches.len() as u64, Ordering::Relaxed);
        Ok(standing)
    }
}

/// A generation that follows the log until this is dropped.
pub(super) struct Following {
    log: Log,
    seen: Arc<Seen>,
    until: BTreeMap<u16, CancellationToken>,
    workers: JoinSet<(u16, Result<(), ViewError>)>,
    began: Instant,
}

impl Following {
    pub(super) fn start(
        log: &Log,
        partitions: &[u16],
        projector: impl Projector,
        throttle: Option<NonZeroU64>,
    ) -> Self {
        let count = || AtomicU64::new(0);
        let reached = partitions.iter().map(|partition| (*partition, count())).collect();
        let seen = Arc::new(Seen { records: count(), batches: count(), reached });
        let began = Instant::now();
        let throttle = throttle.map(|records_per_second| Throttle { records_per_second, free_at: Mutex::new(began) });
        let watched = Watched { projector, seen: Arc::clone(&seen), throttle };
        let runner = Arc::new(Runner::new(log.clone(), watched, SystemClock::shared()));
        let until: BTreeMap<_, _> = partitions.iter().map(|partition| (*partition, CancellationToken::new())).collect();
        let mut workers = JoinSet::new();
        for (partition, until) in &until {
            let (partition, runner, until) = (*partition, Arc::clone(&runner), until.clone());
            workers.spawn(async move { (partition, runner.run_partition(partition, &until).await) });
        }
        Self { log: log.clone(), seen, until, workers, began }
    }

    /// Returns as soon as every partition keeps up with the log.
    ///
    /// # Errors
    /// A partition cannot go on, or the log does not say where it ends.
    pub(super) async fn keep_up(&mut self, mut tell: impl FnMut(&Progress)) -> anyhow::Result<()> {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ends, mut looked) = (self.ends().await?, Instant::now());
        loop {
            self.tick(&mut looks).await?;
            tell(&self.progress(Step::Build, &ends));
            let is_there = |(reached, end): (&AtomicU64, &u64)| reached.load(Ordering::Relaxed) >= *end;
            let is_late = looked.elapsed() > KEEPS_UP_WITHIN;
            if self.seen.reached.values().zip(&ends).all(is_there) && !is_late {
                return Ok(());
            }
            if is_late {
                (ends, looked) = (self.ends().await?, Instant::now());
            }
        }
    }

    /// Whatever ends first: the next look, or a partition for a reason that somebody must mend.
    async fn tick(&mut self, looks: &mut tokio::time::Interval) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            Some(ended) = self.workers.join_next() => {
                let (partition, ended) = ended.context("a partition's work broke")?;
                ended.with_context(|| format!("partition {partition} cannot go on"))?;
                bail!("partition {partition} ended by itself")
            }
            _ = looks.tick() => Ok(()),
        }
    }

    async fn ends(&self) -> anyhow::Result<Vec<u64>> {
        let mut ends = Vec::with_capacity(self.seen.reached.len());
        for partition in self.seen.reached.keys() {
            ends.push(self.log.bounds(&outcome_stream(*partition)).await.context("cannot see the log's end")?.last);
        }
        Ok(ends)
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn progress(&self, step: Step, ends: &[u64]) -> Progress {
        let batches: u64 = self.seen.reached.values().map(|reached| reached.load(Ordering::Relaxed)).sum();
        let batches_total = ends.iter().sum::<u64>().max(batches);
        let (applied, seconds) = (self.seen.batches.load(Ordering::Relaxed), self.began.elapsed().as_secs_f64());
        let seconds_left = (applied > 0).then(|| (batches_total - batches) as f64 * seconds / applied as f64);
        Progress {
            step,
            batches,
            batches_total,
            records: self.records(),
            records_per_second: self.records() as f64 / seconds.max(0.001),
            seconds_left,
        }
    }

    /// How far it is in a step after the build: it has all of the log that it was to have.
    pub(super) fn built(&self, step: Step) -> Progress {
        self.progress(step, &[])
    }

    /// Outcomes applied so far.
    pub(super) fn records(&self) -> u64 {
        self.seen.records.load(Ordering::Relaxed)
    }

    /// A partition needs to be followed no further.
    pub(super) fn end(&self, partition: u16) {
        if let Some(until) = self.until.get(&partition) {
            until.cancel();
        }
    }

    /// Lets the steps under way end.
    pub(super) async fn stop(mut self) {
        self.until.values().for_each(CancellationToken::cancel);
        while self.workers.join_next().await.is_some() {}
    }
}
