//! What an import sends and what the answers come to. Pure: frames out, replies in.
//!
//! Each line is a chain's next link: it names the line of its room (or user) that was sent before it, and the processor
//! refuses a link whose predecessor it does not have. So commands can be sent ahead of their answers, and a part that
//! fails takes its followers with it into [`Plan::retry`] instead of leaving a hole.

use std::collections::{BTreeMap, HashMap, HashSet};

use natter_schemas::command::Follows;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::{Answer, ErrorBody, Reply};
use serde::Serialize;

use super::frame::Frame;
use super::identity;
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
    taken: End,
    sent: End,
}

/// Where a chain ends.
#[derive(Debug, Default, Clone, Copy)]
struct End {
    /// The last line's number in the file.
    number: u64,
    /// The same of the last line that is known by its number.
    numbered: u64,
    /// What the last line is known by.
    place: Option<Follows>,
}

impl End {
    /// Moves on to a line that stands at `place`.
    fn move_to(&mut self, number: u64, place: Follows, is_numbered: bool) {
        if number > self.number {
            self.number = number;
            self.place = Some(place);
        }
        if is_numbered {
            self.numbered = self.numbered.max(number);
        }
    }
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
    source: [u8; 16],
    rooms: HashMap<String, Room>,
    users: HashMap<String, User>,
    introductions: HashMap<u64, String>,
    unanswered: HashMap<u64, Sent>,
    retry: BTreeMap<u64, Sent>,
    tally: Tally,
    refused: Vec<(u64, Refusal)>,
}

impl Plan {
    /// An import of the source with this hash.
    pub fn new(source: [u8; 16]) -> Self {
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
        let place = self.place(line);
        self.chain(line).taken.move_to(line.number, place, line.identity.is_none());
        if answer.duplicate {
            self.tally.duplicates += 1;
        } else {
            self.tally.accepted += 1;
        }
    }

    fn introduced(&mut self, number: &str) {
        let Some(name) = number.parse().ok().and_then(|number: u64| self.introductions.remove(&number)) else { return };
        let source = self.source;
        if let Some(User { chain, introduced: Some(Introduction::ByMessage(line)), .. }) = self.users.get_mut(&name) {
            chain.taken.move_to(line.number, introduction_place(source, line), line.identity.is_none());
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
        let place = self.place(line);
        let end = &mut self.chain(line).sent;
        let mut frame = Frame::new(line, place, "");
        if line.identity.is_none() {
            frame.import.previous = end.numbered;
        }
        frame.import.follows = end.place.filter(|last| last.source != place.source).map(Into::into);
        end.move_to(line.number, place, line.identity.is_none());
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
        frames.push(frame.json());
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
        if user.chain.taken.number >= first.number {
            return;
        }
        let place = introduction_place(self.source, first);
        user.chain.sent.move_to(first.number, place, first.identity.is_none());
        self.introductions.insert(first.number, first.user.as_str().to_owned());
        let mut frame = Frame::new(first, place, "u");
        frame.name = Some(first.called.as_ref().map_or(display_name(first.user.as_str()), |called| called.as_str()));
        frame.import.introduces = true;
        frames.push(frame.json());
    }

    /// The user, the room and the membership that a line needs, where this import has not asked for them yet.
    fn prepare(&mut self, line: &Line, frames: &mut Vec<String>) {
        self.introduce(line, frames);
        let What::Message { room: name, .. } = &line.what else { return };
        let place = self.place(line);
        let room = self.rooms.entry(name.as_str().to_owned()).or_default();
        let unknown_room = !std::mem::replace(&mut room.asked_for, true);
        let unknown_member = room.members.insert(line.user.as_str().to_owned());
        if unknown_room {
            let mut frame = Frame::new(line, place, "c");
            frame.cmd = "conversation.create";
            frame.kind = Some("group");
            frame.visibility = Some("public");
            frame.name = Some(display_name(name.as_str()));
            frame.external = Some(name.as_str());
            frames.push(frame.json());
        }
        if unknown_member {
            let address = format!("ext:{name}");
            let mut frame = Frame::new(line, place, "j");
            frame.cmd = "conversation.join";
            frame.conversation = Some(&address);
            frames.push(frame.json());
        }
    }

    /// What a line is known by.
    fn place(&self, line: &Line) -> Follows {
        match line.identity {
            Some(source) => Follows { source, line: 1 },
            None => Follows { source: self.source, line: line.number },
        }
    }
}

/// What the introduction of a line's user is known by.
fn introduction_place(source: [u8; 16], line: &Line) -> Follows {
    match line.identity {
        Some(_) => Follows { source: identity::of_introduction(&line.user), line: 1 },
        None => Follows { source, line: line.number },
    }
}

/// A name for display out of an id, which has up to 128 bytes and so at most as many characters as a name may have.
fn display_name(id: &str) -> &str {
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, user: &str, what: What) -> Line {
        let at = "2004-12-25T09:14:00Z".to_owned();
        Line { number, user: user.try_into().unwrap(), called: None, at, what, identity: None }
    }

    fn message(number: u64, room: &str, user: &str) -> Line {
        line(number, user, What::Message { room: room.try_into().unwrap(), text: "hi".try_into().unwrap() })
    }

    fn rename(number: u64, user: &str, to: &str) -> Line {
        line(number, user, What::Rename { to: to.try_into().unwrap() })
    }

