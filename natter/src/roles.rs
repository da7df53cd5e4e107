//! The roles: each connects to what it needs, works until its shutdown, and drains. `up` runs all of them in one process,
//! `natter <role>` one; there is no other code path.

use std::sync::Arc;

use anyhow::Context;
use natter_gateway::{GatewayConfig, Rate};
use natter_nats::LeaseOptions;
use natter_nats::clock::SystemClock;
use natter_processors::role;
use natter_processors::shell::Backends;
use natter_projections::clickhouse::{HistoryProjector, migrate, run_inserter};
use natter_projections::reads::Reads;
use natter_projections::redis::{RedisProjector, Waiting};
use natter_projections::runner::Runner;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::connect;
use crate::readiness::Dependencies;

/// Serves clients on `listener`.
///
/// # Errors
/// Something that it needs is missing at the start, or the log is corrupt.
pub async fn gateway(config: &Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let log = connect::log(config, "gateway").await?;
    let redis = connect::redis(config).await?;
    let clickhouse = connect::clickhouse(config)?;
    let section = &config.gateway;
    let gateway = GatewayConfig {
        origins: section.origins.clone(),
        session_rate: Rate::new(section.commands_per_second, section.commands_burst),
        user_rate: Rate::new(2 * section.commands_per_second, 2 * section.commands_burst),
        ..GatewayConfig::new(connect::tenant_keys(config)?)
    };
    let dependencies = Dependencies {
        log: Some(log.clone()),
        redis: Some(redis.clone()),
        clickhouse: Some(clickhouse.clone()),
        objects: connect::objects(config).ok(),
        processors: true,
    };
    let reads = Reads::new(log.clone(), Waiting::new(redis, log.partitions()), clickhouse);
    natter_gateway::run(gateway, log, reads, Arc::new(dependencies), listener, shutdown).await.context("the gateway stopped")
}

/// Decides commands.
///
/// # Errors
/// Something that it needs is missing at the start.
pub async fn processor(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let log = connect::log(config, "processor").await?;
    let redis = connect::redis(config).await?;
    let clickhouse = connect::clickhouse(config)?;
    let clock = SystemClock::shared();
    let backends = Backends { log, redis, clickhouse, clock };
    role::run(backends, &process_name(), LeaseOptions::default(), shutdown).await.context("the processor stopped")
}

/// Keeps the views that the configuration names.
///
/// # Errors
/// Something that it needs is missing at the start.
pub async fn projector(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let log = connect::log(config, "projector").await?;
    let views = |name: &str| config.projector.views.iter().any(|view| view == name);
    let redis = async {
        if views("redis") {
            let projector = RedisProjector::new(connect::redis(config).await?);
            Runner::new(log.clone(), projector, SystemClock::shared()).run(shutdown.clone()).await;
        }
        anyhow::Ok(())
    };
    let history = async {
        if views("clickhouse") {
            let clickhouse = connect::clickhouse(config)?;
            let (handle, inserter) = run_inserter(clickhouse.clone(), log.id().clone(), SystemClock::shared());
            let inserter = tokio::spawn(inserter);
            let projector = HistoryProjector::new(clickhouse, handle);
            Runner::new(log.clone(), projector, SystemClock::shared()).run(shutdown.clone()).await;
            // The last handle went with the runner; what is being inserted is not waited for: the watermark says.
            inserter.abort();
        }
        anyhow::Ok(())
    };
    tokio::try_join!(redis, history).map(drop)
}

/// Makes what is missing of streams, buckets and tables, and checks what is there.
///
/// # Errors
/// A backend is away or belongs to another system.
pub async fn setup(config: &Config) -> anyhow::Result<()> {
    natter_nats::Log::create(&connect::log_config(config, "setup")?).await.context("cannot make the log")?;
    let clickhouse = connect::clickhouse(config)?;
    let objects = connect::objects(config)?;
    let tables = async { migrate(&clickhouse).await.context("cannot make the history's tables") };
    let bucket = async { objects.make().await.context("cannot make the bucket") };
    tokio::try_join!(tables, bucket).map(drop)
}

/// This process, in the names of those who hold leases.
fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
