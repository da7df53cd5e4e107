//! The facts that a worker keeps of its partition: the latest value per key of later events on top of what the Redis
//! view has (invariant 5), which makes them a cache as well, since nobody else writes.
//!
//! Everything hangs on one number, the *floor*: whatever changed after it is here. So a fact that is not here has not
//! changed since, and a view at or above the floor has its present value. Forgetting a change raises the floor; a view that is
//! found below it (Redis woke up in the past) makes the worker read the outcomes between from the log first.

mod entries;
mod entry;
mod names;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use natter_projections::facts::{Change, Fact, FactKey, changes};
use natter_schemas::event::{Event, RefScope};
use natter_schemas::id::ConversationId;
use natter_schemas::names::Ref;

use crate::decide::Facts;
use crate::decide::facts::Remembered;
use entries::Entries;
use entry::{Entry, Value};
use names::Names;

/// The facts that a worker keeps.
#[derive(Debug)]
pub struct Overlay {
    entries: Entries,
    names: Names,
    floor: u64,
    /// Facts and remembered refs in it.
    weight: usize,
    weight_max: usize,
    /// The weight at which sweeping is worth its time again.
    sweep_at: usize,
    /// Counts batches: which facts were of use lately.
    round: u64,
}

impl Overlay {
    /// Knows nothing of what happened up to `floor`. Keeps about `weight_max` facts, and more only while a view is behind.
    pub fn above(floor: u64, weight_max: usize) -> Self {
        Self {
            entries: Entries::default(),
            names: Names::default(),
            floor,
            weight: 0,
            weight_max,
            sweep_at: weight_max,
            round: 1,
        }
    }

    /// Every change after this sequence is here.
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Facts and remembered refs in it.
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// Whether it is time to [`Overlay::sweep`].
    pub const fn is_full(&self) -> bool {
        self.weight > self.sweep_at
    }

    /// How many facts changed after `watermark`, so that they cannot be forgotten while a view stands there.
    pub fn changed_after(&self, watermark: u64) -> usize {
        self.entries.count(|entry| entry.changed > watermark)
    }

    /// A batch begins; what it touches is kept longest.
    pub const fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Whether the fact under `key` (or that there is none) is known, so that it need not be loaded.
    pub fn touch(&mut self, key: &FactKey) -> bool {
        if self.known(key).is_some() {
            return true;
        }
        // All that ever happened in a conversation that was made after the floor is here.
        let complete = self.is_complete(key);
        if complete {
            self.settle(key.clone(), None);
        }
        complete
    }

