//! What a running system shows of an imported history: the log, ClickHouse and HTTP, in one form that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clickhouse::Row;
use natter_schemas::wire::times::parse_rfc3339;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::gateway::client::{Answer, Http};
use crate::history::{History, Message};
use crate::process::Process;
use crate::servers::connect_nats;

/// For a projector that has thousands of records before it, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Each room's messages by seq: the first has seq 1, and there are no holes.
pub type Rooms = BTreeMap<String, Vec<Message>>;

#[derive(Row, Deserialize)]
struct Stored {
    room: String,
    seq: u64,
    user: String,
    at_ms: i64,
    text: String,
}

/// All that was imported is where it belongs, and nothing else is.
pub async fn assert_holds(process: &Process, history: &History) {
    let wanted = history.rooms();
    assert_same("the log", &logged(process).await, &wanted);
    until_history_is_complete(process).await;
    assert_same("ClickHouse", &stored(process).await, &wanted);
    assert_eq!(by_room_and_day(process).await, by_room_and_day_of(history), "by room and day");
    let sql = "SELECT user, name FROM natter.users";
    let names = process.clickhouse().query(sql).fetch_all::<(String, String)>().await.unwrap();
    assert_eq!(names.into_iter().collect::<BTreeMap<_, _>>(), history.names());
    assert_eq!(members(process).await, history.members());
}

/// Says which room differs and where, instead of printing thousands of lines.
pub fn assert_same(what: &str, found: &Rooms, wanted: &Rooms) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "rooms of {what}");
    for (room, wanted) in wanted {
        let found = &found[room];
        let different = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
        if let Some(index) = different {
            panic!("{what}, {room}, seq {}: {:?} instead of {:?}", index + 1, found[index], wanted[index]);
        }
        assert_eq!(found.len(), wanted.len(), "messages of {room} in {what}");
    }
}

/// Accepted messages of all partitions, as `natter log cat` prints them.
pub async fn logged(process: &Process) -> Rooms {
    let mut names = BTreeMap::new();
    let mut sent = Vec::new();
    for partition in 0..process.run["partitions"].as_u64().unwrap() {
        let printed = process.ask(&["log cat", &format!("EVT_{partition}")]).await;
        for batch in printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            for outcome in batch["outcomes"].as_array().unwrap() {
                let accepted = &outcome["decision"]["accepted"];
                if let Some(conversation) = accepted["created"]["conversation"].as_str() {
                    let external = outcome["command"]["body"]["external"].as_str().unwrap();
                    assert_eq!(names.insert(conversation.to_owned(), external.to_owned()), None, "made twice");
                } else if !accepted["sent"].is_null() {
                    sent.push(outcome.clone());
                }
            }
        }
    }
    let mut rooms: BTreeMap<String, BTreeMap<u64, Message>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for outcome in sent {
        let accepted = &outcome["decision"]["accepted"]["sent"];
        assert!(ids.insert(accepted["message"].as_str().unwrap().to_owned()), "an id is there twice");
        let room = names[accepted["conversation"].as_str().unwrap()].clone();
        let message = Message {
            room: room.clone(),
            user: text(&outcome["command"]["sender"]),
            at_ms: parse_rfc3339(outcome["command"]["origin"]["import"]["at"].as_str().unwrap()).unwrap(),
            text: text(&outcome["command"]["body"]["text"]),
        };
        let before = rooms.entry(room).or_default().insert(accepted["seq"].as_u64().unwrap(), message);
        assert_eq!(before, None, "a seq is there twice");
    }
    rooms.into_iter().map(|(room, messages)| (room, dense(messages))).collect()
}

/// Rows of `natter.messages`.
pub async fn stored(process: &Process) -> Rooms {
    let sql = "SELECT c.external AS room, m.seq AS seq, m.sender AS user, toUnixTimestamp64Milli(m.at) AS at_ms, m.text AS text \
               FROM natter.messages AS m INNER JOIN natter.conversations AS c ON m.conversation = c.conversation";
    let rows = process.clickhouse().query(sql).fetch_all::<Stored>().await.unwrap();
    let mut rooms: BTreeMap<String, BTreeMap<u64, Message>> = BTreeMap::new();
    for Stored { room, seq, user, at_ms, text } in rows {
        let message = Message { room: room.clone(), user, at_ms: u64::try_from(at_ms).unwrap(), text };
        let before = rooms.entry(room).or_default().insert(seq, message);
        assert_eq!(before, None, "seq {seq} has two rows");
    }
    rooms.into_iter().map(|(room, messages)| (room, dense(messages))).collect()
}

async fn by_room_and_day(process: &Process) -> BTreeMap<(String, String), u64> {
    let sql = "SELECT c.external, toString(toDate(m.at)), count() FROM natter.messages AS m \
               INNER JOIN natter.conversations AS c ON m.conversation = c.conversation GROUP BY ALL";
    let rows = process.clickhouse().query(sql).fetch_all::<(String, String, u64)>().await.unwrap();
    rows.into_iter().map(|(room, day, count)| ((room, day), count)).collect()
}

fn by_room_and_day_of(history: &History) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for message in history.messages() {
        let day = natter_schemas::wire::times::rfc3339(message.at_ms)[..10].to_owned();
        *counts.entry((message.room.clone(), day)).or_default() += 1;
    }
    counts
}

