//! The cold backup of docs/operating.md: stop, copy, start; and what was restored half is refused with its mend.

use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::client::Client;
use crate::process::Process;

async fn copy(from: &Path, to: &Path) {
    let copied = tokio::process::Command::new("cp").arg("-a").args([from, to]).status().await.unwrap();
    assert!(copied.success());
}

async fn open(system: &Process) -> Client {
    Client::open(system.address(), &system.token("ada").await).await
}

async fn group(client: &mut Client) -> String {
    let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": "g", "members": ["bob"] });
    client.ok(create).await["conversation"].as_str().unwrap().to_owned()
}

async fn say(client: &mut Client, conversation: &str, text: &str) -> Value {
    client.ok(json!({ "cmd": "message.send", "conversation": conversation, "ref": text, "text": text })).await
}

async fn heard(system: &Process, conversation: &str) -> Vec<String> {
    let http = system.http("bob").await;
    let answer = http.get(&format!("/v1/conversations/{conversation}/messages")).await.json();
    let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("no messages: {answer}"));
    messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

/// Outcomes in the log, and those in the history once it has them all.
async fn counts(system: &Process) -> (u64, u64) {
    let mut in_log = 0;
    for partition in 0..4 {
        in_log += system.ask(&["log cat", &format!("EVT_{partition}")]).await.lines().count() as u64;
    }
    let sql = "SELECT count() FROM natter.events";
    let mut in_history = 0;
    // Groups are inserted twice a second.
    for _ in 0..100 {
        in_history = system.clickhouse().query(sql).fetch_one().await.unwrap();
        if in_history >= in_log {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    (in_log, in_history)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_data_folder_is_a_backup() {
    let outer = tempfile::tempdir().unwrap();
    let [data, backup, other] = ["data", "backup", "other"].map(|name| outer.path().join(name));
    let system = Process::up(&data).await;
    let mut ada = open(&system).await;
    let conversation = group(&mut ada).await;
    say(&mut ada, &conversation, "first").await;
    say(&mut ada, &conversation, "second").await;
    let before = counts(&system).await;
    assert_eq!(before.0, before.1, "outcomes in the log and in the history");
    assert!(system.term().await.success());
    copy(&data, &backup).await;

    // It goes on, then is lost.
    let system = Process::up(&data).await;
    say(&mut open(&system).await, &conversation, "third").await;
    assert_eq!(heard(&system, &conversation).await, ["first", "second", "third"]);
    assert!(system.term().await.success());
    copy(&data.join("redis"), &outer.path().join("newer-redis")).await;
    std::fs::remove_dir_all(&data).unwrap();

    // Everything that was there at the backup is there again, and nothing else.
    copy(&backup, &data).await;
    let system = Process::up(&data).await;
    assert_eq!(heard(&system, &conversation).await, ["first", "second"]);
    assert_eq!(counts(&system).await, before);
    assert!(system.run(&["doctor"]).await.status.success());
    assert!(system.term().await.success());

    // Views that are ahead of the log: of a time that this log has never seen.
    std::fs::remove_dir_all(data.join("redis")).unwrap();
    copy(&outer.path().join("newer-redis"), &data.join("redis")).await;
    refused(&data, "redis").await;

    // And views of another log altogether.
    let stranger = Process::up(&other).await;
    let mut ada = open(&stranger).await;
    let theirs = group(&mut ada).await;
    say(&mut ada, &theirs, "theirs").await;
    assert!(stranger.term().await.success());
    std::fs::remove_dir_all(data.join("redis")).unwrap();
    copy(&other.join("redis"), &data.join("redis")).await;
    refused(&data, "log").await;

    // The mend that it names.
    std::fs::remove_dir_all(data.join("redis")).unwrap();
    let system = Process::up(&data).await;
    let fourth = say(&mut open(&system).await, &conversation, "fourth").await;
    assert_eq!(fourth["seq"], 3);
    assert_eq!(heard(&system, &conversation).await, ["first", "second", "fourth"]);
}

async fn refused(data: &Path, part: &str) {
    let Err(not) = Process::try_up(data, &["--port", "0"]).await else { panic!("it comes up with foreign views") };
    assert!(!not.status.success());
    let mend = format!("delete {}", data.canonicalize().unwrap().join("redis").display());
    for part in ["partition", part, &mend] {
        assert!(not.stderr.contains(part), "{part} is not in {}", not.stderr);
    }
}
