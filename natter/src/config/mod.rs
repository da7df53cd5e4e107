//! The configuration: one struct, a field per role, from `natter.toml` and `NATTER_<SECTION>_<KEY>`.
//!
//! Unknown keys are refused and all problems are listed at once. Secrets do not show in `Debug`.

mod keys;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use natter_schemas::names::Tenant;
use serde::Deserialize;

pub use self::secret::Secret;

/// Everything that a process can be told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The log.
    pub log: LogSection,
    /// Redis.
    pub redis: RedisSection,
    /// ClickHouse.
    pub clickhouse: ClickHouseSection,
    /// S3.
    pub s3: S3Section,
    /// Whose tokens are taken.
    pub tenants: TenantsSection,
    /// The gateway role.
    pub gateway: GatewaySection,
    /// The projector role.
    pub projector: ProjectorSection,
    /// Metrics and health.
    pub telemetry: TelemetrySection,
}

/// NATS.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LogSection {
    /// `nats://user:password@host:port`, several separated by commas; `None`: `up` starts one.
    pub url: Option<Secret>,
    /// Partitions of a log that is made now; a log that is there must have as many.
    pub partitions: u16,
    /// Replicas of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Room for each command stream, in bytes.
    pub command_bytes_max: u64,
    /// Room for each outcome stream, in bytes.
    pub outcome_bytes_max: u64,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { url: None, partitions: 4, replicas: 1, command_bytes_max: 2 << 30, outcome_bytes_max: 16 << 30 }
    }
}

/// Redis.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RedisSection {
    /// `redis://:password@host:port`; `None`: `up` starts one.
    pub url: Option<Secret>,
}

/// ClickHouse.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ClickHouseSection {
    /// `http://host:port`; `None`: `up` starts one.
    pub url: Option<String>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
}

impl Default for ClickHouseSection {
    fn default() -> Self {
        Self { url: None, user: "default".to_owned(), password: None }
    }
}

/// S3.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct S3Section {
    /// `http://host:port`; `None`: `up` starts one.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The bucket, made where it is missing.
    pub bucket: String,
    /// The access key.
    pub access_key: Option<String>,
    /// The secret key.
    pub secret_key: Option<Secret>,
}

impl Default for S3Section {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".to_owned(),
            bucket: "natter".to_owned(),
            access_key: None,
            secret_key: None,
        }
    }
}

/// Whose tokens are taken.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TenantsSection {
    /// Derives the key of every tenant that has none of its own.
    pub master: Option<Secret>,
    /// Keys of tenants, by name.
    pub keys: BTreeMap<String, Secret>,
}

/// The gateway role.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct GatewaySection {
    /// Where clients connect, `host:port`.
    pub listen: String,
    /// Origins of pages that may connect beside the gateway's own.
    pub origins: Vec<String>,
    /// Commands a second of one session, in the long run.
    pub commands_per_second: u32,
    /// Commands of one session at once.
    pub commands_burst: u32,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            origins: Vec::new(),
            commands_per_second: 50,
            commands_burst: 200,
        }
    }
}

/// The projector role.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ProjectorSection {
    /// Which views this process keeps: `redis`, `clickhouse` or both.
    pub views: Vec<String>,
}

impl Default for ProjectorSection {
    fn default() -> Self {
        Self { views: vec!["redis".to_owned(), "clickhouse".to_owned()] }
    }
}

/// Metrics and health.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct TelemetrySection {
    /// Where `/metrics`, `/healthz` and `/readyz` are served, `host:port`; private.
    pub listen: String,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned() }
    }
}

/// Every problem of a configuration, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(formatter, "\n  - {problem}"))
    }
}

