//! The projector of the Redis views.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use natter_nats::LogId;
use natter_schemas::event::placed;
use natter_schemas::limits::HOT_MESSAGES;
use natter_schemas::position::version;

use super::connection::{Args, Redis, Script};
use super::fold::{FOLD_VERSION, Step};
use super::generations::{Filled, generations};
use super::messages::SLACK;
use super::query::{Query, answered};
use super::refs;
use crate::error::ViewError;
use crate::runner::{Projector, StepSize, Steps};
use crate::telemetry::GenerationTelemetry;
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));

/// A step of this many short messages is one script call; while it runs, some milliseconds, Redis answers nobody else.
const STEP_RECORDS_MAX: u64 = 2000;
const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Lists of refs that one script call forgets at most.
const FORGET_MAX: usize = 2000;
/// Calls after a step that do nothing but forget; what is left then goes with the next step.
const FORGET_CALLS_MAX: usize = 32;
/// A step costs Redis and this process some 0.3 ms however few its records are.
const PACE: Duration = Duration::from_millis(20);

/// Advances all Redis views of a partition.
#[derive(Clone)]
pub struct RedisProjector {
    redis: Redis,
    /// The generation of each partition that it came to last.
    met: Arc<Mutex<HashMap<u16, u64>>>,
    telemetry: Arc<GenerationTelemetry>,
}

impl RedisProjector {
    /// Writes to this Redis: to its live views, or to those beside them.
    pub fn new(redis: Redis) -> Self {
        Self { redis, met: Arc::default(), telemetry: Arc::new(GenerationTelemetry::new("redis")) }
    }

    /// Says so where views that this projector comes to were filled by another fold than its own.
    fn meet(&self, partition: u16, Filled { generation, fold }: Filled, is_begun: bool) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.insert(partition, generation) == Some(generation) {
            return;
        }
        let is_outdated = is_begun && fold != FOLD_VERSION;
        self.telemetry.meets(generation, is_outdated);
        if is_outdated {
            tracing::error!(
                partition,
                generation,
                "the redis views were filled by version {fold} of their code, this binary has {FOLD_VERSION}: build them anew with `natter rebuild redis`"
            );
        }
    }
}

impl Projector for RedisProjector {
    fn role(&self) -> &'static str {
        "projector-redis"
    }

    fn view(&self) -> &'static str {
        "redis"
    }

    fn step_size(&self) -> StepSize {
        StepSize { records_max: STEP_RECORDS_MAX, bytes_max: STEP_BYTES_MAX }
    }

    fn pace(&self) -> Duration {
        PACE
    }

    fn mend(&self, partition: u16) -> String {
        format!(
            "it holds nothing that the log does not: delete it and it is built again, with `redis-cli -u URL --scan --pattern '{{{partition}}}:*' | xargs -d '\\n' redis-cli -u URL unlink`"
        )
    }

    async fn watermark(&self, partition: u16) -> Result<Watermark, ViewError> {
        let found = generations(&self.redis, partition).await?;
        match found.own {
            Some(own) => self.meet(partition, own, found.watermark.log.is_some()),
            None => {
                let gone = format!("the views that were built beside those of partition {partition} are gone");
                return Err(ViewError::Mismatch(format!("{gone}: run `natter rebuild redis` again")));
            }
        }
        Ok(found.watermark)
    }

    async fn apply(&self, steps: Steps<'_>) -> Result<Watermark, ViewError> {
        if steps.batches.is_empty() {
            return self.watermark(steps.partition).await;
        }
        // The views may stand within the first batch: whoever applied a part of it died, or is at it.
        let mut index = 0;
        loop {
            match self.apply_from(&steps, index).await? {
                Reached::Stands(watermark) => return Ok(watermark),
                Reached::Within(further) => index = further,
            }
        }
    }
}

/// A place between two outcomes: so many whole batches, and so many outcomes of the batch behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sequence: u64,
    index: u32,
}

