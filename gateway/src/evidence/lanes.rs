//! Order while something is looked up: what stands behind a command that waits for evidence waits too, if it is for the same
//! aggregate. Pure; whoever is told [`Entered::First`] empties the lane.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use natter_schemas::slot::Slot;

/// One session's lanes, by slot: a conversation has one slot whether it is named by its id or by its external id.
#[derive(Debug)]
pub struct Lanes<T>(Mutex<HashMap<Slot, VecDeque<T>>>);

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

/// What becomes of something that enters a lane.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered<T> {
    /// Nothing is before it, and it waits for nothing.
    Free(T),
    /// It opened the lane: empty it with [`Lanes::take`].
    First,
    /// Somebody empties the lane already.
    Behind,
}

impl<T> Lanes<T> {
    /// Something enters the lane of `slot`; `waits`: it has to be prepared before it can go.
    pub fn enter(&self, slot: Slot, waits: bool, what: T) -> Entered<T> {
        let mut lanes = self.lanes();
        if let Some(lane) = lanes.get_mut(&slot) {
            lane.push_back(what);
            return Entered::Behind;
        }
        if !waits {
            return Entered::Free(what);
        }
        lanes.insert(slot, VecDeque::from([what]));
        Entered::First
    }

    /// All that waits in a lane, in order. Empty: the lane is closed.
    pub fn take(&self, slot: Slot) -> Vec<T> {
        let mut lanes = self.lanes();
        match lanes.get_mut(&slot) {
            Some(lane) if !lane.is_empty() => lane.drain(..).collect(),
            Some(_) | None => {
                lanes.remove(&slot);
                Vec::new()
            }
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Slot, VecDeque<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_waits() {
        let (lanes, one, other) = (Lanes::default(), Slot::from_bits(1), Slot::from_bits(2));
        assert_eq!(lanes.enter(one, false, 1), Entered::Free(1));
        assert_eq!(lanes.enter(one, true, 2), Entered::First);
        assert_eq!(lanes.enter(one, false, 3), Entered::Behind);
        assert_eq!(lanes.enter(other, false, 4), Entered::Free(4));
        assert_eq!(lanes.take(one), [2, 3]);
        // Until the lane is found empty, more may come behind what is on its way.
        assert_eq!(lanes.enter(one, false, 5), Entered::Behind);
        assert_eq!(lanes.take(one), [5]);
        assert!(lanes.take(one).is_empty());
        assert_eq!(lanes.enter(one, false, 6), Entered::Free(6));
    }
}
