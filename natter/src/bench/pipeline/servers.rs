//! Servers of one cell, started as `natter up` starts them, in a folder that is deleted at the end; and the roles on them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use natter_nats::server::{Fsync, ServerRole};
use natter_nats::{Log, StreamBytes, held, role};
use natter_projections::clickhouse::migrate;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backends::{self, Backend, Backends, Given};
use crate::bench::args::SyncWhen;
use crate::bench::system;
use crate::config::Config;
use crate::{connect, roles, up};

/// The servers and the roles end within this time.
const GRACE: Duration = Duration::from_secs(3);
/// Every partition has its worker within this time.
const HELD_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// NATS and Redis, and ClickHouse where views are kept.
pub struct Servers {
    backends: Backends,
    folder: PathBuf,
    config: Config,
}

/// What works on them, in this process.
pub struct Roles {
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Servers {
    /// Starts them, waits until they answer, and makes the log and the tables.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn start(partitions: u16, with_history: bool, sync: SyncWhen) -> anyhow::Result<Self> {
        let folder = up::temporary_folder()?;
        let mut which = vec![Backend::Nats, Backend::Redis];
        which.extend(with_history.then_some(Backend::ClickHouse));
        let options = backends::Options {
            data: folder.clone(),
            shim: std::env::current_exe().context("cannot find this program's own file")?,
            which: which.clone(),
            given: Given::default(),
            partitions,
            fsync: match sync {
                SyncWhen::Always => Fsync::Always,
                SyncWhen::Default => Fsync::BrokersDefault,
            },
            database: Config::default().clickhouse.database,
            bucket: Config::default().s3.bucket,
            notify: Arc::new(|notice| tracing::debug!("{notice}")),
        };
        let backends = backends::start(options).await?;
        for backend in which {
            backends.ready(backend).await?;
        }
        let bytes = StreamBytes::within(up::disk_bytes(&folder)?, partitions);
        let mut config = up::reaching(Config::default(), backends.endpoints());
        config.log.partitions = partitions;
        config.log.command_bytes_max = Some(bytes.commands);
        config.log.outcome_bytes_max = Some(bytes.outcomes);
        Log::create(&connect::log_config(&config, "setup")?).await.context("cannot make the log")?;
        if with_history {
            migrate(&connect::clickhouse(&config)?).await.context("cannot make the history's tables")?;
        }
        Ok(Self { backends, folder, config })
    }

    /// The log, as an operator sees it.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn log(&self) -> anyhow::Result<Log> {
        connect::log(&self.config, "bench").await
    }

    /// A gateway's connection to the log.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn gateway_log(&self) -> anyhow::Result<Log> {
        connect::log(&self.config_of(ServerRole::Gateway), "gateway").await
    }

    /// The processor, and both projectors where they are wanted: at work on every partition when this returns.
    ///
    /// # Errors
    /// They cannot begin.
    pub async fn start_roles(&self, projections: bool) -> anyhow::Result<Roles> {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let processor = roles::processor(&self.config_of(ServerRole::Processor), shutdown.clone()).await?;
        tasks.spawn(processor.work);
        let mut working = vec![role::PROCESSOR];
        if projections {
            let projector = roles::projector(&self.config_of(ServerRole::Projector), shutdown.clone()).await?;
            tasks.spawn(projector.work);
            working.extend([role::REDIS_PROJECTOR, role::CLICKHOUSE_PROJECTOR]);
        }
        let (log, deadline) = (self.log().await?, Instant::now() + HELD_WITHIN);
        for role in working {
            while held(&log, role).await?.len() < usize::from(log.partitions()) {
                if Instant::now() > deadline {
                    bail!("no {role} on every partition after {} s", HELD_WITHIN.as_secs());
                }
                sleep(LOOK).await;
            }
        }
        Ok(Roles { tasks, shutdown })
    }

    /// The versions of these servers.
    ///
    /// # Errors
    /// They are away.
    pub async fn versions(&self) -> anyhow::Result<Vec<(String, String)>> {
        system::versions(&self.config).await
    }

    /// Stops the servers and deletes their data.
    pub async fn end(self) {
        self.backends.stop(GRACE).await;
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, data = %self.folder.display(), "cannot delete the temporary data");
        }
    }

    fn config_of(&self, role: ServerRole) -> Config {
        up::reaching(self.config.clone(), &self.backends.endpoints().of(role))
    }
}

impl Roles {
    /// These tasks, which end by `shutdown`.
    pub const fn new(tasks: JoinSet<anyhow::Result<()>>, shutdown: CancellationToken) -> Self {
        Self { tasks, shutdown }
    }

    /// Why one of them has ended, which none should by itself.
    pub async fn broken(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Ok(()))) => anyhow::anyhow!("a role ended by itself"),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::anyhow!("a role broke: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Ends them.
    pub async fn end(mut self) {
        self.shutdown.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::debug!("a role did not end in time");
        }
    }
}

/// In the report's words.
pub const fn fsync(sync: SyncWhen) -> &'static str {
    match sync {
        SyncWhen::Always => "always",
        SyncWhen::Default => "every 2 minutes (the broker's default)",
    }
}
