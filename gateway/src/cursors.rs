//! Cursors (`conversation.read`) of one session, at most one a second for each conversation: what comes in between is
//! held back, and the later one answers for those that it superseded. Pure.

use std::collections::HashMap;

use natter_schemas::command::{Address, Body};
use natter_schemas::wire::client::ClientCommand;

/// At most one in so many milliseconds, for each conversation.
const INTERVAL_MS: u64 = 1000;
/// Conversations that are kept in mind; beyond them, those whose interval is over are forgotten first.
const KEPT: usize = 64;

/// A cursor that is to go, and the requests that its outcome answers.
pub type Due = (Vec<String>, ClientCommand);

/// The cursors of one session.
#[derive(Debug, Default)]
pub struct Cursors {
    conversations: HashMap<Address, Cursor>,
}

#[derive(Debug)]
struct Cursor {
    /// When the last one went, in milliseconds of uptime.
    sent_ms: u64,
    held: Option<Due>,
}

impl Cursors {
    /// A cursor comes: `Some` where it may go at once.
    pub fn read(&mut self, command: ClientCommand, now_ms: u64) -> Option<Due> {
        let Body::Read { conversation, .. } = &command.body else { return Some((vec![command.id.clone()], command)) };
        if self.conversations.len() >= KEPT {
            self.conversations.retain(|_, cursor| cursor.held.is_some() || now_ms < cursor.sent_ms + INTERVAL_MS);
        }
        if let Some(cursor) = self.conversations.get_mut(conversation)
            && now_ms < cursor.sent_ms + INTERVAL_MS
        {
            cursor.held = Some(merge(cursor.held.take(), command));
            return None;
        }
        let before = self.conversations.insert(conversation.clone(), Cursor { sent_ms: now_ms, held: None });
        Some(merge(before.and_then(|cursor| cursor.held), command))
    }

    /// A cursor whose second is over.
    pub fn take_due(&mut self, now_ms: u64) -> Option<Due> {
        let due = |cursor: &&mut Cursor| cursor.held.is_some() && now_ms >= cursor.sent_ms + INTERVAL_MS;
        let cursor = self.conversations.values_mut().find(due)?;
        cursor.sent_ms = now_ms;
        cursor.held.take()
    }

    /// The cursor of this conversation that is held back.
    pub fn take(&mut self, conversation: &Address) -> Option<Due> {
        self.conversations.get_mut(conversation)?.held.take()
    }

    /// Any cursor that is held back.
    pub fn take_any(&mut self) -> Option<Due> {
        self.conversations.values_mut().find_map(|cursor| cursor.held.take())
    }

    /// When the next one is due, in milliseconds of uptime.
    pub fn next_due_ms(&self) -> Option<u64> {
        let held = self.conversations.values().filter(|cursor| cursor.held.is_some());
        held.map(|cursor| cursor.sent_ms + INTERVAL_MS).min()
    }

    /// Requests that wait here.
    pub fn held_back(&self) -> usize {
        self.conversations.values().filter_map(|cursor| cursor.held.as_ref()).map(|(ids, _)| ids.len()).sum()
    }
}

/// The later request, with the higher of both cursors: a cursor only rises.
fn merge(held: Option<Due>, mut command: ClientCommand) -> Due {
    let (mut ids, before) = match held {
        Some((ids, before)) => (ids, Some(before.body)),
        None => (Vec::new(), None),
    };
    ids.push(command.id.clone());
    if let (Some(Body::Read { seq: before, .. }), Body::Read { seq, .. }) = (before, &mut command.body) {
        *seq = before.max(*seq);
    }
    (ids, command)
}
