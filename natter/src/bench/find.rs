//! Looks for the highest rate that is sustained: doubles until one is not, then halves what lies between.

/// A rate is known well enough when the next one lies within a sixteenth of it.
const CLOSE: u64 = 16;
/// More would be a system that takes everything.
const TRIES_MAX: u32 = 14;

/// The search.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    good: u64,
    bad: Option<u64>,
    next: u64,
    tries: u32,
}

impl Search {
    /// Begins with this rate.
    pub const fn from(rate: u64) -> Self {
        Self { good: 0, bad: None, next: rate, tries: 0 }
    }

    /// The rate to try; `None`: it is found.
    pub fn next_rate(&self) -> Option<u64> {
        let found = self.bad.is_some_and(|bad| bad - self.good <= (self.good / CLOSE).max(1));
        (!found && self.tries < TRIES_MAX && self.next > 0).then_some(self.next)
    }

    /// How that went.
    pub fn tried(&mut self, is_sustained: bool) {
        self.tries += 1;
        if is_sustained {
            self.good = self.good.max(self.next);
        } else {
            self.bad = Some(self.next);
        }
        self.next = self.bad.map_or(self.good * 2, |bad| u64::midpoint(self.good, bad));
    }

    /// The highest rate that was sustained; 0: none.
    pub const fn found(&self) -> u64 {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: u64, limit: u64) -> (u64, u32) {
        let mut search = Search::from(from);
        while let Some(rate) = search.next_rate() {
            search.tried(rate <= limit);
        }
        (search.found(), search.tries)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (from, limit) in [(1000, 19_000), (50_000, 19_000), (19_000, 19_000), (1, 7)] {
            let (found, tries) = search(from, limit);
            assert!(found <= limit && limit - found <= limit / CLOSE + 1, "{from} {limit}: {found}");
            assert!(tries <= TRIES_MAX);
        }
        assert_eq!(search(100, 0).0, 0);
    }
}
