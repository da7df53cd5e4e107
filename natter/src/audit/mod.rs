//! `natter audit`: is everything there, once, in order and the same everywhere?
//!
//! The log is checked by itself (`log/`), then each view against it: Redis key by key (`redis/`), the history by digests that
//! ClickHouse computes (`history/`). The log is read once, in order; what is kept grows with users, conversations and
//! memberships, never with messages. Views move on while they are looked at, so each answer is compared with the log at
//! the very position that the answer is of.

mod decide;
mod follow;
pub(crate) mod forward;
pub(crate) mod history;
mod log;
mod model;
mod partition;
mod reading;
pub(crate) mod redis;
mod replicas;
pub(crate) mod report;
pub(crate) mod telemetry;

use std::time::Duration;

use anyhow::Context;
use natter_nats::backoff::Backoff;
use natter_nats::{Log, LogError};
use natter_projections::clickhouse::{ClickHouse, claim};
use natter_projections::redis::{Redis, watermark};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::time::{Instant, timeout};

pub use self::follow::{Follow, follow};
use self::model::Stores;
pub use self::model::{Modelled, Sampling};
use self::partition::Auditor;
use self::replicas::Replicas;
use self::report::Differences;
pub use self::report::{Difference, Kind, Partition, Report, Store, View};
use crate::config::Config;
use crate::connect;

/// A store that takes longer to say how far it is, is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is audited.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the Redis views are compared with the log.
    pub redis: bool,
    /// Whether the history is.
    pub clickhouse: bool,
    /// Differences that are named; all are counted.
    pub differences_max: usize,
    /// Further servers that must hold the same streams; those of a cluster are found by themselves.
    pub replicas: Vec<String>,
    /// Wait at most so long until everything that was commanded so far is decided and in the views; what is not then, is a
    /// difference. `None`: views may be behind.
    pub caught_up_within: Option<Duration>,
    /// Whether the whole log is decided again.
    pub decide: bool,
    /// The sample of conversations and users that the views are compared with by a second fold; `None`: none.
    pub model: Option<Sampling>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            redis: true,
            clickhouse: true,
            differences_max: 100,
            replicas: Vec::new(),
            caught_up_within: None,
            decide: false,
            model: None,
        }
    }
}

/// Looks at everything once.
///
/// # Errors
/// Something could not be looked at: a broker or a store is away.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut audit = match Audit::connect(config, options).await? {
        Ok(audit) => audit,
        Err(report) => return Ok(*report),
    };
    let late = match options.caught_up_within {
        Some(within) => audit.await_views(within).await?,
        None => Differences::of(None, options.differences_max),
    };
    let mut report = audit.round(true).await?;
    report.take(late, options.differences_max);
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Why an audit ended without a result, as opposed to one that found something.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("could not look")]
pub struct CannotLook;

/// A system that is audited, round by round.
pub(crate) struct Audit {
    log: Log,
    redis: Option<Redis>,
    clickhouse: Option<ClickHouse>,
    partitions: Vec<Auditor>,
    replicas: Replicas,
    options: Options,
}

impl Audit {
    /// Connects; `Err`: what is there contradicts itself so that nothing can be compared, which is a finding too.
    pub(crate) async fn connect(config: &Config, options: &Options) -> anyhow::Result<Result<Self, Box<Report>>> {
        let log_config = connect::log_config(config, "audit")?;
        let log = match Log::connect(&log_config).await {
            Ok(log) => log,
            Err(LogError::Mismatch(reason)) => {
                let mut found = Differences::of(None, 1);
                found.add(Store::Log, Kind::Foreign, "the streams", reason);
                let mut report = Report::default();
                report.take(found, 1);
                return Ok(Err(Box::new(report)));
            }
            Err(error) => return Err(error).context("cannot open the log"),
        };
        let log = connect::with_archive(config, log)?;
        let redis = if options.redis { Some(connect::redis(config).await?) } else { None };
        let clickhouse = if options.clickhouse { Some(connect::clickhouse(config)?) } else { None };
        let replicas = Replicas::connect(&log, &log_config, &options.replicas).await?;
        let options = options.clone();
        let mut audit = Self { log, redis, clickhouse, partitions: Vec::new(), replicas, options };
        audit.forget();
        Ok(Ok(audit))
    }

    /// Begins anew: the next round reads everything.
    fn forget(&mut self) {
        let (redis, clickhouse) = (self.redis.as_ref(), self.clickhouse.as_ref());
        let auditor = |partition| Auditor::new(&self.log, partition, redis, clickhouse, self.options.differences_max);
        self.partitions = (0..self.log.partitions()).map(auditor).collect();
    }

