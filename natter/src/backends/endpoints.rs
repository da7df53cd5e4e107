//! Where the backends are, for those who connect to them.

use std::fmt;

use natter_nats::server::ServerRole;

use super::Backend;

/// All four backends' addresses, whether natter started them or they were given, with users who may do everything.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// `nats://user:password@host:port`
    pub nats_url: String,
    /// `redis://user:password@host:port/`
    pub redis_url: String,
    /// The history.
    pub clickhouse: ClickHouse,
    /// Media and the archive.
    pub s3: S3,
    /// The history for people with SQL, who may read it.
    pub analyst: ClickHouse,
    /// The other users, by role.
    pub(super) users: Vec<(ServerRole, Users)>,
}

/// What a role's users are called on the servers, as far as these are natter's own.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) nats_url: Option<String>,
    pub(super) redis_url: Option<String>,
    pub(super) clickhouse: Option<ClickHouse>,
    pub(super) s3: Option<S3>,
}

/// ClickHouse's HTTP interface.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// `http://host:port`
    pub url: String,
    /// One who may do everything.
    pub user: String,
    /// Of that user.
    pub password: String,
}

/// An S3 service; buckets are addressed in the path.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// `http://host:port`
    pub endpoint: String,
    /// Part of each signature.
    pub region: String,
    /// Name of the key pair.
    pub access_key: String,
    /// What signs requests.
    pub secret_key: String,
}

/// Backends that run already: nothing is started for them.
#[derive(Clone, Default)]
pub struct Given {
    /// With user and password where it wants them.
    pub nats_url: Option<String>,
    /// With user and password where it wants them.
    pub redis_url: Option<String>,
    /// Its HTTP interface.
    pub clickhouse: Option<ClickHouse>,
    /// Any S3 service.
    pub s3: Option<S3>,
}

impl Endpoints {
    /// The log, for a process of this role.
    pub fn nats_url_of(&self, role: ServerRole) -> &str {
        let users = self.users.iter().find(|(of, _)| *of == role).and_then(|(_, users)| users.nats_url.as_deref());
        users.unwrap_or(&self.nats_url)
    }

    /// The same for a process of this role: on servers that natter started, with users who may do what that role needs and no more.
    #[must_use]
    pub fn of(&self, role: ServerRole) -> Endpoints {
        let mut own = self.clone();
        let Some((_, users)) = self.users.iter().find(|(of, _)| *of == role).cloned() else { return own };
        own.nats_url = users.nats_url.unwrap_or(own.nats_url);
        own.redis_url = users.redis_url.unwrap_or(own.redis_url);
        own.clickhouse = users.clickhouse.unwrap_or(own.clickhouse);
        own.s3 = users.s3.unwrap_or(own.s3);
        own
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("clickhouse", &self.clickhouse).field("s3", &self.s3).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouse").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("endpoint", &self.endpoint).field("region", &self.region).finish_non_exhaustive()
    }
}

impl Given {
    /// Whether this backend was given.
    pub fn contains(&self, backend: Backend) -> bool {
        match backend {
            Backend::Nats => self.nats_url.is_some(),
            Backend::Redis => self.redis_url.is_some(),
            Backend::S3 => self.s3.is_some(),
            Backend::ClickHouse => self.clickhouse.is_some(),
        }
    }
}
