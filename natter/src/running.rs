//! Where a system runs: the one line that `up --json` prints, kept in `DATA/run.json` for the other subcommands.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use natter_nats::server::ServerRole;
use natter_schemas::names::Tenant;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::backends::{Analysts, ClickHouse, Endpoints, S3, write_private};
use crate::config::{Config, Secret};
use crate::tenants;

/// The file's name in the data folder.
pub const FILE: &str = "run.json";

/// Where everything of a running system is; each a URL with the credentials of a user who may do everything.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    /// Always true: the line is printed when the system is ready.
    pub ready: bool,
    /// The gateway.
    pub http: String,
    /// Metrics and, beside them, the health of the process.
    pub metrics: String,
    /// The log.
    pub nats: String,
    /// The Redis views.
    pub redis: String,
    /// The history.
    pub clickhouse: String,
    /// Objects.
    pub s3: String,
    /// The history again, with a user who may read it: for people with SQL.
    pub analyst: String,
    /// The log, the views and the history with users who may read everything: for tools that look.
    pub auditor: Auditor,
    /// The process.
    pub pid: u32,
    /// Partitions of the log.
    pub partitions: u16,
    /// Replicas of each stream.
    pub replicas: usize,
}

/// By which the tools that look reach a system.
#[derive(Clone, Serialize, Deserialize)]
pub struct Auditor {
    /// The log.
    pub nats: String,
    /// The Redis views.
    pub redis: String,
    /// The history.
    pub clickhouse: String,
}

impl Running {
    /// This process's system: the gateway at `http`, the private port at `metrics`.
    pub fn new(http: String, metrics: String, endpoints: &Endpoints, config: &Config) -> Self {
        let S3 { endpoint, access_key, secret_key, .. } = &endpoints.s3;
        let auditor = endpoints.of(ServerRole::Auditor);
        Self {
            ready: true,
            http,
            metrics,
            nats: endpoints.nats_url.clone(),
            redis: endpoints.redis_url.clone(),
            clickhouse: history_url(&endpoints.clickhouse),
            s3: with_credentials(endpoint, access_key, secret_key),
            analyst: history_url(&endpoints.analyst),
            auditor: Auditor {
                nats: auditor.nats_url,
                redis: auditor.redis_url,
                clickhouse: history_url(&auditor.clickhouse),
            },
            pid: std::process::id(),
            partitions: config.log.partitions,
            replicas: config.log.replicas,
        }
    }

    /// Reads `DATA/run.json`.
    ///
    /// # Errors
    /// Nothing runs there; the message names the folder and the option.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let folder = data.display();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "no system runs in {folder}: start one with `natter up --data {folder}`, or name its data folder with --data or its configuration with --config"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let running: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is not what natter wrote", path.display()))?;
        let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            bail!(
                "no system runs in {folder} any more, process {} was killed: start it again with `natter up --data {folder}`",
                running.pid
            );
        }
        Ok(running)
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

    /// Where the process says whether it is ready.
    pub fn readyz(&self) -> String {
        format!("{}/readyz", self.metrics.trim_end_matches("/metrics"))
    }
}

/// The configuration by which the system that runs in `data` is reached, as a user who may do everything.
///
/// # Errors
/// Nothing runs there.
pub fn config(data: &Path) -> anyhow::Result<Config> {
    let running = Running::read(data)?;
    let (s3_endpoint, s3_access_key, s3_secret_key) = split_credentials(&running.s3);
    let mut config = Config { tenants: tenants::read(data)?, ..Config::default() };
    config.log.url = Some(Secret::new(running.nats));
    config.log.partitions = running.partitions;
    config.log.replicas = running.replicas;
    config.redis.url = Some(Secret::new(running.redis));
    ask_history_at(&mut config, &running.clickhouse);
    config.s3.endpoint = Some(s3_endpoint);
    config.s3.access_key = Some(s3_access_key);
    config.s3.secret_key = Some(Secret::new(s3_secret_key));
    Ok(config)
}

/// The same as a user who may read everything and write nothing.
///
/// # Errors
/// Nothing runs there.
pub fn auditors_config(data: &Path) -> anyhow::Result<Config> {
    let Auditor { nats, redis, clickhouse } = Running::read(data)?.auditor;
    let mut config = config(data)?;
    config.log.url = Some(Secret::new(nats));
    config.redis.url = Some(Secret::new(redis));
    ask_history_at(&mut config, &clickhouse);
    Ok(config)
}

/// The history alone, as a user who may read it.
///
/// # Errors
/// Nothing runs there.
pub fn analysts_config(data: &Path) -> anyhow::Result<Config> {
    let mut config = Config::default();
    ask_history_at(&mut config, &Running::read(data)?.analyst);
    Ok(config)
}

/// The history alone, as the analyst of one tenant.
///
/// # Errors
/// Nothing runs there, or the tenant has no analyst.
pub fn tenants_analysts_config(data: &Path, tenant: &Tenant) -> anyhow::Result<Config> {
    Running::read(data)?;
    let mut config = Config::default();
    ask_history_at(&mut config, &history_url(&Analysts::read(data)?.endpoint(data, tenant)?));
    Ok(config)
}

fn ask_history_at(config: &mut Config, url: &str) {
    let (url, user, password) = split_credentials(url);
    config.clickhouse.url = Some(url);
    config.clickhouse.user = user;
    config.clickhouse.password = Some(Secret::new(password));
}

/// `http://user:password@host:port` of these.
pub fn history_url(of: &ClickHouse) -> String {
    with_credentials(&of.url, &of.user, &of.password)
}

/// Forgets that a system runs in `data`.
pub fn forget(data: &Path) {
    if let Err(error) = std::fs::remove_file(data.join(FILE))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove run.json");
    }
}

/// `http://user:password@host:port`.
fn with_credentials(url: &str, user: &str, password: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}:{}@{rest}", escaped(user), escaped(password)),
        None => url.to_owned(),
    }
}

/// URL, user and password of `http://user:password@host:port`.
fn split_credentials(url: &str) -> (String, String, String) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (credentials, host) = rest.split_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        Some((format!("{scheme}://{host}"), unescaped(user)?, unescaped(password)?))
    });
    parts.unwrap_or_else(|| (url.to_owned(), String::new(), String::new()))
}

/// RFC 3986, section 2.1: all but the unreserved characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("memory");
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_any_characters_come_back() {
        for (user, password) in [("default", "0af3"), ("a:b@c", "p/%?#é ü"), ("", "")] {
            let url = with_credentials("http://host:1", user, password);
            assert_eq!(split_credentials(&url), ("http://host:1".to_owned(), user.to_owned(), password.to_owned()));
        }
        assert_eq!(split_credentials("http://host:1").0, "http://host:1");
    }

    #[test]
    fn a_folder_without_a_system_is_named() {
        let data = tempfile::tempdir().unwrap();
        let error = Running::read(data.path()).err().unwrap().to_string();
        assert!(error.contains(data.path().to_str().unwrap()) && error.contains("--data"), "{error}");
    }
}
