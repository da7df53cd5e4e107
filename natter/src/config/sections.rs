//! The sections of `natter.toml`, with their defaults.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;

/// NATS.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `nats://user:password@host:port`, several separated by commas; `None`: `up` starts one.
    pub url: Option<Secret>,
    /// Partitions of a log that is made now; a log that is there must have as many.
    pub partitions: u16,
    /// Replicas of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Room for each command stream, in bytes; `None`: by the other of the two, else `up` goes by the disk and `setup` takes 256 MiB.
    pub command_bytes_max: Option<u64>,
    /// Room for each outcome stream, in bytes; `None`: by the other of the two, else `up` goes by the disk and `setup` takes 3.75 GiB.
    pub outcome_bytes_max: Option<u64>,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { url: None, partitions: 4, replicas: 1, command_bytes_max: None, outcome_bytes_max: None }
    }
}

/// Redis.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSection {
    /// `redis://user:password@host:port`; `None`: `up` starts one.
    pub url: Option<Secret>,
}

/// ClickHouse.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseSection {
    /// `http://host:port`; `None`: `up` starts one.
    pub url: Option<String>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// The analysts' database; the tables lie in `<database>_store`.
    pub database: String,
}

impl Default for ClickHouseSection {
    fn default() -> Self {
        Self { url: None, user: "default".to_owned(), password: None, database: "natter".to_owned() }
    }
}

/// S3.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
#[serde(default, deny_unknown_fields)]
pub struct TenantsSection {
    /// Derives the key of every tenant that has none of its own.
    pub master: Option<Secret>,
    /// Keys of tenants, by name.
    pub keys: BTreeMap<String, Secret>,
    /// Whom tokens have to be for (`aud`), of every tenant that has no audience of its own.
    pub audience: Option<String>,
    /// Audiences of tenants, by name.
    pub audiences: BTreeMap<String, String>,
}

/// The gateway role.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// Where clients connect, `host:port`.
    pub listen: String,
    /// Origins of pages that may connect beside the gateway's own: scheme, host, and port where it is not the scheme's.
    pub origins: Vec<String>,
    /// Commands a second of one session, in the long run.
    pub commands_per_second: u32,
    /// Commands of one session at once.
    pub commands_burst: u32,
    /// Reads a second of one user, in the long run.
    pub reads_per_second: u32,
    /// Reads of one user at once.
    pub reads_burst: u32,
    /// Connections at a time, sessions included.
    pub connections_max: usize,
    /// Sessions of one user at a time.
    pub user_sessions_max: usize,
    /// How long the head of a request may take to arrive, and again its body.
    pub request_seconds_max: u64,
    /// How often a session is pinged; after two intervals of silence it is closed.
    pub ping_seconds: u64,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            origins: Vec::new(),
            commands_per_second: 50,
            commands_burst: 200,
            reads_per_second: 100,
            reads_burst: 400,
            connections_max: 65_536,
            user_sessions_max: 100,
            request_seconds_max: 10,
            ping_seconds: 25,
        }
    }
}

/// The projector role.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorSection {
    /// Which views this process keeps: `redis`, `clickhouse`, `archive`.
    pub views: Vec<String>,
}

impl Default for ProjectorSection {
    fn default() -> Self {
        Self { views: vec!["redis".to_owned(), "clickhouse".to_owned(), "archive".to_owned()] }
    }
}

/// The archive in S3, which the projector that keeps the view `archive` fills.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveSection {
    /// Bytes of outcome batches that are closed into one segment; a segment is in memory while it is made.
    pub segment_bytes: u64,
    /// What is so old is closed into a segment, however little it is.
    pub segment_seconds: u64,
    /// NATS keeps outcomes for so long; what is older, archived and in every view is trimmed.
    pub keep_seconds: u64,
}

impl Default for ArchiveSection {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, segment_seconds: 3600, keep_seconds: 7 * 24 * 3600 }
    }
}

/// Metrics and health.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySection {
    /// Where `/metrics`, `/healthz` and `/readyz` are served, `host:port`, private; `None`: port 9464 of loopback for a role's
    /// process, any free one for `up`.
    pub listen: Option<String>,
}

impl TelemetrySection {
    /// Where a role's process serves them.
    pub fn role_listen(&self) -> &str {
        self.listen.as_deref().unwrap_or("127.0.0.1:9464")
    }
}
