//! The roles: each connects to what it needs, works until its shutdown, and drains. `up` runs all of them in one process,
//! `natter <role>` one; there is no other code path.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use natter_gateway::{GatewayConfig, Rate};
use natter_nats::clock::SystemClock;
use natter_nats::{LeaseOptions, Log};
use natter_processors::role;
use natter_processors::shell::Backends;
use natter_projections::archive::Archiver;
use natter_projections::clickhouse::{HistoryProjector, migrate, run_inserter, show_archive};
use natter_projections::reads::Reads;
use natter_projections::redis::{RedisProjector, Waiting};
use natter_projections::runner::Runner;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Need};
use crate::readiness::{Dependencies, Work};
use crate::{archive, connect, open_files};

/// How long sessions are closed and commands answered when a gateway drains.
const GATEWAY_DRAIN: Duration = Duration::from_secs(4);
/// How long a projector's last steps may take when it drains: a store that is away must not hold up the end, and the
/// watermark says what is left to do.
const VIEWS_DRAIN: Duration = Duration::from_millis(1200);

/// A role that has its connections.
pub struct Role {
    /// What it depends on.
    pub dependencies: Dependencies,
    /// Its work, until the shutdown that it was made with; drained then.
    pub work: BoxFuture<'static, anyhow::Result<()>>,
}

/// Serves clients on `listener`.
///
/// # Errors
/// Something that it needs is not configured, or refuses.
pub async fn gateway(config: &Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<Role> {
    config.require(&[Need::Log, Need::Redis, Need::ClickHouse, Need::Tenants])?;
    let reached = async {
        let log = connect::log_when_there(config, "gateway").await?;
        anyhow::Ok((log, connect::redis_when_there(config).await?))
    };
    let (log, redis) = tokio::select! {
        reached = reached => reached?,
        never = natter_gateway::refuse_all(&listener) => match never {},
    };
    let clickhouse = connect::clickhouse(config)?;
    let section = &config.gateway;
    let gateway = GatewayConfig {
        origins: section.origins.clone(),
        session_rate: Rate::new(section.commands_per_second, section.commands_burst),
        user_rate: Rate::new(section.commands_per_second.saturating_mul(2), section.commands_burst.saturating_mul(2)),
        read_rate: Rate::new(section.reads_per_second, section.reads_burst),
        connections_max: section.connections_max.min(open_files::room()),
        user_sessions_max: section.user_sessions_max,
        request_patience: Duration::from_secs(section.request_seconds_max),
        ping_interval: Duration::from_secs(section.ping_seconds),
        drain_deadline: GATEWAY_DRAIN,
        ..GatewayConfig::new(connect::tenant_keys(&config.tenants)?)
    };
    let stopped = gateway.stopped.watch();
    let dependencies = Dependencies {
        starting: false,
        log: Some(log.clone()),
        processors: true,
        redis: Some(redis.clone()),
        clickhouse: Some(clickhouse.clone()),
        objects: match config.require(&[Need::S3]) {
            Ok(()) => Some(connect::objects(config)?),
            Err(_) => None,
        },
        work: vec![Work { name: "gateway", required: false, stopped }],
    };
    let readiness = Arc::new(dependencies.clone());
    let work = async move {
        let reads = Reads::new(log.clone(), Waiting::new(redis, log.partitions()), clickhouse);
        natter_gateway::run(gateway, log, reads, readiness, listener, shutdown).await.context("the gateway stopped")
    };
    Ok(Role { dependencies, work: work.boxed() })
}

/// Decides commands.
///
/// # Errors
/// Something that it needs is not configured, or refuses.
pub async fn processor(config: &Config, shutdown: CancellationToken) -> anyhow::Result<Role> {
    config.require(&[Need::Log, Need::Redis])?;
    let log = connect::log_when_there(config, "processor").await?;
    let redis = connect::redis_when_there(config).await?;
    let (stopping, stopped) = watch::channel(role::Stopped::new());
    let dependencies = Dependencies {
        log: Some(log.clone()),
        redis: Some(redis.clone()),
        work: vec![Work { name: "processor", required: true, stopped }],
        ..Dependencies::default()
    };
    let backends = Backends { log, redis, clock: SystemClock::shared() };
    let work = async move {
        let decided = role::run_telling(backends, &process_name(), LeaseOptions::default(), stopping, shutdown).await;
        decided.context("the processor stopped")
    };
    Ok(Role { dependencies, work: work.boxed() })
}

/// Keeps the views that the configuration names.
///
/// # Errors
/// Something that it needs is not configured, or refuses.
pub async fn projector(config: &Config, shutdown: CancellationToken) -> anyhow::Result<Role> {
    let keeps = |view: &str| config.projector.views.iter().any(|named| named == view);
    // What is in the archive is trimmed as soon as both views have it.
    let archives = keeps("archive");
    let needs = [
        (Need::Log, true),
        (Need::Redis, keeps("redis") || archives),
        (Need::ClickHouse, keeps("clickhouse") || archives),
        (Need::S3, archives),
    ];
    config.require(&needs.into_iter().filter_map(|(need, is_so)| is_so.then_some(need)).collect::<Vec<_>>())?;
    let log = connect::log_when_there(config, "projector").await?;
    let mut dependencies = Dependencies { log: Some(log.clone()), ..Dependencies::default() };
    let mut views = Vec::new();
    if keeps("redis") {
        views.push(redis_view(config, &log, &mut dependencies, shutdown.clone()).await?);
    }
    if keeps("clickhouse") {
        views.push(history(config, &log, &mut dependencies, shutdown.clone())?);
    }
    if keeps("archive") {
        views.push(archived(config, &log, &mut dependencies, shutdown.clone()).await?);
    }
    let work = async move {
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(VIEWS_DRAIN).await;
        };
        tokio::select! {
            _ = join_all(views) => {}
            () = late => tracing::warn!("a view's last step did not end in time; it is done again from the watermark"),
        }
        Ok(())
    };
    Ok(Role { dependencies, work: work.boxed() })
}

