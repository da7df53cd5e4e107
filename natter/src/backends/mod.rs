//! Real servers as child processes: NATS, Redis, S3 and ClickHouse on loopback, without root.
//!
//! `start` takes a data folder and gives back where everything is; each backend then becomes ready by itself, is started again when
//! it dies or hangs, and ends with the process whichever way that ends.

mod analysts;
mod clickhouse;
mod credentials;
mod endpoints;
mod extract;
mod fetch;
mod folder;
mod health;
mod log_file;
mod nats;
mod notice;
mod pins;
mod ports;
mod program;
mod redis;
mod registry;
mod s3;
mod shim;
mod supervised;
mod supervisor;
mod users;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use natter_nats::server::{Fsync, ServerRole};
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::analysts::{Analysts, Foreign, foreign as foreign_analyst};
pub use self::endpoints::{ClickHouse, Endpoints, Given, S3};
pub use self::folder::{Folder, write_private};
pub use self::nats::{connect as nats_connect, connect_options as nats_connect_options};
pub use self::notice::{Notice, Notify};
pub use self::ports::free_port;
pub use self::shim::{BackendExec, backend_exec};
pub use self::supervised::{State, Status};

use self::credentials::Credentials;
use self::endpoints::Users;
use self::log_file::LogFile;
use self::ports::Ports;
use self::program::Candidate;
use self::supervised::Supervised;
use self::supervisor::{Launch, Source, Supervisor};
use self::users::HistoryUser;
use crate::engine::Archive;

/// One of the four servers that natter stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The log: JetStream.
    Nats,
    /// The hot views.
    Redis,
    /// Media and the archive.
    S3,
    /// The history.
    ClickHouse,
}

impl Backend {
    /// In the order of the flow; they are stopped the other way round.
    pub const ALL: [Backend; 4] = [Backend::Nats, Backend::Redis, Backend::S3, Backend::ClickHouse];

    /// As in the names of folders, log files and `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Nats => "nats",
            Backend::Redis => "redis",
            Backend::S3 => "s3",
            Backend::ClickHouse => "clickhouse",
        }
    }

    /// The program that serves it, where there is one on PATH.
    fn candidate(self) -> Candidate {
        match self {
            Backend::Nats => nats::CANDIDATE,
            Backend::Redis => redis::CANDIDATE,
            Backend::S3 => s3::CANDIDATE,
            Backend::ClickHouse => clickhouse::CANDIDATE,
        }
    }

    /// How long after SIGTERM a server is waited for at most.
    fn grace_max(self) -> Duration {
        match self {
            // It waits 15 s for its own inner streams to end. What it has answered is written; a test kills it and reads again.
            Backend::S3 => Duration::from_millis(500),
            _ => Duration::MAX,
        }
    }

    /// One health check, with the credentials that natter itself uses.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn check(self, endpoints: &Endpoints) -> anyhow::Result<()> {
        match self {
            Backend::Nats => nats::check(&endpoints.nats_url).await,
            Backend::Redis => redis::check(&endpoints.redis_url).await,
            Backend::S3 => s3::check(&endpoints.s3).await,
            Backend::ClickHouse => clickhouse::check(&endpoints.clickhouse).await,
        }
    }
}