async fn members(process: &Process) -> BTreeMap<String, BTreeSet<String>> {
    let sql = "SELECT c.external, m.user FROM natter.members AS m \
               INNER JOIN natter.conversations AS c ON m.conversation = c.conversation";
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, user) in process.clickhouse().query(sql).fetch_all::<(String, String)>().await.unwrap() {
        members.entry(room).or_default().insert(user);
    }
    members
}

/// Waits until ClickHouse has all that is in the log now.
pub async fn until_history_is_complete(process: &Process) {
    let ends = log_ends(process).await;
    let complete = async {
        while applied(process).await != ends {
            sleep(LOOK).await;
        }
    };
    if timeout(DEADLINE, complete).await.is_err() {
        panic!("the log ends at {ends:?}, the history at {:?}: {}", applied(process).await, process.log());
    }
}

/// The last sequence of each partition's outcomes that has one.
async fn log_ends(process: &Process) -> BTreeMap<u16, u64> {
    let client = connect_nats(process.run["nats"].as_str().unwrap()).await.expect("nats answers");
    let jetstream = async_nats::jetstream::new(client);
    let mut ends = BTreeMap::new();
    for partition in 0..u16::try_from(process.run["partitions"].as_u64().unwrap()).unwrap() {
        let mut stream = jetstream.get_stream(format!("EVT_{partition}")).await.unwrap();
        ends.insert(partition, stream.info().await.unwrap().state.last_sequence);
    }
    ends.retain(|_, last| *last > 0);
    ends
}

async fn applied(process: &Process) -> BTreeMap<u16, u64> {
    // A batch's own row comes when all else of it is there.
    let sql = "SELECT partition, max(sequence) FROM natter_store.events WHERE idx = 4294967295 GROUP BY partition";
    process.clickhouse().query(sql).fetch_all::<(u16, u64)>().await.unwrap().into_iter().collect()
}

/// Messages as HTTP gives them; reads of one room by one of its members, who has seen what was in the log when the reader
/// was made.
pub struct Reader {
    http: Http,
    path: String,
    room: String,
    seen: String,
}

impl Reader {
    pub async fn new(process: &Process, history: &History, room: &str) -> Reader {
        let member = history.members()[room].first().expect("somebody wrote there").clone();
        let path = format!("/v1/conversations/{}", in_path(&format!("ext:{room}")));
        let seen: Vec<_> = log_ends(process).await.iter().map(|(p, sequence)| format!("{p}:{sequence}")).collect();
        Reader { http: process.http(&member).await, path, room: room.to_owned(), seen: seen.join(",") }
    }

    async fn get(&self, what: &str, query: &str) -> Answer {
        let path = format!("{}/{what}?{query}&min_position={}", self.path, self.seen);
        let answered = async {
            loop {
                let answer = self.http.get(&path).await;
                if answer.status != 503 || answer.code() != "behind" {
                    return answer;
                }
            }
        };
        timeout(DEADLINE, answered).await.expect("the hot view catches up in time")
    }

    /// An answer to `/messages?QUERY`, whatever it is.
    pub async fn messages(&self, query: &str) -> Answer {
        self.get("messages", query).await
    }

    /// An answer to `/events?QUERY`, which must be a page.
    pub async fn events(&self, query: &str) -> Value {
        let answer = self.get("events", query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        answer.json()
    }

    /// A page of messages: the seqs, which are dense, and what was said.
    pub async fn page(&self, query: &str) -> Page {
        let answer = self.messages(query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        Page::of(&self.room, &answer.json())
    }

    /// All messages, read backwards page by page.
    pub async fn backwards(&self, limit: u64) -> Vec<Message> {
        let mut pages = Vec::new();
        let mut page = self.page(&format!("limit={limit}")).await;
        loop {
            assert_eq!(page.more_before, page.first > 1);
            let first = page.first;
            pages.push(page.messages);
            if first <= 1 {
                break;
            }
            page = self.page(&format!("before={first}&limit={limit}")).await;
            assert_eq!(page.first + page.messages.len() as u64, first, "no page leaves a hole or overlaps");
        }
        pages.into_iter().rev().flatten().collect()
    }
}

/// A page of messages without a hole.
pub struct Page {
    /// Seq of its first message.
    pub first: u64,
    pub messages: Vec<Message>,
    pub ids: Vec<String>,
    pub more_before: bool,
    pub more_after: bool,
    pub last_seq: u64,
}

impl Page {
    fn of(room: &str, page: &Value) -> Page {
        let shown = page["messages"].as_array().unwrap();
        let first = shown.first().map_or(0, |message| message["seq"].as_u64().unwrap());
        let messages = shown.iter().zip(first..).map(|(shown, seq)| {
            assert_eq!(shown["seq"], seq, "seqs of a page are dense");
            Message {
                room: room.to_owned(),
                user: text(&shown["sender"]),
                at_ms: parse_rfc3339(shown["at"].as_str().unwrap()).unwrap(),
                text: text(&shown["text"]),
            }
        });
        Page {
            first,
            messages: messages.collect(),
            ids: shown.iter().map(|message| text(&message["message"])).collect(),
            more_before: page["more_before"].as_bool().unwrap(),
            more_after: page["more_after"].as_bool().unwrap(),
            last_seq: page["last_seq"].as_u64().unwrap(),
        }
    }
}

fn dense(messages: BTreeMap<u64, Message>) -> Vec<Message> {
    assert!(messages.keys().copied().eq(1..=messages.len() as u64), "a seq is missing: {:?}", messages.keys());
    messages.into_values().collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// As it stands in a URL's path.
fn in_path(text: &str) -> String {
    let encoded =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encoded).collect()
}
