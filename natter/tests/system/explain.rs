//! `natter explain`: every message is found by its id, and what is away, behind, trimmed or unknown is said.

use std::time::Duration;

use natter::config::Secret;
use natter::explain::{Asked, State, explain};
use natter_nats::{Log, LogConfig};
use natter_schemas::event::placed;
use natter_schemas::id::MessageId;
use natter_schemas::outcome::{Accepted, Decision};
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::audit::world::World;
use crate::import::import;
use crate::moderation::{send, set, with_room};
use crate::observed::until_history_is_complete;
use crate::process::Process;
use crate::servers::signal;

/// More than a conversation's hot messages.
const LINES: u32 = 230;

async fn explained(process: &Process, asked: &str) -> Value {
    serde_json::from_str(&process.ask(&["explain", "--json", asked]).await).unwrap()
}

/// Of the command, Redis and the history.
fn states(explained: &Value) -> Value {
    let views = &explained["views"];
    json!([explained["stored"]["command"]["state"], views["redis"]["state"], views["clickhouse"]["state"]])
}

#[tokio::test]
async fn a_message_is_explained_by_its_id_whatever_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    let policy = json!({ "lists": [
        { "name": "mild", "action": "mask", "words": ["blorfnak", "tweezle"] },
        { "name": "strong", "action": "reject", "words": ["zibbledorf"] },
    ] });
    set(&process, &folder, &policy).await;
    let ada = process.http("ada").await;
    let plain = send(&ada, "r1", "good morning").await["ok"].clone();
    let masked = send(&ada, "r2", "what a BL0RFNAK day").await["ok"].clone();
    assert_eq!(send(&ada, "r3", "you zibbledorf").await["error"]["code"], "rejected");
    until_history_is_complete(&process).await;

    let id = masked["message"].as_str().unwrap();
    let found = explained(&process, id).await;
    assert_eq!((&found["message"], &found["position"]), (&masked["message"], &masked["position"]));
    let command = &found["command"];
    assert_eq!(
        (&command["sender"], &command["ref"], &command["tenant"]),
        (&json!("ada"), &json!("r2"), &json!("demo"))
    );
    assert_eq!(command["body"]["text"], "what a BL0RFNAK day", "an auditor sees the original");
    let shown = &found["decision"]["accepted"]["sent"];
    assert_eq!((&shown["seq"], &shown["lists"]), (&masked["seq"], &json!(["mild"])));
    assert_eq!(shown["replacement"], found["views"]["redis"]["message"]["text"]);
    assert_eq!(shown["replacement"], found["views"]["clickhouse"]["message"]["text"]);
    let touched = json!([{ "list": "mild", "action": "mask", "words": ["blorfnak"] }]);
    assert_eq!((&found["policy"]["is_stored"], &found["policy"]["touched"]), (&json!(true), &touched));
    assert_eq!(found["policy"]["hash"], found["views"]["clickhouse"]["event"]["policy"]);
    assert_eq!(states(&found), json!(["there", "holds", "holds"]));
    assert_eq!(found["views"]["redis"]["ref_remembered"], true);
    let text = process.ask(&["explain", id]).await;
    for part in ["ada of demo, by HTTP, ref r2", "list mild masks: blorfnak", "what a BL0RFNAK day", "holds it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let created =
        process.clickhouse().query("SELECT position FROM natter.events WHERE event = 'conversation.created' LIMIT 1");
    let text = process.ask(&["explain", &created.fetch_one::<String>().await.unwrap()]).await;
    assert!(text.contains(" was made") && !text.contains("ConversationId"), "{text}");

    // A rejected text has no id; its position stands in the history.
    let sql = "SELECT position FROM natter.events WHERE reference = 'r3'";
    let position = process.clickhouse().query(sql).fetch_one::<String>().await.unwrap();
    let found = explained(&process, &position).await;
    assert_eq!(found["decision"]["rejected"]["code"], "rejected");
    assert_eq!(found["policy"]["touched"][0]["words"], json!(["zibbledorf"]));
    assert_eq!(states(&found), json!(["there", "not_looked_for", "holds"]));

    unknown(&process, plain["message"].as_str().unwrap()).await;
    when_clickhouse_hangs(&process, id).await;
    when_the_command_is_trimmed(&process, &plain).await;
    when_it_is_not_hot(&process, &folder).await;
}

