//! What the rooms promise, on sessions that only note what they get.

mod imported;
mod membership;
mod signals;
mod turns;

use std::sync::Mutex;

use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::event::Placed;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::{MessageText, Ref};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use natter_schemas::signal::PlacedSignal;
use natter_schemas::wire::client::Signal;
use serde_json::Value;

use super::*;
use crate::frames::write;

const ROOM: ConversationId = ConversationId::from_raw(5);

#[derive(Debug)]
struct Fake {
    id: u64,
    user: &'static str,
    waiting: Mutex<Vec<Bytes>>,
    got: Mutex<Vec<Bytes>>,
    closed: Mutex<Option<CloseCode>>,
}

impl Recipient for Fake {
    fn id(&self) -> u64 {
        self.id
    }
    fn user_hash(&self) -> u64 {
        // Every hash collides: the identity must decide.
        if self.user == "impostor" { hash("ada") } else { hash(self.user) }
    }
    fn belongs_to(&self, tenant: &Tenant, user: &UserId) -> bool {
        tenant.as_str() == "demo" && user.as_str() == self.user
    }
    fn queue(&self, frames: Bytes) -> bool {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.push(frames);
        waiting.len() == 1
    }
    fn hand(&self, chunk: &Bytes, from: usize, signals: &[Range<usize>]) {
        self.flush();
        let mut start = from;
        while start < chunk.len() {
            let end = start + write::frame_end(&chunk[start..], 1);
            let is_signal = chunk[start..end].windows(8).any(|bytes| bytes == b"\"signal\"");
            assert_eq!(signals.contains(&(start..end)), is_signal, "which frames are signals");
            start = end;
        }
        self.got.lock().unwrap().push(chunk.slice(from..));
    }
    fn flush(&self) {
        self.got.lock().unwrap().append(&mut self.waiting.lock().unwrap());
    }
    fn close(&self, code: CloseCode) {
        self.closed.lock().unwrap().get_or_insert(code);
    }
}

impl Fake {
    fn seen(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.got.lock().unwrap()).concat();
        let (mut seen, mut start) = (Vec::new(), 0);
        while start < bytes.len() {
            let frame = &bytes[start..write::frame_end(&bytes, start + 1)];
            let payload = frame.iter().position(|byte| *byte == b'{').unwrap();
            seen.push(serde_json::from_slice(&frame[payload..]).unwrap());
            start += frame.len();
        }
        seen
    }

    fn names(&self) -> Vec<String> {
        self.seen().iter().map(|frame| frame["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn hash(user: &str) -> u64 {
    user_hash(&Tenant::trusted("demo"), &UserId::trusted(user))
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| UserId::trusted(name)).collect()
}

fn placed(sequence: u64, sender: &str, body: Body, accepted: Accepted) -> Placed {
    let command = Command {
        tenant: Tenant::trusted("demo"),
        sender: UserId::trusted(sender),
        session: 1,
        received_ms: 0,
        reference: Ref::trusted("r1"),
        origin: Origin::Client,
        body,
        evidence: Vec::new(),
    };
    let outcome = Outcome {
        received: Received::Command(command),
        policy: None,
        learnt: Learnt::Nothing,
        decision: Decision::Accepted(accepted),
    };
    Placed { position: Position::outcome(0, sequence, 0), stored_ms: 0, log_ms: 0, before_ms: 0, policy: None, outcome }
}

fn address() -> Address {
    Address::Id(ROOM)
}

fn sent(sequence: u64, sender: &str) -> Placed {
    let body = Body::Send { conversation: address(), text: MessageText::trusted("hi") };
    let message = MessageId::from_raw(sequence);
    let accepted =
        Accepted::Sent { conversation: ROOM, message, seq: sequence, replacement: None, lists: vec![], run: None };
    placed(sequence, sender, body, accepted)
}

fn joined(sequence: u64, user: &str) -> Placed {
    let accepted = Accepted::Joined { conversation: ROOM, seq: 0, member_count: 2 };
    placed(sequence, user, Body::Join { conversation: address() }, accepted)
}

fn left(sequence: u64, user: &str) -> Placed {
    let accepted = Accepted::Left { conversation: ROOM, member_count: 1 };
    placed(sequence, user, Body::Leave { conversation: address() }, accepted)
}

fn added(sequence: u64, by: &str, members: &[&str]) -> Placed {
    let members = users(members);
    let body = Body::Add { conversation: address(), members: members.clone() };
    placed(sequence, by, body, Accepted::Added { conversation: ROOM, members, seq: 0, member_count: 3 })
}

fn read(sequence: u64, user: &str, peer: Option<&str>) -> Placed {
    let body = Body::Read { conversation: address(), seq: 3 };
    placed(sequence, user, body, Accepted::Read { conversation: ROOM, seq: 3, peer: peer.map(UserId::trusted) })
}

struct World {
    rooms: Rooms<Fake>,
    next_id: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self { rooms: Rooms::new(), next_id: 0, now: Instant::now() }
    }

    fn register(&mut self, user: &'static str) -> Arc<Fake> {
        self.next_id += 1;
        let (waiting, got, closed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let session = Arc::new(Fake { id: self.next_id, user, waiting, got, closed });
        self.rooms.register(Arc::clone(&session));
        session
    }

    /// One that sees everything from here on; a member of the room where `conversations` says so.
    fn opened(&mut self, user: &'static str, conversations: &[u64]) -> Arc<Fake> {
        let session = self.register(user);
        self.rooms.open(session.id, conversations.iter().copied(), Position::batch(0, 0));
        session
    }

    fn member(&mut self, user: &'static str) -> Arc<Fake> {
        self.opened(user, &[ROOM.get()])
    }

    fn happens(&mut self, placed: &Placed) -> usize {
        let delivered = self.rooms.event(&placed.event().unwrap());
        self.write();
        delivered
    }

    /// `None`: it is dropped.
    fn signals(&mut self, user: &str) -> Option<usize> {
        let (tenant, user) = (Tenant::trusted("demo"), UserId::trusted(user));
        self.rooms.signal(&PlacedSignal { tenant, conversation: ROOM, user, signal: Signal::Typing })
    }

    fn write(&mut self) {
        while self.rooms.has_turn() || self.rooms.rests_until().is_some() {
            self.now = self.rooms.rests_until().map_or(self.now, |until| until.max(self.now));
            self.turn(1);
        }
    }

    fn turn(&mut self, sessions: usize) {
        self.rooms.turn(sessions, self.now);
    }
}
