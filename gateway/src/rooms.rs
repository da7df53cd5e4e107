//! Who of this gateway's sessions sees an event: routing of one partition, fed by its live feed in order. Pure.
//!
//! Memberships are known from the view when a session opens, and from membership events afterwards. A session that is
//! opening is registered first; what changes for its user from then on is noted, and applied on top of what the view
//! said, so that there is no gap whichever comes first.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use natter_schemas::codec::OutcomeHeader;
use natter_schemas::error::CloseCode;
use natter_schemas::event::Event;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::signal::PlacedSignal;
use natter_schemas::slot::user_hash;
use natter_schemas::wire::server::{EventFrame, SignalFrame};

use crate::commands::NO_REF;
use crate::frames::write;

/// A user whose conversations change more often than this while a session opens has to try again.
const OPENING_CHANGES_MAX: usize = 10_000;

/// Where events go: a session.
pub trait Recipient {
    /// Unique among the sessions of this gateway.
    fn id(&self) -> u64;
    /// [`natter_schemas::slot::user_hash`] of its user: a first, cheap look.
    fn user_hash(&self) -> u64;
    /// Whether it is this user's. The hash is no proof: people choose their ids.
    fn belongs_to(&self, tenant: &Tenant, user: &UserId) -> bool;
    /// Takes a frame.
    fn deliver(&self, frame: Bytes);
    /// Ends it.
    fn close(&self, code: CloseCode);
}

/// Routing of one partition.
#[derive(Debug)]
pub struct Rooms<S> {
    /// Sessions in each conversation, of those that are open.
    members: HashMap<u64, Vec<Seat<S>>>,
    /// Sessions of each user by hash, those that are opening included.
    users: HashMap<u64, Vec<u64>>,
    sessions: HashMap<u64, Entry<S>>,
}

/// A session's place in a room, with what is looked at for every event.
#[derive(Debug)]
struct Seat<S> {
    id: u64,
    user_hash: u64,
    session: Arc<S>,
}

#[derive(Debug)]
struct Entry<S> {
    session: Arc<S>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// What changed since it was registered.
    Opening(Vec<Change>),
    /// Its conversations.
    Open(Vec<u64>),
}

#[derive(Debug, Clone, Copy)]
struct Change {
    version: u64,
    conversation: u64,
    member: bool,
}

impl<S: Recipient> Rooms<S> {
    /// Nobody is here.
    pub fn new() -> Self {
        Self { members: HashMap::new(), users: HashMap::new(), sessions: HashMap::new() }
    }

    /// From here on, what changes for this session's user is noted.
    pub fn register(&mut self, session: Arc<S>) {
        self.users.entry(session.user_hash()).or_default().push(session.id());
        self.sessions.insert(session.id(), Entry { session, phase: Phase::Opening(Vec::new()) });
    }

