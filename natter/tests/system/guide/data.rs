//! A seeded year of two tenants, as rows of the history, and in memory to count by hand.

use std::collections::BTreeMap;

use natter_schemas::wire::times::rfc3339;
use serde_json::{Value, json};

use crate::generator::Random;

const START_MS: u64 = 1_735_689_600_000; // 2025
const ROOMS: u64 = 9;
const PEOPLE: u64 = 25;
const WORDS: [&str; 8] = ["kernel", "Panic", "größe", "please", "help", "works", "for-me", "日本"];
/// Refused ones: the code, the lists that they touch, how many.
const REFUSED: [(&str, &[&str], u64); 2] = [("rejected", &["mild", "rude"], 17), ("text_too_long", &[], 5)];

/// What somebody said.
#[derive(Clone)]
pub struct Message {
    pub room: u64,
    pub seq: u64,
    pub sender: String,
    pub at_ms: u64,
    pub text: String,
    pub masked: bool,
}

impl Message {
    /// The word lists that it touches.
    pub fn lists(&self) -> &'static [&'static str] {
        match (self.masked, self.seq % 50) {
            (true, 0..10) => &["crashes", "mild"],
            (true, _) => &["mild"],
            (false, 0) => &["crashes"],
            (false, _) => &[],
        }
    }
}

/// One tenant's history.
#[derive(Clone)]
pub struct Data {
    tenant: String,
    /// Rooms begin at this number.
    first_room: u64,
    /// In the order in which they were sent.
    pub messages: Vec<Message>,
    /// Room, user and the last seq that the user has read.
    pub members: Vec<(u64, String, u64)>,
}

impl Data {
    pub fn generated(tenant: &str, seed: u64, count: usize) -> Self {
        let mut random = Random::new(seed);
        let first_room = 1000 * (seed + 1);
        let mut at_ms = START_MS;
        let mut seqs = BTreeMap::<u64, u64>::new();
        let mut messages = Vec::new();
        for _ in 0..count {
            // Mostly within a minute, at times after days.
            at_ms += if random.below(60) == 0 { random.below(4 * 86_400_000) } else { random.below(90_000) };
            let room = first_room + random.below(ROOMS).min(random.below(ROOMS));
            let seq = seqs.entry(room).or_default();
            *seq += 1;
            let sender = format!("{tenant}-{}", random.below(PEOPLE).min(random.below(PEOPLE)));
            let words: Vec<&str> = (0..=random.below(9)).map(|_| *random.pick(&WORDS)).collect();
            let masked = random.below(40) == 0;
            messages.push(Message { room, seq: *seq, sender, at_ms, text: words.join(" "), masked });
        }
        let mut members = Vec::new();
        for (room, last) in seqs {
            for person in 0..PEOPLE {
                let read = if random.below(3) == 0 { last } else { random.below(last + 1) };
                members.push((room, format!("{tenant}-{person}"), read));
            }
        }
        Self { tenant: tenant.to_owned(), first_room, messages, members }
    }

    /// The same as clocks show it that are so much ahead: what happened when they said this, happened then in UTC.
    pub fn on_clocks_ahead(&self, ms: u64) -> Self {
        let mut data = self.clone();
        data.messages.iter_mut().for_each(|message| message.at_ms += ms);
        data
    }

    pub fn room_name(&self, room: u64) -> String {
        format!("{} room {}", self.tenant, room - self.first_room)
    }

    /// Messages of each room, in order.
    pub fn rooms(&self) -> BTreeMap<u64, Vec<&Message>> {
        let mut rooms = BTreeMap::<u64, Vec<&Message>>::new();
        for message in &self.messages {
            rooms.entry(message.room).or_default().push(message);
        }
        rooms
    }

    /// Rows by table, as lines of JSON.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let lines = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat();
        let messages = self.messages.iter().map(|message| {
            let Message { room, seq, sender, at_ms, text, masked } = message;
            let at = time(*at_ms);
            json!({ "tenant": self.tenant, "conversation": room, "seq": seq, "message": room * 100_000 + seq, "sender": sender,
                    "at": at, "stored_at": at, "log_at": at, "text": text, "masked": masked, "version": seq })
        });
        // Twice, as an insert that is retried: the views show each once.
        let twice: Vec<Value> = messages.clone().chain(messages.take(100)).collect();
        vec![
            ("messages", lines(twice)),
            ("events", lines(self.events())),
            ("conversations", lines(self.conversations())),
            ("members", lines(self.memberships())),
        ]
    }

    fn events(&self) -> Vec<Value> {
        let sent = self.messages.iter().map(|message| {
            let detail = json!({ "event": "message.sent", "masked": message.masked }).to_string();
            self.event(
                message.room,
                &message.sender,
                message.at_ms,
                json!({ "event": "message.sent", "seq": message.seq, "lists": message.lists(), "detail": detail }),
            )
        });
        let refused =
            REFUSED.into_iter().flat_map(|(code, lists, times)| (0..times).map(move |nth| (code, lists, nth)));
        let refused = refused.map(|(code, lists, nth)| {
            // As a processor puts it.
            let reason = match lists {
                [] => "the text has 301 characters, at most 300 are allowed".to_owned(),
                lists => format!("the text touches the word lists {}", lists.join(", ")),
            };
            let detail = json!({ "reason": reason }).to_string();
            let sender = format!("{}-{}", self.tenant, nth % 3);
            self.event(self.first_room, &sender, START_MS, json!({ "event": "", "code": code, "detail": detail }))
        });
        let all = sent.chain(refused).enumerate();
        all.map(|(index, mut row)| {
            // A partition that no log of the tests has.
            row["partition"] = json!(60_000);
            row["sequence"] = json!(self.first_room * 100_000 + index as u64);
            row
        })
        .collect()
    }

    fn event(&self, room: u64, sender: &str, at_ms: u64, more: Value) -> Value {
        let at = time(at_ms);
        let mut row = json!({ "tenant": self.tenant, "conversation": room, "sender": sender, "at": at, "stored_at": at,
                              "log_at": at, "command": "message.send", "origin": "client" });
        let (row_fields, Value::Object(more)) = (row.as_object_mut().unwrap(), more) else { unreachable!() };
        row_fields.extend(more);
        row
    }

    fn conversations(&self) -> Vec<Value> {
        let aspects = |(room, messages): (u64, Vec<&Message>)| {
            let row = |aspect: &str, value: usize| {
                json!({ "tenant": self.tenant, "conversation": room, "aspect": aspect, "kind": "group", "visibility": "private",
                        "external": self.room_name(room), "creator": "ada", "value": value, "at": time(START_MS), "version": 1 })
            };
            [row("created", 0), row("members", usize::try_from(PEOPLE).unwrap()), row("head", messages.len())]
        };
        self.rooms().into_iter().flat_map(aspects).collect()
    }

    fn memberships(&self) -> Vec<Value> {
        let aspects = |(room, user, read): &(u64, String, u64)| {
            let row = |aspect: &str| {
                json!({ "tenant": self.tenant, "conversation": room, "user": user, "aspect": aspect, "present": true,
                        "role": "member", "read_seq": read, "at": time(START_MS), "version": 1 })
            };
            [row("membership"), row("cursor")]
        };
        self.members.iter().flat_map(aspects).collect()
    }

    pub fn refused() -> [(&'static str, &'static [&'static str], u64); 2] {
        REFUSED
    }
}

/// As ClickHouse reads it.
fn time(ms: u64) -> String {
    rfc3339(ms).replace('T', " ").replace('Z', "")
}
