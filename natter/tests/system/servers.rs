//! The servers of a test: NATS and Redis of its own, ClickHouse and S3 shared with the other tests of this binary.
//!
//! They are the product's own backends, started as `natter up` starts them, and fetched where they are neither on PATH nor in the
//! cache. All of them end with the test binary, whichever way that ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, Region};
use natter::backends::{self, Backend, Backends, Given, Notify, Options, State, Status};
use natter_nats::server::{Fsync, ServerRole};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Of the logs in these tests: the users' permissions are for streams up to this number.
pub const PARTITIONS: u16 = 16;
/// For a server that has to be fetched first. Without fetching, each is ready within seconds.
const READY_DEADLINE: Duration = Duration::from_mins(10);

/// NATS (JetStream) and Redis of one test, with fresh data on free ports. Killed on drop.
pub struct Servers {
    backends: Backends,
    // After the backends: their folder is deleted when they are gone.
    _data: TempDir,
}

impl Servers {
    /// Starts both and waits until they answer.
    pub async fn start() -> Servers {
        Self::with(vec![Backend::Nats, Backend::Redis]).await
    }

    /// Starts these and waits until they answer: for a test that kills what others share.
    pub async fn with(which: Vec<Backend>) -> Servers {
        let data = tempfile::tempdir().expect("a folder for the servers' data");
        let backends = start(data.path(), which).await;
        Servers { backends, _data: data }
    }

    /// With the credentials of a user who may do everything.
    pub fn nats_url(&self) -> &str {
        &self.backends.endpoints().nats_url
    }

    /// With the credentials of a role's user, who may do what that role needs.
    pub fn nats_url_of(&self, role: ServerRole) -> &str {
        self.backends.endpoints().nats_url_of(role)
    }

    pub fn redis_url(&self) -> &str {
        &self.backends.endpoints().redis_url
    }

    /// The same with a role's user.
    pub fn redis_url_of(&self, role: ServerRole) -> String {
        self.backends.endpoints().of(role).redis_url
    }

    /// An S3 server of this test's own.
    pub fn s3(&self) -> backends::S3 {
        self.backends.endpoints().s3.clone()
    }

    /// A ClickHouse of this test's own; the database is not made yet.
    pub fn clickhouse(&self) -> ClickHouse {
        let backends::ClickHouse { url, user, password } = self.backends.endpoints().clickhouse.clone();
        ClickHouse { url, user, password, database: "test".to_owned() }
    }

    pub async fn nats(&self) -> async_nats::Client {
        connect_nats(self.nats_url()).await.expect("nats answers")
    }

    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis_url()).expect("a redis url");
        client.get_multiplexed_async_connection().await.expect("redis answers")
    }

    /// Process id of a running server.
    pub fn pid(&self, backend: Backend) -> u32 {
        self.state(backend).pid.unwrap_or_else(|| panic!("{backend} does not run"))
    }

    /// SIGKILL; the supervisor starts it again within moments, with the same port and data.
    pub fn kill(&self, backend: Backend) {
        signal(self.pid(backend), Signal::KILL);
    }

    /// SIGKILL, and waits until its successor answers.
    pub async fn restart(&self, backend: Backend) {
        let old = self.pid(backend);
        let mut state = self.backends.state(backend).expect("it was started");
        self.kill(backend);
        let successor = state.wait_for(|state| state.status == Status::Ready && state.pid != Some(old));
        timeout(READY_DEADLINE, successor).await.expect("it comes back in time").expect("it is supervised");
    }

    /// SIGSTOP: connections stay open and nobody answers, until `thaw`.
    pub fn freeze(&self, backend: Backend) {
        signal(self.pid(backend), Signal::STOP);
    }

    /// SIGCONT after `freeze`.
    pub fn thaw(&self, backend: Backend) {
        signal(self.pid(backend), Signal::CONT);
    }

    /// Stops it by SIGKILL; it stays away, and its port refuses, until `bring_back`.
    pub async fn take_away(&self, backend: Backend) {
        self.backends.stop_one(backend, Duration::ZERO).await.expect("it was started");
    }

    /// Starts it again after `take_away`, with the same port and data, and waits until it answers.
    pub async fn bring_back(&self, backend: Backend) {
        let mut state = self.backends.state(backend).expect("it was started");
        self.backends.start_one(backend).expect("it was started");
        let ready = state.wait_for(|state| state.status == Status::Ready);
        timeout(READY_DEADLINE, ready).await.expect("it comes back in time").expect("it is supervised");
    }

    fn state(&self, backend: Backend) -> State {
        self.backends.state(backend).expect("it was started").borrow().clone()
    }
}

