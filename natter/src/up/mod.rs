//! `natter up`: backends and all roles on one machine, by one command.

mod table;
pub mod wanted;
mod work;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt as _;
use futures_util::future::{select_all, try_join_all};
use metrics_exporter_prometheus::PrometheusHandle;
use natter_gateway::Readiness;
use natter_nats::backoff::until_there;
use natter_nats::clock::SystemClock;
use natter_nats::server::ServerRole;
use natter_nats::{LogError, StreamBytes, role};
use natter_projections::error::ViewError;
use natter_projections::redis::RedisProjector;
use natter_projections::runner::Runner;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backends::{self, Backend, Backends, Endpoints, Folder, Status};
use crate::config::{Config, Secret};
use crate::readiness::{self, Dependencies};
use crate::running::{Running, forget};
use crate::{cli, connect, private_http, roles, stop, telemetry, tenants};

use self::table::Table;
use self::work::Work;

/// From the signal to the last role's end. With [`BACKENDS_GRACE`] it makes 10 s.
const ROLES_DRAIN: Duration = Duration::from_secs(7);
/// From then to the last child's end.
const BACKENDS_GRACE: Duration = Duration::from_secs(3);
/// Between two looks whether everything is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Making streams and tables in servers that are ready takes no longer, not even when one of them is started again meanwhile.
const SETUP_MAX: Duration = Duration::from_secs(30);
/// So often is said what is not ready yet.
const READY_SLOW: Duration = Duration::from_secs(15);
/// A backend that runs elsewhere answers within this time, or not at all.
const GIVEN_READY_MAX: Duration = Duration::from_secs(20);
/// It is asked once more then, for the reason.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

/// How `up` is to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// Delete the data folder at the end.
    pub ephemeral: bool,
    /// The gateway's port instead of the configured one; 0: any free one.
    pub port: Option<u16>,
    /// One JSON line instead of the table.
    pub json: bool,
    /// The configuration, with what runs elsewhere.
    pub config: Config,
}

impl Options {
    /// What the command line says.
    ///
    /// # Errors
    /// The configuration has problems.
    pub fn new(args: cli::Up) -> anyhow::Result<Self> {
        let config = cli::config(args.config.as_deref())?;
        let data = if args.ephemeral { temporary_folder()? } else { args.data };
        Ok(Self { data, ephemeral: args.ephemeral, port: args.port, json: args.json, config })
    }
}

/// A folder of this name is not there yet.
pub(crate) fn temporary_folder() -> anyhow::Result<PathBuf> {
    let random = getrandom::u64().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(std::env::temp_dir().join(format!("natter-{random:016x}")))
}

/// Starts everything, says where it is, and runs until SIGINT or SIGTERM.
///
/// # Errors
/// A port or the data folder is taken, a backend cannot be had or is given up, a role stopped.
pub async fn up(options: Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let stop = stop::signal()?;
    let metrics = telemetry::start_metrics()?;
    let listening = listen(&options).await;
    if listening.is_err() && options.data.exists() {
        // A system that runs in this folder has the port: it is what is in the way.
        Folder::open(&options.data).await?;
    }
    let (listener, private) = listening?;
    let backends = backends::start(wanted::backends(&options)?).await?;
    // What a killed predecessor left.
    forget(backends.folder().path());
    let addresses = (listener.local_addr()?, private.local_addr()?);
    let system = System { options, backends, addresses, started, shutdown: CancellationToken::new() };
    let ended = tokio::select! {
        started = system.start(listener, private, metrics) => match started {
            Ok(work) => system.run(work, stop).await,
            Err(error) => Err(error),
        },
        error = system.backend_given_up() => Err(error),
        () = stop.cancelled() => Ok(()),
    };
    system.end().await;
    ended
}

struct System {
    options: Options,
    backends: Backends,
    /// The gateway's and the private port's.
    addresses: (SocketAddr, SocketAddr),
    started: Instant,
    /// Of the private port.
    shutdown: CancellationToken,
}

