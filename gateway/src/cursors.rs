//! Cursors (`conversation.read`) of one session, at most one a second for each conversation: what comes in between is
//! held back, and the highest answers for those that it supersedes ([`crate::requests`]). Pure.

use std::collections::HashMap;

use natter_schemas::command::{Address, Body};
use natter_schemas::names::UserId;
use natter_schemas::wire::client::ClientCommand;

/// At most one in so many milliseconds, for each conversation.
const INTERVAL_MS: u64 = 1000;
/// Conversations that are kept in mind; beyond them, those whose interval is over are forgotten first.
const KEPT: usize = 64;

/// Cursors that are to go, each with its seq, highest first: one goes, and the others only where it is refused.
pub type Due = Vec<(u64, ClientCommand)>;

/// The cursors of one session.
#[derive(Debug, Default)]
pub struct Cursors {
    conversations: HashMap<Whose, Cursor>,
}

/// A conversation, and on whose behalf: a service's session has cursors of many users.
type Whose = (Address, Option<UserId>);

#[derive(Debug, Default)]
struct Cursor {
    /// When the last one went, in milliseconds of uptime.
    sent_ms: Option<u64>,
    held: Due,
}

impl Cursors {
    /// A cursor comes: what may go at once, or nothing.
    pub fn read(&mut self, command: ClientCommand, now_ms: u64) -> Due {
        let Body::Read { conversation, seq } = &command.body else { return vec![(0, command)] };
        if self.conversations.len() >= KEPT {
            self.conversations.retain(|_, cursor| !cursor.held.is_empty() || now_ms < cursor.due_ms());
        }
        let seq = *seq;
        let whose = (conversation.clone(), command.sender.clone());
        let cursor = self.conversations.entry(whose).or_default();
        // Behind those that are as high, which came before.
        let at = cursor.held.partition_point(|(held, _)| *held >= seq);
        cursor.held.insert(at, (seq, command));
        if now_ms < cursor.due_ms() { Vec::new() } else { cursor.go(now_ms) }
    }

    /// The cursors of a conversation whose second is over.
    pub fn take_due(&mut self, now_ms: u64) -> Option<Due> {
        let due = |cursor: &&mut Cursor| !cursor.held.is_empty() && now_ms >= cursor.due_ms();
        self.conversations.values_mut().find(due).map(|cursor| cursor.go(now_ms))
    }

    /// The cursors of any conversation that are held back.
    pub fn take_any(&mut self) -> Option<Due> {
        let mut held = self.conversations.values_mut().filter(|cursor| !cursor.held.is_empty());
        held.next().map(|cursor| std::mem::take(&mut cursor.held))
    }

    /// When the next ones are due, in milliseconds of uptime.
    pub fn next_due_ms(&self) -> Option<u64> {
        let held = self.conversations.values().filter(|cursor| !cursor.held.is_empty());
        held.map(Cursor::due_ms).min()
    }

    /// Requests that wait here.
    pub fn held_back(&self) -> usize {
        self.conversations.values().map(|cursor| cursor.held.len()).sum()
    }
}

impl Cursor {
    fn due_ms(&self) -> u64 {
        self.sent_ms.map_or(0, |sent_ms| sent_ms + INTERVAL_MS)
    }

    fn go(&mut self, now_ms: u64) -> Due {
        self.sent_ms = Some(now_ms);
        std::mem::take(&mut self.held)
    }
}
