//! An imported history read over HTTP: backwards, forwards, around; across the hot view, the history and the log's end,
//! and while the history is away or behind.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::history::{History, Message};
use crate::import::import;
use crate::observed::{Page, Reader, until_history_is_complete};
use crate::process::Process;
use crate::servers::signal;

/// What the hot view keeps of a conversation.
const HOT: u64 = natter_schemas::limits::HOT_MESSAGES as u64;
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Imports `history` into a running system.
async fn imported(folder: &TempDir, process: &Process, name: &str, history: &History) {
    let [file, _] = history.write(folder.path(), name);
    let summary = import(process, &file).await;
    assert_eq!(summary.accepted, history.accepted());
}

/// A page shows what was said from `first` on, up to `count` messages.
fn assert_shows(page: &Page, wanted: &[Message], first: u64, count: u64) {
    let last = (first + count - 1).min(wanted.len() as u64);
    let from = usize::try_from(first - 1).unwrap();
    let shown = page.messages.len();
    assert_eq!((page.first, page.last_seq), (first, wanted.len() as u64));
    assert_eq!(shown as u64, last + 1 - first);
    assert_eq!(page.messages, wanted[from..from + shown]);
    assert_eq!((page.more_before, page.more_after), (first > 1, last < wanted.len() as u64));
}

#[tokio::test]
async fn history_paged_backwards_is_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let history = History::generated(5, 5000);
    imported(&folder, &process, "history", &history).await;
    let rooms = history.rooms();
    // At once, when ClickHouse may not have the end yet; and again when it has.
    for complete in [false, true] {
        if complete {
            until_history_is_complete(&process).await;
        }
        for room in history.largest_rooms(3) {
            let reader = Reader::new(&process, &history, &room).await;
            assert_eq!(reader.backwards(200).await, rooms[&room], "{room}");
        }
    }
    // In pages that nothing divides.
    let room = &history.largest_rooms(3)[2];
    assert_eq!(Reader::new(&process, &history, room).await.backwards(37).await, rooms[room]);
}

#[tokio::test]
async fn a_page_begins_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let history = History::generated(6, 3000);
    imported(&folder, &process, "history", &history).await;
    until_history_is_complete(&process).await;
    let room = &history.largest_rooms(1)[0];
    let wanted = &history.rooms()[room];
    let (reader, last) = (Reader::new(&process, &history, room).await, wanted.len() as u64);
    assert!(last > 2 * HOT, "some of it is not hot");
    let edge = last - HOT;
    // The end of a page on both sides of where the hot view begins.
    for before in edge - 3..edge + 25 {
        assert_shows(&reader.page(&format!("before={before}&limit=20")).await, wanted, before - 20, 20);
    }
    for after in [0, 1, edge - 21, edge - 20, edge - 1, edge, edge + 1, last - 1] {
        assert_shows(&reader.page(&format!("after={after}&limit=20")).await, wanted, after + 1, 20);
    }
    for seq in [1, 2, 11, edge - 10, edge, edge + 1, edge + 10, last - 1, last] {
        let around = reader.page(&format!("around={seq}&limit=20")).await;
        let first = seq.saturating_sub(10).max(1);
        assert_shows(&around, wanted, first, 20);
        let id = &around.ids[usize::try_from(seq - first).unwrap()];
        let by_id = reader.page(&format!("around_message={id}&limit=20")).await;
        assert_shows(&by_id, wanted, first, 20);
        assert_eq!(by_id.ids, around.ids);
    }
    assert_shows(&reader.page("before=1000000&limit=3").await, wanted, last - 2, 3);
    for (query, before, after) in [("before=1".to_owned(), false, true), (format!("after={last}"), true, false)] {
        let page = reader.page(&query).await;
        assert!(page.messages.is_empty());
        assert_eq!((page.more_before, page.more_after), (before, after), "{query}");
    }
    assert_eq!(reader.messages("around_message=12345").await.code(), "not_found");
}

#[tokio::test]
async fn events_page_through_everything() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let history = History::generated(7, 3000);
    imported(&folder, &process, "history", &history).await;
    let room = &history.largest_rooms(1)[0];
    let reader = Reader::new(&process, &history, room).await;
    let at_once = all_events(&reader, 200).await;
    until_history_is_complete(&process).await;
    let events = all_events(&reader, 61).await;
    assert_eq!(events, at_once);

    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let wanted = &history.rooms()[room];
    let said: Vec<_> = of("message.sent").iter().map(|event| text(&event["text"])).collect();
    assert_eq!(said, wanted.iter().map(|message| message.text.clone()).collect::<Vec<_>>());
    assert_eq!(events[0]["event"], "conversation.created");
    let mut members: Vec<_> = of("conversation.joined").iter().map(|event| text(&event["sender"])).collect();
    members.push(text(&events[0]["sender"]));
    members.sort();
    assert_eq!(members, history.members()[room].iter().cloned().collect::<Vec<_>>(), "each came once");
    assert_eq!(events.len(), said.len() + members.len(), "and nothing else happened");
}

