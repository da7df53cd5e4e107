//! What an import sends and what the answers come to. Pure: frames out, replies in.
//!
//! Each line is a chain's next link: it names the line of its room (or user) that was sent before it, and the processor
//! refuses a link whose predecessor it does not have. So commands can be sent ahead of their answers, and a part that
//! fails takes its followers with it into [`Plan::retry`] instead of leaving a hole.

use std::collections::{BTreeMap, HashMap, HashSet};

use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::{Answer, ErrorBody, Reply};
use serde::Serialize;

use super::line::{Line, Refusal, What};

/// Attempts at a line whose refusal may pass.
const ATTEMPTS_MAX: u32 = 40;
/// Attempts at a line whose room or membership was not there, although it was asked for before.
const UNPREPARED_ATTEMPTS_MAX: u32 = 3;

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines read.
    pub read: u64,
    /// Lines that are in the log now and were not before.
    pub accepted: u64,
    /// Lines that were there already.
    pub duplicates: u64,
    /// Lines refused, by code.
    pub rejected: BTreeMap<ErrorCode, u64>,
}

/// The last line of a chain that is known to be taken, and the last that was sent.
#[derive(Debug, Default)]
struct Chain {
    taken: u64,
    sent: u64,
}

#[derive(Debug, Default)]
struct Room {
    chain: Chain,
    asked_for: bool,
    members: HashSet<String>,
}

/// The first line of a user gives the display name: a rename by itself, a message by a `user.update` before it. The same
/// line does so whenever the import is repeated, so that it is a duplicate then.
#[derive(Debug, Default)]
struct User {
    chain: Chain,
    introduced: Option<Introduction>,
    asked_for: bool,
}

#[derive(Debug)]
enum Introduction {
    ByRename,
    ByMessage(Line),
}

#[derive(Debug)]
struct Sent {
    line: Line,
    attempts: u32,
}

/// The state of an import.
#[derive(Debug)]
pub struct Plan {
    source: String,
    rooms: HashMap<String, Room>,
    users: HashMap<String, User>,
    introductions: HashMap<u64, String>,
    unanswered: HashMap<u64, Sent>,
    retry: BTreeMap<u64, Sent>,
    tally: Tally,
    refused: Vec<(u64, Refusal)>,
}

#[derive(Serialize)]
struct Frame<'a> {
    id: String,
    cmd: &'static str,
    r#ref: String,
    sender: &'a str,
    import: Import<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<&'a str>,
}

#[derive(Serialize)]
struct Import<'a> {
    source: &'a str,
    line: u64,
    previous: u64,
    at: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    introduces: bool,
}

impl Plan {
    /// An import of the source with this hash (32 hex digits).
    pub fn new(source: String) -> Self {
        Self {
            source,
            rooms: HashMap::new(),
            users: HashMap::new(),
            introductions: HashMap::new(),
            unanswered: HashMap::new(),
            retry: BTreeMap::new(),
            tally: Tally::default(),
            refused: Vec::new(),
        }
    }

    /// Takes a line of the file in: the frames to send, if it was understood.
    pub fn read(&mut self, line: Result<Line, Refusal>, number: u64, frames: &mut Vec<String>) {
        self.tally.read += 1;
        match line {
            Ok(line) => self.send(Sent { line, attempts: 0 }, frames),
            Err(refusal) => self.refuse(number, refusal),
        }
    }

    /// Lines that wait for their answers.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether lines must be sent again before more are read.
    pub fn must_retry(&self) -> bool {
        !self.retry.is_empty()
    }

    /// How often the most tried of the lines to retry was sent.
    pub fn attempts(&self) -> u32 {
        self.retry.values().map(|sent| sent.attempts).max().unwrap_or(0)
    }

