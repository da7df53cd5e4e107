//! What a configuration must be beyond its types, and what each process cannot do without.

use std::net::SocketAddr;

use natter_gateway::auth::Origin;
use natter_nats::{StreamBytes, servers};
use natter_schemas::limits::PARTITIONS_MAX;
use natter_schemas::names::Tenant;

use super::{Config, ConfigError};

/// The least room for a stream: some batches of the largest size.
const COMMAND_BYTES_MIN: u64 = 4 << 20;
const OUTCOME_BYTES_MIN: u64 = 64 << 20;
/// HS256 is as strong as its hash only with a key of as many bytes.
const KEY_BYTES_MIN: usize = 32;
const VIEWS: [&str; 3] = ["redis", "clickhouse", "archive"];
/// A segment is an object and a manifest: smaller ones are mostly names. Larger ones are in memory, twice.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 20;

/// Something that a process connects to or is told, and that has no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `log.url`
    Log,
    /// `redis.url`
    Redis,
    /// `clickhouse.url`
    ClickHouse,
    /// `s3.endpoint` and its keys.
    S3,
    /// A tenant's key.
    Tenants,
}

impl Config {
    /// Whether everything that a process needs is configured.
    ///
    /// # Errors
    /// Every key that is missing.
    pub fn require(&self, needs: &[Need]) -> Result<(), ConfigError> {
        let keys = |need| match need {
            Need::Log => vec![("log.url", self.log.url.is_some())],
            Need::Redis => vec![("redis.url", self.redis.url.is_some())],
            Need::ClickHouse => vec![("clickhouse.url", self.clickhouse.url.is_some())],
            Need::S3 => vec![
                ("s3.endpoint", self.s3.endpoint.is_some()),
                ("s3.access_key", self.s3.access_key.is_some()),
                ("s3.secret_key", self.s3.secret_key.is_some()),
            ],
            Need::Tenants => {
                vec![("tenants.master", self.tenants.master.is_some() || !self.tenants.keys.is_empty())]
            }
        };
        let missing: Vec<_> = needs
            .iter()
            .flat_map(|need| keys(*need))
            .filter(|(_, is_given)| !is_given)
            .map(|(key, _)| {
                let variable = key.to_uppercase().replace('.', "_");
                format!("{key} is missing: set it in natter.toml or by NATTER_{variable}")
            })
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(ConfigError(missing)) }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        self.check_log(problems);
        self.check_stores(problems);
        self.check_addresses(problems);
        self.check_gateway(problems);
        self.check_archive(problems);
        self.check_tenants(problems);
    }

    fn check_log(&self, problems: &mut Vec<String>) {
        let log = &self.log;
        if !log.partitions.is_power_of_two() || log.partitions > PARTITIONS_MAX {
            problems.push(format!("log.partitions is {}, not a power of two up to {PARTITIONS_MAX}", log.partitions));
        }
        if ![1, 3, 5].contains(&log.replicas) {
            problems.push(format!("log.replicas is {}, not 1, 3 or 5", log.replicas));
        }
        let sizes = [
            ("command_bytes_max", log.command_bytes_max, COMMAND_BYTES_MIN),
            ("outcome_bytes_max", log.outcome_bytes_max, OUTCOME_BYTES_MIN),
        ];
        for (name, bytes, least) in sizes {
            if let Some(bytes) = bytes.filter(|bytes| *bytes < least) {
                problems.push(format!("log.{name} is {bytes}, less than {} MiB", least >> 20));
            }
        }
        let sizes = StreamBytes::given(log.command_bytes_max, log.outcome_bytes_max);
        problems.extend(sizes.check().err().map(|error| error.to_string()));
        if let Some(Err(error)) = log.url.as_ref().map(|url| servers(url.expose())) {
            problems.push(format!("log.url: {error}"));
        }
    }

    fn check_stores(&self, problems: &mut Vec<String>) {
        let database = &self.clickhouse.database;
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if database.is_empty() || !database.chars().all(named) {
            problems.push(format!("clickhouse.database is `{database}`: a-z, 0-9 and _ are possible"));
        }
        let s3 = &self.s3;
        let given = [s3.endpoint.is_some(), s3.access_key.is_some(), s3.secret_key.is_some()];
        if given != [given[0]; 3] {
            problems.push("s3.endpoint, s3.access_key and s3.secret_key go together".to_owned());
        }
        for view in self.projector.views.iter().filter(|view| !VIEWS.contains(&view.as_str())) {
            problems.push(format!("projector.views names `{view}`; there are {}", VIEWS.join(", ")));
        }
        if self.projector.views.is_empty() {
            problems.push(format!("projector.views is empty; there are {}", VIEWS.join(", ")));
        }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        let gateway = Some(("gateway", &self.gateway.listen));
        let telemetry = self.telemetry.listen.as_ref().map(|address| ("telemetry", address));
        for (section, address) in gateway.into_iter().chain(telemetry) {
            if address.parse::<SocketAddr>().is_err() {
                problems.push(format!(
                    "{section}.listen is `{address}`, not an IP address and port such as 127.0.0.1:8080"
                ));
            }
        }
    }

    fn check_gateway(&self, problems: &mut Vec<String>) {
        let gateway = &self.gateway;
        let least = [
            ("commands_per_second", gateway.commands_per_second == 0),
            ("commands_burst", gateway.commands_burst == 0),
            ("reads_per_second", gateway.reads_per_second == 0),
            ("reads_burst", gateway.reads_burst == 0),
            ("connections_max", gateway.connections_max == 0),
            ("user_sessions_max", gateway.user_sessions_max == 0),
            ("request_seconds_max", gateway.request_seconds_max == 0),
            ("ping_seconds", gateway.ping_seconds == 0),
        ];
        for (name, _) in least.into_iter().filter(|(_, is_zero)| *is_zero) {
            problems.push(format!("gateway.{name} is 0, at least 1 is possible"));
        }
        for origin in &gateway.origins {
            if let Err(error) = origin.parse::<Origin>() {
                problems.push(format!("gateway.origins: `{origin}` is no origin such as https://app.example: {error}"));
            }
        }
    }

    fn check_archive(&self, problems: &mut Vec<String>) {
        let archive = &self.archive;
        if !SEGMENT_BYTES.contains(&archive.segment_bytes) {
            problems.push(format!("archive.segment_bytes is {}, not 64 KiB to 256 MiB", archive.segment_bytes));
        }
        if archive.segment_seconds == 0 {
            problems.push("archive.segment_seconds is 0, at least 1 is possible".to_owned());
        }
    }

    fn check_tenants(&self, problems: &mut Vec<String>) {
        let keys = self.tenants.keys.keys().map(|tenant| ("keys", tenant));
        let audiences = self.tenants.audiences.keys().map(|tenant| ("audiences", tenant));
        for (section, tenant) in keys.chain(audiences) {
            if let Err(error) = Tenant::try_from(tenant.as_str()) {
                problems.push(format!("tenants.{section}: `{tenant}` is no tenant's name: it {error}"));
            }
        }
        let audience = self.tenants.audience.iter().map(|audience| ("tenants.audience".to_owned(), audience));
        let audiences = self.tenants.audiences.iter();
        let audiences = audiences.map(|(tenant, audience)| (format!("tenants.audiences.{tenant}"), audience));
        for (name, _) in audience.chain(audiences).filter(|(_, audience)| audience.is_empty()) {
            problems.push(format!("{name} is empty: leave it out where tokens need not say whom they are for"));
        }
        let master = self.tenants.master.iter().map(|key| ("tenants.master".to_owned(), key));
        let keys = self.tenants.keys.iter().map(|(tenant, key)| (format!("tenants.keys.{tenant}"), key));
        for (name, key) in master.chain(keys) {
            let bytes = key.expose().len();
            if bytes < KEY_BYTES_MIN {
                problems.push(format!("{name} has {bytes} bytes; HS256 needs {KEY_BYTES_MIN} or more"));
            }
        }
    }
}
