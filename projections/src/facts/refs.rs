//! The refs that are remembered of a sender.

use std::collections::VecDeque;

use bincode::{Decode, Encode};
use natter_schemas::evidence::Answered;
use natter_schemas::limits::REFS_RECENT_MS;
use natter_schemas::names::Ref;

/// One remembered ref.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RefEntry {
    /// The sender's own name of the command.
    pub reference: Ref,
    /// What it was answered with.
    pub answered: Answered,
}

/// Entries of a block: what is not visible any more is forgotten by whole blocks.
const BLOCK: usize = 64;

/// One sender's refs in one scope, oldest first.
///
/// Which of them are visible is a function of the log: those within [`REFS_RECENT_MS`] of log time before the asking
/// command's batch. Older ones may still lie here; they are not seen.
///
/// They lie in blocks, because thousands of lists that grow at the same pace would else all be moved to twice the memory at the
/// same time, and nobody has a use for what they leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// Of [`BLOCK`] entries each.
    full: VecDeque<Box<[RefEntry]>>,
    /// The newest, fewer than [`BLOCK`].
    last: Vec<RefEntry>,
}

impl Refs {
    /// How many there are, those that are not seen included.
    pub fn len(&self) -> usize {
        self.full.len() * BLOCK + self.last.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.is_empty()
    }

    /// All of them, oldest first, those that are not seen included.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RefEntry> {
        self.full.iter().flat_map(|block| block.iter()).chain(&self.last)
    }

    /// The newest visible entry of `reference` for a command before whose batch it was `before_ms`.
    pub fn find(&self, reference: &Ref, before_ms: u64) -> Option<&Answered> {
        let mut visible = self.iter().rev().take(self.recent(before_ms));
        visible.find(|entry| entry.reference == *reference).map(|entry| &entry.answered)
    }

    /// How many are visible to a command before whose batch it was `before_ms`.
    pub fn recent(&self, before_ms: u64) -> usize {
        self.len() - self.old(before_ms)
    }

    /// Appends an entry (one that stands at or before the last one's position is there already) of a batch before which it was
    /// `before_ms`, and forgets what that batch does not see any more.
    pub fn push(&mut self, entry: RefEntry, before_ms: u64) {
        let place = |entry: &RefEntry| (entry.answered.sequence, entry.answered.index);
        let newest = self.last.last().or_else(|| self.full.back()?.last());
        if newest.is_some_and(|newest| place(newest) >= place(&entry)) {
            return;
        }
        self.append(entry);
        // In steps, so that an active sender's list is not searched with every command.
        if self.last.is_empty() {
            self.full.drain(..self.old(before_ms) / BLOCK);
        }
    }

    fn append(&mut self, entry: RefEntry) {
        if self.last.is_empty() && !self.full.is_empty() {
            self.last.reserve_exact(BLOCK);
        }
        self.last.push(entry);
        if self.last.len() == BLOCK {
            self.full.push_back(std::mem::take(&mut self.last).into());
        }
    }

    /// The oldest so many are not visible any more.
    fn old(&self, before_ms: u64) -> usize {
        let is_old = |entry: &RefEntry| entry.answered.log_ms + REFS_RECENT_MS < before_ms;
        let blocks = self.full.partition_point(|block| block.last().is_some_and(is_old));
        let rest = self.full.get(blocks).map_or(&self.last[..], |block| block);
        blocks * BLOCK + rest.partition_point(is_old)
    }
}

/// As they were stored: not checked again, and nothing is forgotten.
impl Extend<RefEntry> for Refs {
    fn extend<T: IntoIterator<Item = RefEntry>>(&mut self, entries: T) {
        entries.into_iter().for_each(|entry| self.append(entry));
    }
}

impl FromIterator<RefEntry> for Refs {
    fn from_iter<T: IntoIterator<Item = RefEntry>>(entries: T) -> Self {
        let mut refs = Self::default();
        refs.extend(entries);
        refs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, log_ms: u64) -> RefEntry {
        RefEntry {
            reference: Ref::trusted(&format!("r{sequence}")),
            answered: Answered {
                content: 0,
                sequence,
                index: 0,
                at_ms: log_ms,
                log_ms,
                conversation: None,
                message: None,
                seq: None,
            },
        }
    }

    /// Every list, of whatever length, shows what the sentence in [`Refs`]' description says.
    #[test]
    fn recent_refs_are_seen_and_no_others() {
        for count in [0, 1, 63, 64, 65, 127, 128, 129, 500] {
            let entries: Vec<_> = (1..=count).map(|sequence| entry(sequence, sequence * 1000)).collect();
            let mut pushed = Refs::default();
            entries.iter().cloned().for_each(|entry| pushed.push(entry, 0));
            let stored: Refs = entries.iter().cloned().collect();
            assert_eq!(stored.len() as u64, count);
            assert_eq!(stored.iter().cloned().collect::<Vec<_>>(), entries);
            for now in [count * 1000, count * 1000 + 60_000, count * 1000 + REFS_RECENT_MS, u64::MAX] {
                let recent = entries.iter().filter(|entry| entry.answered.log_ms + REFS_RECENT_MS >= now).count();
                assert_eq!((stored.recent(now), pushed.recent(now)), (recent, recent), "{count} at {now}");
                for (at, entry) in entries.iter().enumerate() {
                    let seen = at + recent >= entries.len();
                    for refs in [&stored, &pushed] {
                        let found = refs.find(&entry.reference, now);
                        assert_eq!(found, seen.then_some(&entry.answered), "{at} of {count} at {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_never_seen_again_is_forgotten() {
        let mut refs = Refs::default();
        for sequence in 1..=100_000 {
            refs.push(entry(sequence, sequence * 1000), (sequence - 1) * 1000);
        }
        assert!(refs.len() <= 120 + 2 * BLOCK, "{}", refs.len());
        let (len, known) = (refs.len(), entry(99_000, 0));
        refs.push(known, u64::MAX);
        assert_eq!(refs.len(), len, "an older position is there already");
    }
}
