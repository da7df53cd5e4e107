//! A policy that is set while the system runs: what is masked, refused and flagged, and that nobody sees an original.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::client::{Client, Http};
use crate::import::import;
use crate::observed::until_history_is_complete;
use crate::process::Process;

/// Words of no language.
const MASKED: &str = "blorfnak";
const REJECTED: &str = "zibbledorf";
const FLAGGED: &str = "quandrel";

pub async fn set(process: &Process, folder: &TempDir, policy: &Value) {
    let file = folder.path().join("policy.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    let printed = process.ask(&["policy set", file.to_str().unwrap()]).await;
    assert!(printed.contains("is in force for demo in all 4 partitions"), "{printed}");
}

pub async fn send(sender: &Http, reference: &str, text: &str) -> Value {
    let command =
        json!({ "id": "1", "cmd": "message.send", "conversation": "ext:room", "ref": reference, "text": text });
    sender.post("/v1/commands", command.to_string()).await.json()
}

/// A system with a room in which `ada` and `bob` are.
pub async fn with_room(data: &Path) -> Process {
    let process = Process::up(data).await;
    let create = json!({
        "id": "1", "cmd": "conversation.create", "ref": "c", "kind": "group", "external": "room", "members": ["bob"],
    });
    let made = process.http("ada").await.post("/v1/commands", create.to_string()).await.json();
    assert!(made["ok"]["conversation"].is_string(), "{made}");
    process
}

#[tokio::test]
async fn a_policy_that_is_set_while_the_system_runs_masks_rejects_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    let ada = process.http("ada").await;
    let mut bob = Client::open(process.address(), &process.token("bob").await).await;
    let original = format!("what a {MASKED} day");
    assert_eq!(send(&ada, "r1", &original).await["ok"]["seq"], 1, "nothing is in force yet");
    assert_eq!(bob.events_to("message.sent").await.last().unwrap()["text"], original.as_str());

    set(
        &process,
        &folder,
        &json!({ "lists": [
        { "name": "mild", "action": "mask", "words": [MASKED] },
        { "name": "strong", "action": "reject", "words": [REJECTED] },
        { "name": "look", "action": "flag", "words": [FLAGGED] },
    ] }),
    )
    .await;
    // In disguise, too: look-alikes, leet, capitals, repeated letters.
    for (seq, disguised) in [(2, MASKED), (3, "BL0RFNAK"), (4, "blооrfnak"), (5, "bloooorfnak")] {
        assert_eq!(send(&ada, &format!("m{seq}"), &format!("what a {disguised} day")).await["ok"]["seq"], seq);
        let event = bob.events_to("message.sent").await.pop().unwrap();
        let text = event["text"].as_str().unwrap();
        assert!(text.starts_with("what a ") && text.ends_with(" day") && !text.contains(disguised), "{event}");
        assert_eq!(event["masked"], true);
    }
    let refused = send(&ada, "r2", &format!("you {REJECTED}")).await;
    assert_eq!(refused["error"]["code"], "rejected");
    assert!(refused["error"]["message"].as_str().unwrap().contains("strong"), "{refused}");
    assert_eq!(send(&ada, "r3", &format!("some {FLAGGED}")).await["ok"]["seq"], 6, "a refused text takes no seq");
    let flagged = bob.events_to("message.sent").await.pop().unwrap();
    assert_eq!(flagged["text"], format!("some {FLAGGED}"));

    until_history_is_complete(&process).await;
    let sql = "SELECT seq, arrayStringConcat(lists, ',') FROM natter.events WHERE command = 'message.send' AND code = '' ORDER BY seq";
    let lists = process.clickhouse().query(sql).fetch_all::<(u64, String)>().await.unwrap();
    let lists: Vec<_> = lists.iter().map(|(seq, lists)| (*seq, lists.as_str())).collect();
    assert_eq!(lists, [(1, ""), (2, "mild"), (3, "mild"), (4, "mild"), (5, "mild"), (6, "look")]);
    let sql = "SELECT code FROM natter.events WHERE sender = 'ada' AND reference = 'r2'";
    assert_eq!(process.clickhouse().query(sql).fetch_one::<String>().await.unwrap(), "rejected");

    let reset = process.ask(&["policy reset"]).await;
    assert!(reset.contains("the default policy is in force"), "{reset}");
    assert_eq!(send(&ada, "r4", &format!("you {REJECTED}")).await["ok"]["seq"], 7);
}

