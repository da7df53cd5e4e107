//! `natter import` into rooms that people are in, and about users who have a name.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::gateway::client::{Client, Http};
use crate::import::import;
use crate::observed::until_history_is_complete;
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
const OLD_LINES: u64 = 300;
/// The last hour that the history holds.
const FAR: &str = "2299-12-31T23:59:59Z";
const UNREAD: &str = "SELECT sum(c.last_seq - m.read_seq - arrayCount(seq -> seq > m.read_seq, i.seqs)) FROM natter.members AS m \
    INNER JOIN natter.conversations AS c ON m.conversation = c.conversation LEFT JOIN (SELECT conversation, groupArray(seq) AS seqs \
    FROM natter.events WHERE origin = 'import' AND event = 'message.sent' GROUP BY conversation) AS i ON m.conversation = i.conversation \
    WHERE c.external = 'ops' AND m.user = 'bob'";

fn old_lines() -> String {
    let line = |number: u64| {
        let user = if number.is_multiple_of(2) { "ada" } else { "cy" };
        json!({ "room": "ops", "user": user, "at": format!("2004-12-25T09:{:02}:{:02}Z", number / 60, number % 60), "text": "old" })
    };
    let rename = json!({ "kind": "rename", "user": "ada", "at": "2004-12-26T00:00:00Z", "to": "Ada of old" });
    let far = json!({ "room": "ops", "user": "cy", "at": FAR, "text": "far" });
    let too_far = json!({ "room": "ops", "user": "cy", "at": "2300-01-01T00:00:00Z", "text": "too far" });
    let lines = (1..=OLD_LINES).map(line).chain([rename, far, too_far]);
    lines.fold(String::new(), |text, line| text + &format!("{line}\n"))
}

async fn import_text(process: &Process, folder: &Path, text: &str) -> crate::import::Summary {
    let file = folder.join("old.jsonl");
    std::fs::write(&file, text).unwrap();
    import(process, &file).await
}

/// What `get` answers as soon as the hot view shows it.
async fn shown(http: &Http, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let answer = http.get(path).await;
            if answer.status == 200 && is(&answer.json()) {
                return answer.json();
            }
            sleep(LOOK).await;
        }
    };
    timeout(DEADLINE, looked).await.expect("the view comes to show it")
}

/// (external id, unread) of each conversation in the list.
fn listed(page: &Value) -> Vec<(&str, u64)> {
    let conversations = page["conversations"].as_array().unwrap();
    conversations.iter().map(|one| (one["external"].as_str().unwrap(), one["unread"].as_u64().unwrap())).collect()
}

async fn group(ada: &mut Client, external: &str) {
    let create = json!({ "cmd": "conversation.create", "kind": "group", "visibility": "public", "members": ["bob"],
        "external": external, "ref": format!("c-{external}") });
    ada.ok(create).await;
    say(ada, external, "before").await;
}

async fn say(client: &mut Client, external: &str, text: &str) -> Value {
    let conversation = format!("ext:{external}");
    client.ok(json!({ "cmd": "message.send", "conversation": conversation, "text": text, "ref": format!("{external}-{text}") })).await
}

/// What a session was sent of a room until somebody said `text` there.
async fn heard(client: &mut Client, text: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = client.pushed().await;
        let is_last = frame["text"] == text;
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_live_room_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let open = async |user: &str| Client::open(process.address(), &process.token(user).await).await;
    let (mut ada, mut bob) = (open("ada").await, open("bob").await);
    ada.ok(json!({ "cmd": "user.update", "name": "Ada Live", "ref": "name" })).await;
    group(&mut ada, "ops").await;
    group(&mut ada, "later").await;
    let http = process.http("bob").await;
    let list = "/v1/conversations";
    let before = shown(&http, list, |page| listed(page).len() == 2 && page["conversations"][0]["last_seq"] == 1).await;
    assert_eq!(listed(&before), [("later", 1), ("ops", 1)]);
    heard(&mut bob, "before").await;
    heard(&mut bob, "before").await;

    let summary = import_text(&process, folder.path(), &old_lines()).await;
    assert_eq!((summary.accepted, summary.rejected["invalid_field"]), (OLD_LINES + 2, 1));
    let last = OLD_LINES + 2;
    let path = "/v1/conversations/ext:ops";
    shown(&http, path, |ops| ops["last_seq"] == last).await;
    let after = shown(&http, list, |_| true).await;
    assert_eq!(listed(&after), [("later", 1), ("ops", 1)], "neither unread nor on top");

    say(&mut ada, "ops", "after").await;
    let frames = heard(&mut bob, "after").await;
    let (live, told) = frames.split_last().unwrap();
    assert_eq!(live["seq"], last + 1);
    let mut next = 2;
    for frame in told {
        assert_eq!(frame["event"], "conversation.imported", "{frame}");
        if let Some(seq) = frame["seq"].as_u64() {
            assert_eq!(frame["first"], next, "no line is left out");
            next = seq + 1;
        }
    }
    assert_eq!(next, last + 1);
    let ops = shown(&http, path, |ops| ops["last_seq"] == last + 1).await;
    assert_eq!((&ops["unread"], &ops["read_seq"]), (&json!(2), &json!(0)));
    let page = http.get(&format!("{path}/messages?after={}&limit=5", last - 1)).await.json();
    assert_eq!((&page["messages"][0]["text"], &page["messages"][1]["text"]), (&json!("far"), &json!("after")));

    let names = |page: &Value| -> Vec<Value> {
        page["members"].as_array().unwrap().iter().map(|member| member["name"].clone()).collect()
    };
    let members = shown(&http, &format!("{path}/members"), |page| page["members"].as_array().unwrap().len() == 3).await;
    assert_eq!(names(&members), [json!("Ada Live"), Value::Null, json!("cy")]);
    // Earlier than the line that introduced him, but the only name that anybody gave him.
    let rename = json!({ "kind": "rename", "user": "cy", "at": "2001-01-01T00:00:00Z", "to": "Cy" }).to_string();
    assert_eq!(import_text(&process, folder.path(), &rename).await.accepted, 1);
    shown(&http, &format!("{path}/members"), |page| names(page)[2] == "Cy").await;

    until_history_is_complete(&process).await;
    let sql = "SELECT toString(hour), messages FROM natter.messages_by_hour WHERE hour > toDateTime64('2100-01-01 00:00:00', 0, 'UTC')";
    let hours = process.clickhouse().query(sql).fetch_all::<(String, u64)>().await.unwrap();
    assert_eq!(hours, [("2299-12-31 23:00:00".to_owned(), 1)]);
    let sql = "SELECT user, name FROM natter.users ORDER BY user";
    let names = process.clickhouse().query(sql).fetch_all::<(String, String)>().await.unwrap();
    assert_eq!(names, [("ada", "Ada Live"), ("cy", "Cy")].map(|(user, name)| (user.to_owned(), name.to_owned())));
    assert_eq!(process.clickhouse().query(UNREAD).fetch_one::<i64>().await.unwrap(), 2);
    let far = "SELECT toString(at), toYYYYMM(at) FROM natter.messages WHERE text = 'far'";
    let far = process.clickhouse().query(far).fetch_one::<(String, u32)>().await.unwrap();
    assert_eq!(far, ("2299-12-31 23:59:59.000".to_owned(), 229_912));
}
