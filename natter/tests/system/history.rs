//! A seeded history to import, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use natter_schemas::wire::times::rfc3339;
use serde_json::json;

use crate::generator::Random;

/// November 2004, in Unix milliseconds.
const START_MS: u64 = 1_100_500_000_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

const ROOMS: [&str; 7] = ["#ubuntu", "2004-12-25.train", "raum für alle", "a/b?c=d&e%20#f", "部屋", "\"'\\{0}", "шум"];
const USERS: [&str; 6] = ["ü:* \"{0}\"", "עברית", "nick name", "o'neill\\", "[a]|away", "日本"];
const WORDS: [&str; 20] = [
    "hello",
    "sudo",
    "apt-get",
    "why?",
    "don't",
    "\"quoted\"",
    "back\\slash",
    "{json}",
    "größe",
    "שלום",
    "مرحبا",
    "日本語",
    "👩‍👩‍👧",
    "e\u{301}",
    "\u{202e}left\u{202c}",
    "<b>bold</b>",
    "a\tb",
    "two\nlines",
    "\u{200b}",
    "'; DROP TABLE messages; --",
];

/// The lines of a file.
pub struct History {
    lines: Vec<Line>,
}

/// A line and what must become of it.
enum Line {
    Message { written: String, message: Message },
    Rename { written: String, user: String, to: String },
    Refused { written: String, code: &'static str },
    Blank,
}

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub room: String,
    pub user: String,
    pub at_ms: u64,
    pub text: String,
}

impl History {
    /// The same seed gives the same lines. Rooms are of very different sizes.
    pub fn generated(seed: u64, lines: usize) -> History {
        let mut maker = Maker { random: Random::new(seed), at_ms: START_MS + seed };
        History { lines: (0..lines).map(|_| maker.line()).collect() }
    }

    /// One room in which a few users say one thing after the other.
    pub fn of_one_room(room: &str, messages: u64) -> History {
        let line = |number| {
            let (user, text) = (format!("speaker{}", number % 3), format!("message {number}"));
            let message = Message { room: room.to_owned(), user, at_ms: START_MS + number * 1000, text };
            Line::Message { written: written(&message), message }
        };
        History { lines: (1..=messages).map(line).collect() }
    }

    /// Writes it into `folder` as `NAME.jsonl` and as `NAME.jsonl.zst`.
    pub fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let text: String = self.lines.iter().flat_map(|line| [line.written(), "\n"]).collect();
        let paths = ["jsonl", "jsonl.zst"].map(|extension| folder.join(format!("{name}.{extension}")));
        std::fs::write(&paths[0], &text).unwrap();
        std::fs::write(&paths[1], zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        paths
    }

    /// Lines that are not blank.
    pub fn read(&self) -> u64 {
        self.count(|line| !matches!(line, Line::Blank))
    }

    /// Lines that must be accepted.
    pub fn accepted(&self) -> u64 {
        self.count(|line| matches!(line, Line::Message { .. } | Line::Rename { .. }))
    }

    /// Lines that must be refused, by code.
    pub fn rejected(&self) -> BTreeMap<String, u64> {
        let mut by_code = BTreeMap::new();
        for line in &self.lines {
            if let Line::Refused { code, .. } = line {
                *by_code.entry((*code).to_owned()).or_default() += 1;
            }
        }
        by_code
    }

    /// All messages, in the file's order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.lines.iter().filter_map(|line| match line {
            Line::Message { message, .. } => Some(message),
            _ => None,
        })
    }

    /// The messages of each room, in the file's order.
    pub fn rooms(&self) -> BTreeMap<String, Vec<Message>> {
        let mut rooms: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for message in self.messages() {
            rooms.entry(message.room.clone()).or_default().push(message.clone());
        }
        rooms
    }

    /// Names of the rooms with the most messages.
    pub fn largest_rooms(&self, count: usize) -> Vec<String> {
        let mut rooms: Vec<_> = self.rooms().into_iter().map(|(room, messages)| (messages.len(), room)).collect();
        rooms.sort_by(|a, b| b.cmp(a));
        rooms.into_iter().take(count).map(|(_, room)| room).collect()
    }

    /// Who has written in each room.
    pub fn members(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for message in self.messages() {
            members.entry(message.room.clone()).or_default().insert(message.user.clone());
        }
        members
    }

    /// Each user's name: the last that the file tells, else the id.
    pub fn names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for line in &self.lines {
            match line {
                Line::Message { message, .. } => {
                    names.entry(message.user.clone()).or_insert_with(|| message.user.clone());
                }
                Line::Rename { user, to, .. } => {
                    names.insert(user.clone(), to.clone());
                }
                _ => {}
            }
        }
        names
    }

    fn count(&self, counted: impl Fn(&Line) -> bool) -> u64 {
        self.lines.iter().filter(|line| counted(line)).count() as u64
    }
}

