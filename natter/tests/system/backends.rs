//! The backends as children: started, supervised, stopped, never left behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use natter::backends::{self, Backend, Backends, Given, Options, Status};
use natter_nats::server::{Fsync, ServerRole};
use tokio::time::timeout;

use crate::servers::{Servers, clickhouse, connect_nats, s3, s3_client, to_stderr};

const DEADLINE: Duration = Duration::from_secs(20);

fn options(data: PathBuf, which: &[Backend]) -> Options {
    let shim = PathBuf::from(env!("CARGO_BIN_EXE_natter"));
    Options {
        data,
        shim,
        which: which.to_vec(),
        given: Given::default(),
        partitions: 1,
        fsync: Fsync::Always,
        database: "natter".to_owned(),
        bucket: "natter".to_owned(),
        notify: to_stderr(),
    }
}

async fn start(data: PathBuf, which: &[Backend]) -> Backends {
    let started = backends::start(options(data, which)).await.unwrap();
    for backend in which {
        started.ready(*backend).await.unwrap();
    }
    started
}

async fn until_gone(pid: u32) {
    let gone = async {
        while PathBuf::from(format!("/proc/{pid}/exe")).read_link().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, gone).await.unwrap_or_else(|_| panic!("process {pid} is still there"));
}

#[tokio::test]
async fn nats_has_jetstream_and_redis_never_evicts() {
    let servers = Servers::start().await;
    let account = async_nats::jetstream::new(servers.nats().await).query_account().await.unwrap();
    assert_eq!(account.streams, 0, "fresh data");
    let policy: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(&mut servers.redis().await).await.unwrap();
    assert_eq!(policy[1], "noeviction");
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let servers = Servers::start().await;
    let without_password = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap();
        format!("{scheme}://{}", rest.split_once('@').unwrap().1)
    };
    assert!(connect_nats(&without_password(servers.nats_url())).await.is_err());
    let client = redis::Client::open(without_password(servers.redis_url())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let error = redis::cmd("PING").query_async::<String>(&mut connection).await.unwrap_err();
    assert_eq!(error.code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_dead_child_is_started_again_with_its_port_and_data() {
    let servers = Servers::start().await;
    let mut redis = servers.redis().await;
    let () = redis::cmd("SET").arg("key").arg("value").query_async(&mut redis).await.unwrap();
    // Redis writes its file at most a second after it has answered; WAITAOF is newer than what natter supports.
    let () = redis::cmd("BGREWRITEAOF").query_async(&mut redis).await.unwrap();
    rewritten(&mut redis).await;
    for backend in [Backend::Nats, Backend::Redis] {
        let old = servers.pid(backend);
        servers.restart(backend).await;
        assert_ne!(servers.pid(backend), old);
    }
    let value: String = redis::cmd("GET").arg("key").query_async(&mut servers.redis().await).await.unwrap();
    assert_eq!(value, "value");
    async_nats::jetstream::new(servers.nats().await).query_account().await.unwrap();
}

async fn rewritten(redis: &mut redis::aio::MultiplexedConnection) {
    loop {
        let info: String = redis::cmd("INFO").arg("persistence").query_async(redis).await.unwrap();
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_that_was_taken_away_stays_away_until_it_is_brought_back() {
    let servers = Servers::start().await;
    servers.take_away(Backend::Nats).await;
    assert!(connect_nats(servers.nats_url()).await.is_err());
    servers.bring_back(Backend::Nats).await;
    servers.nats().await;
}

#[tokio::test]
async fn a_frozen_server_answers_again_when_it_is_thawed() {
    let servers = Servers::start().await;
    let mut redis = servers.redis().await;
    servers.freeze(Backend::Redis);
    assert!(timeout(Duration::from_millis(200), redis::cmd("PING").query_async::<String>(&mut redis)).await.is_err());
    servers.thaw(Backend::Redis);
    let mut redis = servers.redis().await;
    assert_eq!(redis::cmd("PING").query_async::<String>(&mut redis).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_second_start_keeps_ports_passwords_and_data_and_takes_seconds() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let first = start(data.clone(), &Backend::ALL).await;
    let endpoints = first.endpoints().clone();
    let client = connect_nats(&endpoints.nats_url).await.unwrap();
    let stream =
        async_nats::jetstream::stream::Config { name: "S".into(), subjects: vec!["s".into()], ..Default::default() };
    async_nats::jetstream::new(client).create_stream(stream).await.unwrap();
    let pids = first.pids();
    assert_eq!(pids.len(), 4);

    let stopping = Instant::now();
    first.stop(Duration::from_secs(10)).await;
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    for (_, pid) in pids {
        until_gone(pid).await;
    }

    let starting = Instant::now();
    let second = backends::start(options(data, &Backend::ALL)).await.unwrap();
    let mut took = Vec::new();
    for backend in Backend::ALL {
        second.ready(backend).await.unwrap();
        took.push((backend, starting.elapsed()));
    }
    // On an idle machine 0.1 s, and 2.3 s for S3, which only adds what may come later.
    assert!(took.iter().all(|(backend, took)| *backend == Backend::S3 || *took < Duration::from_secs(4)), "{took:?}");
    assert_eq!(second.endpoints(), &endpoints);
    let client = connect_nats(&endpoints.nats_url).await.unwrap();
    async_nats::jetstream::new(client).get_stream("S").await.unwrap();
    second.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_frozen_child_is_killed_at_the_deadline() {
    let outer = tempfile::tempdir().unwrap();
    let started = start(outer.path().join("data"), &[Backend::Redis]).await;
    let (_, pid) = started.pids()[0];
    crate::servers::signal(pid, rustix::process::Signal::STOP);
    started.stop(Duration::from_millis(300)).await;
    until_gone(pid).await;
}

#[tokio::test]
async fn dropping_the_backends_ends_their_servers() {
    let outer = tempfile::tempdir().unwrap();
    let started = start(outer.path().join("data"), &[Backend::Nats, Backend::Redis]).await;
    let pids = started.pids();
    drop(started);
    for (_, pid) in pids {
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "drop waits for the end");
    }
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let _first = start(data.clone(), &[Backend::Redis]).await;
    let error = backends::start(options(data.clone(), &[Backend::Redis])).await.unwrap_err().to_string();
    for part in [data.canonicalize().unwrap().to_str().unwrap(), &std::process::id().to_string(), "--data"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_keeps_dying_is_given_up_with_its_last_words() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    // A folder where the server's file should be and, for Redis 7, a file where its folder should be.
    std::fs::create_dir_all(data.join("redis/appendonly.aof")).unwrap();
    std::fs::write(data.join("redis/appendonlydir"), "").unwrap();
    let started = backends::start(options(data.clone(), &[Backend::Redis])).await.unwrap();
    let error = timeout(DEADLINE, started.ready(Backend::Redis)).await.unwrap().unwrap_err().to_string();
    let log = data.canonicalize().unwrap().join("logs/redis.log");
    for part in ["redis died", "exit code 1", log.to_str().unwrap(), "which ends in:\n"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(started.state(Backend::Redis).unwrap().borrow().status, Status::Failed(_)));
    started.stop(DEADLINE).await;
}

#[tokio::test]
async fn a_given_backend_is_checked_and_not_started() {
    let servers = Servers::start().await;
    let outer = tempfile::tempdir().unwrap();
    let mut options = options(outer.path().join("data"), &[Backend::Redis]);
    options.given.redis_url = Some(servers.redis_url().to_owned());
    let started = backends::start(options).await.unwrap();
    started.ready(Backend::Redis).await.unwrap();
    assert_eq!(started.pids(), []);
    assert_eq!(started.endpoints().redis_url, servers.redis_url());
    started.stop(DEADLINE).await;
}

/// Where `parent_of_servers` is told that it is the parent, by the name of its data folder.
const PARENT_DATA: &str = "NATTER_TEST_PARENT_DATA";

#[tokio::test]
async fn a_killed_parent_takes_its_servers_along() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let mut parent = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backends::parent_of_servers"])
        .env(PARENT_DATA, &data)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ready = data.join("ready");
    let pids = async {
        loop {
            match std::fs::read_to_string(&ready) {
                Ok(pids) => return pids,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let pids = timeout(DEADLINE, pids).await.unwrap();
    assert_eq!(pids.lines().count(), 2);
    parent.kill().await.unwrap();
    for pid in pids.lines() {
        until_gone(pid.parse().unwrap()).await;
    }
    // The folder is free at once: a start waits for the last server of a dead parent.
    start(data, &[Backend::Nats, Backend::Redis]).await.stop(DEADLINE).await;
}

/// The parent in the test above; by itself it tests nothing.
#[tokio::test]
async fn parent_of_servers() {
    let Some(data) = std::env::var_os(PARENT_DATA).map(PathBuf::from) else { return };
    let started = start(data.clone(), &[Backend::Nats, Backend::Redis]).await;
    let pids: Vec<String> = started.pids().iter().map(|(_, pid)| pid.to_string()).collect();
    std::fs::write(data.join("ready.new"), pids.join("\n")).unwrap();
    std::fs::rename(data.join("ready.new"), data.join("ready")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn s3_keeps_objects_and_refuses_strangers() {
    let s3 = s3().await;
    let (client, key) = (s3.client(), format!("{}greeting", s3.prefix));
    client.create_bucket().bucket(&s3.bucket).send().await.unwrap();
    client.put_object().bucket(&s3.bucket).key(&key).body(b"hi".to_vec().into()).send().await.unwrap();
    let object = client.get_object().bucket(&s3.bucket).key(&key).send().await.unwrap();
    assert_eq!(object.body.collect().await.unwrap().to_vec(), b"hi");

    let refused = s3.stranger().get_object().bucket(&s3.bucket).key(&key).send().await.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
    let unsigned = http_status(&format!("{}/{}/{key}", s3.service.endpoint, s3.bucket)).await;
    assert_eq!(unsigned, 403);
}

#[tokio::test]
async fn s3_keeps_objects_over_a_kill_and_over_other_ports() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let first = start(data.clone(), &[Backend::S3]).await;
    let client = s3_client(&first.endpoints().s3);
    client.create_bucket().bucket("kept").send().await.unwrap();
    client.put_object().bucket("kept").key("before").body(b"1".to_vec().into()).send().await.unwrap();

    let mut state = first.state(Backend::S3).unwrap();
    let old = state.borrow().pid.unwrap();
    crate::servers::signal(old, rustix::process::Signal::KILL);
    state.wait_for(|state| state.status == Status::Ready && state.pid != Some(old)).await.unwrap();
    assert_eq!(read(&client, "before").await, b"1");
    client.put_object().bucket("kept").key("after").body(b"2".to_vec().into()).send().await.unwrap();

    let stopping = Instant::now();
    first.stop(Duration::from_secs(10)).await;
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    std::fs::remove_file(data.join("ports.json")).unwrap();
    let second = start(data, &[Backend::S3]).await;
    let client = s3_client(&second.endpoints().s3);
    assert_eq!(read(&client, "before").await, b"1");
    assert_eq!(read(&client, "after").await, b"2");
}

async fn read(client: &aws_sdk_s3::Client, key: &str) -> Vec<u8> {
    let object = client.get_object().bucket("kept").key(key).send().await.unwrap();
    object.body.collect().await.unwrap().to_vec()
}

async fn http_status(url: &str) -> u16 {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> = client.build_http();
    client.get(url.parse().unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn clickhouse_answers_its_user_and_refuses_strangers() {
    let clickhouse = clickhouse().await;
    let version: String = clickhouse.client().query("SELECT version()").fetch_one().await.unwrap();
    assert!(version.starts_with(|digit: char| digit.is_ascii_digit()), "{version}");
    assert_eq!(http_status(&format!("{}/ping", clickhouse.url)).await, 200);
    assert!(clickhouse.client().with_password("wrong").query("SELECT 1").execute().await.is_err());
}

#[tokio::test]
async fn every_role_has_a_user_and_only_processors_write_outcomes() {
    let servers = Servers::start().await;
    let admin = async_nats::jetstream::new(servers.nats().await);
    let stream = async_nats::jetstream::stream::Config {
        name: "EVT_0".into(),
        subjects: vec!["evt.0".into()],
        ..Default::default()
    };
    let mut stored = admin.create_stream(stream).await.unwrap();
    for role in ServerRole::ALL {
        let client = connect_nats(servers.nats_url_of(role)).await.unwrap();
        client.publish("evt.0", role.user().into()).await.unwrap();
        client.flush().await.unwrap();
    }
    // What came before it is stored before it.
    admin.publish("evt.0", "the last".into()).await.unwrap().await.unwrap();
    assert_eq!(stored.info().await.unwrap().state.messages, 3, "of the processor, and two of the administrator");
}

/// One that hangs, and one that has been asked to end and does not: both are alive, and neither serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_alive_and_does_not_serve_is_killed_and_started_again() {
    let outer = tempfile::tempdir().unwrap();
    let (notices, mut heard) = tokio::sync::mpsc::channel(64);
    let mut options = options(outer.path().join("data"), &[Backend::Redis, Backend::S3]);
    options.notify = std::sync::Arc::new(move |notice| notices.try_send(notice).unwrap_or(()));
    let started = backends::start(options).await.unwrap();
    let mut old = Vec::new();
    for (backend, signal) in
        [(Backend::Redis, rustix::process::Signal::STOP), (Backend::S3, rustix::process::Signal::TERM)]
    {
        started.ready(backend).await.unwrap();
        let pid = started.state(backend).unwrap().borrow().pid;
        crate::servers::signal(pid.unwrap(), signal);
        old.push((backend, pid));
    }
    for (backend, pid) in old {
        let mut state = started.state(backend).unwrap();
        let again = state.wait_for(|state| state.status == Status::Ready && state.pid != pid);
        timeout(Duration::from_secs(90), again).await.expect("it is started again").unwrap();
    }
    let mut said = Vec::new();
    while let Ok(notice) = heard.try_recv() {
        said.push(notice.to_string());
    }
    for part in ["redis is unwell (", "redis died (it ran, but was unwell for", "s3 died (it ran, but was unwell for"] {
        assert!(said.iter().any(|line| line.starts_with(part)), "{part} in {said:?}");
    }
    started.stop(DEADLINE).await;
}
