//! One role as a process: its private port, its signals, its drain.

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::readiness::Dependencies;
use crate::{connect, private_http, roles, stop, telemetry};

/// From the signal to the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Runs a gateway until SIGINT or SIGTERM.
///
/// # Errors
/// A port is taken, something that it needs is missing, the log is corrupt.
pub async fn gateway(config: &Config) -> anyhow::Result<()> {
    let address = &config.gateway.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}: set gateway.listen to another address"))?;
    let dependencies = Dependencies {
        log: Some(connect::log(config, "gateway").await?),
        redis: Some(connect::redis(config).await?),
        clickhouse: connect::clickhouse(config).ok(),
        objects: connect::objects(config).ok(),
        processors: true,
    };
    run(config, dependencies, |stop| roles::gateway(config, listener, stop)).await
}

/// Runs a processor until SIGINT or SIGTERM.
///
/// # Errors
/// As [`gateway`].
pub async fn processor(config: &Config) -> anyhow::Result<()> {
    let dependencies = Dependencies {
        log: Some(connect::log(config, "processor").await?),
        redis: Some(connect::redis(config).await?),
        clickhouse: connect::clickhouse(config).ok(),
        ..Dependencies::default()
    };
    run(config, dependencies, |stop| roles::processor(config, stop)).await
}

/// Runs a projector until SIGINT or SIGTERM.
///
/// # Errors
/// As [`gateway`].
pub async fn projector(config: &Config) -> anyhow::Result<()> {
    let dependencies = Dependencies {
        log: Some(connect::log(config, "projector").await?),
        redis: Some(connect::redis(config).await?),
        clickhouse: connect::clickhouse(config).ok(),
        ..Dependencies::default()
    };
    run(config, dependencies, |stop| roles::projector(config, stop)).await
}

async fn run<F>(
    config: &Config,
    dependencies: Dependencies,
    role: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let stop = stop::signal()?;
    let address = &config.telemetry.listen;
    let private = TcpListener::bind(address).await;
    let private = private.with_context(|| format!("cannot listen on {address}: set telemetry.listen to another address"))?;
    let metrics = telemetry::start_metrics()?;
    let private = tokio::spawn(private_http::serve(private, metrics, dependencies, CancellationToken::new()));
    let mut role = std::pin::pin!(role(stop.clone()));
    let ended = tokio::select! {
        ended = &mut role => ended,
        () = stop.cancelled() => timeout(DRAIN_MAX, role).await.unwrap_or_else(|_| {
            tracing::warn!("did not drain in time; nothing stored is lost");
            Ok(())
        }),
    };
    private.abort();
    ended
}