impl Line {
    fn written(&self) -> &str {
        match self {
            Line::Message { written, .. } | Line::Rename { written, .. } | Line::Refused { written, .. } => written,
            Line::Blank => " ",
        }
    }
}

fn written(message: &Message) -> String {
    let Message { room, user, at_ms, text } = message;
    json!({ "room": room, "user": user, "at": rfc3339(*at_ms), "text": text }).to_string()
}

struct Maker {
    random: Random,
    at_ms: u64,
}

impl Maker {
    fn line(&mut self) -> Line {
        // Mostly seconds pass, now and then a day.
        self.at_ms += if self.one_in(100) { DAY_MS } else { 1000 * self.random.below(60) };
        match self.random.below(200) {
            0..=5 => self.rename(),
            6 | 7 => self.refused(),
            8 => Line::Blank,
            _ => self.message(),
        }
    }

    fn message(&mut self) -> Line {
        let message = Message { room: self.room(), user: self.user(), at_ms: self.at_ms, text: self.text() };
        let mut written = json!({ "room": message.room, "user": message.user, "at": self.at(), "text": message.text });
        // As exports of other systems may have it.
        if self.one_in(2) {
            written["kind"] = json!("message");
        }
        if self.one_in(5) {
            written["reactions"] = json!([{ "x": 1 }]);
        }
        Line::Message { written: written.to_string(), message }
    }

    fn rename(&mut self) -> Line {
        let (user, to) =
            (self.user(), format!("{} {}", self.random.pick(&["Ada", "Ünal", "ليلى", "李"]), self.random.below(1000)));
        let written =
            json!({ "kind": "rename", "room": self.room(), "user": user, "at": self.at(), "to": to }).to_string();
        Line::Rename { written, user, to }
    }

    fn refused(&mut self) -> Line {
        let at = self.at();
        let line = |room: &str, user: &str, text: &str| {
            json!({ "room": room, "user": user, "at": at, "text": text }).to_string()
        };
        let refused = [
            (line("r", "u", ""), "invalid_field"),
            (line("r", "u", "a\u{8}b"), "invalid_field"),
            (line("r", "u", &"é".repeat(4097)), "invalid_field"),
            (line("r", "", "hi"), "invalid_field"),
            (line("r", &"u".repeat(129), "hi"), "invalid_field"),
            (line("r\n", "u", "hi"), "invalid_field"),
            (json!({ "user": "u", "at": at, "text": "hi" }).to_string(), "invalid_field"),
            (json!({ "room": "r", "at": at, "text": "hi" }).to_string(), "invalid_field"),
            (json!({ "room": "r", "user": "u", "at": "yesterday", "text": "hi" }).to_string(), "invalid_field"),
            (
                json!({ "room": "r", "user": "u", "at": "1969-12-31T23:59:59Z", "text": "hi" }).to_string(),
                "invalid_field",
            ),
            (json!({ "room": "r", "user": "u", "at": at, "kind": "poke" }).to_string(), "invalid_field"),
            ("<09:14> hello".to_owned(), "invalid_frame"),
            (r#"{"room":"r","user":"u","text":"\ud800"}"#.to_owned(), "invalid_frame"),
            (r#"{"room":"r","user":"u","text":"cut"#.to_owned(), "invalid_frame"),
        ];
        let (written, code) = self.random.pick(&refused).clone();
        Line::Refused { written, code }
    }

    fn room(&mut self) -> String {
        let end = 1 + self.random.below(ROOMS.len() as u64);
        self.random.pick(&ROOMS[..usize::try_from(end).unwrap()]).to_string()
    }

    fn user(&mut self) -> String {
        if self.one_in(4) { self.random.pick(&USERS).to_string() } else { format!("user{}", self.random.below(40)) }
    }

    fn text(&mut self) -> String {
        if self.one_in(500) {
            return "ß".repeat(4096);
        }
        let words = 1 + self.random.below(12);
        let words: Vec<_> = (0..words).map(|_| *self.random.pick(&WORDS)).collect();
        format!("{} {}", words.join(" "), self.random.below(10_000))
    }

    /// The time as it may be written.
    fn at(&mut self) -> String {
        if self.one_in(3) {
            return rfc3339(self.at_ms + 2 * 3600 * 1000).replace('Z', "+02:00");
        }
        rfc3339(self.at_ms)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }
}
