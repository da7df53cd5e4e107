//! What the live views of one partition must hold at a position: `apply.lua` in memory, for whoever compares.
//!
//! It grows with users, conversations and memberships, as the views do: of a list's elements only digests are kept, and
//! only of those that are visible. What is not visible any more may still lie in Redis.

use std::collections::{HashMap, HashSet, VecDeque};

use natter_schemas::event::Placed;
use natter_schemas::limits::{HOT_MESSAGES, REFS_RECENT_MS};
use natter_schemas::position::Position;
use xxhash_rust::xxh3::xxh3_64;

use super::conversations;
use super::fold::Step;
use super::operation::Operation;
use super::query::number;
use super::whole::Page;

/// The views of a partition at one position.
#[derive(Debug, Default)]
pub struct Mirror {
    position: u64,
    log_ms: u64,
    keys: HashMap<String, Held>,
    changed: HashSet<String>,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Redis's name of its type.
    pub kind: &'static str,
    /// Of all but lists: as in [`Page::fields`].
    pub fields: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Of a list: its elements, oldest first.
    pub elements: VecDeque<Element>,
}

/// An element of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Rises within the list: a message's seq, a ref's version.
    pub order: u64,
    /// Of its bytes.
    pub digest: u64,
    /// Of a ref: its log time.
    log_ms: u64,
}

impl Element {
    /// An element by its bytes, which begin with its order; a ref's log time follows.
    pub fn of(bytes: &[u8]) -> Self {
        let number = |from: usize| {
            bytes.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
        };
        Self { order: number(0), digest: xxh3_64(bytes), log_ms: number(8) }
    }
}

impl Mirror {
    /// The last sequence that was folded.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Folds the batch at `sequence`, whose log time is `log_ms`.
    pub fn fold(&mut self, sequence: u64, log_ms: u64, outcomes: &[Placed]) {
        let mut step = Step::default();
        for outcome in outcomes {
            step.outcome(outcome);
        }
        (self.position, self.log_ms) = (sequence, log_ms);
        for operation in step.operations() {
            self.apply(operation);
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a key must hold; `None`: there must be no such key.
    pub fn held(&self, key: &str) -> Option<&Held> {
        self.keys.get(key)
    }

    /// Every key that must be there.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The keys that changed, or went, since this was asked last.
    pub fn take_changed(&mut self) -> HashSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// Of a list's elements, how many at its begin are not visible at this position.
    pub fn invisible(&self, key: &str, held: &Held) -> usize {
        if is_messages(key) {
            return 0;
        }
        held.elements.partition_point(|ref_| ref_.log_ms + REFS_RECENT_MS < self.log_ms)
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Set { key, fields } => self.set(key, "hash", fields),
            Operation::Unset { key, fields } => self.unset(key, fields),
            Operation::Include { key, items } => {
                self.set(key, "set", items.into_iter().map(|item| (item.into_bytes(), Vec::new())));
            }
            Operation::Exclude { key, items } => self.unset(key, items.into_iter().map(String::into_bytes)),
            Operation::Enrol { key, items } => {
                self.set(key, "zset", items.into_iter().map(|(user, rest)| (user.into_bytes(), rest.into_bytes())));
            }
            Operation::Strike { key, users } => self.unset(key, users.into_iter().map(String::into_bytes)),
            Operation::Messages { key, items } | Operation::Refs { key, items } => self.append(key, &items),
            Operation::Ref { items } => {
                for (key, item) in items {
                    self.append(key, &[item]);
                }
            }
        }
    }

    fn set(&mut self, key: String, kind: &'static str, fields: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        let mut fields = fields.into_iter().peekable();
        if fields.peek().is_none() {
            return;
        }
        self.changed.insert(key.clone());
        let held = self.keys.entry(key).or_insert_with(|| Held::new(kind));
        held.fields.extend(fields.map(|(field, value)| (field.into(), value.into())));
    }

    fn unset(&mut self, key: String, fields: impl IntoIterator<Item = Vec<u8>>) {
        let Some(held) = self.keys.get_mut(&key) else { return };
        for field in fields {
            held.fields.remove(field.as_slice());
        }
        // Redis keeps no key that holds nothing.
        if held.fields.is_empty() {
            self.keys.remove(&key);
        }
        self.changed.insert(key);
    }

    fn append(&mut self, key: String, items: &[Vec<u8>]) {
        let messages = is_messages(&key);
        self.changed.insert(key.clone());
        let elements = &mut self.keys.entry(key).or_insert_with(|| Held::new("list")).elements;
        for element in items.iter().map(|item| Element::of(item)) {
            if elements.back().is_none_or(|newest| newest.order < element.order) {
                elements.push_back(element);
            }
        }
        if messages {
            elements.drain(..elements.len().saturating_sub(HOT_MESSAGES));
            return;
        }
        let now = elements.back().map_or(0, |newest| newest.log_ms);
        while elements.len() > 1 && elements[0].log_ms + REFS_RECENT_MS < now {
            elements.pop_front();
        }
    }
}

impl Held {
    fn new(kind: &'static str) -> Self {
        Self { kind, fields: HashMap::new(), elements: VecDeque::new() }
    }
}

fn is_messages(key: &str) -> bool {
    key.starts_with("l:")
}

/// The position of the newest event that a key in Redis shows, where it says so.
pub fn newest(partition: u16, page: &Page) -> Option<Position> {
    let version = match page.key.split(':').next() {
        Some("c") => page.fields.iter().find(|(field, _)| field == conversations::VERSION.as_bytes())?.1.as_slice(),
        Some("r" | "rc" | "rd" | "ru" | "rx") => {
            return Some(Position::from_version(partition, Element::of(page.elements.last()?).order));
        }
        _ => return None,
    };
    Some(Position::from_version(partition, number(version).ok()?))
}