impl Config {
    /// Reads `file` (none: only the environment) and the `NATTER_*` variables on top.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError(vec![format!("cannot read {}: {error}", path.display())]))?,
        };
        Self::parse(&text, std::env::vars())
    }

    /// The configuration in `text` with `NATTER_*` of `environment` on top.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut table = text.parse::<toml::Table>().unwrap_or_else(|error| {
            problems.push(error.to_string().trim().replace('\n', " "));
            toml::Table::new()
        });
        keys::check(&table, &mut problems);
        keys::take_environment(&mut table, environment, &mut problems);
        // Values of the wrong type were named above; the rest is still worth checking.
        let config = match toml::Value::Table(table).try_into::<Self>() {
            Ok(config) => config,
            Err(_) if !problems.is_empty() => return Err(ConfigError(problems)),
            Err(error) => return Err(ConfigError(vec![error.to_string().trim().replace('\n', " ")])),
        };
        config.check(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn check(&self, problems: &mut Vec<String>) {
        let mut say = |bad: bool, problem: String| problems.extend(bad.then_some(problem));
        let log = &self.log;
        let partitions = log.partitions;
        let most = natter_schemas::limits::PARTITIONS_MAX;
        say(
            !partitions.is_power_of_two() || partitions > most,
            format!("log.partitions is {partitions}, not a power of two up to {most}"),
        );
        say(![1, 3, 5].contains(&log.replicas), format!("log.replicas is {}, not 1, 3 or 5", log.replicas));
        for (name, bytes) in
            [("command_bytes_max", log.command_bytes_max), ("outcome_bytes_max", log.outcome_bytes_max)]
        {
            say(bytes < 64 << 20, format!("log.{name} is {bytes}, less than 64 MiB"));
        }
        for (name, address) in [("gateway.listen", &self.gateway.listen), ("telemetry.listen", &self.telemetry.listen)]
        {
            say(address.parse::<SocketAddr>().is_err(), format!("{name} is `{address}`, not an address and port"));
        }
        say(
            self.gateway.commands_per_second == 0 || self.gateway.commands_burst == 0,
            "gateway.commands_per_second and gateway.commands_burst are at least 1".to_owned(),
        );
        for view in &self.projector.views {
            say(
                !["redis", "clickhouse"].contains(&view.as_str()),
                format!("projector.views names `{view}`; there are redis and clickhouse"),
            );
        }
        for tenant in self.tenants.keys.keys() {
            let bad = Tenant::try_from(tenant.as_str()).err();
            say(bad.is_some(), format!("tenants.keys: `{tenant}` is no tenant's name: it {}", bad.map_or(String::new(), |e| e.to_string())));
        }
        for (name, key) in self.tenants.keys.iter().map(|(name, key)| (name.as_str(), key)).chain(
            self.tenants.master.iter().map(|master| ("master", master)),
        ) {
            say(
                key.expose().len() < 32,
                format!("tenants: the key `{name}` has {} bytes; HS256 needs 32 or more", key.expose().len()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(text, environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn nothing_given_is_a_valid_configuration() {
        assert_eq!(parse("", &[]).unwrap().log.partitions, 4);
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let text = "[log]\npartitions = 3\nreplicas = 'x'\nfoo = 1\n[gatway]\nlisten = 'a'\n[gateway]\nlisten = 'nowhere'";
        let error = parse(text, &[("NATTER_LOG_REPLICAS", "many")]).unwrap_err().to_string();
        for part in ["log.foo", "log.replicas", "gatway", "NATTER_LOG_REPLICAS"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        let error = parse("[log]\npartitions = 3\n[gateway]\nlisten = 'nowhere'", &[]).unwrap_err().to_string();
        assert!(error.contains("partitions is 3") && error.contains("`nowhere`"), "{error}");
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let config = parse(
            "[log]\npartitions = 8",
            &[("NATTER_LOG_PARTITIONS", "16"), ("NATTER_REDIS_URL", "redis://h"), ("NATTER_GATEWAY_ORIGINS", "a,b")],
        )
        .unwrap();
        assert_eq!(config.log.partitions, 16);
        assert_eq!(config.redis.url.unwrap().expose(), "redis://h");
        assert_eq!(config.gateway.origins, ["a", "b"]);
    }

    #[test]
    fn secrets_do_not_show() {
        let config = parse("[redis]\nurl = 'redis://:hush@h'", &[]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
