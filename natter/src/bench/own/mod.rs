//! A system of a bench's own, and how its log is filled.

mod child;
pub mod lines;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

pub use self::child::Up;
use crate::audit::{self, Audit};
use crate::config::Config;
use crate::import::{self, import};
use crate::{connect, running, tenants};

/// Everything that is in the log is shown within this time.
const SHOWN_WITHIN: Duration = Duration::from_mins(30);
const TOKEN_TTL: Duration = Duration::from_hours(24);
const TENANT: &str = "demo";

/// Imports so many messages into the system of this folder, and waits until both views show them; how many were accepted.
///
/// # Errors
/// A message is refused, or the views do not show them in time.
pub async fn fill(data: &Path, messages: u64) -> anyhow::Result<u64> {
    let (file, config) = (data.with_extension("jsonl"), running::config(data)?);
    lines::write(&file, messages)?;
    let options = import::Options {
        input: import::Input::lines(file),
        identify: None,
        gateway: running::Running::read(data)?.http,
        token: token(&config, "bench-import", true)?,
        window: 4096,
        progress: false,
    };
    let summary = import(&options, |line, code, reason| tracing::warn!(line, code, reason, "refused")).await?;
    let refused: u64 = summary.tally.rejected.values().sum();
    ensure!(refused == 0, "{refused} of {messages} messages were refused");
    shown(&config, true).await?;
    Ok(summary.tally.accepted)
}

/// A token for this user.
///
/// # Errors
/// The tenant has no key.
pub fn token(config: &Config, user: &str, service: bool) -> anyhow::Result<String> {
    let keys = connect::tenant_keys(&config.tenants)?;
    tenants::token(&keys, &TENANT.try_into()?, &user.try_into()?, None, TOKEN_TTL, service)
}

/// Waits until the Redis views, and the history where that is wanted, show all that is in the log now.
///
/// # Errors
/// They do not in time.
pub async fn shown(config: &Config, history: bool) -> anyhow::Result<()> {
    let options = audit::Options { clickhouse: history, ..audit::Options::default() };
    let audit = Audit::connect(config, &options).await?.ok().context("the log contradicts itself")?;
    ensure!(audit.is_shown(SHOWN_WITHIN).await?, "the views do not show the log in time");
    Ok(())
}
