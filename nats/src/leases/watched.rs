//! Keys that nobody keeps alive any more and that the broker has forgotten to end.
//!
//! A key ends by its time to live, at the broker. But a broker that was killed brings back keys that had ended before, and those never
//! end again (nats-server 2.15.1: what expires is not noted in the stream, and not among the times to live any more). Found by
//! `natter soak`: with the presence of a few dead processes back for ever, each of the living thought that its share was
//! smaller than it was, and partitions stayed without a worker.
//!
//! So a key that does not move while it is looked at is taken for dead after a while, by the clock of who looks. If that is wrong, its
//! holder finds out with its next renewal, as with any lease that was lost.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// What was seen of keys that have to move.
#[derive(Debug)]
pub(super) struct Watched {
    /// A key that stands still so long is dead.
    dead_after: Duration,
    /// Who has not looked for so long has seen nothing before.
    blind_after: Duration,
    looked: Option<Instant>,
    seen: HashMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: u64,
    since: Instant,
}

impl Watched {
    pub(super) fn new(dead_after: Duration, blind_after: Duration) -> Self {
        Self { dead_after, blind_after, looked: None, seen: HashMap::new() }
    }

    /// Takes in all keys there are at `now` with their revisions, and takes out those that are dead.
    pub(super) fn take_dead(&mut self, now: Instant, keys: &mut Vec<(String, u64)>) -> Vec<(String, u64)> {
        if self.looked.replace(now).is_some_and(|looked| now - looked > self.blind_after) {
            self.seen.clear();
        }
        let mut before = std::mem::take(&mut self.seen);
        for (key, revision) in keys.iter() {
            let seen = before.remove(key).filter(|seen| seen.revision == *revision);
            self.seen.insert(key.clone(), seen.unwrap_or(Seen { revision: *revision, since: now }));
        }
        let is_dead = |key: &String| self.seen.get(key).is_some_and(|seen| now - seen.since >= self.dead_after);
        keys.extract_if(.., |(key, _)| is_dead(key)).collect()
    }

    /// A look failed: while the broker is away nobody can move a key.
    pub(super) fn failed(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Duration = Duration::from_secs(4);
    const BLIND: Duration = Duration::from_secs(2);
    const STEP: Duration = Duration::from_millis(500);

    fn keys(revision: u64) -> Vec<(String, u64)> {
        vec![("still".to_owned(), 7), ("moving".to_owned(), revision)]
    }

    /// Looks so often; gives the keys that were dead at the last look.
    fn looks(watched: &mut Watched, now: &mut Instant, count: u64) -> Vec<String> {
        let mut dead = Vec::new();
        for step in 0..count {
            *now += STEP;
            let mut alive = keys(100 + step / 2);
            dead = watched.take_dead(*now, &mut alive).into_iter().map(|(key, _)| key).collect();
            assert_eq!(alive.len() + dead.len(), 2);
        }
        dead
    }

    #[test]
    fn what_does_not_move_is_dead_after_a_while() {
        let (mut watched, mut now) = (Watched::new(DEAD, BLIND), Instant::now());
        assert!(looks(&mut watched, &mut now, 8).is_empty());
        assert_eq!(looks(&mut watched, &mut now, 1), ["still"]);
        // It is so at every look until it moves or is gone.
        assert_eq!(watched.take_dead(now + STEP, &mut keys(9)), [("still".to_owned(), 7)]);
        let mut moved = vec![("still".to_owned(), 8)];
        assert!(watched.take_dead(now + 2 * STEP, &mut moved).is_empty());
    }

    #[test]
    fn what_was_not_seen_all_the_time_is_not_known_to_stand() {
        let (mut watched, mut now) = (Watched::new(DEAD, BLIND), Instant::now());
        looks(&mut watched, &mut now, 8);
        watched.failed();
        assert!(looks(&mut watched, &mut now, 8).is_empty());
        now += BLIND;
        assert!(looks(&mut watched, &mut now, 8).is_empty());
        assert_eq!(looks(&mut watched, &mut now, 1), ["still"]);
    }
}
