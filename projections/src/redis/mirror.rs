//! What the live views of one partition must hold at a position: `apply.lua` in memory, for whoever compares.
//!
//! It grows with users, conversations and memberships, as the views do: of a list's elements only digests are kept, and
//! only of those that are visible. What is not visible any more may still lie in Redis.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use natter_schemas::event::Placed;
use natter_schemas::limits::HOT_MESSAGES;
use natter_schemas::position::Position;
use xxhash_rust::xxh3::xxh3_64;

use super::conversations;
use super::fold::Step;
use super::operation::Operation;
use super::query::number;
use super::refs;
use super::whole::{Page, START};
use crate::facts::is_hidden;

/// The views of a partition at one position.
#[derive(Debug, Default)]
pub struct Mirror {
    position: u64,
    index: u32,
    /// Log time before whatever comes next, which says what is hidden.
    seen_ms: u64,
    keys: HashMap<String, Held>,
    changed: HashSet<String>,
    /// Lists of refs, by the log time of the newest one: what they hold is kept no longer than it is visible.
    queue: BTreeSet<(u64, String)>,
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
    /// The last sequence that was folded, and how many outcomes of the batch behind it.
    pub const fn position(&self) -> (u64, u32) {
        (self.position, self.index)
    }

    /// Folds the batch at `sequence`, or what is left of it, up to so many of its outcomes where not all are to be folded.
    pub fn fold(&mut self, sequence: u64, outcomes: &[Placed], upto: Option<u32>) {
        let is_within = upto.is_some_and(|upto| (upto as usize) < outcomes.len());
        let end = if is_within { upto.unwrap_or(0) as usize } else { outcomes.len() };
        let mut step = Step::default();
        for outcome in outcomes.get(self.index as usize..end).unwrap_or_default() {
            step.outcome(outcome);
            self.seen_ms = if is_within { outcome.before_ms } else { outcome.log_ms };
        }
        (self.position, self.index) = if is_within { (sequence - 1, upto.unwrap_or(0)) } else { (sequence, 0) };
        for operation in step.operations() {
            self.apply(operation);
        }
        self.forget();
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
        if is_messages(key) { 0 } else { held.elements.partition_point(|left| is_hidden(left.log_ms, self.seen_ms)) }
    }

    /// A page of Redis without what is hidden at this position, which may still lie there.
    #[must_use]
    pub fn visible(&self, mut page: Page) -> Page {
        let had = page.fields.len() + page.elements.len();
        if page.key == refs::QUEUE {
            page.fields.retain(|(_, score)| number(score).map_or(true, |left_ms| !is_hidden(left_ms, self.seen_ms)));
        } else if is_refs(&page.key) {
            page.elements.retain(|bytes| !is_hidden(Element::of(bytes).log_ms, self.seen_ms));
        }
        let is_empty = page.fields.len() + page.elements.len() == 0;
        if had > 0 && is_empty && page.next == START && self.held(&page.key).is_none() {
            "none".clone_into(&mut page.kind);
        }
        page
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
        let key_of_refs = key.clone();
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
        while elements.front().is_some_and(|oldest| is_hidden(oldest.log_ms, self.seen_ms)) {
            elements.pop_front();
        }
        self.enqueue(items.last(), key_of_refs);
    }

    /// Puts a list of refs where the log time of its newest one says.
    fn enqueue(&mut self, newest: Option<&Vec<u8>>, key: String) {
        let Some(newest) = newest else { return };
        let left_ms = Element::of(newest).log_ms;
        let queue = self.keys.entry(refs::QUEUE.to_owned()).or_insert_with(|| Held::new("zset"));
        let before = queue.fields.insert(key.as_bytes().into(), left_ms.to_string().into_bytes().into());
        if let Some(left_ms) = before.and_then(|before| number(&before).ok()) {
            self.queue.remove(&(left_ms, key.clone()));
        }
        self.changed.insert(refs::QUEUE.to_owned());
        self.queue.insert((left_ms, key));
    }

    /// Forgets lists of refs of which nothing is visible.
    fn forget(&mut self) {
        while self.queue.first().is_some_and(|(left_ms, _)| is_hidden(*left_ms, self.seen_ms)) {
            let Some((_, key)) = self.queue.pop_first() else { return };
            self.keys.remove(&key);
            self.unset(refs::QUEUE.to_owned(), [key.into_bytes()]);
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

fn is_refs(key: &str) -> bool {
    key.split(':').next().is_some_and(|kind| refs::KINDS.contains(&kind))
}

/// The position of the newest event that a key in Redis shows, where it says so.
pub fn newest(partition: u16, page: &Page) -> Option<Position> {
    let version = match page.key.split(':').next() {
        Some("c") => page.fields.iter().find(|(field, _)| field == conversations::VERSION.as_bytes())?.1.as_slice(),
        Some(kind) if refs::KINDS.contains(&kind) => {
            return Some(Position::from_version(partition, Element::of(page.elements.last()?).order));
        }
        _ => return None,
    };
    Some(Position::from_version(partition, number(version).ok()?))
}