    /// From here on the session sees what happens in its user's conversations: those that the view showed at `shown`, and
    /// what changed after it. Does nothing to a session that was never registered or is gone.
    pub fn open(&mut self, id: u64, conversations: &[u64], shown: Position) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let Phase::Opening(changes) = &mut entry.phase else { return };
        let changes = std::mem::take(changes);
        entry.phase = Phase::Open(Vec::with_capacity(conversations.len()));
        for conversation in conversations {
            self.seat(id, *conversation);
        }
        for change in changes.into_iter().filter(|change| change.version > shown.version()) {
            if change.member {
                self.seat(id, change.conversation);
            } else {
                self.unseat(id, change.conversation);
            }
        }
    }

    /// The session is gone.
    pub fn close(&mut self, id: u64) {
        let Some(entry) = self.sessions.remove(&id) else { return };
        if let Some(ids) = self.users.get_mut(&entry.session.user_hash()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.users.remove(&entry.session.user_hash());
            }
        }
        if let Phase::Open(conversations) = entry.phase {
            for conversation in conversations {
                self.leave_room(id, conversation);
            }
        }
    }

    /// Whether anything in a batch concerns a session here.
    pub fn concerns(&self, header: &OutcomeHeader) -> bool {
        header.conversations.iter().any(|conversation| self.members.contains_key(conversation))
            || self.concerns_users(header)
    }

    /// Whether a batch concerns a user here beyond the rooms: then every event of it must be looked at.
    pub fn concerns_users(&self, header: &OutcomeHeader) -> bool {
        !self.users.is_empty() && header.users.iter().any(|user| self.users.contains_key(user))
    }

    /// Whether a session is in this conversation.
    pub fn has_room(&self, conversation: u64) -> bool {
        self.members.contains_key(&conversation)
    }

    /// Whether this session is in this conversation.
    pub fn is_member(&self, id: u64, conversation: u64) -> bool {
        self.members.get(&conversation).is_some_and(|room| room.iter().any(|seat| seat.id == id))
    }

    /// Hands an event to the sessions that see it and applies what it changes about that. Gives how many they were.
    pub fn event(&mut self, event: &Event<'_>) -> usize {
        let tenant = &event.command.tenant;
        let sender = &event.command.sender;
        let version = event.position.version();
        match event.accepted {
            Accepted::Created { conversation, members } => {
                self.change(tenant, members.iter().chain([sender]), conversation.get(), version, true);
                self.deliver_to_room(event, conversation.get())
            }
            Accepted::Added { conversation, members, .. } => {
                self.change(tenant, members.iter(), conversation.get(), version, true);
                self.deliver_to_room(event, conversation.get())
            }
            Accepted::Joined { conversation, .. } => {
                self.change(tenant, [sender].into_iter(), conversation.get(), version, true);
                self.deliver_to_room(event, conversation.get())
            }
            Accepted::Left { conversation, .. } => {
                // The leave is the last that a leaver sees.
                let delivered = self.deliver_to_room(event, conversation.get());
                self.change(tenant, [sender].into_iter(), conversation.get(), version, false);
                delivered
            }
            Accepted::Sent { conversation, .. } | Accepted::Renamed { conversation } => {
                self.deliver_to_room(event, conversation.get())
            }
            Accepted::Read { peer, .. } => self.deliver_to_users(event, peer.iter().chain([sender])),
            Accepted::UserUpdated => self.deliver_to_users(event, [sender].into_iter()),
            Accepted::PolicySet { .. }
            | Accepted::Existing { .. }
            | Accepted::Unchanged { .. }
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. } => 0,
        }
    }

    /// Hands a signal to everybody in its conversation but the user that it came from. Gives how many they were.
    pub fn signal(&self, signal: &PlacedSignal) -> usize {
        let Some(room) = self.members.get(&signal.conversation.get()) else { return 0 };
        let PlacedSignal { tenant, conversation, user, signal } = signal;
        let from = user_hash(tenant, user);
        let mut others =
            room.iter().filter(|seat| seat.user_hash != from || !seat.session.belongs_to(tenant, user)).peekable();
        if others.peek().is_none() {
            return 0;
        }
        let signal = signal.name().to_owned();
        let frame = write::json(&SignalFrame { signal, conversation: *conversation, sender: user.clone() });
        others.map(|seat| seat.session.deliver(frame.clone())).count()
    }

    /// Ends every session, those that are opening included.
    pub fn close_all(&self, code: CloseCode) {
        self.sessions.values().for_each(|entry| entry.session.close(code));
    }

    fn close_one(&self, id: u64, code: CloseCode) {
        if let Some(entry) = self.sessions.get(&id) {
            entry.session.close(code);
        }
    }

    fn deliver_to_room(&self, event: &Event<'_>, conversation: u64) -> usize {
        let Some(room) = self.members.get(&conversation) else { return 0 };
        let mut frames = Frames::of(event);
        for seat in room {
            seat.session.deliver(frames.of_seat(seat));
        }
        room.len()
    }

    fn deliver_to_users<'u>(&self, event: &Event<'_>, users: impl Iterator<Item = &'u UserId>) -> usize {
        let mut frames = Frames::of(event);
        let mut delivered = 0;
        for user in users {
            for entry in self.entries_of(&event.command.tenant, user) {
                if matches!(entry.phase, Phase::Open(_)) {
                    let session = &entry.session;
                    let seat = Seat { id: session.id(), user_hash: session.user_hash(), session: Arc::clone(session) };
                    session.deliver(frames.of_seat(&seat));
                    delivered += 1;
                }
            }
        }
        delivered
    }

    fn entries_of<'s>(&'s self, tenant: &'s Tenant, user: &'s UserId) -> impl Iterator<Item = &'s Entry<S>> {
        let ids = self.users.get(&user_hash(tenant, user)).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.sessions.get(id)).filter(|entry| entry.session.belongs_to(tenant, user))
    }

    fn change<'u>(
        &mut self,
        tenant: &Tenant,
        users: impl Iterator<Item = &'u UserId>,
        conversation: u64,
        version: u64,
        member: bool,
    ) {
        if self.users.is_empty() {
            return;
        }
        for user in users {
            let ids: Vec<u64> = self.entries_of(tenant, user).map(|entry| entry.session.id()).collect();
            for id in ids {
                match self.sessions.get_mut(&id).map(|entry| &mut entry.phase) {
                    Some(Phase::Opening(changes)) if changes.len() < OPENING_CHANGES_MAX => {
                        changes.push(Change { version, conversation, member });
                    }
                    Some(Phase::Opening(_)) => self.close_one(id, CloseCode::Unavailable),
                    Some(Phase::Open(_)) if member => self.seat(id, conversation),
                    Some(Phase::Open(_)) => self.unseat(id, conversation),
                    None => {}
                }
            }
        }
    }

    fn seat(&mut self, id: u64, conversation: u64) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let Phase::Open(conversations) = &mut entry.phase else { return };
        let room = self.members.entry(conversation).or_default();
        if room.iter().all(|seat| seat.id != id) {
            conversations.push(conversation);
            let session = Arc::clone(&entry.session);
            room.push(Seat { id, user_hash: session.user_hash(), session });
        }
    }

    fn unseat(&mut self, id: u64, conversation: u64) {
        if let Some(Entry { phase: Phase::Open(conversations), .. }) = self.sessions.get_mut(&id) {
            conversations.retain(|other| *other != conversation);
        }
        self.leave_room(id, conversation);
    }

    fn leave_room(&mut self, id: u64, conversation: u64) {
        if let Some(room) = self.members.get_mut(&conversation) {
            if let Some(at) = room.iter().position(|seat| seat.id == id) {
                room.swap_remove(at);
            }
            if room.is_empty() {
                self.members.remove(&conversation);
            }
        }
    }
}