/// All events of a room, page by page; their positions rise.
async fn all_events(reader: &Reader, limit: u64) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    let mut query = format!("limit={limit}");
    loop {
        let page = reader.events(&query).await;
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        let Some(after) = page["next_after"].as_str() else { break };
        query = format!("after={after}&limit={limit}");
    }
    let positions: Vec<Vec<u64>> = events.iter().map(|event| position(&event["position"])).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    events
}

fn position(position: &Value) -> Vec<u64> {
    position.as_str().unwrap().split(':').map(|part| part.parse().unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn while_clickhouse_hangs_the_newest_messages_are_read_and_sent_and_later_all_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let history = History::of_one_room("room", 600);
    imported(&folder, &process, "history", &history).await;
    until_history_is_complete(&process).await;
    let mut wanted = history.rooms()["room"].clone();
    let reader = Reader::new(&process, &history, "room").await;
    let clickhouse = process.backend("clickhouse");

    signal(clickhouse, Signal::STOP);
    assert_shows(&reader.page(&format!("limit={HOT}")).await, &wanted, 600 - HOT + 1, HOT);
    // One message more than the hot view has.
    assert_eq!(reader.messages("before=402&limit=2").await.code(), "unavailable");
    let member = process.http("speaker0").await;
    for number in 0..20 {
        let text = format!("live {number}");
        let command = json!({ "id": "1", "cmd": "message.send", "conversation": "ext:room", "ref": format!("live-{number}"), "text": text });
        let answer = member.post("/v1/commands", command.to_string()).await;
        assert_eq!(answer.json()["ok"]["seq"], 601 + number, "{}", answer.json());
        wanted.push(Message { room: "room".to_owned(), user: "speaker0".to_owned(), at_ms: 0, text });
    }
    let reader = Reader::new(&process, &history, "room").await;
    let newest = reader.page("limit=50").await;
    assert_eq!(texts(&newest.messages), texts(&wanted[570..]));
    signal(clickhouse, Signal::CONT);

    let complete = async {
        while reader.messages("before=402&limit=200").await.status != 200 {
            sleep(LOOK).await;
        }
    };
    timeout(DEADLINE, complete).await.expect("the history is read again");
    assert_eq!(texts(&reader.backwards(200).await), texts(&wanted));
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

#[tokio::test]
async fn a_history_that_is_behind_is_filled_from_the_log_or_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("without-history.toml");
    std::fs::write(&config, "[projector]\nviews = [\"redis\"]\n").unwrap();
    let without_history = ["--port", "0", "--config", config.to_str().unwrap()];
    let process = Process::up_with(&data, &without_history).await;

    // A hole that can be filled.
    let small = History::of_one_room("small", 1500);
    imported(&folder, &process, "small", &small).await;
    let reader = Reader::new(&process, &small, "small").await;
    assert_eq!(reader.backwards(200).await, small.rooms()["small"]);
    let from_log = all_events(&reader, 200).await;
    assert_eq!(from_log.len(), 1500 + 3, "messages, the room and those who came to it");

    // One that is too large: what is hot is shown, the rest is not there and nothing pretends that it is.
    let large = History::of_one_room("large", 12_000);
    imported(&folder, &process, "large", &large).await;
    let reader = Reader::new(&process, &large, "large").await;
    let wanted = &large.rooms()["large"];
    assert_shows(&reader.page(&format!("limit={HOT}")).await, wanted, 12_000 - HOT + 1, HOT);
    let refused = reader.messages("before=5000&limit=50").await;
    assert_eq!((refused.status, refused.code()), (503, "history_behind".to_owned()));
    assert!(refused.headers.contains_key("retry-after"), "it says when to try again");

    assert!(process.term().await.success());
    let process = Process::up(&data).await;
    until_history_is_complete(&process).await;
    let reader = Reader::new(&process, &large, "large").await;
    assert_eq!(reader.backwards(200).await, *wanted);
    let reader = Reader::new(&process, &small, "small").await;
    assert_eq!(all_events(&reader, 200).await, from_log);
}