    /// Frames of all lines that must be sent again, in order. Call when nothing is unanswered.
    pub fn send_again(&mut self, frames: &mut Vec<String>) {
        for room in self.rooms.values_mut() {
            room.chain.sent = room.chain.taken;
            room.asked_for = false;
            room.members.clear();
        }
        for user in self.users.values_mut() {
            user.chain.sent = user.chain.taken;
            user.asked_for = false;
        }
        for sent in std::mem::take(&mut self.retry).into_values() {
            self.send(sent, frames);
        }
    }

    /// The connection is gone: what was unanswered must be sent again.
    pub fn disconnected(&mut self) {
        for (number, mut sent) in self.unanswered.drain() {
            sent.attempts += 1;
            self.retry.insert(number, sent);
        }
    }

    /// Takes a reply in. Replies to what only prepares a line (its room, its user, the membership) are not counted: if
    /// they failed, so does the line.
    pub fn answered(&mut self, reply: Reply) {
        let (id, result) = match reply {
            Reply::Ok { id, ok } => (id, Ok(ok)),
            Reply::Error { id: Some(id), error } => (id, Err(error)),
            Reply::Error { id: None, .. } => return,
        };
        if let (Some(user), Ok(_)) = (id.strip_suffix('u'), &result) {
            return self.introduced(user);
        }
        let Some(sent) = id.parse().ok().and_then(|number: u64| self.unanswered.remove(&number)) else { return };
        match result {
            Ok(answer) => self.taken(&sent.line, &answer),
            Err(error) => self.failed(sent, error),
        }
    }

    /// What became of the lines so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The refused lines by number, since the last call.
    pub fn take_refused(&mut self) -> Vec<(u64, Refusal)> {
        std::mem::take(&mut self.refused)
    }

    fn taken(&mut self, line: &Line, answer: &Answer) {
        let chain = self.chain(line);
        chain.taken = chain.taken.max(line.number);
        if answer.duplicate {
            self.tally.duplicates += 1;
        } else {
            self.tally.accepted += 1;
        }
    }

    fn introduced(&mut self, number: &str) {
        let Some(name) = number.parse().ok().and_then(|number: u64| self.introductions.remove(&number)) else { return };
        if let Some(User { chain, introduced: Some(Introduction::ByMessage(line)), .. }) = self.users.get_mut(&name) {
            chain.taken = chain.taken.max(line.number);
        }
    }

    fn failed(&mut self, mut sent: Sent, error: ErrorBody) {
        let limit = match error.code {
            ErrorCode::NotFound | ErrorCode::NotMember => UNPREPARED_ATTEMPTS_MAX,
            code if code.retryable() => ATTEMPTS_MAX,
            _ => 0,
        };
        if sent.attempts >= limit {
            return self.refuse(sent.line.number, Refusal { code: error.code, message: error.message });
        }
        sent.attempts += 1;
        self.retry.insert(sent.line.number, sent);
    }

    fn refuse(&mut self, number: u64, refusal: Refusal) {
        *self.tally.rejected.entry(refusal.code).or_default() += 1;
        self.refused.push((number, refusal));
    }

    fn chain(&mut self, line: &Line) -> &mut Chain {
        match &line.what {
            What::Message { room, .. } => &mut self.rooms.entry(room.as_str().to_owned()).or_default().chain,
            What::Rename { .. } => &mut self.users.entry(line.user.as_str().to_owned()).or_default().chain,
        }
    }

    fn send(&mut self, sent: Sent, frames: &mut Vec<String>) {
        self.prepare(&sent.line, frames);
        let line = &sent.line;
        let previous = std::mem::replace(&mut self.chain(line).sent, line.number);
        let mut frame = self.frame(line, line.number.to_string(), previous);
        let address;
        match &line.what {
            What::Message { room, text } => {
                address = format!("ext:{room}");
                frame.cmd = "message.send";
                frame.conversation = Some(&address);
                frame.text = Some(text.as_str());
            }
            What::Rename { to } => frame.name = Some(to.as_str()),
        }
        frames.push(to_json(&frame));
        self.unanswered.insert(line.number, sent);
    }