#[tokio::test]
async fn imported_history_is_at_most_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    set(
        &process,
        &folder,
        &json!({ "lists": [
        { "name": "mild", "action": "mask", "words": [MASKED] },
        { "name": "strong", "action": "reject", "words": [REJECTED] },
    ] }),
    )
    .await;
    let file = folder.path().join("history.jsonl");
    let line = |word: &str| {
        json!({ "room": "old", "user": "u", "at": "2004-12-25T09:14:00Z", "text": format!("some {word}") }).to_string()
    };
    std::fs::write(&file, [line(MASKED), line(REJECTED)].join("\n")).unwrap();
    assert_eq!(import(&process, &file).await.accepted, 2);
    until_history_is_complete(&process).await;
    let sql = "SELECT m.text, arrayStringConcat(e.lists, ',') FROM natter.messages AS m INNER JOIN natter.events AS e ON m.message = e.message ORDER BY m.seq";
    let rows = process.clickhouse().query(sql).fetch_all::<(String, String)>().await.unwrap();
    let row = |word: &str, list: &str| (format!("some {word}"), list.to_owned());
    assert_eq!(rows, [row(MASKED, "mild"), row(REJECTED, "strong")]);
}

#[tokio::test]
async fn the_original_of_a_masked_text_is_nowhere_but_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let process = with_room(&data).await;
    set(&process, &folder, &json!({ "lists": [{ "name": "mild", "action": "mask", "words": ["glimfrop"] }] })).await;
    let ada = process.http("ada").await;
    let mut bob = Client::open(process.address(), &process.token("bob").await).await;
    // Not the list's word itself, for that lies in the stored policy: what only the original has.
    let (secret, original) = ("gliiimfrop", "such gliiimfrop");
    let reply = send(&ada, "r", original).await;
    let message = reply["ok"]["message"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    let again = json!({
        "id": "1", "cmd": "message.send", "conversation": "ext:room", "ref": "r", "text": original, "resend": true,
    });
    let again = ada.post("/v1/commands", again.to_string()).await.json();
    assert_eq!((&again["ok"]["message"], &again["ok"]["duplicate"]), (&json!(message), &json!(true)));
    let mut seen = vec![reply.to_string(), again.to_string()];
    seen.extend(bob.events_to("message.sent").await.iter().map(Value::to_string));
    until_history_is_complete(&process).await;

    for user in ["ada", "bob"] {
        let http = process.http(user).await;
        for path in [
            "/v1/conversations".to_owned(),
            "/v1/conversations/ext:room".to_owned(),
            "/v1/conversations/ext:room/messages".to_owned(),
            format!("/v1/conversations/ext:room/messages?around_message={message}"),
            "/v1/conversations/ext:room/events".to_owned(),
        ] {
            let answer = http.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            seen.push(answer.json().to_string());
        }
    }
    assert!(
        seen.iter().filter(|text| text.contains("such ")).count() > 6,
        "the masked text is what they show: {seen:?}"
    );
    seen.push(process.log());
    seen.extend(redis_values(&process).await);
    seen.extend(clickhouse_rows(&process).await);
    for text in &seen {
        assert!(!text.contains(secret), "{text}");
    }
    let mut in_log = Vec::new();
    for partition in 0..4 {
        in_log.push(process.ask(&["log cat", &format!("EVT_{partition}")]).await);
    }
    assert_eq!(in_log.iter().filter(|printed| printed.contains(original)).count(), 1, "where it may be audited");
}

/// All that Redis holds, whatever its type.
async fn redis_values(process: &Process) -> Vec<String> {
    let client = redis::Client::open(process.run["redis"].as_str().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    assert!(keys.len() > 8, "the views are there");
    let mut values = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await.unwrap();
        let mut ask = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "set" => redis::cmd("SMEMBERS"),
            "list" => redis::cmd("LRANGE"),
            "zset" => redis::cmd("ZRANGE"),
            other => panic!("how is a {other} read?"),
        };
        ask.arg(&key);
        if kind == "list" || kind == "zset" {
            ask.arg(0).arg(-1);
        }
        let value: redis::Value = ask.query_async(&mut redis).await.unwrap();
        values.push(format!("{} {}", String::from_utf8_lossy(&key), readable(&value)));
    }
    values
}

fn readable(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(values) => values.iter().map(readable).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// All rows of all tables, as JSON.
async fn clickhouse_rows(process: &Process) -> Vec<String> {
    // The archive is a table too.
    process.ask(&["archive now"]).await;
    let clickhouse = process.clickhouse();
    let sql = "SELECT concat(database, '.', name) FROM system.tables WHERE database IN ('natter', 'natter_store', 'natter_archive')";
    let tables = clickhouse.query(sql).fetch_all::<String>().await.unwrap();
    assert!(tables.len() >= 12, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT formatRowNoNewline('JSONEachRow', *) FROM {table}");
        rows.extend(clickhouse.query(&sql).fetch_all::<String>().await.unwrap());
    }
    assert!(rows.iter().any(|row| row.contains("such ")), "{rows:?}");
    rows
}
