//! The running system that a load is put on: where it is, how its users sign in, what its processes are.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use natter_gateway::auth::TenantKeys;
use natter_schemas::names::{Tenant, UserId};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::args::Against;
use super::client::Client;
use super::machine::Machine;
use super::processes::Processes;
use super::scrape::Source;
use crate::answers::gateway_of;
use crate::config::Config;
use crate::running::Running;
use crate::{connect, tenants};

/// A token outlives every bench.
const TOKEN_TTL: Duration = Duration::from_hours(24);
/// Sessions that connect at the same time.
const CONNECT_AT_ONCE: usize = 32;
/// Files that are open beside the sockets.
const OTHER_FILES: u64 = 64;

/// A running system.
pub struct System {
    /// The gateway, `http://host:port`.
    pub gateway: String,
    /// The same, found out.
    pub address: SocketAddr,
    /// Its processes' metrics.
    pub metrics: Source,
    /// Its processes on this machine, as far as they are known.
    pub processes: Processes,
    keys: TenantKeys,
    tenant: Tenant,
    config: Config,
    fsync: &'static str,
}

impl System {
    /// The system that the command line means.
    ///
    /// # Errors
    /// Nothing runs there.
    pub async fn of(against: &Against) -> anyhow::Result<Self> {
        let config = against.running.config()?;
        let running = match &against.running.config {
            None => Some(Running::read(&against.running.data)?),
            Some(_) => None,
        };
        let gateway = gateway_of(against.gateway.as_deref(), &against.running)?;
        let host = gateway.strip_prefix("http://").with_context(|| format!("`{gateway}` is no http address"))?;
        let address = tokio::net::lookup_host(host.trim_end_matches('/')).await?.next();
        let mut metrics = against.metrics.clone();
        metrics.extend(running.as_ref().map(|running| running.metrics.clone()));
        let metrics = Source::Addresses(metrics);
        let processes = match &running {
            Some(running) => Processes::with_children("natter", running.pid),
            None => Processes::new(against.process.clone()),
        };
        Ok(Self {
            address: address.with_context(|| format!("{gateway} has no address"))?,
            gateway,
            metrics,
            keys: connect::tenant_keys(&config.tenants)?,
            tenant: against.tenant.clone(),
            config,
            // A broker that `up` started has the configuration that this binary writes.
            fsync: if running.is_some() && processes.has("nats") { "always" } else { "unknown" },
            processes,
        })
    }

    /// The machine and the versions of the system's backends. One that does not say is left out.
    ///
    /// # Errors
    /// The log or Redis is away.
    pub async fn machine(&self) -> anyhow::Result<Machine> {
        let backends = versions(&self.config).await?;
        Ok(Machine::with(backends, self.config.log.partitions, self.fsync))
    }

    /// A token of this user.
    ///
    /// # Errors
    /// The tenant has no key.
    pub fn token(&self, user: &str, service: bool) -> anyhow::Result<String> {
        tenants::token(&self.keys, &self.tenant, &UserId::try_from(user)?, None, TOKEN_TTL, service)
    }

    /// Opens a session for each of these users.
    ///
    /// # Errors
    /// The gateway refuses.
    pub async fn connect(&self, users: &[String]) -> anyhow::Result<Vec<Client>> {
        room_for_files(users.len())?;
        let mut clients = Vec::with_capacity(users.len());
        for some in users.chunks(CONNECT_AT_ONCE) {
            let connecting = some.iter().map(|user| async move {
                let token = self.token(user, false)?;
                Client::connect(self.address, &token).await.with_context(|| format!("session of {user}"))
            });
            clients.extend(try_join_all(connecting).await?);
        }
        Ok(clients)
    }
}

/// The users of a load: each kind has its own, so that none has another's conversations.
pub fn users(kind: &str, count: u32) -> Vec<String> {
    (0..count).map(|index| format!("bench-{kind}-{index}")).collect()
}

/// Lets this process open so many sockets.
///
/// # Errors
/// It may not.
pub fn room_for_files(sockets: usize) -> anyhow::Result<()> {
    let wanted = sockets as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum;
    ensure!(
        maximum.is_none_or(|maximum| maximum >= wanted),
        "{sockets} sockets are more than this process may open ({maximum:?}): raise `ulimit -Hn`"
    );
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// What the backends of this configuration say that they are.
///
/// # Errors
/// The log or Redis is away.
pub async fn versions(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    let log = connect::log(config, "bench").await?;
    let redis = connect::redis(config).await?;
    let mut versions = vec![
        ("nats".to_owned(), log.client().server_info().version),
        ("redis".to_owned(), redis.version().await.context("redis does not say its version")?),
    ];
    let clickhouse = connect::clickhouse(config)?;
    if let Ok(version) = clickhouse.client().query("SELECT version()").fetch_one().await {
        versions.push(("clickhouse".to_owned(), version));
    }
    Ok(versions)
}
