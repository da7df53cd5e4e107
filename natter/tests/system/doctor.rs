//! `natter doctor`, on systems that are broken in one way after the other.

use std::path::Path;
use std::process::Stdio;

use aws_sdk_s3::Client as Objects;
use natter::backends::{S3, free_port};
use natter_nats::server::ServerRole;
use serde_json::Value;
use tokio::process::Command;

use crate::process::Process;
use crate::servers::{Servers, connect_nats, s3_client};

struct Answer {
    healthy: bool,
    report: Value,
}

impl Answer {
    async fn of(command: &mut Command) -> Answer {
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
        Answer { healthy: output.status.success(), report }
    }

    fn checks(&self) -> &[Value] {
        self.report["checks"].as_array().unwrap()
    }

    /// Whether some check of this name came out so, with `part` in what it says.
    #[track_caller]
    fn assert(&self, check: &str, verdict: &str, part: &str) {
        let mut found = self.checks().iter().filter(|one| one["check"] == check);
        let as_wanted = found.any(|one| {
            let is_mended = one["mend"].as_str().is_some_and(|mend| !mend.is_empty());
            one["verdict"] == verdict && one.to_string().contains(part) && is_mended == (verdict != "ok")
        });
        assert!(as_wanted, "{check} is not {verdict} with {part}: {:#}", self.report);
        assert_eq!(self.healthy, self.report["verdict"] != "wrong");
    }
}

/// Of the system that runs in a data folder.
async fn examine(system: &Process) -> Answer {
    let output = system.run(&["doctor", "--json"]).await;
    Answer { healthy: output.status.success(), report: serde_json::from_slice(&output.stdout).unwrap() }
}

fn doctor(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.args(["doctor", "--json"]).current_dir(folder).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_a_running_system_is_named() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let system = Process::up(&data).await;
    let clean = examine(&system).await;
    assert!(clean.healthy, "{:#}", clean.report);
    for check in [
        "streams",
        "clock",
        "nats sync",
        "processors",
        "redis strangers",
        "history tables",
        "s3 bucket",
        "nats users",
        "redis users",
        "clickhouse users",
        "redis views",
        "history",
    ] {
        clean.assert(check, "ok", "");
    }
    streams(&system).await;
    redis_settings(&system).await;
    files(&system, &data).await;
    tables(&system).await;
    bucket(&system).await;
    assert!(examine(&system).await.healthy, "everything was mended");
    foreign_views(&system).await;
}

async fn streams(system: &Process) {
    let nats = async_nats::jetstream::new(connect_nats(system.run["nats"].as_str().unwrap()).await.unwrap());
    let good = nats.get_stream("EVT_1").await.unwrap().info().await.unwrap().config.clone();
    let mut bad = good.clone();
    bad.allow_direct = false;
    bad.duplicate_window = std::time::Duration::from_secs(1);
    nats.update_stream(&bad).await.unwrap();
    let found = examine(system).await;
    found.assert("streams", "wrong", "EVT_1: allow_direct is false");
    found.assert("streams", "wrong", "EVT_1: duplicate_window is 1s");
    nats.update_stream(&good).await.unwrap();
}

async fn redis_settings(system: &Process) {
    let client = redis::Client::open(system.run["redis"].as_str().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    for (break_it, mend_it, check, verdict, part) in [
        ("CONFIG SET appendonly no", "CONFIG SET appendonly yes", "redis file", "warning", "appendonly is off"),
        (
            "CONFIG SET maxmemory-policy allkeys-lru",
            "CONFIG SET maxmemory-policy noeviction",
            "redis",
            "wrong",
            "allkeys-lru",
        ),
        ("CONFIG SET maxmemory 1mb", "CONFIG SET maxmemory 0", "redis memory", "warning", "raise maxmemory"),
        (
            "ACL SETUSER default on nopass +ping",
            "ACL SETUSER default off -ping",
            "redis strangers",
            "wrong",
            "is let in",
        ),
        ("ACL SETUSER processor +config", "ACL SETUSER processor -config", "redis users", "wrong", "processor"),
        ("ACL SETUSER gateway off", "ACL SETUSER gateway on", "redis users", "wrong", "gateway"),
    ] {
        for (command, is_broken) in [(break_it, true), (mend_it, false)] {
            let mut words = command.split(' ');
            let mut sent = redis::cmd(words.next().unwrap());
            for word in words {
                sent.arg(word);
            }
            let () = sent.query_async(&mut redis).await.unwrap();
            if is_broken {
                examine(system).await.assert(check, verdict, part);
            }
        }
    }
}

async fn files(system: &Process, data: &Path) {
    let config = data.join("nats/nats.conf");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, good.replace("sync_interval: always", "")).unwrap();
    examine(system).await.assert("nats sync", "wrong", "power cut");
    std::fs::write(&config, good).unwrap();
}

