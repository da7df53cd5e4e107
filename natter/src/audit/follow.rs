//! `natter audit --follow`: round after round beside a system that runs. A round costs what is new since the one before; now
//! and then one looks at everything again.

use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Audit, Options, Report, telemetry};
use crate::config::Config;
use crate::readiness::Dependencies;
use crate::{private_http, stop};

/// How it is followed.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Between the begins of two rounds.
    pub every: Duration,
    /// Between two looks at everything.
    pub full_every: Duration,
    /// Where metrics are served, `host:port`.
    pub listen: String,
}

/// Audits until SIGINT or SIGTERM; `tell` hears each round that found something, and the last. Gives whether nothing was
/// found. A store that is away is waited for.
///
/// # Errors
/// The port is taken, or nothing could be looked at from the start.
pub async fn follow(
    config: &Config,
    options: &Options,
    how: &Follow,
    mut tell: impl FnMut(&Report),
) -> anyhow::Result<bool> {
    let stop = stop::signal()?;
    let bound = TcpListener::bind(&how.listen).await;
    let listener = bound.with_context(|| format!("cannot listen on {}: name another by --listen", how.listen))?;
    let metrics = crate::telemetry::start_metrics()?;
    let mut audit = match Audit::connect(config, options).await? {
        Ok(audit) => audit,
        Err(report) => {
            tell(&report);
            return Ok(false);
        }
    };
    let private =
        private_http::serve(listener, metrics, watch::channel(audit.dependencies()).1, CancellationToken::new());
    let private = tokio::spawn(private);
    let rounds = async {
        let mut clean = true;
        let mut last = Report::default();
        let mut full_at = Instant::now();
        let mut ticks = interval(how.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopped = stop.run_until_cancelled(ticks.tick()).await.is_none();
            if stopped {
                return (clean, last);
            }
            let full = Instant::now() >= full_at;
            match audit.round(full).await {
                Ok(report) => {
                    if full {
                        full_at = Instant::now() + how.full_every;
                    }
                    telemetry::round(&report, full);
                    if !report.is_clean() {
                        clean = false;
                        tell(&report);
                    }
                    last = report;
                }
                Err(error) => {
                    telemetry::failed();
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "a round could not look; the next looks at everything"
                    );
                    audit.forget();
                    full_at = Instant::now();
                }
            }
        }
    };
    let (clean, last) = rounds.await;
    private.abort();
    if last.is_clean() {
        tell(&last);
    }
    Ok(clean)
}

impl Audit {
    fn dependencies(&self) -> Dependencies {
        Dependencies {
            starting: false,
            log: Some(self.log.clone()),
            redis: self.redis.clone(),
            clickhouse: self.clickhouse.clone(),
            ..Dependencies::default()
        }
    }
}
