//! `natter rebuild`: the next generation of a view beside the live one, while the system runs.
//!
//! ```text
//! begin ──▶ follow the log to its end ──▶ compare both at one position ──▶ switch ──▶ (--drop-old)
//! ```
//!
//! The generation's own watermark is the only checkpoint: whoever is killed is followed by another who goes on there. Until
//! the switch nobody reads the new generation, and whatever is wrong with it is said and refused.

mod args;
mod clickhouse;
mod compare;
mod following;
mod redis;
mod report;
mod shown;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use natter_nats::backoff::Backoff;
use natter_nats::{Lease, LeaseOptions, Log};
use tokio::time::Instant;

pub use self::args::{Options, Rebuild, Wanted};
pub use self::following::{Progress, Step};
pub use self::report::{Compared, Difference, Report};
pub use self::shown::{Shown, Steps};
use crate::config::Config;
use crate::connect;

/// A killed rebuild's lease ends within this.
const LEASE_WITHIN: Duration = Duration::from_secs(6);

/// A view that can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// The Redis views.
    Redis,
    /// The history.
    #[value(name = "clickhouse")]
    ClickHouse,
}

impl View {
    /// The views that are wanted.
    pub fn of(wanted: Wanted) -> Vec<Self> {
        match wanted {
            Wanted::Redis => vec![Self::Redis],
            Wanted::Clickhouse => vec![Self::ClickHouse],
            Wanted::All => vec![Self::Redis, Self::ClickHouse],
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::ClickHouse => "clickhouse",
        }
    }
}

/// Builds the next generation of a view and switches to it, unless it differs.
///
/// # Errors
/// A server is away, another rebuild of the view is at work, or the generation before is still there.
pub async fn rebuild(
    config: &Config,
    view: View,
    options: &Options,
    tell: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let log = connect::log(config, "rebuild").await?;
    let lease = alone(&log, view).await?;
    let working = async {
        match view {
            View::Redis => redis::rebuild(config, &log, options, tell).await,
            View::ClickHouse => clickhouse::rebuild(config, &log, options, tell).await,
        }
    };
    ended_by(lease, working).await
}

/// Whether a rebuild of both views ended, killed or refused, behind the switch of the first one: that is not to be built again.
///
/// # Errors
/// A server is away.
pub async fn is_redis_done(config: &Config) -> anyhow::Result<bool> {
    Ok(clickhouse::is_begun(config).await? && redis::is_switched(config).await?)
}

/// Drops the generation that was live before; gives its number, where there was one.
///
/// # Errors
/// As [`rebuild`].
pub async fn drop_old(config: &Config, view: View) -> anyhow::Result<Option<u64>> {
    let log = connect::log(config, "rebuild").await?;
    let lease = alone(&log, view).await?;
    let working = async {
        match view {
            View::Redis => redis::drop_old(config, log.partitions()).await,
            View::ClickHouse => clickhouse::drop_old(config).await,
        }
    };
    ended_by(lease, working).await
}

/// Drops the generation that was begun; gives its number, where there was one.
///
/// # Errors
/// As [`rebuild`].
pub async fn discard(config: &Config, view: View) -> anyhow::Result<Option<u64>> {
    let log = connect::log(config, "rebuild").await?;
    let lease = alone(&log, view).await?;
    let working = async {
        match view {
            View::Redis => redis::discard(config, log.partitions()).await,
            View::ClickHouse => clickhouse::discard(config).await,
        }
    };
    ended_by(lease, working).await
}

/// Two who rebuild one view would switch and drop under each other's hands.
async fn alone(log: &Log, view: View) -> anyhow::Result<Lease> {
    let (role, holder) = (format!("rebuild-{}", view.name()), std::process::id().to_string());
    let (deadline, mut backoff) =
        (Instant::now() + LEASE_WITHIN, Backoff::new(Duration::from_millis(100), Duration::from_secs(1)));
    loop {
        let lease = Lease::acquire(log, &role, 0, &holder, LeaseOptions::default()).await;
        if let Some(lease) = lease.context("cannot see whether another rebuild is at work")? {
            return Ok(lease);
        }
        if Instant::now() >= deadline {
            bail!("another rebuild of {} is at work", view.name());
        }
        backoff.wait().await;
    }
}

async fn ended_by<T>(lease: Lease, working: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let ended = tokio::select! {
        ended = working => ended,
        () = lease.lost() => bail!("the broker was away too long, and another rebuild may be at work: run it again, it goes on"),
    };
    lease.release().await;
    ended
}
