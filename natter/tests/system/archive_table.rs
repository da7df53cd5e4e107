//! The archive as a table: what analysts see of it, what they must not, and what becomes of it while S3 is away.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::gateway::client::Http;
use crate::observed::until_history_is_complete;
use crate::process::Process;
use crate::servers::{ClickHouse, signal};
use crate::tenants::{ask, server};

const DEADLINE: Duration = Duration::from_secs(60);
const COUNTS: &str = "SELECT tenant, count(), sum(cityHash64(position, sender, event, code, message, seq, detail, at)) \
                      FROM natter.{view} GROUP BY tenant ORDER BY tenant";

/// Ways to the keys, or past the view to the objects; of every tenant's analyst.
const PAST_THE_VIEW: [&str; 10] = [
    "SELECT batch FROM natter.archive",
    "SELECT batch FROM natter_archive.objects",
    "SELECT batch FROM s3(natter_archive, structure = 'batch String')",
    "SELECT count() FROM s3(natter_archive)",
    "SELECT count() FROM s3Cluster('default', natter_archive)",
    "SELECT count() FROM url(natter_archive)",
    "EXPLAIN SELECT batch FROM s3(natter_archive, structure = 'batch String')",
    "DESCRIBE TABLE s3(natter_archive)",
    "SHOW CREATE NAMED COLLECTION natter_archive",
    "SELECT batch FROM file('../archive.json')",
];
/// Asked by an analyst, with an answer or without: neither key may stand in it.
const SHOWING: [&str; 6] = [
    "SHOW CREATE TABLE natter_archive.objects",
    "SHOW CREATE TABLE natter.archive",
    "SELECT * FROM system.tables WHERE database = 'natter_archive'",
    "SELECT * FROM system.named_collections",
    "EXPLAIN actions = 1 SELECT * FROM natter.archive",
    "SELECT * FROM system.query_log",
];

async fn say(process: &Process, tenant: &str, text: &str) {
    let token = process.ask(&["token", "--tenant", tenant, "--user", "ada"]).await;
    let http = Http { address: process.address(), token: Some(token.trim().to_owned()) };
    let made = json!({ "cmd": "conversation.create", "kind": "group", "external": "room", "ref": "made" });
    let said = json!({ "cmd": "message.send", "conversation": "ext:room", "ref": "said", "text": text });
    for mut command in [made, said] {
        command["id"] = json!("1");
        let done = http.post("/v1/commands", command.to_string()).await.json();
        assert!(done["ok"].is_object(), "{command}: {done}");
    }
}

fn secrets(data: &std::path::Path) -> Vec<String> {
    let all: Value = serde_json::from_slice(&std::fs::read(data.join("credentials.json")).unwrap()).unwrap();
    let s3 = all.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("s3_"));
    s3.map(|(_, value)| value.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn analysts_ask_the_archive_and_learn_no_key_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let process = Process::up(&data).await;
    for tenant in ["demo", "other"] {
        say(&process, tenant, "good morning").await;
    }
    until_history_is_complete(&process).await;
    let run: Value = serde_json::from_slice(&std::fs::read(data.join("run.json")).unwrap()).unwrap();
    let all = server(run["analyst"].as_str().unwrap());
    let own = server(&process.ask(&["analyst add", "--tenant", "demo"]).await);
    // Nothing is archived yet.
    assert_eq!(ask(&all, "/", "SELECT count() FROM natter.archive").await.text(), "0\n");
    process.ask(&["archive now", "--keep", "0s"]).await;

    for (analyst, tenants) in [(&all, 2), (&own, 1)] {
        let [archive, events] = ["archive", "events"].map(|view| COUNTS.replace("{view}", view));
        let (archive, events) = (ask(analyst, "/", &archive).await.text(), ask(analyst, "/", &events).await.text());
        assert!(archive == events && archive.lines().count() == tenants, "{archive}{events}");
    }
    the_fence_holds(&own).await;
    for analyst in [&all, &own] {
        for sql in PAST_THE_VIEW {
            let answer = ask(analyst, "/", sql).await;
            assert!(answer.status != 200, "{sql}: {}", answer.text());
        }
        for sql in SHOWING.into_iter().chain(PAST_THE_VIEW) {
            let text = ask(analyst, "/", sql).await.text();
            assert!(!secrets(&data).iter().any(|secret| text.contains(&**secret)), "{sql}: {text}");
        }
    }
    without_the_tables(&process, &all).await;
    while_s3_is_away(&process, &all, &secrets(&data)).await;
}

/// A tenant's analyst sees the tenant's rows, also where a count could be read from the objects' metadata.
async fn the_fence_holds(own: &ClickHouse) {
    for (sql, seen) in [
        ("SELECT count() FROM natter.archive WHERE tenant != 'demo'", "0\n"),
        ("SELECT min(tenant), max(tenant), uniqExact(tenant) FROM natter.archive", "demo\tdemo\t1\n"),
        ("SELECT max(text), countIf(text != '') FROM natter.archive", "good morning\t1\n"),
        ("SELECT max(throwIf(tenant != 'demo')) FROM natter.archive", "0\n"),
    ] {
        assert_eq!(ask(own, "/", sql).await.text(), seen, "{sql}");
    }
    for sql in [
        "SELECT count() FROM natter_archive.objects",
        "SELECT _path FROM natter.archive",
        "SELECT 1 WHERE 1 IN natter_archive.objects",
        "EXPLAIN SELECT count() FROM natter.archive",
    ] {
        assert!(ask(own, "/", sql).await.status != 200, "{sql}");
    }
}

/// The history's tables are not asked.
async fn without_the_tables(process: &Process, all: &ClickHouse) {
    let before = ask(all, "/", "SELECT count() FROM natter.archive").await.text();
    process.clickhouse().query("RENAME TABLE natter_store.events TO natter_store.gone").execute().await.unwrap();
    assert!(ask(all, "/", "SELECT count() FROM natter.events").await.status != 200);
    assert_eq!(ask(all, "/", "SELECT count() FROM natter.archive").await.text(), before);
    process.clickhouse().query("RENAME TABLE natter_store.gone TO natter_store.events").execute().await.unwrap();
}

/// An engine that is started meanwhile serves the history; the archive alone fails, and says why.
async fn while_s3_is_away(process: &Process, all: &ClickHouse, secrets: &[String]) {
    let s3 = process.backend("weed");
    signal(s3, Signal::STOP);
    let engine = process.backend("clickhouse-server");
    signal(engine, Signal::KILL);
    let events = async {
        loop {
            let events = process.clickhouse().query("SELECT count() FROM natter.events").fetch_one::<u64>().await;
            match events {
                Ok(events) => break events,
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    assert!(timeout(DEADLINE, events).await.expect("the history is served") > 0);
    let answer = timeout(DEADLINE, ask(all, "/", "SELECT count() FROM natter.archive")).await.expect("an answer");
    let text = answer.text();
    assert!(answer.status != 200 && text.contains("S3_ERROR"), "{text}");
    assert!(!secrets.iter().any(|secret| text.contains(&**secret)), "{text}");
    signal(s3, Signal::CONT);
    let back = async {
        while ask(all, "/", "SELECT count() FROM natter.archive").await.status != 200 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, back).await.expect("the archive is back");
}
