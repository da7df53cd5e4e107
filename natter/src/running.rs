//! Where a system runs: the one line that `up --json` prints, kept in `DATA/run.json` for the other subcommands.

use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::backends::write_private;
use crate::config::{Config, Secret};
use crate::tenants::Master;

/// The file's name in the data folder.
pub const FILE: &str = "run.json";

/// Where everything of a running system is; each a URL with its credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    /// Always true: the line is printed when the system is ready.
    pub ready: bool,
    /// The gateway.
    pub http: String,
    /// Metrics and health of the process.
    pub metrics: String,
    /// The log.
    pub nats: String,
    /// The Redis views.
    pub redis: String,
    /// The history.
    pub clickhouse: String,
    /// Objects.
    pub s3: String,
    /// The process.
    pub pid: u32,
    /// Partitions of the log.
    pub partitions: u16,
}

impl Running {
    /// Reads `DATA/run.json`.
    ///
    /// # Errors
    /// Nothing runs there; the message names the folder and the option.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "no system runs in {}: start one with `natter up --data {}`, or name its data folder with --data or its configuration with --config",
                data.display(),
                data.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not what natter wrote", path.display()))
    }

    /// The line for programs.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("plain texts and numbers")
    }

    /// Writes `DATA/run.json`, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        write_private(&data.join(FILE), self.line().as_bytes())
    }
}

/// The configuration by which the system that runs in `data` is reached.
///
/// # Errors
/// Nothing runs there.
pub fn config(data: &Path) -> anyhow::Result<Config> {
    let running = Running::read(data)?;
    let (clickhouse_url, clickhouse_user, clickhouse_password) = split_credentials(&running.clickhouse);
    let (s3_endpoint, s3_access_key, s3_secret_key) = split_credentials(&running.s3);
    let mut config = Config::default();
    config.log.url = Some(Secret::new(running.nats));
    config.log.partitions = running.partitions;
    config.redis.url = Some(Secret::new(running.redis));
    config.clickhouse.url = Some(clickhouse_url);
    config.clickhouse.user = clickhouse_user;
    config.clickhouse.password = Some(Secret::new(clickhouse_password));
    config.s3.endpoint = Some(s3_endpoint);
    config.s3.access_key = Some(s3_access_key);
    config.s3.secret_key = Some(Secret::new(s3_secret_key));
    config.tenants.master = Some(Secret::new(Master::read(data)?.expose().to_owned()));
    Ok(config)
}

/// URL, user and password of `http://user:password@host:port`.
fn split_credentials(url: &str) -> (String, String, String) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (credentials, host) = rest.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        Some((format!("{scheme}://{host}"), user.to_owned(), password.to_owned()))
    });
    parts.unwrap_or_else(|| (url.to_owned(), String::new(), String::new()))
}

/// Forgets that a system runs in `data`.
pub fn forget(data: &Path) {
    if let Err(error) = std::fs::remove_file(data.join(FILE))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove run.json");
    }
}