async fn redis_view(
    config: &Config,
    log: &Log,
    dependencies: &mut Dependencies,
    shutdown: CancellationToken,
) -> anyhow::Result<BoxFuture<'static, ()>> {
    let redis = connect::redis_when_there(config).await?;
    let runner = Runner::new(log.clone(), RedisProjector::new(redis.clone()), SystemClock::shared());
    dependencies.redis = Some(redis);
    dependencies.work.push(Work { name: "projector-redis", required: true, stopped: runner.stopped() });
    Ok(runner.run(shutdown).boxed())
}

fn history(
    config: &Config,
    log: &Log,
    dependencies: &mut Dependencies,
    shutdown: CancellationToken,
) -> anyhow::Result<BoxFuture<'static, ()>> {
    let clickhouse = connect::clickhouse(config)?;
    let (handle, inserter) = run_inserter(log.id().clone());
    let projector = HistoryProjector::new(clickhouse.clone(), handle);
    let runner = Runner::new(log.clone(), projector, SystemClock::shared());
    dependencies.clickhouse = Some(clickhouse);
    dependencies.work.push(Work { name: "projector-clickhouse", required: false, stopped: runner.stopped() });
    let work = async move {
        // The inserter ends when the runner has dropped the last handle.
        tokio::join!(runner.run(shutdown), inserter);
    };
    Ok(work.boxed())
}

async fn archived(
    config: &Config,
    log: &Log,
    dependencies: &mut Dependencies,
    shutdown: CancellationToken,
) -> anyhow::Result<BoxFuture<'static, ()>> {
    let (redis, clickhouse) = (connect::redis_when_there(config).await?, connect::clickhouse(config)?);
    let (segments, closing) = (archive::segments(config, log)?, archive::closing(&config.archive));
    let archiver = Archiver::new(log.clone(), segments, redis, clickhouse, closing, SystemClock::shared());
    dependencies.objects = Some(connect::objects(config)?);
    dependencies.work.push(Work { name: "projector-archive", required: false, stopped: archiver.stopped() });
    Ok(archiver.run(shutdown).boxed())
}

/// Makes what is missing of streams, buckets and tables, and checks what is there.
///
/// # Errors
/// A backend is away or belongs to another system.
pub async fn setup(config: &Config) -> anyhow::Result<()> {
    config.require(&[Need::Log, Need::ClickHouse, Need::S3])?;
    let log = async {
        let log_config = connect::log_config(config, "setup")?;
        natter_nats::Log::create(&log_config).await.context("cannot make the log")
    };
    let clickhouse = connect::clickhouse(config)?;
    let objects = connect::objects(config)?;
    let tables = async { migrate(&clickhouse).await.context("cannot make the history's tables") };
    // The client of S3 makes large futures.
    let bucket = async { objects.make().await.context("cannot make the bucket") }.boxed();
    let (log, (), ()) = tokio::try_join!(log, tables, bucket)?;
    show_archive(&clickhouse, log.id()).await.context("cannot show the archive as a table")
}

/// This process, in the names of those who hold leases.
fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
