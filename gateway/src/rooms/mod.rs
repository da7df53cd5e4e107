//! Who of this gateway's sessions sees an event: routing of one partition, fed by its live feed in order. Pure.
//!
//! Memberships are known from the view when a session opens, and from membership events afterwards. A session that is
//! opening is registered first; what changes for its user from then on is noted, and applied on top of what the view
//! said, so that there is no gap whichever comes first.
//!
//! An event costs the same however many sessions see it: it goes on the room's tape ([`crate::tape`]) once. Passes over the
//! rooms that have something new hand it on ([`Rooms::turn`]), a bounded number of sessions at a time. A large room rests
//! between two passes, so that more gathers for each write.

mod deliver;
mod imported;
mod room;
#[cfg(test)]
mod tests;

use std::collections::hash_map::{Entry as Place, HashMap};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use natter_schemas::codec::OutcomeHeader;
use natter_schemas::error::CloseCode;
use natter_schemas::limits::TAPE_BYTES_MAX;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::slot::user_hash;
use tokio::time::Instant;

use self::imported::Untold;
use self::room::Room;

/// A user whose conversations change more often than this while a session opens has to try again.
const OPENING_CHANGES_MAX: usize = 10_000;

/// A tape with more than this takes no signals: they are dropped long before what they do could hold up the log.
const SIGNALS_TAPE_BYTES_MAX: usize = TAPE_BYTES_MAX / 4;

/// Where events go: a session.
pub trait Recipient {
    /// Unique among the sessions of this gateway.
    fn id(&self) -> u64;
    /// [`natter_schemas::slot::user_hash`] of its user: a first, cheap look.
    fn user_hash(&self) -> u64;
    /// Whether it is this user's. The hash is no proof: people choose their ids.
    fn belongs_to(&self, tenant: &Tenant, user: &UserId) -> bool;
    /// Takes whole frames without writing them. `true`: nothing waited before, so the caller has them written.
    fn queue(&self, frames: Bytes) -> bool;
    /// Writes the frames behind `from` of `chunk`, after all that waits. Those of them that are `signals` are dropped where they
    /// would have to wait.
    fn hand(&self, chunk: &Bytes, from: usize, signals: &[Range<usize>]);
    /// Writes what waits.
    fn flush(&self);
    /// Ends it.
    fn close(&self, code: CloseCode);
}

