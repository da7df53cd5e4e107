//! Which sessions an event or a signal goes to, and what it changes about that.

use std::sync::Arc;

use bytes::Bytes;
use natter_schemas::command::Origin;
use natter_schemas::event::Event;
use natter_schemas::limits::TAPE_BYTES_MAX;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::outcome::Accepted;
use natter_schemas::signal::PlacedSignal;
use natter_schemas::wire::server::{EventFrame, SignalFrame};

use super::{Phase, Recipient, Rooms, SIGNALS_TAPE_BYTES_MAX};
use crate::commands::NO_REF;
use crate::frames::write;
use crate::tape::Tape;

impl<S: Recipient> Rooms<S> {
    /// Hands an event to the sessions that see it and applies what it changes about that. Gives how many they were.
    pub fn event(&mut self, event: &Event<'_>) -> usize {
        let tenant = &event.command.tenant;
        let sender = &event.command.sender;
        let version = event.position.version();
        if matches!(event.command.origin, Origin::Import(_)) {
            self.import(event);
            return 0;
        }
        if let Some(conversation) = event.accepted.conversation() {
            self.tell_imported(conversation.get());
        }
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
            Accepted::Read { conversation, peer, .. } => {
                self.deliver_to_users(event, Some(conversation.get()), peer.iter().chain([sender]))
            }
            Accepted::UserUpdated => self.deliver_to_users(event, None, [sender].into_iter()),
            Accepted::NameKept
            | Accepted::PolicySet { .. }
            | Accepted::Existing { .. }
            | Accepted::Unchanged { .. }
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. } => 0,
        }
    }

    /// Hands a signal to everybody in its conversation but the user that it came from. Gives how many they were; `None`: it was
    /// dropped, because the conversation or the partition is behind.
    pub fn signal(&mut self, signal: &PlacedSignal) -> Option<usize> {
        let PlacedSignal { tenant, conversation, user, signal } = signal;
        let tape = self.conversations.get(&conversation.get()).map_or(0, |room| room.tape.bytes());
        if tape > SIGNALS_TAPE_BYTES_MAX || self.is_full() {
            return None;
        }
        let frame = |tape: &mut Vec<u8>| {
            let signal = signal.name().to_owned();
            write::append_json(tape, &SignalFrame { signal, conversation: *conversation, sender: user.clone() });
        };
        let append = |tape: &mut Tape| tape.append_signal(frame);
        let Delivered { everybody, own } = self.put_on_tape(conversation.get(), tenant, user, append, || None);
        Some(everybody - own)
    }

    fn deliver_to_room(&mut self, event: &Event<'_>, conversation: u64) -> usize {
        let command = event.command;
        let everybodys = |tape: &mut Tape| tape.append(|bytes| write::append_json(bytes, &EventFrame::of(event)));
        let senders = || Some(senders_frame(event));
        self.put_on_tape(conversation, &command.tenant, &command.sender, everybodys, senders).everybody
    }

    /// Puts a frame on the tape of a conversation, and queues the frame `own` instead for the sessions of the user that
    /// caused it. Each is encoded once, where anybody gets it.
    fn put_on_tape(
        &mut self,
        conversation: u64,
        tenant: &Tenant,
        user: &UserId,
        everybodys: impl FnOnce(&mut Tape),
        own: impl FnOnce() -> Option<Bytes>,
    ) -> Delivered {
        let seats: Vec<usize> = self.entries_of(tenant, user).filter_map(|entry| entry.seat(conversation)).collect();
        let Some(room) = self.conversations.get(&conversation) else { return Delivered::default() };
        let start = room.tape.end();
        if seats.len() < room.len() {
            self.append(conversation, everybodys);
        }
        let Some(room) = self.conversations.get_mut(&conversation) else { return Delivered::default() };
        let delivered = Delivered { everybody: room.len(), own: seats.len() };
        if !seats.is_empty() {
            let own = own();
            self.queued.extend(seats.into_iter().filter_map(|seat| room.queue(seat, start, own.clone())));
        }
        delivered
    }

    /// Puts a frame on the tape of a conversation that has sessions here.
    pub(super) fn append(&mut self, conversation: u64, frame: impl FnOnce(&mut Tape)) {
        let Some(room) = self.conversations.get_mut(&conversation) else { return };
        if !room.is_behind() {
            self.behind.push_back(conversation);
        }
        let was_full = room.tape.bytes() > TAPE_BYTES_MAX;
        frame(&mut room.tape);
        if !was_full && room.tape.bytes() > TAPE_BYTES_MAX {
            self.overfull.push(conversation);
        }
    }

    /// Queues an event for the open sessions of single users, in its place among those of the conversation.
    fn deliver_to_users<'u>(
        &mut self,
        event: &Event<'_>,
        conversation: Option<u64>,
        users: impl Iterator<Item = &'u UserId>,
    ) -> usize {
        let tenant = &event.command.tenant;
        let mut delivered = 0;
        for user in users {
            let open = self.entries_of(tenant, user).filter(|entry| matches!(entry.phase, Phase::Open(_)));
            let open: Vec<_> = open
                .map(|entry| (Arc::clone(&entry.session), conversation.and_then(|room| entry.seat(room))))
                .collect();
            if open.is_empty() {
                continue;
            }
            delivered += open.len();
            let is_sender = *user == event.command.sender;
            let frame = if is_sender { senders_frame(event) } else { write::json(&EventFrame::of(event)) };
            for (session, seat) in open {
                let room = conversation.and_then(|conversation| self.conversations.get_mut(&conversation));
                let queued = match (room, seat) {
                    (Some(room), Some(seat)) => room.queue(seat, room.tape.end(), Some(frame.clone())),
                    _ => session.queue(frame.clone()).then_some(session),
                };
                self.queued.extend(queued);
            }
        }
        delivered
    }
}

/// How many sessions are in a room, and how many of them are of the user that caused an event.
#[derive(Debug, Clone, Copy, Default)]
struct Delivered {
    everybody: usize,
    own: usize,
}

/// An event as the sessions of who caused it see it: with the `ref`.
fn senders_frame(event: &Event<'_>) -> Bytes {
    let reference = Some(event.command.reference.clone()).filter(|reference| reference.as_str() != NO_REF);
    write::json(&EventFrame { reference, ..EventFrame::of(event) })
}
