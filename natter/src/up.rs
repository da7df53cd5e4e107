//! `natter up`: backends and all roles on one machine, by one command.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use natter_schemas::names::{Tenant, UserId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backends::{self, Backend, Backends, ClickHouse, Given, Notice, S3, Status};
use crate::config::{Config, Secret};
use crate::readiness::Dependencies;
use crate::running::{Running, forget};
use crate::tenants::Master;
use crate::{cli, connect, private_http, roles, stop, telemetry};
use natter_gateway::Readiness;

/// From the signal to the last child's end.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Of that, what the backends get at the least.
const BACKENDS_GRACE: Duration = Duration::from_secs(3);
/// Between two looks whether everything is ready.
const LOOK: Duration = Duration::from_millis(20);
/// The roles of a system whose backends are ready take no longer.
const ROLES_READY_MAX: Duration = Duration::from_secs(30);

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

fn temporary_folder() -> anyhow::Result<PathBuf> {
    let random = getrandom::u64().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(std::env::temp_dir().join(format!("natter-{random:016x}")))
}

/// Starts everything, says where it is, and runs until SIGINT or SIGTERM.
///
/// # Errors
/// A port or the data folder is taken, a backend cannot be had or is given up, a role stopped.
pub async fn up(options: Options) -> anyhow::Result<()> {
    let stop = stop::signal()?;
    let metrics = telemetry::start_metrics()?;
    let (listener, private) = (listen(&options).await?, TcpListener::bind(("127.0.0.1", 0)).await?);
    let backends = backends::start(backend_options(&options)?).await?;
    let system = System { options, backends, listener: listener.local_addr()?, private: private.local_addr()? };
    let shutdown = CancellationToken::new();
    let ended = tokio::select! {
        started = system.start(listener, private, metrics, &shutdown) => match started {
            Ok(work) => system.run(work, stop).await,
            Err(error) => Err(error),
        },
        () = stop.cancelled() => Ok(()),
    };
    shutdown.cancel();
    system.end().await;
    ended
}

struct System {
    options: Options,
    backends: Backends,
    listener: SocketAddr,
    private: SocketAddr,
}

/// The roles at work, in the order of the flow.
struct Work {
    gateway: Role,
    processor: Role,
    projector: Role,
}

struct Role {
    name: &'static str,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Role {
    fn start<F>(name: &'static str, work: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        Self { name, task: tokio::spawn(work(shutdown.clone())), shutdown }
    }

    /// Returns when the role has ended, which it should not by itself.
    async fn broken(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("the {} ended by itself", self.name),
            Ok(Err(error)) => error,
            Err(error) => anyhow::anyhow!("the {} broke: {error}", self.name),
        }
    }

    async fn end(self, deadline: Instant) {
        self.shutdown.cancel();
        if self.task.is_finished() {
            return;
        }
        let abort = self.task.abort_handle();
        if timeout_at(deadline, self.task).await.is_err() {
            tracing::warn!(role = self.name, "did not drain in time; nothing stored is lost");
            abort.abort();
        }
    }
}

impl System {
    /// Waits for the backends, makes streams and tables, starts the roles, waits until they are ready, says so.
    async fn start(
        &self,
        listener: TcpListener,
        private: TcpListener,
        metrics: metrics_exporter_prometheus::PrometheusHandle,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Work> {
        for ready in futures_util::future::join_all(Backend::ALL.map(|backend| self.backends.ready(backend))).await {
            ready?;
        }
        let master = Master::load_or_make(self.backends.folder())?;
        let config = self.effective_config(&master);
        roles::setup(&config).await?;
        let work = start_roles(&config, listener);
        let dependencies = Dependencies {
            log: Some(connect::log(&config, "up").await?),
            redis: Some(connect::redis(&config).await?),
            clickhouse: Some(connect::clickhouse(&config)?),
            objects: Some(connect::objects(&config)?),
            processors: true,
        };
        wait_until_ready(&dependencies).await?;
        tokio::spawn(private_http::serve(private, metrics, dependencies, shutdown.clone()));
        let running = self.running(&config);
        running.write(self.backends.folder().path())?;
        self.say(&running, &master)?;
        Ok(work)
    }

    /// Runs until the signal; then drains in the order of the flow.
    async fn run(&self, mut work: Work, stop: CancellationToken) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = work.gateway.broken() => Err(error),
            error = work.processor.broken() => Err(error),
            error = work.projector.broken() => Err(error),
            error = self.backend_given_up() => Err(error),
        };
        if !self.options.json && ended.is_ok() {
            eprintln_line("stopping: closing sessions, answering what is under way …");
        }
        let deadline = Instant::now() + DRAIN_MAX - BACKENDS_GRACE;
        work.gateway.end(deadline).await;
        work.processor.end(deadline).await;
        work.projector.end(deadline).await;
        ended
    }

    async fn backend_given_up(&self) -> anyhow::Error {
        let given_up = Backend::ALL.map(|backend| Box::pin(self.given_up(backend)));
        futures_util::future::select_all(given_up).await.0
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
    fn effective_config(&self, master: &Master) -> Config {
        let mut config = self.options.config.clone();
        let endpoints = self.backends.endpoints();
        config.log.url = Some(Secret::new(endpoints.nats_url.clone()));
        config.redis.url = Some(Secret::new(endpoints.redis_url.clone()));
        config.clickhouse.url = Some(endpoints.clickhouse.url.clone());
        config.clickhouse.user.clone_from(&endpoints.clickhouse.user);
        config.clickhouse.password = Some(Secret::new(endpoints.clickhouse.password.clone()));
        config.s3.endpoint = Some(endpoints.s3.endpoint.clone());
        config.s3.region.clone_from(&endpoints.s3.region);
        config.s3.access_key = Some(endpoints.s3.access_key.clone());
        config.s3.secret_key = Some(Secret::new(endpoints.s3.secret_key.clone()));
        config.tenants.master.get_or_insert_with(|| Secret::new(master.expose().to_owned()));
        config
    }

    fn running(&self, config: &Config) -> Running {
        let endpoints = self.backends.endpoints();
        Running {
            ready: true,
            http: format!("http://{}", shown(self.listener)),
            metrics: format!("http://{}/metrics", self.private),
            nats: endpoints.nats_url.clone(),
            redis: endpoints.redis_url.clone(),
            clickhouse: with_credentials(
                &endpoints.clickhouse.url,
                &endpoints.clickhouse.user,
                &endpoints.clickhouse.password,
            ),
            s3: with_credentials(&endpoints.s3.endpoint, &endpoints.s3.access_key, &endpoints.s3.secret_key),
            pid: std::process::id(),
            partitions: config.log.partitions,
        }
    }

    fn say(&self, running: &Running, master: &Master) -> anyhow::Result<()> {
        if self.options.json {
            print_line(&running.line());
            return Ok(());
        }
        let tenant = Tenant::try_from("demo").context("the demo tenant")?;
        let tokens = ["ada", "bob"].map(|user| {
            let user = UserId::try_from(user)?;
            master.token(&tenant, &user, None, Duration::from_secs(24 * 3600), false)
        });
        let [ada, bob] = tokens;
        let data = self.backends.folder().path().display();
        print_line(&format!(
            "
  natter is up.

  page, as ada     {http}/#token={ada}
  page, as bob     {http}/#token={bob}
  metrics          {metrics}
  nats             {nats}
  redis            {redis}
  clickhouse       {clickhouse}
  s3               {s3}
  data             {data}

  more tokens      natter token --data {data} --tenant demo --user carol
  chat history     curl '{clickhouse}/' --data 'SELECT * FROM natter.messages ORDER BY at DESC LIMIT 10 FORMAT PrettyCompact'
  import           natter import --data {data} FILE.jsonl.zst
  stop             Ctrl-C
",
            http = running.http,
            ada = ada?,
            bob = bob?,
            metrics = running.metrics,
            nats = running.nats,
            redis = running.redis,
            clickhouse = running.clickhouse,
            s3 = running.s3,
        ));
        Ok(())
    }
}