    fn identified(number: u64, identity: u8) -> Line {
        Line { identity: Some([identity; 16]), ..message(number, "a", "u") }
    }

    /// (source, line, previous, source and line that are followed) of the last frame.
    fn last(frames: &[String]) -> (String, u64, u64, Option<(String, u64)>) {
        let frame: serde_json::Value = serde_json::from_str(frames.last().unwrap()).unwrap();
        let import = &frame["import"];
        let place = |value: &serde_json::Value| Some((value["source"].as_str()?.to_owned(), value["line"].as_u64()?));
        let (source, line) = place(import).unwrap();
        (source, line, import["previous"].as_u64().unwrap(), place(&import["follows"]))
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
        let mut plan = Plan::new([0; 16]);
        assert_eq!(ids(&read(&mut plan, message(1, "a", "u"))), ["1u", "1c", "1j", "1"]);
        assert_eq!(read(&mut plan, message(2, "a", "u")), [("2".to_owned(), 1)]);
        assert_eq!(ids(&read(&mut plan, message(3, "b", "u"))), ["3c", "3j", "3"]);
        assert_eq!(read(&mut plan, message(4, "a", "u")), [("4".to_owned(), 2)]);
        assert_eq!(read(&mut plan, rename(5, "u", "w")), [("5".to_owned(), 1)]);
    }

    #[test]
    fn only_a_users_first_name_introduces() {
        let (mut plan, mut frames) = (Plan::new([0; 16]), Vec::new());
        plan.read(Ok(message(1, "a", "u")), 1, &mut frames);
        plan.read(Ok(rename(2, "u", "w")), 2, &mut frames);
        let frames = frames.iter().map(|frame| serde_json::from_str::<serde_json::Value>(frame).unwrap());
        let introductions = frames.filter(|frame| frame["import"]["introduces"] == true);
        assert_eq!(introductions.map(|frame| frame["id"].clone()).collect::<Vec<_>>(), ["1u"]);
    }

    #[test]
    fn a_refused_line_takes_its_followers_into_another_attempt() {
        let mut plan = Plan::new([0; 16]);
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
    fn identified_lines_are_sources_of_their_own_and_chained() {
        let hex = |byte: u8| hex::encode([byte; 16]);
        let (mut plan, mut frames) = (Plan::new([0; 16]), Vec::new());
        plan.read(Ok(message(1, "a", "u")), 1, &mut frames);
        assert_eq!(last(&frames), (hex(0), 1, 0, None));
        for (number, identity, follows) in [(2, 7, (hex(0), 1)), (3, 8, (hex(7), 1))] {
            plan.read(Ok(identified(number, identity)), number, &mut frames);
            assert_eq!(last(&frames), (hex(identity), 1, 0, Some(follows)));
        }
        plan.read(Ok(message(4, "a", "u")), 4, &mut frames);
        assert_eq!(last(&frames), (hex(0), 4, 1, Some((hex(8), 1))));
        // The one that is refused is no longer followed.
        for number in ["1", "2"] {
            plan.answered(ok(number));
        }
        plan.answered(error("3", ErrorCode::TextTooLong));
        plan.answered(error("4", ErrorCode::ImportGap));
        plan.send_again(&mut frames);
        assert_eq!(last(&frames), (hex(0), 4, 1, Some((hex(7), 1))));
    }

    #[test]
    fn identified_users_are_introduced_by_one_line_of_all_sources() {
        let (mut plan, mut frames) = (Plan::new([0; 16]), Vec::new());
        let called = Some("Ulla".try_into().unwrap());
        plan.read(Ok(Line { called, ..identified(5, 7) }), 5, &mut frames);
        let frame: serde_json::Value = serde_json::from_str(&frames[0]).unwrap();
        let source = hex::encode(identity::of_introduction(&"u".try_into().unwrap()));
        assert_eq!(
            (frame["import"]["source"].as_str(), frame["import"]["line"].as_u64()),
            (Some(source.as_str()), Some(1))
        );
        assert_eq!(frame["name"], "Ulla");
    }

    #[test]
    fn after_a_lost_connection_the_same_line_introduces_a_user_again() {
        let mut plan = Plan::new([0; 16]);
        read(&mut plan, message(1, "a", "u"));
        read(&mut plan, rename(2, "u", "w"));
        read(&mut plan, message(3, "a", "u"));
        plan.answered(ok("1"));
        plan.disconnected();
        let mut frames = Vec::new();
        plan.send_again(&mut frames);
        assert_eq!(sent(&frames)[..2], [("1u".to_owned(), 0), ("2".to_owned(), 1)]);
        // A user whom a rename introduced is not given the old name by a later message.
        let mut plan = Plan::new([0; 16]);
        read(&mut plan, rename(1, "u", "w"));
        plan.disconnected();
        frames.clear();
        plan.send_again(&mut frames);
        assert_eq!(ids(&read(&mut plan, message(2, "a", "u"))), ["2c", "2j", "2"]);
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let mut plan = Plan::new([0; 16]);
        read(&mut plan, message(1, "a", "u"));
        for _ in 0..=ATTEMPTS_MAX {
            plan.answered(error("1", ErrorCode::ImportGap));
            plan.send_again(&mut Vec::new());
        }
        assert_eq!(plan.tally().rejected[&ErrorCode::ImportGap], 1);
    }
}