/// With the user and password in the URL.
pub async fn connect_nats(url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    backends::nats_connect_options(url).expect("a nats url").connect(url).await
}

/// ClickHouse's HTTP interface, with a database that is this test's own.
pub struct ClickHouse {
    /// `http://host:port`
    pub url: String,
    pub user: String,
    pub password: String,
    /// Exists, and is empty.
    pub database: String,
}

/// ClickHouse, started once for this test binary.
pub async fn clickhouse() -> ClickHouse {
    static SHARED: OnceCell<Backends> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| start_shared(Backend::ClickHouse)).await;
    let backends::ClickHouse { url, user, password } = shared.endpoints().clickhouse.clone();
    let made = ClickHouse { url, user, password, database: fresh_name("test_") };
    let sql = format!("CREATE DATABASE {}", made.database);
    made.admin().query(&sql).execute().await.expect("clickhouse makes a database");
    made
}

impl ClickHouse {
    /// A client of no database in particular.
    pub fn admin(&self) -> clickhouse::Client {
        clickhouse::Client::default().with_url(&self.url).with_user(&self.user).with_password(&self.password)
    }

    /// A client of this test's database.
    pub fn client(&self) -> clickhouse::Client {
        self.admin().with_database(&self.database)
    }
}

/// An S3 service, with names for a bucket and a prefix that are this test's own.
pub struct S3 {
    /// Address and credentials.
    pub service: backends::S3,
    /// Not made yet.
    pub bucket: String,
    /// Ends in `/`.
    pub prefix: String,
}

impl S3 {
    /// A client with the credentials above; it addresses buckets in the path.
    pub fn client(&self) -> aws_sdk_s3::Client {
        s3_client(&self.service)
    }

    /// A client whose secret key is wrong.
    pub fn stranger(&self) -> aws_sdk_s3::Client {
        s3_client(&backends::S3 { secret_key: "wrong".to_owned(), ..self.service.clone() })
    }
}

/// A client of any S3 service.
pub fn s3_client(s3: &backends::S3) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(&s3.endpoint)
        .region(Region::new(s3.region.clone()))
        .credentials_provider(Credentials::new(&s3.access_key, &s3.secret_key, None, None, "test"))
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    aws_sdk_s3::Client::from_conf(config.build())
}

/// The S3 server, started once for this test binary.
pub async fn s3() -> S3 {
    static SHARED: OnceCell<Backends> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| start_shared(Backend::S3)).await;
    let service = shared.endpoints().s3.clone();
    S3 { service, bucket: fresh_name("test-"), prefix: format!("{}/", fresh_name("test-")) }
}

async fn start_shared(backend: Backend) -> Backends {
    start(&shared_folder(backend), vec![backend]).await
}

pub async fn start(data: &Path, which: Vec<Backend>) -> Backends {
    let wanted = which.clone();
    let options = Options {
        data: data.to_owned(),
        shim: PathBuf::from(env!("CARGO_BIN_EXE_natter")),
        which,
        given: Given::default(),
        partitions: PARTITIONS,
        fsync: Fsync::Always,
        database: "natter".to_owned(),
        bucket: "natter".to_owned(),
        notify: to_stderr(),
    };
    let started = backends::start(options).await.expect("the backends' data folder can be used");
    for backend in wanted {
        let ready = timeout(READY_DEADLINE, started.ready(backend))
            .await
            .unwrap_or_else(|_| panic!("{backend} is not ready in time"));
        // The error names the package, the registry's answer and what else can be done.
        ready.unwrap_or_else(|error| panic!("this test needs {backend}: {error:#}"));
    }
    started
}

/// Progress and deaths, seen with `cargo test -- --nocapture` only.
#[expect(clippy::print_stderr, reason = "a test's output")]
pub fn to_stderr() -> Notify {
    Arc::new(|notice| eprintln!("{notice}"))
}

/// A folder for data that outlives every test and so cannot be deleted at the end of one: it is deleted by the next run.
fn shared_folder(backend: Backend) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let prefix = format!("shared-{backend}-");
    for entry in std::fs::read_dir(all).expect("cargo's folder for tests").flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            // Another run may be deleting it at this moment.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
    all.join(format!("{prefix}{}", std::process::id()))
}

/// A name that no other test of this run has.
fn fresh_name(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process exists");
}