fn start_roles(config: &Config, listener: TcpListener) -> Work {
    let configs = [config.clone(), config.clone(), config.clone()];
    let [for_gateway, for_processor, for_projector] = configs;
    Work {
        projector: Role::start("projector", |stop| async move { roles::projector(&for_projector, stop).await }),
        processor: Role::start("processor", |stop| async move { roles::processor(&for_processor, stop).await }),
        gateway: Role::start("gateway", |stop| async move { roles::gateway(&for_gateway, listener, stop).await }),
    }
}

async fn wait_until_ready(dependencies: &Dependencies) -> anyhow::Result<()> {
    let deadline = Instant::now() + ROLES_READY_MAX;
    loop {
        let away: Vec<_> = dependencies.check().await.into_iter().filter(|one| !one.ready).collect();
        if away.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let reasons: Vec<_> =
                away.into_iter().map(|one| format!("{}: {}", one.name, one.detail.unwrap_or_default())).collect();
            bail!("not ready after {} s: {}", ROLES_READY_MAX.as_secs(), reasons.join("; "));
        }
        sleep(LOOK).await;
    }
}

async fn listen(options: &Options) -> anyhow::Result<TcpListener> {
    let mut address: SocketAddr = options.config.gateway.listen.parse().context("gateway.listen")?;
    if let Some(port) = options.port {
        address.set_port(port);
    }
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: name another port by --port (0: any free one)"))
}

fn backend_options(options: &Options) -> anyhow::Result<backends::Options> {
    let config = &options.config;
    let quiet = options.json || !std::io::stderr().is_terminal();
    Ok(backends::Options {
        data: options.data.clone(),
        shim: std::env::current_exe().context("cannot find this program's own file")?,
        which: Backend::ALL.to_vec(),
        given: given(config)?,
        partitions: config.log.partitions,
        notify: Arc::new(move |notice| say_notice(&notice, quiet)),
    })
}

/// What the configuration says runs elsewhere.
fn given(config: &Config) -> anyhow::Result<Given> {
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let s3 = match (&config.s3.endpoint, &config.s3.access_key, exposed(&config.s3.secret_key)) {
        (None, ..) => None,
        (Some(endpoint), Some(access_key), Some(secret_key)) => Some(S3 {
            endpoint: endpoint.clone(),
            region: config.s3.region.clone(),
            access_key: access_key.clone(),
            secret_key,
        }),
        _ => bail!("s3.endpoint is configured without s3.access_key and s3.secret_key"),
    };
    Ok(Given {
        nats_url: exposed(&config.log.url),
        redis_url: exposed(&config.redis.url),
        clickhouse: config.clickhouse.url.clone().map(|url| ClickHouse {
            url,
            user: config.clickhouse.user.clone(),
            password: exposed(&config.clickhouse.password).unwrap_or_default(),
        }),
        s3,
    })
}

fn say_notice(notice: &Notice, quiet: bool) {
    if quiet {
        tracing::warn!(notice = %notice, "backend");
    } else {
        eprintln_line(&notice.to_string());
    }
}

/// `http://user:password@host:port`.
fn with_credentials(url: &str, user: &str, password: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{user}:{password}@{rest}"),
        None => url.to_owned(),
    }
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
fn eprintln_line(line: &str) {
    eprintln!("{line}");
}
