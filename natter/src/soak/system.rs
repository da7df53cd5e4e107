//! The system under test: started, reached, broken and healed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use natter_nats::backoff::until_there;
use natter_nats::server::{Fsync, ServerRole};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http;
use super::parts::{Part, Role, Shape, Wire, processes, wires};
use super::process::{Process, Start, signal};
use super::proxy::{Link, Proxy};
use crate::backends::{self, Backend, Backends, Given, Status, free_port};
use crate::config::Config;
use crate::up::reaching;
use crate::{roles, running, tenants};

/// A system is ready within this time, or something is wrong. Backends may have to be fetched first.
const READY_MAX: Duration = Duration::from_mins(10);
/// The same for one that was there before.
const HEALED_MAX: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
const BACKENDS_GRACE: Duration = Duration::from_secs(5);
/// Four of each and two buckets fit into two gigabytes; commands of three minutes fit, and their outcomes into what is free.
const COMMAND_BYTES: u64 = 32 << 20;
const OUTCOME_BYTES: u64 = 240 << 20;
/// Out of the way: the soak measures its own pace.
const COMMANDS_PER_SECOND: &str = "100000";

/// How the system is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How it is put together.
    pub shape: Shape,
    /// Its data.
    pub data: PathBuf,
    /// Whether its disk is so small that its streams have to be told how small they are.
    pub full_disk: bool,
}

/// A running system.
pub struct System {
    setup: Setup,
    processes: Vec<(Part, Process)>,
    /// Where this process started them.
    backends: Option<Backends>,
    wires: Vec<(Wire, Proxy)>,
    /// How everything is reached past the proxies.
    config: Config,
    /// Of the processes, past the proxies.
    readyz: Vec<SocketAddr>,
    /// Of natter's own processes, those that did not drain in time.
    stubborn: Mutex<Vec<String>>,
}

