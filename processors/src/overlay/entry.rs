//! One fact of the overlay.

use std::cell::Cell;
use std::collections::HashSet;

use foldhash::fast::RandomState;
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
    pub(super) used: Cell<u64>,
}

/// What is known of it.
#[derive(Debug)]
pub(super) enum Value {
    /// Its present value.
    Known(Option<Fact>),
    /// A long list of refs, its present value too.
    Long(Box<LongRefs>),
    /// The refs that came after the floor, with the log time before their batches; what they follow is not known.
    Later(Vec<(RefEntry, u64)>),
}

/// A list of refs that is too long to be searched one by one.
#[derive(Debug)]
pub(super) struct LongRefs {
    fact: Fact,
    /// Hashes of its refs, and perhaps of some that have left it: nearly every command's ref is new, and this says so at
    /// once.
    hashes: HashSet<u64, RandomState>,
}

impl Value {
    pub(super) fn known(fact: Option<Fact>) -> Self {
        match fact {
            Some(Fact::Refs(refs)) if refs.len() > SEARCHED => Self::Long(Box::new(LongRefs::of(refs))),
            fact => Self::Known(fact),
        }
    }
}

impl LongRefs {
    fn of(refs: Refs) -> Self {
        let hashes = refs.iter().map(|entry| hash(&entry.reference)).collect();
        Self { fact: Fact::Refs(refs), hashes }
    }

    fn refs(&self) -> &Refs {
        match &self.fact {
            Fact::Refs(refs) => refs,
            other => unreachable!("{other:?} is no list of refs"),
        }
    }

    fn push(&mut self, entry: RefEntry, before_ms: u64) {
        let Fact::Refs(refs) = &mut self.fact else { return };
        self.hashes.insert(hash(&entry.reference));
        refs.push(entry, before_ms);
        if self.hashes.len() > 2 * refs.len() + SEARCHED {
            self.hashes = refs.iter().map(|entry| hash(&entry.reference)).collect();
        }
    }
}

impl Entry {
    pub(super) fn known(fact: Option<Fact>, changed: u64, used: u64) -> Self {
        Self { value: Value::known(fact), changed, used: Cell::new(used) }
    }

    pub(super) const fn unknown(used: u64) -> Self {
        Self { value: Value::Later(Vec::new()), changed: 0, used: Cell::new(used) }
    }

    pub(super) const fn is_known(&self) -> bool {
        !matches!(self.value, Value::Later(_))
    }

    pub(super) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::Known(Some(Fact::Refs(refs))) => refs.len(),
            Value::Known(_) => 0,
            Value::Long(long) => long.refs().len(),
            Value::Later(refs) => refs.len(),
        }
    }

    pub(super) const fn fact(&self) -> Option<&Fact> {
        match &self.value {
            Value::Known(fact) => fact.as_ref(),
            Value::Long(long) => Some(&long.fact),
            Value::Later(_) => None,
        }
    }

    pub(super) fn remembered(&self, reference: &Ref, before_ms: u64) -> Remembered<'_> {
        match &self.value {
            Value::Known(Some(Fact::Refs(refs))) => Remembered::among(refs, reference, before_ms),
            Value::Long(long) if long.hashes.contains(&hash(reference)) => {
                Remembered::among(long.refs(), reference, before_ms)
            }
            Value::Long(long) => Remembered::unknown(long.refs(), before_ms),
            Value::Known(_) | Value::Later(_) => Remembered::default(),
        }
    }

    pub(super) fn push(&mut self, entry: RefEntry, before_ms: u64) {
        match &mut self.value {
            Value::Later(later) => later.push((entry, before_ms)),
            Value::Long(long) => long.push(entry, before_ms),
            Value::Known(fact) => {
                let known = fact.get_or_insert_with(|| Fact::Refs(Refs::default()));
                let Fact::Refs(refs) = known else { return };
                refs.push(entry, before_ms);
                if refs.len() > SEARCHED {
                    self.value = Value::known(fact.take());
                }
            }
        }
    }

    /// Takes in what a view has: only the beginning of a list is news.
    pub(super) fn settle(&mut self, loaded: Option<Fact>) {
        if let Value::Later(later) = &mut self.value {
            let later = std::mem::take(later);
            self.value = Value::known(loaded);
            for (entry, before_ms) in later {
                self.push(entry, before_ms);
            }
        }
    }

    /// Takes in what happened earlier: only the beginning of a list is news, and when a value that was loaded changed.
    pub(super) fn put_under(&mut self, older: Self) {
        self.changed = self.changed.max(older.changed);
        if let Value::Later(later) = &mut self.value {
            let later = std::mem::take(later);
            self.value = older.value;
            for (entry, before_ms) in later {
                self.push(entry, before_ms);
            }
        }
    }
}

fn hash(reference: &Ref) -> u64 {
    xxh3_64(reference.as_str().as_bytes())
}