/// Routing of one partition.
#[derive(Debug)]
pub struct Rooms<S> {
    /// Conversations with open sessions.
    conversations: HashMap<u64, Room<S>>,
    /// Sessions of each user by hash, those that are opening included.
    users: HashMap<u64, Vec<u64>>,
    sessions: HashMap<u64, Entry<S>>,
    /// Conversations whose sessions have not been handed everything.
    behind: VecDeque<u64>,
    /// The same, of large rooms that rest until then.
    resting: BTreeSet<(Instant, u64)>,
    /// Those of them whose tapes grow faster than they are handed on.
    overfull: Vec<u64>,
    /// Sessions for which something was queued.
    queued: VecDeque<Arc<S>>,
    /// What was imported into conversations and has not been told.
    untold: HashMap<u64, Untold>,
    /// Those of them without a time to be told at.
    untimed: Vec<u64>,
    /// When they are told; one that was told before stands here once too often.
    telling: BTreeSet<(Instant, u64)>,
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
    /// Its conversations, and its seat in each.
    Open(HashMap<u64, usize>),
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
        Self {
            conversations: HashMap::new(),
            users: HashMap::new(),
            sessions: HashMap::new(),
            behind: VecDeque::new(),
            resting: BTreeSet::new(),
            overfull: Vec::new(),
            queued: VecDeque::new(),
            untold: HashMap::new(),
            untimed: Vec::new(),
            telling: BTreeSet::new(),
        }
    }

    /// From here on, what changes for this session's user is noted.
    pub fn register(&mut self, session: Arc<S>) {
        self.users.entry(session.user_hash()).or_default().push(session.id());
        self.sessions.insert(session.id(), Entry { session, phase: Phase::Opening(Vec::new()) });
    }

    /// From here on the session sees what happens in its user's conversations: those that the view showed at `shown`, and
    /// what changed after it. Does nothing to a session that was never registered or is gone.
    pub fn open(&mut self, id: u64, conversations: impl ExactSizeIterator<Item = u64>, shown: Position) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let Phase::Opening(changes) = &mut entry.phase else { return };
        let changes = std::mem::take(changes);
        entry.phase = Phase::Open(HashMap::with_capacity(conversations.len()));
        for conversation in conversations {
            self.seat(id, conversation);
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
        if let Phase::Open(seats) = entry.phase {
            for (conversation, seat) in seats {
                self.vacate(conversation, seat);
            }
        }
    }

    /// Whether anything in a batch concerns a session here.
    pub fn concerns(&self, header: &OutcomeHeader) -> bool {
        header.conversations.iter().any(|conversation| self.conversations.contains_key(conversation))
            || self.concerns_users(header)
    }

    /// Whether a batch concerns a user here beyond the rooms: then every event of it must be looked at.
    pub fn concerns_users(&self, header: &OutcomeHeader) -> bool {
        !self.users.is_empty() && header.users.iter().any(|user| self.users.contains_key(user))
    }

    /// Whether a session is in this conversation.
    pub fn has_room(&self, conversation: u64) -> bool {
        self.conversations.contains_key(&conversation)
    }

    /// Whether this session is in this conversation.
    pub fn is_member(&self, id: u64, conversation: u64) -> bool {
        self.sessions.get(&id).is_some_and(|entry| entry.seat(conversation).is_some())
    }

    /// Ends every session, those that are opening included.
    pub fn close_all(&self, code: CloseCode) {
        self.sessions.values().for_each(|entry| entry.session.close(code));
    }

    /// Something was queued for this session elsewhere: it is written in the next turn.
    pub fn write_soon(&mut self, session: Arc<S>) {
        self.queued.push_back(session);
    }

    /// Whether there is something to be written now.
    pub fn has_turn(&self) -> bool {
        !self.queued.is_empty() || !self.behind.is_empty()
    }

    /// When there is something to be written in a room that rests, or to be told of an import.
    pub fn rests_until(&self) -> Option<Instant> {
        self.resting.first().into_iter().chain(self.telling.first()).map(|(until, _)| *until).min()
    }

    /// Whether a room's tape has to be handed on before there may be more on it.
    pub fn is_full(&mut self) -> bool {
        let rooms = &self.conversations;
        self.overfull.retain(|room| rooms.get(room).is_some_and(|room| room.tape.bytes() > TAPE_BYTES_MAX));
        !self.overfull.is_empty()
    }

    /// Writes for at most `sessions` sessions with queued frames, and for about as many in rooms: the rooms take turns, so
    /// a hot one does not keep the others waiting.
    pub fn turn(&mut self, sessions: usize, now: Instant) {
        for session in self.queued.drain(..sessions.min(self.queued.len())) {
            session.flush();
        }
        self.tell_due(now);
        while self.resting.first().is_some_and(|(until, _)| *until <= now) {
            self.behind.extend(self.resting.pop_first().map(|(_, conversation)| conversation));
        }
        let mut left = sessions;
        while left > 0
            && let Some(conversation) = self.behind.pop_front()
        {
            // One that is gone, or came anew, may stand here once too often.
            let Some(room) = self.conversations.get_mut(&conversation).filter(|room| room.is_behind()) else {
                continue;
            };
            if let Some(until) = room.rests_until(now) {
                self.resting.insert((until, conversation));
                continue;
            }
            left -= room.pass(left, now);
            if room.is_behind() {
                self.behind.push_back(conversation);
            }
        }
    }

    fn close_one(&self, id: u64, code: CloseCode) {
        if let Some(entry) = self.sessions.get(&id) {
            entry.session.close(code);
        }
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
        let Some(Entry { session, phase: Phase::Open(seats) }) = self.sessions.get_mut(&id) else { return };
        if let Place::Vacant(vacant) = seats.entry(conversation) {
            let room = self.conversations.entry(conversation).or_insert_with(Room::new);
            vacant.insert(room.seat(Arc::clone(session)));
        }
    }

    /// What happened until now is still the session's.
    fn unseat(&mut self, id: u64, conversation: u64) {
        let Some(Entry { phase: Phase::Open(seats), .. }) = self.sessions.get_mut(&id) else { return };
        if let Some(seat) = seats.remove(&conversation)
            && let Some(room) = self.conversations.get_mut(&conversation)
        {
            self.queued.extend(room.catch_up(seat));
            self.vacate(conversation, seat);
        }
    }

    fn vacate(&mut self, conversation: u64, seat: usize) {
        let Some(room) = self.conversations.get_mut(&conversation) else { return };
        if let Some(moved) = room.vacate(seat)
            && let Some(Entry { phase: Phase::Open(seats), .. }) = self.sessions.get_mut(&moved)
        {
            seats.insert(conversation, seat);
        }
        if room.is_empty() {
            self.conversations.remove(&conversation);
            self.untold.remove(&conversation);
        }
    }
}

impl<S> Entry<S> {
    fn seat(&self, conversation: u64) -> Option<usize> {
        match &self.phase {
            Phase::Opening(_) => None,
            Phase::Open(seats) => seats.get(&conversation).copied(),
        }
    }
}

impl<S: Recipient> Default for Rooms<S> {
    fn default() -> Self {
        Self::new()
    }
}
