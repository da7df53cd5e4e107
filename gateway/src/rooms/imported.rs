//! What sessions hear of an import into their conversations: not its lines, but how far the history goes now. One frame a second
//! for each room, and one before its next live event, so that no session meets a seq that it cannot account for.

use std::time::Duration;

use natter_schemas::event::Event;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::IMPORTED_EVERY_MS;
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::wire::server::ImportedFrame;
use tokio::time::Instant;

use super::{Recipient, Rooms};
use crate::frames::write;

/// What was imported into a room and has not been told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Untold {
    /// First and last seq of its lines, between which no live message lies.
    lines: Option<(u64, u64)>,
    position: Position,
}

impl<S: Recipient> Rooms<S> {
    /// Applies what an imported event changes about who sees what, and notes it for those who are there.
    pub(super) fn import(&mut self, event: &Event<'_>) {
        let (tenant, sender) = (&event.command.tenant, &event.command.sender);
        let version = event.position.version();
        match event.accepted {
            Accepted::Created { conversation, members } => {
                self.change(tenant, members.iter().chain([sender]), conversation.get(), version, true);
                self.note(*conversation, None, event.position);
            }
            Accepted::Added { conversation, members, .. } => {
                self.change(tenant, members.iter(), conversation.get(), version, true);
                self.note(*conversation, None, event.position);
            }
            Accepted::Joined { conversation, .. } => {
                self.change(tenant, [sender].into_iter(), conversation.get(), version, true);
                self.note(*conversation, None, event.position);
            }
            Accepted::Left { conversation, .. } => {
                // It is the last that a leaver hears of.
                self.note(*conversation, None, event.position);
                self.tell_imported(conversation.get());
                self.change(tenant, [sender].into_iter(), conversation.get(), version, false);
            }
            Accepted::Sent { conversation, seq, .. } => self.note(*conversation, Some(*seq), event.position),
            Accepted::Renamed { conversation } => self.note(*conversation, None, event.position),
            Accepted::Read { .. }
            | Accepted::UserUpdated
            | Accepted::NameKept
            | Accepted::PolicySet { .. }
            | Accepted::Existing { .. }
            | Accepted::Unchanged { .. }
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. } => {}
        }
    }

    /// Tells a room what was imported into it, where it was not told.
    pub(super) fn tell_imported(&mut self, conversation: u64) {
        let Some(Untold { lines, position }) = self.untold.remove(&conversation) else { return };
        let frame = ImportedFrame {
            event: "conversation.imported".to_owned(),
            conversation: ConversationId::from_raw(conversation),
            first: lines.map(|(first, _)| first),
            seq: lines.map(|(_, last)| last),
            position,
        };
        self.append(conversation, |tape| tape.append(|bytes| write::append_json(bytes, &frame)));
    }

    /// Tells the rooms whose time has come, and sets the time of those that are new.
    pub(super) fn tell_due(&mut self, now: Instant) {
        for conversation in std::mem::take(&mut self.untimed) {
            self.telling.insert((now + Duration::from_millis(IMPORTED_EVERY_MS), conversation));
        }
        while self.telling.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, conversation)) = self.telling.pop_first() {
                self.tell_imported(conversation);
            }
        }
    }

    fn note(&mut self, conversation: ConversationId, seq: Option<u64>, position: Position) {
        let conversation = conversation.get();
        if !self.conversations.contains_key(&conversation) {
            return;
        }
        let line = seq.map(|seq| (seq, seq));
        let untold = self.untold.entry(conversation).or_insert_with(|| {
            self.untimed.push(conversation);
            Untold { lines: None, position }
        });
        untold.position = position;
        untold.lines = match (untold.lines, line) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (lines, line) => lines.or(line),
        };
    }
}