impl System {
    /// Waits for the backends, makes streams and tables, starts the roles, waits until they are ready, says so.
    async fn start(
        &self,
        listener: TcpListener,
        private: TcpListener,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Work> {
        try_join_all(Backend::ALL.map(|backend| self.backend_ready(backend))).await?;
        let config = self.effective_config()?;
        setup(&config).await.map_err(|error| match error.downcast_ref::<ViewError>() {
            Some(_) => self.cannot_go_on(&error),
            None => error,
        })?;
        self.try_objects(&config)?;
        let (mut work, dependencies) = Box::pin(self.start_roles(&config, listener)).await?;
        tokio::select! {
            ready = self.wait_until_ready(&dependencies) => ready?,
            error = work.broken() => return Err(error),
        }
        tokio::spawn(private_http::serve(private, metrics, watch::channel(dependencies).1, self.shutdown.clone()));
        let (gateway, private) = self.addresses;
        let (http, metrics) = (format!("http://{}", shown(gateway)), format!("http://{}/metrics", shown(private)));
        let running = Running::new(http, metrics, self.backends.endpoints(), &config);
        running.write(self.backends.folder().path())?;
        if self.options.json {
            print_line(&running.line());
        } else {
            print_line(&Table::new(self, &running, &config.tenants)?.to_string());
        }
        Ok(work)
    }

    /// Whether objects can be written is tried beside the start: chat does not wait for that, and it may take its time.
    fn try_objects(&self, config: &Config) -> anyhow::Result<()> {
        let (objects, stopped) = (connect::objects(config)?, self.shutdown.clone());
        tokio::spawn(async move {
            let tried = stopped.run_until_cancelled(objects.verify().boxed()).await;
            if let Some(Err(error)) = tried {
                tracing::warn!(%error, "objects cannot be written");
            }
        });
        Ok(())
    }

    async fn backend_ready(&self, backend: Backend) -> anyhow::Result<()> {
        let ready = self.backends.ready(backend);
        if !wanted::given(&self.options.config).contains(backend) {
            return ready.await;
        }
        if let Ok(ready) = timeout(GIVEN_READY_MAX, ready).await {
            return ready;
        }
        let why = timeout(LAST_WORD_MAX, backend.check(self.backends.endpoints())).await.ok().and_then(Result::err);
        let why = why.map_or_else(|| "it does not answer in time".to_owned(), |error| format!("{error:#}"));
        bail!("{backend} cannot be used: {why}; see [{}] in the configuration", wanted::section(backend))
    }

    async fn wait_until_ready(&self, dependencies: &Dependencies) -> anyhow::Result<()> {
        let mut say_at = Instant::now() + READY_SLOW;
        loop {
            let views = dependencies.work.iter().find(|work| work.name == role::REDIS_PROJECTOR);
            if let Some(stopped) = views.and_then(readiness::Work::stopped_for_good) {
                return Err(self.cannot_go_on(stopped));
            }
            let away: Vec<_> = dependencies.check().await.into_iter().filter(|one| !one.ready).collect();
            if away.is_empty() {
                return Ok(());
            }
            if Instant::now() > say_at {
                say_at += READY_SLOW;
                let reasons: Vec<_> =
                    away.into_iter().map(|one| format!("{}: {}", one.name, one.detail.unwrap_or_default())).collect();
                tracing::warn!(reasons = reasons.join("; "), "not ready yet");
            }
            sleep(LOOK).await;
        }
    }

    /// What to do about Redis views that cannot go on.
    fn cannot_go_on(&self, stopped: impl Display) -> anyhow::Error {
        let folder = self.backends.folder().path().join("redis");
        anyhow::anyhow!(
            "{stopped:#}\nWhere it says that the views are to be deleted: nothing runs now, so delete {} and start again",
            folder.display()
        )
    }

    /// The roles at work, each with its own users.
    async fn start_roles(&self, config: &Config, listener: TcpListener) -> anyhow::Result<(Work, Dependencies)> {
        let of = |role| reaching(config.clone(), &self.backends.endpoints().of(role));
        let stops = [(); 3].map(|()| CancellationToken::new());
        let [to_gateway, to_processor, to_projector] = stops.clone();
        let (gateway, processor, projector) =
            (of(ServerRole::Gateway), of(ServerRole::Processor), of(ServerRole::Projector));
        let (gateway, processor, projector) = tokio::try_join!(
            roles::gateway(&gateway, listener, to_gateway),
            roles::processor(&processor, to_processor),
            roles::projector(&projector, to_projector),
        )?;
        let work =
            [&gateway, &processor, &projector].into_iter().flat_map(|role| role.dependencies.work.clone()).collect();
        let dependencies = Dependencies { work, ..gateway.dependencies.clone() };
        Ok((Work::start([gateway, processor, projector], stops), dependencies))
    }

    /// Runs until the signal; then drains in the order of the flow.
    async fn run(&self, mut work: Work, stop: CancellationToken) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = work.broken() => Err(error),
            error = self.backend_given_up() => Err(error),
        };
        if !self.options.json && ended.is_ok() {
            say("stopping: closing sessions, answering what is under way …");
        }
        work.end(Instant::now() + ROLES_DRAIN).await;
        ended
    }

    async fn backend_given_up(&self) -> anyhow::Error {
        let given_up = Backend::ALL.map(|backend| Box::pin(self.given_up(backend)));
        select_all(given_up).await.0
    }

    async fn given_up(&self, backend: Backend) -> anyhow::Error {
        let Some(mut state) = self.backends.state(backend) else { return std::future::pending().await };
        let failed = state.wait_for(|state| matches!(state.status, Status::Failed(_))).await;
        match failed.map(|state| state.status.clone()) {
            Ok(Status::Failed(reason)) => anyhow::anyhow!(reason),
            _ => std::future::pending().await,
        }
    }

    async fn end(self) {
        self.shutdown.cancel();
        let data = self.backends.folder().path().to_owned();
        forget(&data);
        self.backends.stop(BACKENDS_GRACE).await;
        if self.options.ephemeral
            && let Err(error) = std::fs::remove_dir_all(&data)
        {
            tracing::warn!(%error, data = %data.display(), "cannot delete the temporary data");
        }
    }

    /// The configuration with what `up` started filled in, so that the roles cannot tell.
    fn effective_config(&self) -> anyhow::Result<Config> {
        let folder = self.backends.folder();
        let mut config = self.options.config.clone();
        let endpoints = self.backends.endpoints();
        // Where one of the two is given, the other goes by it.
        if config.log.url.is_none() && config.log.command_bytes_max.or(config.log.outcome_bytes_max).is_none() {
            let bytes = StreamBytes::within(disk_bytes(folder.path())?, config.log.partitions);
            config.log.command_bytes_max = Some(bytes.commands);
            config.log.outcome_bytes_max = Some(bytes.outcomes);
        }
        let mut config = reaching(config, endpoints);
        config.tenants = tenants::keep(folder, &config.tenants)?;
        Ok(config)
    }
}

