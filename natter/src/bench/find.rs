//! Runs a load at several rates, or looks for the highest that is sustained: doubles until one is not, then halves what lies
//! between.

use anyhow::Context;

/// A rate is known well enough when the next one lies within a sixteenth of it.
const CLOSE: u64 = 16;
/// More would be a system that takes everything.
const TRIES_MAX: u32 = 14;

/// Runs at each of `rates`; or with `find`, from the first of them on, until the highest is known that `is_sustained`. Gives all
/// runs, and that rate (0: none was, or nobody looked).
///
/// # Errors
/// A run fails, or there is no rate.
pub async fn over<R>(
    rates: &[u64],
    find: bool,
    is_sustained: impl Fn(&R) -> bool,
    run: impl AsyncFn(u64) -> anyhow::Result<R>,
) -> anyhow::Result<(Vec<R>, u64)> {
    let mut runs = Vec::new();
    if !find {
        for rate in rates {
            runs.push(run(*rate).await?);
        }
        return Ok((runs, 0));
    }
    let mut search = Search::from(*rates.first().context("a rate to begin with")?);
    while let Some(rate) = search.next_rate() {
        let one = run(rate).await?;
        search.tried(is_sustained(&one));
        runs.push(one);
    }
    Ok((runs, search.good))
}

/// The search.
#[derive(Debug, Clone, Copy)]
struct Search {
    good: u64,
    bad: Option<u64>,
    next: u64,
    tries: u32,
}

impl Search {
    /// Begins with this rate.
    const fn from(rate: u64) -> Self {
        Self { good: 0, bad: None, next: rate, tries: 0 }
    }

    /// The rate to try; `None`: it is found.
    fn next_rate(&self) -> Option<u64> {
        let found = self.bad.is_some_and(|bad| bad - self.good <= (self.good / CLOSE).max(1));
        (!found && self.tries < TRIES_MAX && self.next > 0).then_some(self.next)
    }

    /// How that went.
    fn tried(&mut self, is_sustained: bool) {
        self.tries += 1;
        if is_sustained {
            self.good = self.good.max(self.next);
        } else {
            self.bad = Some(self.next);
        }
        self.next = self.bad.map_or(self.good * 2, |bad| u64::midpoint(self.good, bad));
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
        (search.good, search.tries)
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
