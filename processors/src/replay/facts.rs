//! All facts of a partition in memory.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use natter_projections::facts::{Change, Fact, FactKey, Refs, changes};
use natter_schemas::event::Event;

use crate::decide::Facts;

/// All facts of a partition, in memory: the plainest fold there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactBase {
    facts: HashMap<FactKey, Fact, RandomState>,
    /// Those that lived through the last search for old refs.
    lived: usize,
}

/// Facts that may come before old refs are searched for at all.
const SEARCHED_FROM: usize = 100_000;

impl FactBase {
    #[cfg(test)]
    pub(crate) fn insert(&mut self, key: FactKey, fact: Fact) {
        self.facts.insert(key, fact);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Forgets refs that no command behind log time `log_ms` sees, once there are twice as many facts as lived through it
    /// the last time: refs come with messages, and everything else does not.
    pub(super) fn forget_old_refs(&mut self, log_ms: u64) {
        if self.facts.len() < SEARCHED_FROM + 2 * self.lived {
            return;
        }
        self.facts.retain(|_, fact| match fact {
            Fact::Refs(refs) => refs.recent(log_ms) > 0,
            Fact::Conversation(_)
            | Fact::Head(_)
            | Fact::MemberCount(_)
            | Fact::Member(_)
            | Fact::Cursor(_)
            | Fact::Address(_)
            | Fact::Line(_)
            | Fact::Run(_)
            | Fact::NamedAt(_)
            | Fact::Policy(_) => true,
        });
        self.lived = self.facts.len();
    }

    /// Folds the next accepted outcome.
    pub fn fold(&mut self, event: &Event<'_>) {
        for change in changes(event) {
            match change {
                Change::Set(key, Some(fact)) => {
                    self.facts.insert(key, fact);
                }
                Change::Set(key, None) => {
                    self.facts.remove(&key);
                }
                Change::PushRef(key, entry, before_ms) => {
                    let fact = self.facts.entry(key).or_insert_with(|| Fact::Refs(Refs::default()));
                    if let Fact::Refs(refs) = fact {
                        refs.push(entry, before_ms);
                    }
                }
            }
        }
    }
}

impl Facts for FactBase {
    fn fact(&self, key: &FactKey) -> Option<&Fact> {
        self.facts.get(key)
    }
}
