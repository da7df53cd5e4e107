//! ClickHouse as a library behind its own HTTP interface, as a child process of its own.
//!
//! `natter clickhouse-server` loads the engine (`libchdb.so`) and serves ClickHouse's HTTP interface on loopback, so that the `clickhouse` crate, `curl`
//! and analysts' tools see a ClickHouse. What differs from a server: every request is its own session (`session_id` has no effect), HTTP compression is
//! not offered (`compress=1` and `decompress=1` are), the engine gives its queries ids of its own, and users are those of a file, held to their roles by the
//! front ([`access`], [`limits`]): settings that a limited user may not change are dropped. An analyst of one tenant is held to the tenant's rows by the engine
//! itself ([`policies`]) and kept from ways past that by the front ([`fence`]).
//!
//! The way of a request: [`http`] guards and authenticates, [`request`] sorts its parameters, [`statement`] tells inserts from the rest, [`insert`] and
//! [`select`] run it on a thread of [`workers`] over a connection of [`session`], [`answer`] words the response. [`library`] alone knows C.

mod access;
mod answer;
mod archive;
mod body;
mod compressed;
mod errors;
mod fence;
mod formats;
#[cfg(test)]
mod fuzz;
mod http;
mod insert;
mod lexer;
mod library;
mod limits;
mod multipart;
mod native;
mod policies;
mod request;
mod results;
mod select;
mod session;
mod statement;
mod workers;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use access::AccessControl;
use http::{Service, router};
use library::Engine;
use policies::RowPolicies;
use workers::Workers;

use crate::backends::write_private;

pub use self::archive::{Archive, READS as ARCHIVE_READS};
pub use self::session::DEFAULTS as SESSION_DEFAULTS;

/// How long running requests get at the end. `natter up` has ten seconds for everything.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The engine's server settings: it shares its machine, so it leaves half of the memory to the others. Nothing else differs from ClickHouse's own.
const CONFIG: &str = "<max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>\
                      <users_config>users.xml</users_config>";

/// Serve the embedded ClickHouse engine on ClickHouse's HTTP interface (started by `natter up`).
#[derive(Debug, clap::Args)]
pub struct ServeOptions {
    /// Path of libchdb.so.
    #[arg(long)]
    pub library: PathBuf,
    /// Folder of the database.
    #[arg(long)]
    pub data: PathBuf,
    /// Port on 127.0.0.1.
    #[arg(long)]
    pub port: u16,
    /// JSON file with the users: name, digest of the password, role.
    #[arg(long)]
    pub users_file: PathBuf,
    /// JSON file that says where the archive is: url, access_key, secret_key. Without it, nowhere.
    #[arg(long)]
    pub archive_file: Option<PathBuf>,
    /// The analysts' database; the tables lie in `<views>_store`.
    #[arg(long, default_value = "natter")]
    pub views: String,
}

/// Serves until SIGTERM or SIGINT, then lets running requests end, closes the engine and returns.
///
/// Changes the working directory of the process, which therefore must do nothing else.
///
/// # Errors
/// A taken port, a folder in use or not writable, a library that does not load, an engine that does not start.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .await
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    let address = listener.local_addr().context("cannot read the port that was given")?;
    let access = AccessControl::open(&options.users_file)?;
    let policies = RowPolicies::new(&options.views);
    let library = fs::canonicalize(&options.library)
        .with_context(|| format!("cannot find the library {}", options.library.display()))?;
    let archive = options.archive_file.as_deref().map_or_else(|| Ok(Archive::none()), Archive::read)?;
    let folder = Folder::claim(&options.data, &policies, &archive)?;
    let (store, config) = (folder.store.clone(), folder.config.clone());
    let started = tokio::task::spawn_blocking(move || start(&library, &store, &config));
    let (engine, version) = started.await.context("the engine's start was interrupted")??;
    tracing::info!(%address, %version, data = %options.data.display(), "clickhouse engine ready");
    let service = Arc::new(Service { workers: Workers::new(engine), access, policies, version });
    listen(listener, Arc::clone(&service)).await?;
    close(service).await;
    Ok(())
}

fn start(library: &Path, store: &Path, config: &Path) -> anyhow::Result<(Engine, String)> {
    let engine = Engine::open(library, store, config)?;
    let result = engine.connect()?.query(b"SELECT version()", "TabSeparated", &[])?;
    let version = String::from_utf8(result.bytes).context("the engine's version is not UTF-8")?;
    Ok((engine, version.trim_end().to_owned()))
}

/// Serves until a signal, then until all connections have ended or the time for it is over.
async fn listen(listener: TcpListener, service: Arc<Service>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stop = CancellationToken::new();
    let http = axum::serve(listener.tap_io(send_at_once), router(service))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let deadline = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = http.into_future() => served.context("the http server failed"),
        () = deadline => {
            tracing::warn!("requests were still running at the end and are broken off");
            Ok(())
        }
    }
}

/// The parts of a result must not wait for each other's acknowledgement.
fn send_at_once(connection: &mut TcpStream) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
}

/// Closes the engine once its last request has ended. What was answered is stored either way.
async fn close(service: Arc<Service>) {
    let closed = match Arc::into_inner(service) {
        Some(service) => service.workers.finish(DRAIN_MAX).await,
        None => false,
    };
    if !closed {
        tracing::warn!("the engine is left to the end of the process: requests are still running");
    }
}

/// The folder of a database, held against other processes as long as this lives.
struct Folder {
    store: PathBuf,
    config: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, takes its lock and enters its working directory. The engine resolves relative paths there and would read
    /// somebody else's config in any other.
    fn claim(data: &Path, policies: &RowPolicies, archive: &Archive) -> anyhow::Result<Self> {
        let work = data.join("work");
        fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let data = fs::canonicalize(data).with_context(|| format!("cannot open {}", data.display()))?;
        let path = data.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("the data folder {} is in use by another clickhouse engine", data.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let config = data.join("work").join("config.xml");
        let content = format!("<clickhouse>{CONFIG}{}</clickhouse>\n", archive.collection());
        write_private(&config, content.as_bytes())?;
        write_private(&data.join("work").join("users.xml"), policies.users_xml().as_bytes())?;
        std::env::set_current_dir(data.join("work"))
            .with_context(|| format!("cannot enter {}", data.join("work").display()))?;
        Ok(Self { store: data.join("store"), config, _lock: lock })
    }
}
