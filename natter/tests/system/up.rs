//! `natter up`: started, stopped, killed and robbed of its backends, as people do.

mod elsewhere;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::gateway::client::{Client, Ended, Http};
use crate::process::Process;
use crate::servers::signal;

/// From the signal to the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// A backend comes back, and whatever was cut off by its death with it.
const BACK_MAX: Duration = Duration::from_secs(20);

fn folder() -> (TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    (outer, data)
}

async fn session(system: &Process, user: &str) -> Client {
    Client::open(system.address(), &system.token(user).await).await
}

/// A group of ada and bob; its id.
async fn group(ada: &mut Client) -> String {
    let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": "make", "members": ["bob"] });
    ada.ok(create).await["conversation"].as_str().unwrap().to_owned()
}

fn message(conversation: &str, text: &str) -> Value {
    let reference = text.replace(' ', "-");
    json!({ "id": "1", "cmd": "message.send", "conversation": conversation, "ref": reference, "text": text })
}

/// Sends until it is accepted: what is refused for the moment may be sent again with its ref.
async fn send_until_accepted(http: &Http, conversation: &str, text: &str) {
    let sent = async {
        loop {
            let answer = http.post("/v1/commands", message(conversation, text).to_string()).await;
            if answer.status == 200 {
                return;
            }
            assert!(answer.status >= 429, "{}", answer.json());
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(BACK_MAX, sent).await.unwrap_or_else(|_| panic!("{text} is not accepted in time"));
}

/// The texts of a conversation, as soon as there are `count`.
async fn texts(http: &Http, conversation: &str, count: usize) -> Vec<String> {
    let path = format!("/v1/conversations/{conversation}/messages?limit=200");
    let all = async {
        loop {
            let answer = http.get(&path).await;
            if answer.status == 200 {
                let answer = answer.json();
                let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("no messages: {answer}"));
                if messages.len() >= count {
                    return messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect();
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(BACK_MAX, all).await.unwrap_or_else(|_| panic!("not all messages are shown in time"))
}

fn pids(system: &Process) -> Vec<u32> {
    system.backends().into_iter().map(|(pid, _)| pid).collect()
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that has ended and that nobody has looked at yet is a zombie.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn all_gone(pids: &[u32]) {
    let gone = async {
        while pids.iter().any(|pid| lives(*pid)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DRAIN_MAX, gone).await.unwrap_or_else(|_| panic!("some of {pids:?} live on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn up_serves_drains_and_starts_again_with_all_data() {
    let (_outer, data) = folder();
    let system = Process::up(&data).await;
    let file = data.join("run.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept, system.run);
    for key in ["http", "metrics", "nats", "redis", "clickhouse", "s3"] {
        assert!(kept[key].as_str().unwrap().contains("://"), "{key} of {kept}");
    }

    let (mut ada, mut bob) = (session(&system, "ada").await, session(&system, "bob").await);
    let conversation = group(&mut ada).await;
    let sent = ada.ok(message(&conversation, "before")).await;
    assert_eq!(sent["seq"], 1);
    assert_eq!(
        ada.refused(json!({ "cmd": "message.send", "conversation": "1", "ref": "x", "text": "x" })).await,
        "not_found"
    );
    bob.events_to("message.sent").await;
    texts(&system.http("bob").await, &conversation, 1).await;
    every_metric_of_the_issue_is_shown(&system).await;

    let (children, began) = (pids(&system), Instant::now());
    assert_eq!(children.len(), 4);
    let ending = tokio::spawn(system.term());
    assert_eq!(ada.end().await, Ended::Closed(4000));
    assert_eq!(bob.end().await, Ended::Closed(4000));
    assert!(ending.await.unwrap().success());
    assert!(began.elapsed() < DRAIN_MAX, "{:?}", began.elapsed());
    all_gone(&children).await;
    assert!(!file.exists());

    let began = Instant::now();
    let system = Process::up(&data).await;
    // 5 s are promised of a machine that does nothing else; beside other tests it takes longer.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(texts(&system.http("bob").await, &conversation, 1).await, ["before"]);
    let mut ada = session(&system, "ada").await;
    assert_eq!(ada.ok(message(&conversation, "after")).await["seq"], 2);
    assert!(system.term().await.success());
}

async fn every_metric_of_the_issue_is_shown(system: &Process) {
    let address = system.run["metrics"].as_str().unwrap();
    let address = address.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    let private = Http { address: address.parse().unwrap(), token: None };
    let metrics = String::from_utf8(private.get("/metrics").await.body.to_vec()).unwrap();
    for name in [
        "natter_gateway_commands_accepted_total ",
        "natter_gateway_commands_rejected_total{code=\"not_found\"}",
        "natter_publisher_batch_commands_bucket",
        "natter_processor_batch_commands_bucket",
        "natter_publisher_ack_seconds_bucket",
        "natter_processor_decide_seconds_bucket",
        "natter_gateway_command_answer_seconds_bucket",
        "natter_projector_lag_records{",
        "natter_projector_lag_seconds{",
        "natter_publisher_queue_commands{",
        "natter_processor_queue_batches{",
        "natter_gateway_sessions 2",
        "# HELP natter_processor_decide_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    let ready = private.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    assert_eq!(private.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_subcommands_find_the_system_by_its_folder() {
    let (outer, data) = folder();
    let system = Process::up(&data).await;
    assert!(system.ask(&["health"]).await.contains("\"projector-redis\""));

    let policy = outer.path().join("policy.json");
    let words = json!({ "lists": [{ "name": "rude", "action": "mask", "words": ["darn"] }] });
    std::fs::write(&policy, words.to_string()).unwrap();
    assert!(system.ask(&["policy set", policy.to_str().unwrap()]).await.contains("in force"));
    let shown = timeout(BACK_MAX, async {
        loop {
            let shown = system.ask(&["policy show"]).await;
            if !shown.contains(": default") {
                return shown;
            }
        }
    });
    assert!(shown.await.unwrap().contains("\"darn\""));
    let mut ada = session(&system, "ada").await;
    let conversation = group(&mut ada).await;
    ada.ok(message(&conversation, "darn it")).await;
    let texts = texts(&system.http("bob").await, &conversation, 1).await;
    assert!(!texts[0].contains("darn"), "{texts:?}");
    assert!(system.ask(&["policy reset"]).await.contains("default"));

    let log: String = futures_util::future::join_all(["EVT_0", "EVT_1", "EVT_2", "EVT_3"].map(|stream| {
        let system = &system;
        async move { system.ask(&["log cat", stream]).await }
    }))
    .await
    .concat();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("darn it")), "the log keeps the original");

    let nothing = system.run(&["log cat", "EVT_0", "--from", "9999"]).await;
    let said = String::from_utf8(nothing.stderr).unwrap();
    assert!(nothing.status.success() && nothing.stdout.is_empty() && said.contains("in this range"), "{said}");
    for (args, reason) in [
        (vec!["log cat", "EVT_9"], "no stream `EVT_9`"),
        (vec!["policy set", "/nowhere.json"], "/nowhere.json"),
        (vec!["token", "--user", "ada", "--ttl", "1w"], "no duration"),
        (vec!["token", "--user", ""], "--user"),
    ] {
        let refused = system.run(&args).await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(reason), "{args:?}: {said}");
        assert!(!said.contains("INFO"), "{said}");
    }
    std::fs::write(&policy, r#"{"list":[]}"#).unwrap();
    let refused = system.run(&["policy set", policy.to_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown field `list`"));
    assert!(system.term().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_with_the_option() {
    let (outer, data) = folder();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = Process::try_up(&data, &["--port", &port]).await.err().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(&port) && refused.stderr.contains("--port"), "{}", refused.stderr);

    let config = outer.path().join("wrong.toml");
    std::fs::write(&config, "[log]\npartitions = 3\n[gatway]\n[redis]\nurl = 5\n").unwrap();
    let refused = Process::try_up(&data, &["--config", config.to_str().unwrap()]).await.err().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    for problem in ["log.partitions", "gatway", "redis.url"] {
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    }

    let system = Process::up(&data).await;
    let second = system.run(&["up", "--json", "--port", "0"]).await;
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    let pid = format!("process {}", system.pid());
    assert!(said.contains(data.to_str().unwrap()) && said.contains("--data") && said.contains(&pid), "{said}");
    // As it is with the usual port: the first system has the port too, and another one would not help.
    let second = system.run(&["up", "--json", "--port", &port]).await;
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by") && !said.contains("--port"), "{said}");
    system.ask(&["health"]).await;

    system.kill().await;
    let mut health = tokio::process::Command::new(env!("CARGO_BIN_EXE_natter"));
    let refused = health.arg("health").arg("--data").arg(&data).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("was killed") && said.contains("natter up --data"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_is_started_again_and_nothing_answered_is_lost() {
    let (_outer, data) = folder();
    let system = Process::up(&data).await;
    let conversation = group(&mut session(&system, "ada").await).await;
    let ada = system.http("ada").await;
    let mut expected = vec!["first".to_owned()];
    send_until_accepted(&ada, &conversation, "first").await;
    for (name, word) in
        [("redis", "redis-server"), ("nats", "nats-server"), ("clickhouse", "clickhouse-server"), ("s3", "weed")]
    {
        signal(system.backend(word), Signal::KILL);
        let text = format!("after the death of {name}");
        send_until_accepted(&ada, &conversation, &text).await;
        expected.push(text);
        said(&system, &format!("{name} died (killed by signal 9)")).await;
        ready_again(&system).await;
    }
    assert_eq!(texts(&ada, &conversation, expected.len()).await, expected);
    in_history(&system, expected.len()).await;
    assert!(system.term().await.success());
}

async fn said(system: &Process, words: &str) {
    let said = async {
        while !system.log().contains(words) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BACK_MAX, said).await.unwrap_or_else(|_| panic!("`{words}` is not said: {}", system.log()));
}

async fn ready_again(system: &Process) {
    let ready = async {
        while !system.run(&["health"]).await.stdout.windows(16).any(|part| part == b"\"status\":\"ready\"") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(BACK_MAX, ready).await.expect("all is ready again in time");
}

pub async fn in_history(system: &Process, messages: usize) {
    let history = system.clickhouse();
    let shown = async {
        let count = "SELECT count() FROM natter.messages";
        while history.query(count).fetch_one::<u64>().await.ok() != Some(messages as u64) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(BACK_MAX, shown).await.expect("the history has all messages in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_drains_in_time_while_backends_hang() {
    for hanging in
        [vec!["redis-server", "clickhouse-server"], vec!["nats-server", "redis-server", "clickhouse-server", "weed"]]
    {
        let (_outer, data) = folder();
        let system = Process::up(&data).await;
        let mut ada = session(&system, "ada").await;
        let conversation = group(&mut ada).await;
        let children = pids(&system);
        for word in hanging {
            signal(system.backend(word), Signal::STOP);
        }
        ada.send(message(&conversation, "into the void")).await;
        let began = Instant::now();
        let ending = tokio::spawn(system.term());
        assert_eq!(ada.end().await, Ended::Closed(4000));
        assert!(ending.await.unwrap().success());
        assert!(began.elapsed() < DRAIN_MAX + Duration::from_secs(1), "{:?}", began.elapsed());
        all_gone(&children).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_takes_its_children_along_and_loses_nothing() {
    let (_outer, data) = folder();
    let system = Process::up(&data).await;
    let conversation = group(&mut session(&system, "ada").await).await;
    send_until_accepted(&system.http("ada").await, &conversation, "kept").await;
    let children = pids(&system);
    system.kill().await;
    all_gone(&children).await;
    let system = Process::up(&data).await;
    assert_eq!(texts(&system.http("bob").await, &conversation, 1).await, ["kept"]);
    assert!(system.term().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_data_is_deleted() {
    let outer = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_natter"))
        .args(["up", "--ephemeral", "--json", "--port", "0"])
        .current_dir(outer.path())
        .env("TMPDIR", outer.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().contains("\"ready\":true"));
    let entries = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(entries(outer.path()), 1);
    signal(child.id().unwrap(), Signal::TERM);
    assert!(timeout(DRAIN_MAX * 2, child.wait()).await.unwrap().unwrap().success());
    assert_eq!(entries(outer.path()), 0);
}