    /// The user's first name, where it is not known to be taken.
    fn introduce(&mut self, line: &Line, frames: &mut Vec<String>) {
        let user = self.users.entry(line.user.as_str().to_owned()).or_default();
        if std::mem::replace(&mut user.asked_for, true) {
            return;
        }
        let introduction = user.introduced.get_or_insert_with(|| match &line.what {
            What::Message { .. } => Introduction::ByMessage(line.clone()),
            What::Rename { .. } => Introduction::ByRename,
        });
        let Introduction::ByMessage(first) = introduction else { return };
        if user.chain.taken >= first.number {
            return;
        }
        user.chain.sent = first.number;
        let first = first.clone();
        self.introductions.insert(first.number, first.user.as_str().to_owned());
        let mut frame = self.frame(&first, format!("{}u", first.number), 0);
        frame.name = Some(display_name(first.user.as_str()));
        frame.import.introduces = true;
        frames.push(to_json(&frame));
    }

    /// The user, the room and the membership that a line needs, where this import has not asked for them yet.
    fn prepare(&mut self, line: &Line, frames: &mut Vec<String>) {
        self.introduce(line, frames);
        let What::Message { room: name, .. } = &line.what else { return };
        let room = self.rooms.entry(name.as_str().to_owned()).or_default();
        let unknown_room = !std::mem::replace(&mut room.asked_for, true);
        let unknown_member = room.members.insert(line.user.as_str().to_owned());
        if unknown_room {
            let mut frame = self.frame(line, format!("{}c", line.number), 0);
            frame.cmd = "conversation.create";
            frame.kind = Some("group");
            frame.visibility = Some("public");
            frame.name = Some(display_name(name.as_str()));
            frame.external = Some(name.as_str());
            frames.push(to_json(&frame));
        }
        if unknown_member {
            let address = format!("ext:{name}");
            let mut frame = self.frame(line, format!("{}j", line.number), 0);
            frame.cmd = "conversation.join";
            frame.conversation = Some(&address);
            frames.push(to_json(&frame));
        }
    }

    fn frame<'a>(&'a self, line: &'a Line, id: String, previous: u64) -> Frame<'a> {
        Frame {
            r#ref: format!("{}:{id}", self.source),
            id,
            cmd: "user.update",
            sender: line.user.as_str(),
            import: Import { source: &self.source, line: line.number, previous, at: &line.at, introduces: false },
            conversation: None,
            text: None,
            name: None,
            kind: None,
            visibility: None,
            external: None,
        }
    }
}

/// A name for display out of an id, which has up to 128 bytes and so at most as many characters as a name may have.
fn display_name(id: &str) -> &str {
    id
}