async fn tables(system: &Process) {
    let history = system.clickhouse();
    let drop = "ALTER TABLE natter_store.migrations DELETE WHERE number = 2 SETTINGS mutations_sync = 1";
    history.query(drop).execute().await.unwrap();
    examine(system).await.assert("history tables", "wrong", "[2]");
    history.query("INSERT INTO natter_store.migrations VALUES (2, 'views', now64(3))").execute().await.unwrap();
}

async fn bucket(system: &Process) {
    let url = system.run["s3"].as_str().unwrap();
    let (credentials, host) = url.strip_prefix("http://").and_then(|rest| rest.split_once('@')).unwrap();
    let (access_key, secret_key) = credentials.split_once(':').unwrap();
    let client: Objects = s3_client(&S3 {
        endpoint: format!("http://{host}"),
        region: "us-east-1".to_owned(),
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
    });
    client.delete_object().bucket("natter").key("natter/check").send().await.unwrap();
    client.delete_bucket().bucket("natter").send().await.unwrap();
    examine(system).await.assert("s3 bucket", "wrong", "natter setup");
    client.create_bucket().bucket("natter").send().await.unwrap();
}

/// Not to be mended while it runs, so it comes last.
async fn foreign_views(system: &Process) {
    let client = redis::Client::open(system.run["redis"].as_str().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let another = "f".repeat(32);
    let mut set = redis::cmd("HSET");
    set.arg("{0}:watermark").arg(&["log", &another, "sequence", "7"]);
    let () = set.query_async(&mut redis).await.unwrap();
    let row = format!(
        "INSERT INTO natter_store.events (partition, sequence, idx, command, log) VALUES (2, 1, 4294967295, 'batch', '{another}')"
    );
    system.clickhouse().query(&row).execute().await.unwrap();
    let found = examine(system).await;
    found.assert("redis views", "wrong", &format!("partition 0 is of log {another}"));
    found.assert("redis views", "wrong", "unlink");
    found.assert("history", "wrong", &format!("partition 2 is of log {another}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_servers_elsewhere_is_examined() {
    let servers = Servers::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("natter.toml");
    let write = |nats: &str| {
        let away = free_port().unwrap();
        let text = format!(
            "[log]\nurl = '{nats}'\n[redis]\nurl = '{}'\n[clickhouse]\nurl = 'http://127.0.0.1:{away}'\n\
             [s3]\nendpoint = 'http://127.0.0.1:{away}'\naccess_key = 'a'\nsecret_key = 'b'\n",
            servers.redis_url()
        );
        std::fs::write(&config, text).unwrap();
    };
    let examine = async || Answer::of(doctor(folder.path()).arg("--config").arg(&config)).await;

    write(servers.nats_url());
    let found = examine().await;
    found.assert("nats", "wrong", "natter setup");
    found.assert("clickhouse", "wrong", "clickhouse.url");
    found.assert("s3 bucket", "wrong", "[s3]");

    natter_nats::Log::create(&natter_nats::LogConfig::new(servers.nats_url(), 4)).await.unwrap();
    let found = examine().await;
    found.assert("nats", "ok", "4 partitions");
    found.assert("nats sync", "warning", "cannot be seen from here");
    for role in ["processors", "redis projectors", "history projectors"] {
        found.assert(role, "wrong", "partition 0, 1, 2, 3");
    }

    write(servers.nats_url_of(ServerRole::Auditor));
    examine().await.assert("nats max_payload", "ok", "8388608");
    let mut command = doctor(folder.path());
    let other = Answer::of(command.arg("--config").arg(&config).env("NATTER_LOG_PARTITIONS", "8")).await;
    other.assert("nats", "wrong", "log.partitions");

    write(&format!("nats://127.0.0.1:{}", free_port().unwrap()));
    examine().await.assert("nats", "wrong", "start nats-server");
    std::fs::write(&config, "[log]\npartitions = 3\nnothing = 1\n").unwrap();
    let found = examine().await;
    found.assert("configuration", "wrong", "log.nothing");
    found.assert("configuration", "wrong", "power of two");
}

#[tokio::test]
async fn before_the_first_start_it_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = Answer::of(&mut doctor(folder.path())).await;
    for backend in ["nats", "redis", "s3", "clickhouse"] {
        fresh.assert(backend, "ok", "");
    }
    fresh.assert("data folder", "ok", "natter-data");

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bare = doctor(folder.path());
    bare.env("PATH", &empty).env("XDG_CACHE_HOME", &empty);
    bare.env("NATTER_GATEWAY_LISTEN", taken.local_addr().unwrap().to_string());
    let found = Answer::of(&mut bare).await;
    for (backend, package) in
        [("nats", "python3-pip"), ("redis", "python3-pip"), ("s3", "python3-pip"), ("clickhouse", "npm")]
    {
        found.assert(backend, "wrong", package);
    }
    found.assert("gateway port", "wrong", "--port");

    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256 && exec \"$0\" doctor --json", env!("CARGO_BIN_EXE_natter")]);
    limited.current_dir(folder.path());
    Answer::of(&mut limited).await.assert("open files", "wrong", "ulimit -Hn");
}
