//! The projector of the Redis views.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use natter_nats::LogId;
use natter_schemas::event::placed;
use natter_schemas::limits::{HOT_MESSAGES, REFS_RECENT_MS};

use super::connection::{Args, Redis, Script};
use super::fold::{FOLD_VERSION, Step};
use super::generations::{Filled, generations};
use super::messages::SLACK;
use super::query::{Query, answered};
use crate::error::ViewError;
use crate::runner::{Projector, StepSize, Steps};
use crate::telemetry::GenerationTelemetry;
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));

/// Refs are forgotten in lots.
const REFS_LOT: usize = 64;
/// While a step is applied, Redis answers nobody else: some milliseconds for this many records.
const STEP_RECORDS_MAX: u64 = 2000;
const STEP_BYTES_MAX: usize = 1024 * 1024;
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
        let Some(last) = steps.batches.last() else { return self.watermark(steps.partition).await };
        let mut step = Step::default();
        for batch in steps.batches {
            let outcomes = placed(steps.partition, batch.sequence, &batch.payload).map_err(|error| {
                ViewError::corrupt(format_args!("sequence {} of EVT_{}", batch.sequence, steps.partition), error)
            })?;
            for outcome in &outcomes {
                step.outcome(outcome);
            }
            // Gateways and processors may share these threads.
            tokio::task::yield_now().await;
        }
        let args = arguments(steps.log, steps.after, last.sequence, step);
        let (watermark, _) = answered(self.redis.call(&SCRIPT, &self.redis.mark(steps.partition), &args).await?)?;
        Ok(watermark)
    }
}

/// How far the Redis views of a partition are.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn watermark(redis: &Redis, partition: u16) -> Result<Watermark, ViewError> {
    Ok(Query::default().ask(redis, partition).await?.0)
}

fn arguments(log: &LogId, after: u64, last: u64, step: Step) -> Args {
    let mut args = Args::default();
    args.push(log.as_str());
    args.number(after);
    args.number(last);
    args.number(HOT_MESSAGES);
    args.number(SLACK);
    args.number(REFS_LOT);
    args.number(REFS_RECENT_MS);
    args.number(FOLD_VERSION);
    for operation in step.operations() {
        operation.encode(&mut args);
    }
    args
}