impl System {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        std::fs::create_dir_all(setup.data.join("logs")).context("cannot make the data folder")?;
        let system = match setup.shape {
            Shape::One => Self::start_one(setup).await?,
            Shape::Apart => Self::start_apart(setup).await?,
        };
        Ok(system)
    }

    async fn start_one(setup: Setup) -> anyhow::Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let part = Part::Natter(Role::Up, 0);
        let proxy = Proxy::to(&format!("http://{address}")).await?;
        let args = ["up", "--json", "--port", &port.to_string(), "--data"].map(OsString::from);
        let mut environment = own_environment(&setup);
        environment.push(("NATTER_TELEMETRY_LISTEN".to_owned(), "127.0.0.1:0".to_owned()));
        let process = Process::start(Start {
            name: part.to_string(),
            args: args.into_iter().chain([setup.data.clone().into_os_string()]).collect(),
            environment,
            log: setup.data.join("logs/natter.log"),
        })?;
        let mut system = Self {
            processes: vec![(part, process)],
            backends: None,
            wires: vec![(Wire { from: None, to: part }, proxy)],
            config: Config::default(),
            readyz: vec![address],
            stubborn: Mutex::default(),
            setup,
        };
        system.ready(READY_MAX).await?;
        // The gateway serves a moment before `up` has written where everything is.
        let written =
            until_there("the running system's addresses", |_| true, || async { running::config(&system.setup.data) });
        system.config = timeout(HEALED_MAX, written).await.context("the system does not say where it is")??;
        Ok(system)
    }

    async fn start_apart(setup: Setup) -> anyhow::Result<Self> {
        let mut config = Config::default();
        if setup.full_disk {
            config.log.command_bytes_max = Some(COMMAND_BYTES);
            config.log.outcome_bytes_max = Some(OUTCOME_BYTES);
        }
        let backends = backends::start(backends::Options {
            data: setup.data.clone(),
            shim: std::env::current_exe().context("cannot find this program's own file")?,
            which: Backend::ALL.to_vec(),
            given: Given::default(),
            partitions: config.log.partitions,
            fsync: Fsync::Always,
            database: config.clickhouse.database.clone(),
            bucket: config.s3.bucket.clone(),
            notify: Arc::new(|_| {}),
        })
        .await?;
        for backend in Backend::ALL {
            timeout(READY_MAX, backends.ready(backend)).await.with_context(|| format!("{backend} is not ready"))??;
        }
        config = reaching(config, backends.endpoints());
        config.tenants = tenants::keep(backends.folder(), &config.tenants)?;
        roles::setup(&config).await?;
        let mut system = Self {
            processes: Vec::new(),
            backends: Some(backends),
            wires: Vec::new(),
            config,
            readyz: Vec::new(),
            stubborn: Mutex::default(),
            setup,
        };
        for part in processes(Shape::Apart) {
            system.start_role(part).await?;
        }
        system.ready(READY_MAX).await?;
        Ok(system)
    }

    async fn start_role(&mut self, part: Part) -> anyhow::Result<()> {
        let (Part::Natter(role, _), Some(backends)) = (part, &self.backends) else { return Ok(()) };
        let user = match role {
            Role::Gateway => ServerRole::Gateway,
            Role::Processor => ServerRole::Processor,
            Role::Projector | Role::Up => ServerRole::Projector,
        };
        let endpoints = backends.endpoints().of(user);
        let mut environment = own_environment(&self.setup);
        let mut set = |key: &str, value: &str| environment.push((key.to_owned(), value.to_owned()));
        for wire in wires(Shape::Apart).into_iter().filter(|wire| wire.from == Some(part)) {
            let (key, url) = match wire.to {
                Part::Backend(Backend::Nats) => ("NATTER_LOG_URL", endpoints.nats_url.as_str()),
                Part::Backend(Backend::Redis) => ("NATTER_REDIS_URL", endpoints.redis_url.as_str()),
                _ => ("NATTER_CLICKHOUSE_URL", endpoints.clickhouse.url.as_str()),
            };
            let proxy = Proxy::to(url).await?;
            set(key, proxy.url());
            self.wires.push((wire, proxy));
        }
        set("NATTER_CLICKHOUSE_USER", &endpoints.clickhouse.user);
        set("NATTER_CLICKHOUSE_PASSWORD", &endpoints.clickhouse.password);
        set("NATTER_S3_ENDPOINT", &endpoints.s3.endpoint);
        set("NATTER_S3_REGION", &endpoints.s3.region);
        set("NATTER_S3_ACCESS_KEY", &endpoints.s3.access_key);
        set("NATTER_S3_SECRET_KEY", &endpoints.s3.secret_key);
        if let Some(master) = &self.config.tenants.master {
            set("NATTER_TENANTS_MASTER", master.expose());
        }
        let (public, private) = (local(free_port()?), local(free_port()?));
        set("NATTER_GATEWAY_LISTEN", &public.to_string());
        set("NATTER_TELEMETRY_LISTEN", &private.to_string());
        if role == Role::Gateway {
            let to_it = Proxy::to(&format!("http://{public}")).await?;
            self.wires.push((Wire { from: None, to: part }, to_it));
        }
        self.readyz.push(private);
        let process = Process::start(Start {
            name: part.to_string(),
            args: vec![role.name().into()],
            environment,
            log: self.setup.data.join(format!("logs/{part}.log")),
        })?;
        self.processes.push((part, process));
        Ok(())
    }

    /// How everything is reached past the proxies.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where clients connect.
    pub fn gateways(&self) -> Vec<SocketAddr> {
        self.wires.iter().filter(|(wire, _)| wire.from.is_none()).map(|(_, proxy)| proxy.address()).collect()
    }

    /// Sends a signal to a process. `false`: it does not run at the moment.
    pub fn signal(&self, part: Part, what: Signal) -> bool {
        match part {
            Part::Natter(..) => {
                self.processes.iter().find(|(of, _)| *of == part).is_some_and(|(_, process)| process.signal(what))
            }
            Part::Backend(backend) => self.backend(backend).is_some_and(|pid| signal(pid, what)),
        }
    }

    /// The process id of a part, while it runs.
    pub fn pid(&self, part: Part) -> Option<u32> {
        match part {
            Part::Natter(..) => self.processes.iter().find(|(of, _)| *of == part)?.1.pid(),
            Part::Backend(backend) => self.backend(backend),
        }
    }

    fn backend(&self, backend: Backend) -> Option<u32> {
        match &self.backends {
            Some(backends) => backends.pids().into_iter().find(|(of, _)| *of == backend).map(|(_, pid)| pid),
            None => child_of(self.processes.first()?.1.pid()?, backend),
        }
    }

    /// Kills a backend, and starts it again after so long.
    ///
    /// # Errors
    /// Somebody else started it, who would start it again at once.
    pub async fn is_away_for(&self, backend: Backend, time: Duration) -> anyhow::Result<()> {
        let backends = self.backends.as_ref().context("the backends are not this process's")?;
        let until = Instant::now() + time;
        backends.stop_one(backend, Duration::ZERO).await?;
        sleep_until(until).await;
        let mut state = backends.state(backend).context("there is no such backend")?;
        backends.start_one(backend)?;
        // Its supervisor sees that it is wanted again; until then it counts as stopped for good.
        state.wait_for(|state| state.status != Status::Stopped).await.context("the backend has gone")?;
        Ok(())
    }

    /// Freezes a process, and lets it go on after so long.
    ///
    /// # Errors
    /// It does not run.
    pub async fn hangs_for(&self, part: Part, time: Duration) -> anyhow::Result<()> {
        ensure!(self.signal(part, Signal::STOP), "{part} does not run");
        sleep(time).await;
        // It may have been killed meanwhile, because it did not serve.
        self.signal(part, Signal::CONT);
        Ok(())
    }

    /// Waits until a backend that was started again answers.
    ///
    /// # Errors
    /// It was given up.
    pub async fn is_back(&self, backend: Backend) -> anyhow::Result<()> {
        let backends = self.backends.as_ref().context("the backends are not this process's")?;
        backends.ready(backend).await
    }

    /// Sets a link; nothing where there is none.
    pub fn link(&self, wire: Wire, link: Link) {
        self.wires.iter().filter(|(of, _)| *of == wire).for_each(|(_, proxy)| proxy.set(link));
    }

    /// Mends all links.
    pub fn mend(&self) {
        self.wires.iter().for_each(|(_, proxy)| proxy.mend());
    }

    /// Waits until everything is ready again.
    ///
    /// # Errors
    /// It is not in time; the text says who.
    pub async fn healed(&self) -> anyhow::Result<()> {
        self.ready(HEALED_MAX).await
    }

    async fn ready(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let mut away = Vec::new();
            for address in &self.readyz {
                match http::get(*address, None, "/readyz").await {
                    Ok((200, body)) if body.contains(r#""status":"ready""#) => {}
                    Ok((status, body)) => away.push(format!("{address} says {status} {body}")),
                    Err(error) => away.push(format!("{address}: {error:#}")),
                }
            }
            if away.is_empty() {
                return Ok(());
            }
            // A start that fails is tried again and again; nobody needs to wait for that.
            if within == READY_MAX && self.surprises().len() > self.processes.len() {
                bail!("the system does not start: {}", self.surprises().join("; "));
            }
            if Instant::now() > deadline {
                bail!("not ready after {} s: {}", within.as_secs(), away.join("; "));
            }
            sleep(LOOK).await;
        }
    }

    /// A process was asked to end and has not in this time.
    pub fn did_not_end(&self, part: Part, within: Duration) {
        if matches!(part, Part::Natter(..)) {
            let what = format!("{part} did not end within {} s of SIGTERM", within.as_secs());
            self.stubborn.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        }
    }

    /// Processes that did not end when they were asked to.
    pub fn stubborn(&self) -> Vec<String> {
        self.stubborn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Processes that ended and that nobody had killed.
    pub fn surprises(&self) -> Vec<String> {
        self.processes.iter().flat_map(|(_, process)| process.surprises()).collect()
    }

    /// Stops everything.
    pub async fn stop(self) {
        for (_, process) in self.processes {
            process.stop().await;
        }
        if let Some(backends) = self.backends {
            backends.stop(BACKENDS_GRACE).await;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn own_environment(setup: &Setup) -> Vec<(String, String)> {
    let mut environment = vec![
        ("RUST_LOG".to_owned(), "info".to_owned()),
        ("NATTER_GATEWAY_COMMANDS_PER_SECOND".to_owned(), COMMANDS_PER_SECOND.to_owned()),
        ("NATTER_GATEWAY_COMMANDS_BURST".to_owned(), COMMANDS_PER_SECOND.to_owned()),
    ];
    if setup.full_disk {
        environment.push(("NATTER_LOG_COMMAND_BYTES_MAX".to_owned(), COMMAND_BYTES.to_string()));
        environment.push(("NATTER_LOG_OUTCOME_BYTES_MAX".to_owned(), OUTCOME_BYTES.to_string()));
    }
    environment
}

/// The process of a backend that `natter up` has as a child: found by its folder, which it runs in.
fn child_of(parent: u32, backend: Backend) -> Option<u32> {
    let children = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten().filter_map(|task| {
        let listed = std::fs::read_to_string(task.path().join("children")).ok()?;
        Some(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>())
    });
    children.flatten().find(|pid| {
        let folder = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("cwd"));
        // The history's engine runs in a folder of that.
        folder.is_ok_and(|folder| folder.ancestors().take(2).any(|folder| folder.ends_with(backend.name())))
    })
}
