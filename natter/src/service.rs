//! One role as a process: its private port, its signals, its drain.

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::readiness::Dependencies;
use crate::roles::{self, Role};
use crate::{private_http, stop, telemetry};

/// From the signal to the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Runs a gateway until SIGINT or SIGTERM.
///
/// # Errors
/// A port is taken, something that it needs is not configured or refuses, the log is corrupt.
pub async fn gateway(config: &Config) -> anyhow::Result<()> {
    let listener = listen("gateway.listen", &config.gateway.listen).await?;
    run(config, |stop| roles::gateway(config, listener, stop)).await
}

/// Runs a processor until SIGINT or SIGTERM.
///
/// # Errors
/// As [`gateway`].
pub async fn processor(config: &Config) -> anyhow::Result<()> {
    run(config, |stop| roles::processor(config, stop)).await
}

/// Runs a projector until SIGINT or SIGTERM.
///
/// # Errors
/// As [`gateway`].
pub async fn projector(config: &Config) -> anyhow::Result<()> {
    run(config, |stop| roles::projector(config, stop)).await
}

async fn run<F>(config: &Config, connect: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Role>>,
{
    let stop = stop::signal()?;
    let private = listen("telemetry.listen", config.telemetry.role_listen()).await?;
    // Before anything is counted.
    let metrics = telemetry::start_metrics()?;
    let (reached, dependencies) = watch::channel(Dependencies::starting());
    // From now on, so that a process which waits for its servers is known to be alive.
    let private = tokio::spawn(private_http::serve(private, metrics, dependencies, CancellationToken::new()));
    let Role { dependencies, mut work } = tokio::select! {
        connected = connect(stop.clone()) => connected?,
        () = stop.cancelled() => return Ok(()),
    };
    reached.send_replace(dependencies);
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = stop.cancelled() => timeout(DRAIN_MAX, work).await.unwrap_or_else(|_| {
            tracing::warn!("did not drain in time; nothing stored is lost");
            Ok(())
        }),
    };
    private.abort();
    ended
}

/// Listens on the address that `key` of the configuration says.
async fn listen(key: &str, address: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}: set {key} to another address"))
}