impl Backend {
    /// Whether a server that was ready still does its work: more than whether it answers at all.
    async fn probe(self, endpoints: &Endpoints) -> anyhow::Result<()> {
        match self {
            Backend::S3 => s3::probe(&endpoints.s3).await,
            _ => self.check(endpoints).await,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How `start` is to start.
pub struct Options {
    /// The data folder; made when it is missing.
    pub data: PathBuf,
    /// The natter binary, whose subcommands `backend-exec` and `clickhouse-server` are the children's parents and ClickHouse.
    pub shim: PathBuf,
    /// Which backends are wanted. The addresses of others are made up as well, but nobody listens there.
    pub which: Vec<Backend>,
    /// Backends that run already.
    pub given: Given,
    /// Partitions of the log, on which the permissions of its users depend.
    pub partitions: u16,
    /// When the broker syncs to disk what it acknowledges.
    pub fsync: Fsync,
    /// The analysts' database; the projector may write into `<database>_store`.
    pub database: String,
    /// The bucket that gateways may use.
    pub bucket: String,
    /// Called, from the supervisor's thread, with what the operator should hear.
    pub notify: Notify,
}

/// The oldest nats-server that is taken: major, minor, patch.
pub const MIN_NATS: program::Version = nats::CANDIDATE.minimum;
/// The oldest ClickHouse that is taken.
pub const MIN_CLICKHOUSE: program::Version = clickhouse::CANDIDATE.minimum;

/// From where a start would take this backend's server; nothing is fetched.
///
/// # Errors
/// It can be had from nowhere; the error says what is missing.
pub async fn source(backend: Backend) -> anyhow::Result<String> {
    fetch::source(backend, backend.candidate()).await
}

/// Addresses and users of the servers that natter starts in this data folder; `None`: it never did.
///
/// # Errors
/// A file there is not what natter wrote.
pub fn endpoints_in(data: &Path, given: &Given) -> anyhow::Result<Option<Endpoints>> {
    let (Some(credentials), Some(ports)) = (Credentials::read(data)?, Ports::read(data)?) else { return Ok(None) };
    Ok(Some(endpoints(&credentials, &ports, given)))
}

/// The running backends. Dropping this kills them; `stop` ends them properly.
#[derive(Debug)]
pub struct Backends {
    endpoints: Arc<Endpoints>,
    running: Vec<(Backend, Supervised)>,
    folder: Folder,
}

/// Locks the data folder and starts what is wanted there, all at once.
///
/// Returns before anything is ready (see [`Backends::ready`]): the addresses and credentials are known by then, but packages may have to be fetched first.
///
/// # Errors
/// When the data folder is in use or cannot be written. A backend that cannot be had or dies is said by [`Backends::ready`].
pub async fn start(options: Options) -> anyhow::Result<Backends> {
    let folder = Folder::open(&options.data).await?;
    let credentials = Credentials::load_or_make(&folder)?;
    let ports = Ports::load_or_choose(&folder)?;
    let analysts = Analysts::load(&folder, &options.database)?;
    let Options { shim, notify, partitions, fsync, bucket, .. } = options;
    let s3 = options.given.s3.clone().unwrap_or_else(|| s3::endpoint(ports.s3, &credentials.s3_clickhouse()));
    let archive = Archive::new(&s3.endpoint, &bucket, &s3.access_key, &s3.secret_key);
    let setup =
        Arc::new(Setup { credentials, ports, partitions, analysts, fsync, bucket, archive, folder, shim, notify });
    let endpoints = Arc::new(endpoints(&setup.credentials, &setup.ports, &options.given));
    let logs = setup.folder.subfolder("logs")?;
    let mut running = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|backend| options.which.contains(backend)) {
        let supervisor = Supervisor {
            backend,
            endpoints: Arc::clone(&endpoints),
            shim: setup.shim.clone(),
            log: LogFile::new(&logs, backend.name()),
            lock: Arc::clone(setup.folder.lock()),
            notify: Arc::clone(&setup.notify),
        };
        let source = if options.given.contains(backend) {
            Source::Given
        } else {
            Source::Child(Arc::clone(&setup).prepare(backend).boxed())
        };
        running.push((backend, supervisor.spawn(source)?));
    }
    Ok(Backends { endpoints, running, folder: setup.folder.clone() })
}

impl Backends {
    /// Where all four are.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The locked data folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Waits until this backend answers its health check.
    ///
    /// # Errors
    /// When it was given up: the error names it, why, its last log lines and its log file.
    pub async fn ready(&self, backend: Backend) -> anyhow::Result<()> {
        self.supervised(backend)?.ready().await
    }

    /// This backend's status and process id, now and as they change; `None` when it was not wanted.
    pub fn state(&self, backend: Backend) -> Option<watch::Receiver<State>> {
        self.supervised(backend).ok().map(Supervised::state)
    }

    /// The process ids of the servers that run at the moment.
    pub fn pids(&self) -> Vec<(Backend, u32)> {
        self.running
            .iter()
            .filter_map(|(backend, supervised)| Some((*backend, supervised.state().borrow().pid?)))
            .collect()
    }

    /// Stops one backend, SIGTERM first, SIGKILL after `grace`; it stays down until [`Backends::start_one`].
    ///
    /// # Errors
    /// When it was not started here.
    pub async fn stop_one(&self, backend: Backend, grace: Duration) -> anyhow::Result<()> {
        self.supervised(backend)?.stop(grace).await;
        Ok(())
    }

    /// Starts a stopped backend again, at the same port and with the same data.
    ///
    /// # Errors
    /// When it was not started here.
    pub fn start_one(&self, backend: Backend) -> anyhow::Result<()> {
        self.supervised(backend)?.start();
        Ok(())
    }

    /// Stops all servers, ClickHouse first and NATS last, and returns when none is left: within `deadline`, after which SIGKILL ends
    /// what SIGTERM has not.
    pub async fn stop(self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut left = u32::try_from(self.running.len()).unwrap_or(1);
        for (backend, supervised) in self.running.iter().rev() {
            let grace = end.saturating_duration_since(Instant::now()) / left;
            left = left.saturating_sub(1).max(1);
            supervised.stop(grace.min(backend.grace_max())).await;
            tracing::debug!(%backend, "stopped");
        }
    }

    fn supervised(&self, backend: Backend) -> anyhow::Result<&Supervised> {
        let found = self.running.iter().find(|(of, _)| *of == backend);
        found.map(|(_, supervised)| supervised).with_context(|| format!("{backend} was not started here"))
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        // All are killed before the first is waited for.
        for (_, supervised) in &mut self.running {
            supervised.kill();
        }
    }
}

/// What preparing a backend's start takes.
struct Setup {
    credentials: Credentials,
    ports: Ports,
    partitions: u16,
    analysts: Analysts,
    fsync: Fsync,
    bucket: String,
    /// Where ClickHouse reads the archive.
    archive: Archive,
    folder: Folder,
    shim: PathBuf,
    notify: Notify,
}

impl Setup {
    /// Finds or fetches the backend's program and writes its config.
    async fn prepare(self: Arc<Self>, backend: Backend) -> anyhow::Result<Launch> {
        let folder = self.folder.subfolder(backend.name())?;
        let (credentials, ports) = (&self.credentials, &self.ports);
        match backend {
            Backend::Nats => {
                let program = fetch::program(backend, backend.candidate(), &self.notify).await?;
                nats::launch(program.path(), &folder, ports.nats, self.partitions, self.fsync, credentials)
            }
            Backend::Redis => {
                let program = fetch::program(backend, backend.candidate(), &self.notify).await?;
                redis::launch(program.path(), &folder, ports.redis, credentials)
            }
            Backend::S3 => {
                let program = fetch::program(backend, backend.candidate(), &self.notify).await?;
                s3::launch(program.path(), &folder, ports.s3, &self.bucket, credentials)
            }
            Backend::ClickHouse => {
                let program = fetch::program(backend, backend.candidate(), &self.notify).await?;
                let (port, analysts, archive) = (ports.clickhouse, &self.analysts, &self.archive);
                let told = clickhouse::Told { port, credentials, analysts, archive };
                clickhouse::launch(&program, &self.shim, &folder, &told)
            }
        }
    }
}

/// Everything's address with its users: those of the servers that are given, and natter's own for the rest.
fn endpoints(credentials: &Credentials, ports: &Ports, given: &Given) -> Endpoints {
    let nats_url = |role| nats::url(ports.nats, role, credentials);
    let redis_url = |role| redis::url(ports.redis, role, credentials);
    let history = |user| clickhouse::endpoint(ports.clickhouse, user, credentials);
    let s3 = |keys| s3::endpoint(ports.s3, &keys);
    let admin = HistoryUser::Role(ServerRole::Admin);
    let of = |role| Users {
        nats_url: given.nats_url.is_none().then(|| nats_url(role)),
        redis_url: given.redis_url.is_none().then(|| redis_url(role)),
        clickhouse: given.clickhouse.is_none().then(|| history(HistoryUser::Role(role))),
        s3: match role {
            _ if given.s3.is_some() => None,
            ServerRole::Gateway => Some(s3(credentials.s3_gateway())),
            ServerRole::Projector => Some(s3(credentials.s3_projector())),
            _ => None,
        },
    };
    Endpoints {
        nats_url: given.nats_url.clone().unwrap_or_else(|| nats_url(ServerRole::Admin)),
        redis_url: given.redis_url.clone().unwrap_or_else(|| redis_url(ServerRole::Admin)),
        clickhouse: given.clickhouse.clone().unwrap_or_else(|| history(admin)),
        s3: given.s3.clone().unwrap_or_else(|| s3(credentials.s3())),
        analyst: given.clickhouse.clone().unwrap_or_else(|| history(HistoryUser::Analyst)),
        users: ServerRole::ALL.map(|role| (role, of(role))).into(),
    }
}