fn to_json(frame: &Frame<'_>) -> String {
    serde_json::to_string(frame).expect("plain texts and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, room: &str, user: &str) -> Line {
        let text = format!(r#"{{"room":"{room}","at":"2004-12-25T09:14:00Z","user":"{user}","text":"hi"}}"#);
        Line::parse(number, &text).unwrap()
    }

    fn rename(number: u64, user: &str, to: &str) -> Line {
        let text = format!(r#"{{"kind":"rename","at":"2004-12-25T09:14:00Z","user":"{user}","to":"{to}"}}"#);
        Line::parse(number, &text).unwrap()
    }

    fn ok(id: &str) -> Reply {
        Reply::Ok { id: id.to_owned(), ok: Answer::default() }
    }

    fn error(id: &str, code: ErrorCode) -> Reply {
        Reply::Error { id: Some(id.to_owned()), error: ErrorBody::of(code) }
    }

    /// (id, previous) of each frame.
    fn sent(frames: &[String]) -> Vec<(String, u64)> {
        let frames = frames.iter().map(|frame| serde_json::from_str::<serde_json::Value>(frame).unwrap());
        frames.map(|f| (f["id"].as_str().unwrap().to_owned(), f["import"]["previous"].as_u64().unwrap())).collect()
    }

    fn read(plan: &mut Plan, line: Line) -> Vec<(String, u64)> {
        let (number, mut frames) = (line.number, Vec::new());
        plan.read(Ok(line), number, &mut frames);
        sent(&frames)
    }

    fn ids(frames: &[(String, u64)]) -> Vec<&str> {
        frames.iter().map(|(id, _)| id.as_str()).collect()
    }

    #[test]
    fn rooms_users_and_memberships_are_made_once_and_lines_are_chained() {
        let mut plan = Plan::new("00".repeat(16));
        assert_eq!(ids(&read(&mut plan, message(1, "a", "u"))), ["1u", "1c", "1j", "1"]);
        assert_eq!(read(&mut plan, message(2, "a", "u")), [("2".to_owned(), 1)]);
        assert_eq!(ids(&read(&mut plan, message(3, "b", "u"))), ["3c", "3j", "3"]);
        assert_eq!(read(&mut plan, message(4, "a", "u")), [("4".to_owned(), 2)]);
        assert_eq!(read(&mut plan, rename(5, "u", "w")), [("5".to_owned(), 1)]);
    }

    #[test]
    fn only_a_users_first_name_introduces() {
        let (mut plan, mut frames) = (Plan::new("00".repeat(16)), Vec::new());
        plan.read(Ok(message(1, "a", "u")), 1, &mut frames);
        plan.read(Ok(rename(2, "u", "w")), 2, &mut frames);
        let frames = frames.iter().map(|frame| serde_json::from_str::<serde_json::Value>(frame).unwrap());
        let introductions = frames.filter(|frame| frame["import"]["introduces"] == true);
        assert_eq!(introductions.map(|frame| frame["id"].clone()).collect::<Vec<_>>(), ["1u"]);
    }

    #[test]
    fn a_refused_line_takes_its_followers_into_another_attempt() {
        let mut plan = Plan::new("00".repeat(16));
        for number in 1..=3 {
            read(&mut plan, message(number, "a", "u"));
        }
        plan.answered(ok("1u"));
        plan.answered(ok("1"));
        plan.answered(error("2", ErrorCode::TextTooLong));
        plan.answered(error("3", ErrorCode::ImportGap));
        assert_eq!((plan.unanswered(), plan.must_retry()), (0, true));
        let mut frames = Vec::new();
        plan.send_again(&mut frames);
        assert_eq!(sent(&frames).last(), Some(&("3".to_owned(), 1)));
        plan.answered(ok("3"));
        assert_eq!(plan.tally().accepted, 2);
        assert_eq!(plan.tally().rejected[&ErrorCode::TextTooLong], 1);
        assert_eq!(plan.take_refused()[0].0, 2);
    }

    #[test]
    fn after_a_lost_connection_the_same_line_introduces_a_user_again() {
        let mut plan = Plan::new("00".repeat(16));
        read(&mut plan, message(1, "a", "u"));
        read(&mut plan, rename(2, "u", "w"));
        read(&mut plan, message(3, "a", "u"));
        plan.answered(ok("1"));
        plan.disconnected();
        let mut frames = Vec::new();
        plan.send_again(&mut frames);
        assert_eq!(sent(&frames)[..2], [("1u".to_owned(), 0), ("2".to_owned(), 1)]);
        // A user whom a rename introduced is not given the old name by a later message.
        let mut plan = Plan::new("00".repeat(16));
        read(&mut plan, rename(1, "u", "w"));
        plan.disconnected();
        frames.clear();
        plan.send_again(&mut frames);
        assert_eq!(ids(&read(&mut plan, message(2, "a", "u"))), ["2c", "2j", "2"]);
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let mut plan = Plan::new("00".repeat(16));
        read(&mut plan, message(1, "a", "u"));
        for _ in 0..=ATTEMPTS_MAX {
            plan.answered(error("1", ErrorCode::ImportGap));
            plan.send_again(&mut Vec::new());
        }
        assert_eq!(plan.tally().rejected[&ErrorCode::ImportGap], 1);
    }
}
