//! `natter what-if` says what other rules would have decided: what it says of texts under a policy is what the processors decide about the same texts once
//! that policy is in force.

use std::collections::BTreeMap;
use std::path::Path;

use natter_nats::{Log, LogConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::import::import;
use crate::moderation::{send, set, with_room};
use crate::process::Process;

/// Words of no language.
const TEXTS: [&str; 9] = [
    "good morning",
    "what a blorfnak day",
    "what a BL0RFNAK day",
    "you zibbledorf",
    "some quandrel",
    "a tweezle and a blorfnak",
    "tweezle, quandrel",
    "this is a text that is longer than forty characters",
    "b l o r f n a k",
];
const KINDS: [&str; 4] = ["accepted", "masked", "flagged", "rejected"];

fn before() -> Value {
    json!({ "lists": [
        { "name": "mild", "action": "mask", "words": ["blorfnak"] },
        { "name": "strong", "action": "reject", "words": ["zibbledorf"] },
        { "name": "look", "action": "flag", "words": ["quandrel"] },
    ] })
}

fn after() -> Value {
    json!({ "text_scalars_max": 40, "lists": [
        { "name": "mild", "action": "mask", "words": ["blorfnak", "tweezle"] },
        { "name": "look", "action": "reject", "words": ["quandrel"] },
    ] })
}

/// What was decided about a text: kind, what everybody sees instead, and what else is recorded.
type Decided = (&'static str, Value, Value);

fn decided(outcome: &Value) -> Decided {
    let decision = &outcome["decision"];
    if !decision["rejected"].is_null() {
        return ("rejected", Value::Null, decision["rejected"].clone());
    }
    let sent = &decision["accepted"]["sent"];
    let kind = match (&sent["replacement"], sent["lists"].as_array().unwrap().is_empty()) {
        (Value::String(_), _) => "masked",
        (_, true) => "accepted",
        (_, false) => "flagged",
    };
    (kind, sent["replacement"].clone(), sent["lists"].clone())
}

/// Every outcome of a message by its ref.
async fn outcomes(process: &Process) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for partition in 0..4 {
        let printed = process.ask(&["log cat", &format!("EVT_{partition}")]).await;
        for line in printed.lines() {
            let batch: Value = serde_json::from_str(line).unwrap();
            for outcome in batch["outcomes"].as_array().unwrap() {
                if outcome["command"]["cmd"] == "message.send" {
                    found.insert(outcome["command"]["ref"].as_str().unwrap().to_owned(), outcome.clone());
                }
            }
        }
    }
    found
}

async fn asked(process: &Process, args: &[&str]) -> Value {
    let args = [&["what-if", "--json"], args].concat();
    serde_json::from_str(&process.ask(&args).await).unwrap()
}

fn count(report: &Value, when: &str) -> Vec<u64> {
    KINDS.iter().map(|kind| report[when][kind].as_u64().unwrap()).collect()
}

/// Messages in every stream and bucket, but for the leases, which are renewed all the time.
async fn stored(process: &Process) -> Vec<(String, u64)> {
    let config = LogConfig::new(process.run["nats"].as_str().unwrap(), 4);
    let streams = Log::connect(&config).await.unwrap().streams(&config).await.unwrap();
    streams.into_iter().filter(|one| !one.name.contains("leases")).map(|one| (one.name, one.messages)).collect()
}

fn file(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_it_says_of_other_rules_is_what_is_decided_under_them() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    let ada = process.http("ada").await;
    set(&process, &folder, &before()).await;
    for (index, text) in TEXTS.iter().enumerate() {
        send(&ada, &format!("old{index}"), text).await;
    }
    // A stranger's text is not judged, whatever is in it.
    assert_eq!(send(&process.http("eve").await, "eve", "zibbledorf").await["error"]["code"], "not_found");

    let (policy, csv) = (file(&folder, "other.json", &after().to_string()), folder.path().join("changed.csv"));
    let was_stored = stored(&process).await;
    let report = asked(&process, &["--policy", &policy, "--csv", csv.to_str().unwrap(), "--rows", "100"]).await;
    assert_eq!(stored(&process).await, was_stored, "nothing is written");
    assert_eq!(report["messages"], TEXTS.len());

    set(&process, &folder, &after()).await;
    for (index, text) in TEXTS.iter().enumerate() {
        send(&ada, &format!("new{index}"), text).await;
    }
    let outcomes = outcomes(&process).await;
    let mut wanted = Vec::new();
    let mut counts = [[0; 4]; 2];
    for index in 0..TEXTS.len() {
        let (old, new) = (&outcomes[&format!("old{index}")], &outcomes[&format!("new{index}")]);
        let (was, is) = (decided(old), decided(new));
        for (counts, kind) in counts.iter_mut().zip([was.0, is.0]) {
            counts[KINDS.iter().position(|name| *name == kind).unwrap()] += 1;
        }
        if was != is {
            let message = &old["decision"]["accepted"]["sent"]["message"];
            wanted.push(json!([old["position"], message, was.0, is.0]));
        }
    }
    assert_eq!(counts, [[2, 4, 2, 1], [2, 4, 0, 3]], "the texts are of all kinds");
    assert_eq!((count(&report, "before"), count(&report, "after")), (counts[0].to_vec(), counts[1].to_vec()));
    let rows = report["rows"].as_array().unwrap();
    let found: Vec<_> =
        rows.iter().map(|row| json!([row["position"], row["message"], row["before"], row["after"]])).collect();
    assert_eq!((found, &report["changed"]), (wanted, &json!(rows.len())));
    assert!(rows.iter().any(|row| row["lists_after"] == "text_too_long" && row["after"] == "rejected"), "{report}");
    is_the_same(&csv, rows);
    parts_are_the_whole(&process, &policy, rows).await;
    a_list_in_the_place_of_another(&process, &folder).await;
    what_cannot_be_done_is_said(&process, &folder, &policy).await;
}

/// The file has the same rows as the report.
fn is_the_same(csv: &Path, rows: &[Value]) {
    let text = std::fs::read_to_string(csv).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("position,message,conversation,sender,at,before,after,lists_before,lists_after"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for row in rows {
        let line = lines.next().unwrap();
        let begin =
            ["position", "message", "conversation", "sender", "at", "before", "after"].map(|name| text(&row[name]));
        assert!(line.starts_with(&begin.join(",")), "{line} is not {row}");
    }
    assert_eq!(lines.next(), None);
}

/// A range is what is in it, by position and by time.
async fn parts_are_the_whole(process: &Process, policy: &str, rows: &[Value]) {
    let middle = rows[rows.len() / 2]["position"].as_str().unwrap();
    let (partition, rest) = middle.split_once(':').unwrap();
    let (sequence, index) = rest.split_once(':').unwrap();
    let all = asked(process, &["--policy", policy]).await["messages"].as_u64().unwrap();
    let of = |args: Vec<String>| async move {
        let args: Vec<_> = ["--policy", policy].into_iter().chain(args.iter().map(String::as_str)).collect();
        let report = asked(process, &args).await;
        (report["messages"].as_u64().unwrap(), report["rows"].clone())
    };
    let to = |end: String| vec!["--to".to_owned(), end];
    let from = |begin: String| vec!["--from".to_owned(), begin];
    // Of the room's partition, which has all the messages.
    let (upto, shown) = of(to(middle.to_owned())).await;
    assert_eq!(shown.as_array().unwrap().last().unwrap()["position"], middle, "up to and with it");
    let next = index.parse::<u32>().unwrap() + 1;
    let (behind, _) = of(from(format!("{partition}:{sequence}:{next}"))).await;
    assert_eq!((upto > 0, behind > 0, upto + behind), (true, true, all));
    let (one, _) = of([from(middle.to_owned()), to(middle.to_owned())].concat()).await;
    assert_eq!(one, 1);

    let text = process.ask(&["explain", "--json", middle]).await;
    let at =
        serde_json::from_str::<Value>(&text).unwrap()["stored"]["command"]["stored_at"].as_str().unwrap().to_owned();
    let ((before, _), (since, shown)) = (of(to(at.clone())).await, of(from(at)).await);
    assert_eq!((before + since, &shown[0]["position"]), (all, &json!(middle)), "the time of its batch begins with it");
    assert_eq!(of(from("2999-01-01T00:00:00Z".to_owned())).await.0, 0);
    assert_eq!(of(to("2001-01-01T00:00:00Z".to_owned())).await.0, 0);
}

async fn a_list_in_the_place_of_another(process: &Process, folder: &TempDir) {
    let lines = ["blorfnak", "tweezle"]
        .map(|word| json!({ "room": "old", "user": "u", "at": "2004-12-25T09:14:00Z", "text": word }).to_string());
    assert_eq!(import(process, Path::new(&file(folder, "history.jsonl", &lines.join("\n")))).await.accepted, 2);
    // In the policies of both times, `mild` has these words now and all else is as it was.
    let list = file(folder, "mild.txt", "tweezle\n\n455\n");
    let report = asked(process, &["--wordlist", &list, "--rows", "100"]).await;
    assert_eq!(report["inert_words"], json!(["455"]));
    let changes: Vec<_> = report["changes"].as_array().unwrap().iter().map(Value::to_string).collect();
    let wanted =
        [("masked", "accepted", 6), ("masked", "masked", 2), ("flagged", "accepted", 1), ("flagged", "masked", 1)].map(
            |(before, after, messages)| json!({ "before": before, "after": after, "messages": messages }).to_string(),
        );
    assert_eq!(changes, wanted, "{report}");

    // A new list, and what is imported is at most flagged.
    let list = file(folder, "new.txt", "morning\ntweezle\n");
    let report = asked(process, &["--wordlist", &list, "--action", "reject", "--rows", "100"]).await;
    let rows = report["rows"].as_array().unwrap();
    let of = |after: &str| {
        rows.iter().filter(|row| row["after"] == after && row["lists_after"].as_str().unwrap().contains("new")).count()
    };
    assert_eq!((of("rejected"), of("flagged")), (6, 1), "{report}");
    assert_eq!(asked(process, &["--wordlist", &list, "--tenant", "other"]).await["messages"], 0);

    let text = process.ask(&["what-if", "--wordlist", &list, "--rows", "1"]).await;
    assert!(text.contains("list new (2 words)") && text.contains("more (--csv FILE has all of them)"), "{text}");
}

async fn what_cannot_be_done_is_said(process: &Process, folder: &TempDir, policy: &str) {
    let endless = file(folder, "endless.txt", &"a".repeat(10_000));
    let empty = file(folder, "x.json", "{\"lists\": 1}");
    for (args, code, why) in [
        (vec!["--wordlist", "/nowhere/en.txt"], 1, "cannot read /nowhere/en.txt"),
        (vec!["--wordlist", &endless], 1, "endless.txt cannot be used"),
        (vec!["--wordlist", &endless, "--policy", policy], 2, "cannot be used with"),
        (vec!["--policy", &empty], 1, "is no policy"),
        (vec!["--policy", policy, "--action", "mask"], 2, "cannot be used with"),
        (vec![], 2, "<--wordlist <FILE>|--policy <FILE>>"),
        (vec!["--policy", policy, "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"], 1, "ends before"),
        (vec!["--policy", policy, "--from", "0:2", "--to", "0:1:9"], 1, "ends before it begins"),
        (vec!["--policy", policy, "--from", "7:1"], 1, "there is no partition 7"),
        (vec!["--policy", policy, "--from", "0:1", "--to", "1:1"], 1, "begins and ends in one partition"),
        (vec!["--policy", policy, "--from", "yesterday"], 2, "neither a time"),
        (vec!["--policy", policy, "--csv", "/nowhere/a.csv"], 1, "cannot write /nowhere/a.csv"),
    ] {
        let output = process.run(&[&["what-if"], args.as_slice()].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let nobody = process.ask(&["what-if", "--policy", policy, "--tenant", "nobody"]).await;
    assert!(nobody.contains("0 messages judged") && nobody.contains("holds no message"), "{nobody}");
}
