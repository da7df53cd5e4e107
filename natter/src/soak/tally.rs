//! What clients count.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of one client, or of all.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Commands that were answered.
    pub answered: u64,
    /// Messages among them.
    pub messages: u64,
    /// Answers that were asked for once more and came out the same.
    pub same_again: u64,
    /// Commands refused for now, by code; they were tried again.
    pub refused_for_now: BTreeMap<String, u64>,
    /// Commands refused for good, by code.
    pub refused: BTreeMap<String, u64>,
    /// Messages that came by themselves.
    pub live: u64,
    /// Messages that were read after a reconnect.
    pub read: u64,
    /// Reads refused for now, by code.
    pub reads_refused: BTreeMap<String, u64>,
    /// Sessions that opened.
    pub sessions: u64,
    /// How sessions ended, or did not open.
    pub ends: BTreeMap<String, u64>,
}

impl Tally {
    /// One more of `what`.
    pub fn count(counts: &mut BTreeMap<String, u64>, what: impl Into<String>) {
        *counts.entry(what.into()).or_default() += 1;
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.messages += other.messages;
        self.same_again += other.same_again;
        self.live += other.live;
        self.read += other.read;
        self.sessions += other.sessions;
        for (to, from) in [
            (&mut self.refused_for_now, other.refused_for_now),
            (&mut self.refused, other.refused),
            (&mut self.reads_refused, other.reads_refused),
            (&mut self.ends, other.ends),
        ] {
            for (what, count) in from {
                *to.entry(what).or_default() += count;
            }
        }
    }
}
