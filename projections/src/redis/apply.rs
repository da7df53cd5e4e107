//! The projector of the Redis views.

use std::sync::LazyLock;
use std::time::Duration;

use natter_nats::LogId;
use natter_schemas::event::placed;
use natter_schemas::limits::{HOT_MESSAGES, REFS_KEPT, REFS_RECENT_MS};

use super::connection::{Args, Redis, Script};
use super::fold::Step;
use super::messages::SLACK;
use super::query::{Query, answered, watermark_key};
use crate::error::ViewError;
use crate::runner::{Projector, StepSize, Steps};
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));

/// While a step is applied, Redis answers nobody else: some milliseconds for this many records.
const STEP_RECORDS_MAX: u64 = 2000;
const STEP_BYTES_MAX: usize = 1024 * 1024;
/// A step costs Redis and this process some 0.3 ms however few its records are.
const PACE: Duration = Duration::from_millis(20);

/// Advances all Redis views of a partition.
#[derive(Debug, Clone)]
pub struct RedisProjector(Redis);

impl RedisProjector {
    /// Writes to this Redis.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
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
        watermark(&self.0, partition).await
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
        let (watermark, _) = answered(self.0.call(&SCRIPT, &watermark_key(steps.partition), &args).await?)?;
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
    args.number(REFS_KEPT);
    args.number(REFS_RECENT_MS);
    for operation in step.operations() {
        operation.encode(&mut args);
    }
    args
}
