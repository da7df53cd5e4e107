//! One fact of the overlay.

use std::collections::HashSet;

use natter_projections::facts::{Fact, RefEntry, Refs};
use natter_schemas::names::Ref;
use xxhash_rust::xxh3::xxh3_64;

use crate::decide::facts::Remembered;

/// Lists of refs up to this long are searched one by one.
const SEARCHED: usize = 32;

/// One fact.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// Sequence of its last change after the floor; 0: none.
    pub(super) changed: u64,
    /// The batch that asked for it last.
    pub(super) used: u64,
}

/// What is known of it.
#[derive(Debug)]
pub(super) enum Value {
    /// Its present value.
    Known {
        fact: Option<Fact>,
        /// Hashes of a long list's refs, and perhaps of some that have left it: nearly every command's ref is new, and
        /// this says so at once.
        hashes: Option<HashSet<u64>>,
    },
    /// The refs that came after the floor; what they follow is not known.
    Later(Vec<RefEntry>),
}

impl Value {
    pub(super) fn known(fact: Option<Fact>) -> Self {
        let mut hashes = None;
        if let Some(Fact::Refs(refs)) = &fact {
            keep_hashes(&mut hashes, refs);
        }
        Self::Known { fact, hashes }
    }
}

impl Entry {
    pub(super) fn known(fact: Option<Fact>, changed: u64, used: u64) -> Self {
        Self { value: Value::known(fact), changed, used }
    }

    pub(super) const fn unknown(used: u64) -> Self {
        Self { value: Value::Later(Vec::new()), changed: 0, used }
    }

    pub(super) const fn is_known(&self) -> bool {
        matches!(self.value, Value::Known { .. })
    }

    pub(super) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::Known { fact: Some(Fact::Refs(refs)), .. } => refs.0.len(),
            Value::Known { .. } => 0,
            Value::Later(refs) => refs.len(),
        }
    }

    pub(super) const fn fact(&self) -> Option<&Fact> {
        match &self.value {
            Value::Known { fact, .. } => fact.as_ref(),
            Value::Later(_) => None,
        }
    }

    pub(super) fn remembered(&self, reference: &Ref, log_ms: u64) -> Remembered<'_> {
        match &self.value {
            Value::Known { fact: Some(Fact::Refs(refs)), hashes } => match hashes {
                Some(hashes) if !hashes.contains(&hash(reference)) => {
                    Remembered { answered: None, recent: refs.recent(log_ms) }
                }
                _ => Remembered::among(refs, reference, log_ms),
            },
            _ => Remembered::default(),
        }
    }

    pub(super) fn push(&mut self, entry: RefEntry) {
        match &mut self.value {
            Value::Later(later) => later.push(entry),
            Value::Known { fact, hashes } => {
                let fact = fact.get_or_insert_with(|| Fact::Refs(Refs::default()));
                if let Fact::Refs(refs) = fact {
                    if let Some(hashes) = hashes {
                        hashes.insert(hash(&entry.reference));
                    }
                    refs.push(entry);
                    keep_hashes(hashes, refs);
                }
            }
        }
    }

    /// Takes in what a view has: only the beginning of a list is news.
    pub(super) fn settle(&mut self, loaded: Option<Fact>) {
        if let Value::Later(later) = &mut self.value {
            let later = std::mem::take(later);
            self.value = Value::known(loaded);
            for entry in later {
                self.push(entry);
            }
        }
    }

    /// Takes in what happened earlier: only the beginning of a list is news, and when a value that was loaded changed.
    pub(super) fn put_under(&mut self, older: Self) {
        self.changed = self.changed.max(older.changed);
        if let Value::Later(later) = &mut self.value {
            let later = std::mem::take(later);
            self.value = older.value;
            for entry in later {
                self.push(entry);
            }
        }
    }
}

fn keep_hashes(hashes: &mut Option<HashSet<u64>>, refs: &Refs) {
    let stale = match hashes {
        Some(hashes) => hashes.len() > 2 * refs.0.len() + SEARCHED,
        None => refs.0.len() > SEARCHED,
    };
    if stale {
        *hashes = Some(refs.0.iter().map(|entry| hash(&entry.reference)).collect());
    }
}

fn hash(reference: &Ref) -> u64 {
    xxh3_64(reference.as_str().as_bytes())
}