async fn unknown(process: &Process, id: &str) {
    let raw: u64 = id.parse().unwrap();
    // Never made; long before the log; long after it.
    for (asked, why) in [
        ((raw + 1).to_string(), "did not"),
        ((1_u64 << 30).to_string(), "did not"),
        (i64::MAX.to_string(), "ends before that"),
        ("0:999999:0".to_owned(), "holds batches"),
        ("3:1:60000".to_owned(), "there is no outcome 3:1:60000"),
        ("9:1:0".to_owned(), "the log has 4 partitions"),
    ] {
        let output = process.run(&["explain", &asked]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{asked}: {said}");
        assert!(said.contains(why) && said.contains("there is no "), "{asked}: {said}");
    }
    assert_eq!(process.run(&["explain", "hello"]).await.status.code(), Some(2), "no id at all is a wrong command line");
}

async fn when_clickhouse_hangs(process: &Process, id: &str) {
    let pid = process.backend("clickhouse");
    signal(pid, Signal::STOP);
    let found = explained(process, id).await;
    signal(pid, Signal::CONT);
    assert_eq!(states(&found), json!(["there", "holds", "away"]));
    assert!(found["views"]["clickhouse"]["reason"].as_str().unwrap().contains("no answer within"), "{found}");
}

async fn when_the_command_is_trimmed(process: &Process, plain: &Value) {
    let log = Log::connect(&LogConfig::new(process.run["nats"].as_str().unwrap(), 4)).await.unwrap();
    let position: Position = plain["position"].as_str().unwrap().parse().unwrap();
    let last = log.bounds(&natter_schemas::subjects::command_stream(position.partition)).await.unwrap().last;
    assert!(log.trim_commands(position.partition, last, Duration::ZERO).await.unwrap() > 0);
    let id = plain["message"].as_str().unwrap();
    let found = explained(process, id).await;
    assert_eq!(states(&found), json!(["trimmed", "holds", "holds"]));
    assert_eq!(found["command"]["body"]["text"], "good morning", "the outcome repeats its command");
    assert!(process.ask(&["explain", id]).await.contains("trimmed since"));
}

async fn when_it_is_not_hot(process: &Process, folder: &tempfile::TempDir) {
    let file = folder.path().join("history.jsonl");
    let line =
        |n: u32| json!({ "room": "old", "user": "u", "at": "2004-12-25T09:14:00Z", "text": format!("line {n}") });
    std::fs::write(&file, (1..=LINES).map(|n| line(n).to_string()).collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(import(process, &file).await.accepted, u64::from(LINES));
    until_history_is_complete(process).await;
    for (text, redis) in [("line 1", "cold"), ("line 230", "holds")] {
        let sql = format!("SELECT toString(message) FROM natter.messages WHERE text = '{text}'");
        let id = process.clickhouse().query(&sql).fetch_one::<String>().await.unwrap();
        let found = explained(process, &id).await;
        assert_eq!(states(&found), json!(["there", redis, "holds"]), "{text}");
        assert_eq!(found["command"]["origin"]["import"]["at"], "2004-12-25T09:14:00.000Z");
        assert_eq!(found["views"]["redis"]["ref_remembered"], Value::Null, "imported lines are known by their numbers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_log_is_found_where_it_stands() {
    let mut world = World::start(43, 4).await;
    world.wish(120).await;
    world.settle().await;
    let mut messages = Vec::new();
    for partition in 0..4 {
        let stream = outcome_stream(partition);
        for sequence in 1..=world.log.bounds(&stream).await.unwrap().last {
            let stored = world.log.get_from_leader(&stream, sequence).await.unwrap().unwrap();
            for outcome in placed(partition, sequence, &stored.payload).unwrap() {
                if let Decision::Accepted(Accepted::Sent { message, .. }) = outcome.outcome.decision {
                    messages.push((message, outcome.position));
                }
            }
        }
    }
    assert!(messages.len() > 100, "{} messages are too few", messages.len());
    let some = messages.len() / 40;
    for (message, position) in messages.iter().step_by(some) {
        let found = explain(&world.config, Asked::Message(*message)).await.unwrap();
        assert_eq!((found.found.placed.position, found.message()), (*position, Some(*message)));
        assert_eq!((&found.redis.state, &found.clickhouse.state), (&State::Holds, &State::Holds), "{found}");
    }
    // Their neighbours are other messages of the same slot, or none.
    for (message, _) in messages.iter().step_by(some) {
        let neighbour = MessageId::from_raw(message.get() + 1);
        let found = explain(&world.config, Asked::Message(neighbour)).await;
        assert_eq!(found.is_ok(), messages.iter().any(|(other, _)| *other == neighbour), "{neighbour}");
    }

    let (message, _) = messages[0];
    let mut config = world.config.clone();
    config.redis.url = Some(Secret::new("redis://127.0.0.1:1".to_owned()));
    config.clickhouse.url = Some("http://127.0.0.1:1".to_owned());
    let found = explain(&config, Asked::Message(message)).await.unwrap();
    assert_eq!((&found.redis.state, &found.clickhouse.state), (&State::Away, &State::Away));
    assert!(found.to_string().contains("cannot be asked"), "{found}");

    // What a view holds otherwise than the log, or not at all.
    let sql = format!("ALTER TABLE {}.messages UPDATE text = 'other' WHERE message = {message}", world.store);
    world.history.query(&sql).with_setting("mutations_sync", "1").execute().await.unwrap();
    let mut redis = world.servers.redis().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    let found = explain(&world.config, Asked::Message(message)).await.unwrap();
    assert_eq!((&found.redis.state, &found.clickhouse.state), (&State::Behind, &State::Differs), "{found}");
}
