//! The configuration: one struct, a field per role, from `natter.toml` and `NATTER_<SECTION>_<KEY>`.
//!
//! Unknown keys are refused and all problems are listed at once. Secrets do not show in `Debug`.

mod check;
mod keys;
mod secret;
mod sections;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

pub use self::check::Need;
pub use self::secret::Secret;
pub use self::sections::{
    ArchiveSection, ClickHouseSection, GatewaySection, LogSection, ProjectorSection, RedisSection, S3Section,
    TelemetrySection, TenantsSection,
};

/// Everything that a process can be told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// The archive.
    pub archive: ArchiveSection,
    /// Metrics and health.
    pub telemetry: TelemetrySection,
}

/// Every problem of a configuration, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// Each problem.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

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
        let text_only =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self::parse(&text, std::env::vars_os().filter_map(text_only))
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
        keys::check(&mut table, &mut problems);
        keys::take_environment(&mut table, environment, &mut problems);
        let config = match toml::Value::Table(table).try_into::<Self>() {
            Ok(config) => config,
            // A number that its field cannot hold.
            Err(error) => {
                problems.push(error.to_string().trim().replace('\n', " "));
                return Err(ConfigError(problems));
            }
        };
        config.check(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
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
        let text =
            "[log]\npartitions = 3\nreplicas = 'x'\nfoo = 1\n[gatway]\nlisten = 'a'\n[gateway]\nlisten = 'nowhere'";
        let error = parse(text, &[("NATTER_S3_BUCKET", "b"), ("NATTER_LOG_OUTCOME_BYTES_MAX", "many")])
            .unwrap_err()
            .to_string();
        for part in [
            "log.foo",
            "log.replicas is string",
            "gatway",
            "NATTER_LOG_OUTCOME_BYTES_MAX",
            "log.partitions is 3",
            "gateway.listen is `nowhere`",
            "6 problem",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let config = parse(
            "[log]\npartitions = 8",
            &[
                ("NATTER_LOG_PARTITIONS", "16"),
                ("NATTER_REDIS_URL", "redis://h"),
                ("NATTER_GATEWAY_ORIGINS", "https://a.example, https://b.example:8443"),
            ],
        )
        .unwrap();
        assert_eq!(config.log.partitions, 16);
        assert_eq!(config.redis.url.unwrap().expose(), "redis://h");
        assert_eq!(config.gateway.origins, ["https://a.example", "https://b.example:8443"]);
    }

    #[test]
    fn unknown_variables_are_refused_by_name() {
        let error = parse("", &[("NATTER_NATS_URL", "nats://h"), ("NATTER_LOG_SIZE", "1")]).unwrap_err().to_string();
        for part in
            ["unknown variable NATTER_NATS_URL", "NATTER_LOG_…", "unknown variable NATTER_LOG_SIZE", "NATTER_LOG_URL"]
        {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        let of_others = [
            ("NATTER_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("NATTER_GATEWAY_SERVICE_PORT_HTTP", "80"),
            ("NATTER_GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("NATTER_GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("NATTER_LOG_SIZE", ""),
            ("NATTERER", "x"),
        ];
        assert!(parse("", &of_others).is_ok());
    }

    #[test]
    fn several_servers_of_the_log_are_one_url() {
        let url = |url: &str| parse("", &[("NATTER_LOG_URL", url)]);
        assert!(url("nats://u:p@a:4222, nats://u:p@b:4222,nats://u:p@c:4222").is_ok());
        let error = url("nats://u:hush@a:4222,nats://u:hush@b:x").unwrap_err().to_string();
        assert!(error.contains("log.url: the url of nats cannot be read") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn outcomes_get_room_for_a_whole_backlog() {
        let error = parse("[log]\ncommand_bytes_max = 67108864\noutcome_bytes_max = 67108864", &[]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("log.outcome_bytes_max is 67108864, less than 7 times"), "{error}");
        assert!(parse("[log]\ncommand_bytes_max = 1073741824", &[]).is_ok(), "the other goes by it");
    }

    #[test]
    fn secrets_do_not_show() {
        let config = parse("[redis]\nurl = 'redis://:hush@h'", &[]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn what_a_process_needs_is_listed_at_once() {
        let config = parse("[log]\nurl = 'nats://h'", &[]).unwrap();
        let error = config.require(&[Need::Log, Need::Redis, Need::S3]).unwrap_err().to_string();
        for part in ["redis.url", "NATTER_REDIS_URL", "s3.endpoint", "s3.secret_key", "4 problem"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(!error.contains("log.url"), "{error}");
        assert_eq!(config.require(&[Need::Log]), Ok(()));
    }

    #[test]
    fn what_is_no_origin_is_refused_by_name() {
        let text = "[gateway]\norigins = ['https://a.example/', 'https://b.example/chat', 'file://', '*', 'https://c.example']";
        let error = parse(text, &[]).unwrap_err().to_string();
        for part in [
            "gateway.origins: `https://a.example/` is no origin such as https://app.example: it goes on after the host",
            "`https://b.example/chat`",
            "`file://` is no origin such as https://app.example: nothing stands after its scheme",
            "`*`",
            "4 problem",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn audiences_are_for_all_or_for_one() {
        let text = "[tenants]\naudience = 'https://chat.example'\naudiences = { acme = 'https://acme.example' }";
        let tenants = parse(text, &[]).unwrap().tenants;
        assert_eq!(tenants.audience.as_deref(), Some("https://chat.example"));
        assert_eq!(tenants.audiences["acme"], "https://acme.example");
        let error =
            parse("[tenants]\naudience = ''\naudiences = { Acme = 'x', acme = '' }", &[]).unwrap_err().to_string();
        for part in
            ["tenants.audience is empty", "tenants.audiences: `Acme`", "tenants.audiences.acme is empty", "3 problem"]
        {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn keys_and_s3_are_checked() {
        let error = parse("[tenants]\nmaster = 'short'\nkeys = { Demo = 'short' }\n[s3]\nendpoint = 'http://h'", &[]);
        let error = error.unwrap_err().to_string();
        for part in ["tenants.master has 5", "tenants.keys.Demo has 5", "`Demo` is no tenant", "go together"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
}