    /// Takes in what a view has under `key`. The view's watermark must not be below [`Overlay::floor`].
    pub fn settle(&mut self, key: FactKey, loaded: Option<Fact>) {
        let round = self.round;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used.set(round);
            self.weight -= entry.weight();
            entry.settle(loaded);
            self.weight += entry.weight();
            return;
        }
        self.insert(key, Entry::known(loaded, 0, round));
    }

    /// Folds an accepted outcome that comes after all others.
    pub fn fold(&mut self, event: &Event<'_>) {
        let sequence = event.position.sequence;
        for change in changes(event) {
            self.apply(change, sequence);
        }
    }

    fn apply(&mut self, change: Change, sequence: u64) {
        match change {
            Change::Set(key, fact) => self.change(key, sequence, |entry| entry.value = Value::known(fact)),
            Change::PushRef(key, reference, before_ms) => {
                self.change(key, sequence, |entry| entry.push(reference, before_ms));
            }
        }
    }

    fn change(&mut self, key: FactKey, sequence: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.weight -= entry.weight();
            change(entry);
            entry.changed = sequence;
            self.weight += entry.weight();
            return;
        }
        let mut entry =
            if self.is_complete(&key) { Entry::known(None, sequence, self.round) } else { Entry::unknown(self.round) };
        change(&mut entry);
        entry.changed = sequence;
        self.insert(key, entry);
    }

    /// Under a key that has none.
    fn insert(&mut self, key: FactKey, entry: Entry) {
        self.weight += entry.weight();
        self.entries.insert(self.names.shared(key), entry);
    }

    /// Puts what happened between `older`'s floor and this one's under it. `older` holds exactly those events.
    pub fn lower(&mut self, older: Self) {
        debug_assert!(older.floor <= self.floor);
        self.floor = older.floor;
        for (key, entry) in older.entries.into_pairs() {
            if let Some(later) = self.entries.get_mut(&key) {
                self.weight -= later.weight();
                later.put_under(entry);
                self.weight += later.weight();
            } else {
                self.insert(key, entry);
            }
        }
    }

    /// Forgets the half that was not used for longest of what a view at `watermark` has too.
    pub fn sweep(&mut self, watermark: u64) {
        let round = self.round;
        let evictable = |entry: &Entry| entry.changed <= watermark && entry.used.get() < round;
        let mut ages = Vec::new();
        self.entries.count(|entry| {
            let is_one = evictable(entry);
            ages.extend(is_one.then_some(entry.used.get()));
            is_one
        });
        if !ages.is_empty() {
            let middle = ages.len() / 2;
            let limit = *ages.select_nth_unstable(middle).1;
            let (floor, weight) = (&mut self.floor, &mut self.weight);
            self.entries.retain(|entry| {
                let forget = evictable(entry) && entry.used.get() <= limit;
                if forget {
                    *floor = (*floor).max(entry.changed);
                    *weight -= entry.weight();
                }
                !forget
            });
        }
        self.names = Names::default();
        self.sweep_at = self.weight_max.max(self.weight + self.weight_max / 4);
    }

    /// Whether all that ever changed under `key` is here, because its conversation was made after the floor.
    fn is_complete(&self, key: &FactKey) -> bool {
        let made = |id| self.entries.get(&FactKey::Conversation(id)).is_some_and(|entry| entry.changed > self.floor);
        conversation_of(key).is_some_and(made)
    }

    fn known(&self, key: &FactKey) -> Option<&Entry> {
        let entry = self.entries.get(key).filter(|entry| entry.is_known())?;
        entry.used.set(self.round);
        Some(entry)
    }
}

const fn conversation_of(key: &FactKey) -> Option<ConversationId> {
    match key {
        FactKey::Conversation(id)
        | FactKey::Head(id)
        | FactKey::Run(id)
        | FactKey::MemberCount(id)
        | FactKey::Member(_, id, _)
        | FactKey::Cursor(_, id, _)
        | FactKey::ConversationLine(_, id, _)
        | FactKey::Refs(_, _, RefScope::Conversation(id)) => Some(*id),
        FactKey::Refs(..)
        | FactKey::External(..)
        | FactKey::Direct(..)
        | FactKey::UserLine(..)
        | FactKey::NamedAt(..)
        | FactKey::Policy(_) => None,
    }
}

/// Facts of an overlay for one decision. What is asked and not known is noted: the decision is then worth nothing, and is
/// made again when the facts are there.
#[derive(Debug)]
pub struct Asked<'a> {
    overlay: &'a Overlay,
    missed: RefCell<Vec<FactKey>>,
}

impl<'a> Asked<'a> {
    /// Asks `overlay`.
    pub const fn of(overlay: &'a Overlay) -> Self {
        Self { overlay, missed: RefCell::new(Vec::new()) }
    }

    /// What was asked and is not known.
    pub fn missed(self) -> Vec<FactKey> {
        self.missed.into_inner()
    }

    fn entry(&self, key: &FactKey) -> Option<&'a Entry> {
        let known = self.overlay.known(key);
        if known.is_none() {
            self.missed.borrow_mut().push(key.clone());
        }
        known
    }
}

impl Facts for Asked<'_> {
    fn fact(&self, key: &FactKey) -> Option<&Fact> {
        self.entry(key)?.fact()
    }

    fn remembered(&self, key: &FactKey, reference: &Ref, before_ms: u64) -> Remembered<'_> {
        self.entry(key).map_or_else(Remembered::default, |entry| entry.remembered(reference, before_ms))
    }
}

/// What is known, without noting what is not.
impl Facts for Overlay {
    fn fact(&self, key: &FactKey) -> Option<&Fact> {
        self.known(key)?.fact()
    }

    fn remembered(&self, key: &FactKey, reference: &Ref, before_ms: u64) -> Remembered<'_> {
        self.known(key).map_or_else(Remembered::default, |entry| entry.remembered(reference, before_ms))
    }
}