/// The configuration of a process that reaches everything by these addresses and users.
pub(crate) fn reaching(mut config: Config, endpoints: &Endpoints) -> Config {
    config.log.url = Some(Secret::new(endpoints.nats_url.clone()));
    config.redis.url = Some(Secret::new(endpoints.redis_url.clone()));
    config.clickhouse.url = Some(endpoints.clickhouse.url.clone());
    config.clickhouse.user.clone_from(&endpoints.clickhouse.user);
    config.clickhouse.password = Some(Secret::new(endpoints.clickhouse.password.clone()));
    config.s3.endpoint = Some(endpoints.s3.endpoint.clone());
    config.s3.region.clone_from(&endpoints.s3.region);
    config.s3.access_key = Some(endpoints.s3.access_key.clone());
    config.s3.secret_key = Some(Secret::new(endpoints.s3.secret_key.clone()));
    config
}

/// Size of the file system of this folder, half of it for the log: the history takes its part of the rest. Not what is
/// free: that shrinks as the streams grow, and the next start would make them smaller.
pub(crate) fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("cannot see the disk of {}", folder.display()))?;
    Ok(disk.f_blocks * disk.f_frsize / 2)
}

/// Makes what is missing, and looks whether what is there can go on. The servers answer, though one may be started again just now.
async fn setup(config: &Config) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETUP_MAX;
    let passes = |error: &anyhow::Error| {
        let for_good = error.downcast_ref::<LogError>().is_some_and(|error| !error.is_transient())
            || error.downcast_ref::<ViewError>().is_some_and(|error| !error.is_transient());
        !for_good && Instant::now() < deadline
    };
    let set_up = || async {
        roles::setup(config).await?;
        examine(config).await
    };
    until_there("the servers to be set up", passes, set_up).await
}

/// Whether the Redis views can go on: no waiting helps one that cannot.
async fn examine(config: &Config) -> anyhow::Result<()> {
    let (log, redis) = (connect::log(config, "up").await?, connect::redis(config).await?);
    Ok(Runner::new(log, RedisProjector::new(redis), SystemClock::shared()).examine().await?)
}

/// The gateway's listener and the private one.
async fn listen(options: &Options) -> anyhow::Result<(TcpListener, TcpListener)> {
    let mut address: SocketAddr = options.config.gateway.listen.parse().context("gateway.listen")?;
    if let Some(port) = options.port {
        address.set_port(port);
    }
    let gateway = TcpListener::bind(address).await;
    let gateway = gateway
        .with_context(|| format!("cannot listen on {address}: name another port by --port (0: any free one)"))?;
    let address = options.config.telemetry.listen.as_deref().unwrap_or("127.0.0.1:0");
    let private = TcpListener::bind(address).await;
    let private = private.with_context(|| format!("cannot listen on {address}: set telemetry.listen to another"))?;
    Ok((gateway, private))
}

/// A wildcard address is no address to click on.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}

#[expect(clippy::print_stdout, reason = "what the command answers")]
fn print_line(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what the operator should hear meanwhile")]
fn say(line: &str) {
    eprintln!("{line}");
}