/// What came of a step.
enum Reached {
    /// The views stand here.
    Stands(Watermark),
    /// They stand within the first batch, behind so many of its outcomes.
    Within(u32),
}

/// What a script call answered.
struct Standing {
    watermark: Watermark,
    place: Place,
    applied: bool,
    more_to_forget: bool,
}

impl RedisProjector {
    /// Applies what follows `index` outcomes of the first batch, in as many script calls as its size takes. The views are whole
    /// after each of them: they show the log up to a place within a batch, and say which.
    async fn apply_from(&self, steps: &Steps<'_>, index: u32) -> Result<Reached, ViewError> {
        let (mut from, mut skip) = (Place { sequence: steps.after, index }, index as usize);
        let mut step = Step::default();
        for batch in steps.batches {
            let outcomes = placed(steps.partition, batch.sequence, &batch.payload).map_err(|error| {
                ViewError::corrupt(format_args!("sequence {} of EVT_{}", batch.sequence, steps.partition), error)
            })?;
            if skip > outcomes.len() {
                let what = format!("redis has {skip} outcomes of sequence {}, which has fewer", batch.sequence);
                return Err(ViewError::Corrupt(what));
            }
            for (index, outcome) in (0..).zip(&outcomes).skip(skip) {
                if !step.has_room_for(outcome) {
                    let till = Place { sequence: batch.sequence - 1, index };
                    let standing = self.write(steps, from, till, std::mem::take(&mut step)).await?;
                    if !standing.applied {
                        return Ok(standing.reached(steps));
                    }
                    from = till;
                }
                step.outcome(outcome);
            }
            skip = 0;
            // Gateways and processors may share these threads.
            tokio::task::yield_now().await;
        }
        let till = Place { sequence: steps.batches.last().map_or(steps.after, |last| last.sequence), index: 0 };
        let nothing = step.of_nothing();
        let mut standing = self.write(steps, from, till, step).await?;
        for _ in 0..FORGET_CALLS_MAX {
            if !standing.applied || !standing.more_to_forget {
                break;
            }
            standing = self.write(steps, till, till, nothing.of_nothing()).await?;
        }
        Ok(standing.reached(steps))
    }

    /// One script call: from one place to another, or nothing where the views do not stand there.
    async fn write(&self, steps: &Steps<'_>, from: Place, till: Place, step: Step) -> Result<Standing, ViewError> {
        let args = arguments(steps.log, from, till, step);
        let (watermark, mut answers) =
            answered(self.redis.call(&SCRIPT, &self.redis.mark(steps.partition), &args).await?)?;
        let applied = answers.number()? == Some(1);
        let index = answers.number()?.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let place = Place { sequence: watermark.sequence, index };
        Ok(Standing { watermark, place, applied, more_to_forget: answers.number()? == Some(1) })
    }
}

impl Standing {
    fn reached(self, steps: &Steps<'_>) -> Reached {
        let is_within = !self.applied
            && self.watermark.log.as_ref() == Some(steps.log)
            && self.place.sequence == steps.after
            && self.place.index > 0;
        if is_within { Reached::Within(self.place.index) } else { Reached::Stands(self.watermark) }
    }
}

/// How far the Redis views of a partition are.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn watermark(redis: &Redis, partition: u16) -> Result<Watermark, ViewError> {
    Ok(Query::default().ask(redis, partition).await?.0)
}

fn arguments(log: &LogId, from: Place, till: Place, step: Step) -> Args {
    let mut args = Args::default();
    args.push(log.as_str());
    for place in [from, till] {
        args.number(place.sequence);
        args.number(place.index);
    }
    for place in [from, till] {
        args.number(version(place.sequence, place.index));
    }
    args.number(FOLD_VERSION);
    args.number(HOT_MESSAGES);
    args.number(SLACK);
    args.number(step.hidden_before_ms(till.index > 0));
    args.number(refs::LOT);
    args.number(FORGET_MAX);
    for operation in step.operations() {
        operation.encode(&mut args);
    }
    args
}