impl<S: Recipient> Default for Rooms<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// An event's frames: one for everybody, and one with the sender's `ref` for the sender's own sessions. Each is encoded
/// once, when it is first needed.
struct Frames<'e> {
    event: &'e Event<'e>,
    sender_hash: u64,
    everybody: Option<Bytes>,
    sender: Option<Bytes>,
}

impl<'e> Frames<'e> {
    fn of(event: &'e Event<'e>) -> Self {
        let sender_hash = user_hash(&event.command.tenant, &event.command.sender);
        Self { event, sender_hash, everybody: None, sender: None }
    }

    fn of_seat<S: Recipient>(&mut self, seat: &Seat<S>) -> Bytes {
        let command = self.event.command;
        if seat.user_hash == self.sender_hash && seat.session.belongs_to(&command.tenant, &command.sender) {
            let encode = || {
                let reference = Some(command.reference.clone()).filter(|reference| reference.as_str() != NO_REF);
                write::json(&EventFrame { reference, ..EventFrame::of(self.event) })
            };
            return self.sender.get_or_insert_with(encode).clone();
        }
        self.everybody.get_or_insert_with(|| write::json(&EventFrame::of(self.event))).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use natter_schemas::codec::{OutcomeBatch, OutcomeBatchWriter, Source};
    use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
    use natter_schemas::event::{Placed, touched};
    use natter_schemas::id::{ConversationId, IdState, MessageId};
    use natter_schemas::names::{DisplayName, MessageText, Ref};
    use natter_schemas::outcome::{Decision, Learnt, Outcome, Received};
    use natter_schemas::wire::client::Signal;
    use serde_json::Value;

    use super::*;

    const ROOM: ConversationId = ConversationId::from_raw(5);

    #[derive(Debug)]
    struct Fake {
        id: u64,
        user: &'static str,
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
        fn deliver(&self, frame: Bytes) {
            self.got.lock().unwrap().push(frame);
        }
        fn close(&self, code: CloseCode) {
            self.closed.lock().unwrap().get_or_insert(code);
        }
    }

    impl Fake {
        fn seen(&self) -> Vec<Value> {
            let frames = std::mem::take(&mut *self.got.lock().unwrap());
            let payload = |frame: &Bytes| frame.iter().position(|byte| *byte == b'{').unwrap();
            frames.iter().map(|frame| serde_json::from_slice(&frame[payload(frame)..]).unwrap()).collect()
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
        };
        let outcome = Outcome {
            received: Received::Command(command),
            policy: None,
            learnt: Learnt::Nothing,
            decision: Decision::Accepted(accepted),
        };
        Placed { position: Position::outcome(0, sequence, 0), stored_ms: 0, log_ms: 0, policy: None, outcome }
    }

    fn address() -> Address {
        Address::Id(ROOM)
    }

    fn sent(sequence: u64, sender: &str) -> Placed {
        let body = Body::Send { conversation: address(), text: MessageText::trusted("hi") };
        let message = MessageId::from_raw(sequence);
        let accepted = Accepted::Sent { conversation: ROOM, message, seq: sequence, replacement: None, lists: vec![] };
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

    struct World {
        rooms: Rooms<Fake>,
        next_id: u64,
    }

    impl World {
        fn new() -> Self {
            Self { rooms: Rooms::new(), next_id: 0 }
        }

        fn register(&mut self, user: &'static str) -> Arc<Fake> {
            self.next_id += 1;
            let (got, closed) = (Mutex::default(), Mutex::default());
            let session = Arc::new(Fake { id: self.next_id, user, got, closed });
            self.rooms.register(Arc::clone(&session));
            session
        }

        fn member(&mut self, user: &'static str) -> Arc<Fake> {
            let session = self.register(user);
            self.rooms.open(session.id, &[ROOM.get()], Position::batch(0, 0));
            session
        }

        fn happens(&mut self, placed: &Placed) -> usize {
            self.rooms.event(&placed.event().unwrap())
        }
    }

    #[test]
    fn members_see_a_message_and_only_the_sender_its_ref() {
        let mut world = World::new();
        let (ada, phone, bob, eve) =
            (world.member("ada"), world.member("ada"), world.member("bob"), world.register("eve"));
        assert_eq!(world.happens(&sent(1, "ada")), 3);
        for own in [ada, phone] {
            assert_eq!(own.seen()[0]["ref"], "r1");
        }
        let seen = bob.seen();
        assert_eq!((seen.len(), &seen[0]["text"], seen[0].get("ref")), (1, &Value::from("hi"), None));
        assert_eq!(eve.seen(), Vec::<Value>::new());
    }

    #[test]
    fn everybody_gets_the_same_bytes() {
        let mut world = World::new();
        let (bob, eve) = (world.member("bob"), world.member("eve"));
        world.happens(&sent(1, "ada"));
        let (bobs, eves) = (bob.got.lock().unwrap(), eve.got.lock().unwrap());
        assert_eq!(bobs[0].as_ptr(), eves[0].as_ptr());
    }

    #[test]
    fn who_comes_sees_what_follows_and_who_leaves_sees_the_leave_last() {
        let mut world = World::new();
        let (ada, bob) = (world.member("ada"), world.register("bob"));
        world.rooms.open(bob.id, &[], Position::batch(0, 0));
        world.happens(&sent(1, "ada"));
        world.happens(&joined(2, "bob"));
        world.happens(&sent(3, "ada"));
        world.happens(&left(4, "bob"));
        world.happens(&sent(5, "ada"));
        assert_eq!(bob.names(), ["conversation.joined", "message.sent", "conversation.left"]);
        assert_eq!(ada.seen().len(), 5);
        world.happens(&added(6, "ada", &["bob", "eve"]));
        assert_eq!(bob.names(), ["conversation.added"]);
        assert!(world.rooms.is_member(bob.id, ROOM.get()));
    }

    #[test]
    fn first_members_see_the_creation() {
        let mut world = World::new();
        let (ada, bob) = (world.register("ada"), world.register("bob"));
        for session in [&ada, &bob] {
            world.rooms.open(session.id, &[], Position::batch(0, 0));
        }
        let name = Some(DisplayName::trusted("tea"));
        let body =
            Body::CreateGroup { visibility: Visibility::Private, name, members: users(&["bob"]), external: None };
        let made = placed(1, "ada", body, Accepted::Created { conversation: ROOM, members: users(&["bob"]) });
        assert_eq!(world.happens(&made), 2);
        assert_eq!(bob.seen()[0]["name"], "tea");
        assert_eq!(ada.seen()[0]["ref"], "r1");
    }

    #[test]
    fn cursors_go_to_the_readers_own_sessions_and_the_peer() {
        let mut world = World::new();
        let (ada, phone, bob, eve) =
            (world.member("ada"), world.member("ada"), world.member("bob"), world.member("eve"));
        let read = |peer: Option<&str>| {
            let body = Body::Read { conversation: address(), seq: 3 };
            placed(1, "ada", body, Accepted::Read { conversation: ROOM, seq: 3, peer: peer.map(UserId::trusted) })
        };
        assert_eq!(world.happens(&read(None)), 2);
        assert_eq!(world.happens(&read(Some("bob"))), 3);
        assert_eq!((ada.seen().len(), phone.seen().len(), bob.seen().len(), eve.seen().len()), (2, 2, 1, 0));
    }

    #[test]
    fn what_changes_while_a_session_opens_is_applied_on_top_of_the_view() {
        let mut world = World::new();
        let (early, late) = (world.register("bob"), world.register("bob"));
        world.happens(&joined(10, "bob"));
        world.happens(&left(20, "bob"));
        // This view showed the join and not yet the leave, the other both.
        world.rooms.open(early.id, &[ROOM.get()], Position::batch(0, 15));
        assert!(!world.rooms.is_member(early.id, ROOM.get()));
        world.happens(&joined(30, "bob"));
        world.rooms.open(late.id, &[], Position::batch(0, 20));
        assert!(world.rooms.is_member(late.id, ROOM.get()));
        assert_eq!(late.names(), Vec::<String>::new(), "nothing is pushed before it is open");
        assert_eq!(early.names(), ["conversation.joined"]);
    }

    #[test]
    fn a_view_that_is_ahead_is_not_undone() {
        let mut world = World::new();
        let bob = world.register("bob");
        world.happens(&left(10, "bob"));
        world.rooms.open(bob.id, &[ROOM.get()], Position::batch(0, 12));
        assert!(world.rooms.is_member(bob.id, ROOM.get()));
    }

    #[test]
    fn a_hash_is_no_identity() {
        let mut world = World::new();
        let impostor = world.register("impostor");
        world.rooms.open(impostor.id, &[], Position::batch(0, 0));
        world.happens(&added(1, "bob", &["ada"]));
        assert!(!world.rooms.is_member(impostor.id, ROOM.get()));
        let member = world.member("impostor");
        world.happens(&sent(2, "ada"));
        assert_eq!(member.seen()[0].get("ref"), None);
        assert_eq!(impostor.seen(), Vec::<Value>::new());
    }

    #[test]
    fn a_closed_session_leaves_nothing_behind() {
        let mut world = World::new();
        let (ada, opening) = (world.member("ada"), world.register("bob"));
        world.rooms.close(ada.id);
        world.rooms.close(opening.id);
        world.rooms.close(99);
        assert!(world.rooms.members.is_empty() && world.rooms.users.is_empty() && world.rooms.sessions.is_empty());
        assert_eq!(world.happens(&sent(1, "ada")), 0);
    }

    #[test]
    fn closing_all_reaches_those_that_open_too() {
        let mut world = World::new();
        let (ada, bob) = (world.member("ada"), world.register("bob"));
        world.rooms.close_all(CloseCode::Resync);
        for session in [ada, bob] {
            assert_eq!(*session.closed.lock().unwrap(), Some(CloseCode::Resync));
        }
    }

    #[test]
    fn signals_reach_the_others() {
        let mut world = World::new();
        let (ada, phone, bob) = (world.member("ada"), world.member("ada"), world.member("bob"));
        let (tenant, user) = (Tenant::trusted("demo"), UserId::trusted("ada"));
        let typing = PlacedSignal { tenant, conversation: ROOM, user, signal: Signal::Typing };
        assert_eq!(world.rooms.signal(&typing), 1);
        assert_eq!((bob.seen()[0]["signal"].as_str(), ada.seen().len(), phone.seen().len()), (Some("typing"), 0, 0));
    }

    #[test]
    fn a_batch_that_concerns_nobody_here_is_passed_over() {
        let mut world = World::new();
        let header = |outcomes: &[Placed]| {
            let mut writer = OutcomeBatchWriter::default();
            for placed in outcomes {
                writer.push(&placed.outcome, &touched(&placed.outcome));
            }
            let records = u32::try_from(outcomes.len()).unwrap();
            let source = Source { sequence: 1, stored_ms: 0, log_ms: 0, publisher: 1, number: 1, records };
            let bytes = writer.finish(1, vec![source], IdState::default(), vec![]);
            OutcomeBatch::decode(&bytes).unwrap().header
        };
        assert!(!world.rooms.concerns(&header(&[sent(1, "ada"), joined(2, "bob")])));
        let bob = world.register("bob");
        assert!(!world.rooms.concerns(&header(&[sent(1, "ada")])), "not a member");
        assert!(world.rooms.concerns_users(&header(&[added(1, "ada", &["bob"])])));
        world.rooms.open(bob.id, &[ROOM.get()], Position::batch(0, 0));
        assert!(world.rooms.concerns(&header(&[sent(1, "ada")])));
        assert!(!world.rooms.concerns_users(&header(&[sent(1, "ada")])));
    }
}