    /// One look at every partition; `full`: also at what was compared before.
    pub(crate) async fn round(&mut self, full: bool) -> anyhow::Result<Report> {
        let began = Instant::now();
        let mut report =
            Report { log: self.log.id().to_string(), replicas: self.replicas.len().max(1), ..Report::default() };
        for auditor in &mut self.partitions {
            let (mut partition, mut found) = auditor.round(full).await?;
            if full {
                self.replicas.compare(partition.partition, &mut found).await?;
            }
            if let (true, Some(sampling)) = (full, self.options.model) {
                let stores = Stores { redis: self.redis.as_ref(), history: self.clickhouse.as_ref() };
                partition.model = auditor.model(stores, sampling, &mut found).await?;
            }
            report.partitions.push(partition);
            report.take(found, self.options.differences_max);
        }
        if full && self.options.decide {
            self.decide(&mut report).await?;
        }
        report.sampling = self.options.model.filter(|_| full);
        report.clean = report.is_clean();
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn decide(&self, report: &mut Report) -> anyhow::Result<()> {
        let began = Instant::now();
        for decided in decide::decide(&self.log, self.options.differences_max).await? {
            if let Some(one) = report.partitions.iter_mut().find(|one| one.partition == decided.partition) {
                one.decided = Some(decided.outcomes);
            }
            report.take(decided.found, self.options.differences_max);
        }
        report.decided_seconds = Some(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether everything that stands in `CMD` now is decided and shown within this time.
    pub(crate) async fn is_shown(&self, within: Duration) -> anyhow::Result<bool> {
        Ok(self.await_views(within).await?.total == 0)
    }

    /// Waits until everything that stands in `CMD` now is decided and shown; names what is not in time.
    async fn await_views(&self, within: Duration) -> anyhow::Result<Differences> {
        let deadline = Instant::now() + within;
        let mut late = Differences::of(None, self.options.differences_max);
        for partition in 0..self.log.partitions() {
            let commanded = self.log.bounds(&command_stream(partition)).await?.last;
            let Some(last) = until(deadline, || self.decided(partition, commanded)).await? else {
                let detail = format!("command batch {commanded} has no outcome within {} s", within.as_secs());
                late.add(Store::Log, Kind::Behind, format!("partition {partition}"), detail);
                continue;
            };
            if let Some(redis) = &self.redis {
                let shown = || async move { Ok((watermark(redis, partition).await?.sequence >= last).then_some(())) };
                if until(deadline, shown).await?.is_none() {
                    let detail = format!("it does not show batch {last} within {} s", within.as_secs());
                    late.add(Store::Redis, Kind::Behind, format!("redis of partition {partition}"), detail);
                }
            }
            if let Some(clickhouse) = &self.clickhouse {
                let shown = || async move {
                    Ok((claim(&clickhouse.live().await?, partition).await?.complete >= last).then_some(()))
                };
                if until(deadline, shown).await?.is_none() {
                    let detail = format!("it does not show batch {last} within {} s", within.as_secs());
                    late.add(Store::ClickHouse, Kind::Behind, format!("the history of partition {partition}"), detail);
                }
            }
        }
        Ok(late)
    }

    /// The last sequence of `EVT_p`, as soon as it answers what stands at `commanded` in `CMD_p`.
    async fn decided(&self, partition: u16, commanded: u64) -> anyhow::Result<Option<u64>> {
        let Some(last) = self.log.last_from_leader(&outcome_stream(partition)).await? else {
            return Ok((commanded == 0).then_some(0));
        };
        let answered = OutcomeBatch::decode(&last.payload)?.header.command_sequence();
        Ok((answered >= commanded).then_some(last.sequence))
    }
}

/// Asks again until there is an answer; `None`: not until the deadline. Errors are waited out until then.
async fn until<T, F>(deadline: Instant, ask: impl Fn() -> F) -> anyhow::Result<Option<T>>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let asked = timeout(ANSWER_WITHIN, ask()).await;
        let error = match asked {
            Ok(Ok(Some(answer))) => return Ok(Some(answer)),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow::anyhow!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        match error {
            Some(error) if Instant::now() >= deadline => return Err(error),
            None if Instant::now() >= deadline => return Ok(None),
            _ => backoff.wait().await,
        }
    }
}

impl Report {
    fn take(&mut self, found: Differences, kept_max: usize) {
        self.differences_total += found.total;
        let room = kept_max.saturating_sub(self.differences.len());
        self.differences.extend(found.kept.into_iter().take(room));
        self.clean = self.is_clean();
    }
}
