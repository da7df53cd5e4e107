//! How long answers took, from when the message was due: a client that was kept from sending it has waited too. Pure.

use serde::Serialize;

/// Of the longest waits, so many are told one by one.
const SLOWEST_MAX: usize = 5;
/// A fault may be felt for so long.
const FELT_MS: u32 = 5000;

/// A message that waited long, for the search in the logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slow {
    /// How long it waited.
    pub wait_ms: u32,
    /// When it was due, from the start of the load.
    pub since_ms: u32,
    /// Its `ref`.
    pub wish: String,
    /// Its conversation.
    pub conversation: u64,
    /// How often it was sent.
    pub sends: u32,
    /// The faults shortly before and meanwhile.
    pub faults: Vec<String>,
}

/// Waits of one device, or of all.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    /// Of each answered message: when it was due, in milliseconds of the load, and how long the answer took.
    pub all: Vec<(u32, u32)>,
    /// The longest of them, the longest first.
    pub slowest: Vec<Slow>,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u32,
    /// Of a hundred, one waited longer.
    pub p99: u32,
    /// The longest.
    pub max: u32,
}

impl Waits {
    /// One more.
    pub fn add(&mut self, slow: Slow) {
        self.all.push((slow.since_ms, slow.wait_ms));
        self.keep(slow);
    }

    fn keep(&mut self, slow: Slow) {
        let place = self.slowest.partition_point(|other| other.wait_ms >= slow.wait_ms);
        if place < SLOWEST_MAX {
            self.slowest.insert(place, slow);
            self.slowest.truncate(SLOWEST_MAX);
        }
    }

    /// Another device's.
    pub fn join(&mut self, other: Self) {
        self.all.extend(other.all);
        other.slowest.into_iter().for_each(|slow| self.keep(slow));
    }

    /// Names the faults that each of the slowest may have met; `faults` are in the order of their time.
    pub fn explain(&mut self, faults: &[(u32, &str)]) {
        for slow in &mut self.slowest {
            let (from, to) = (slow.since_ms.saturating_sub(FELT_MS), slow.since_ms.saturating_add(slow.wait_ms));
            let met = faults.iter().filter(|(at, _)| (from..=to).contains(at));
            slow.faults = met.map(|(at, label)| format!("{label} at {:.1} s", f64::from(*at) / 1000.0)).collect();
        }
    }

    /// Answered by then.
    pub fn answered_by(&self, at_ms: u32) -> u64 {
        self.all.iter().filter(|(since, after)| since.saturating_add(*after) <= at_ms).count() as u64
    }

    /// Of all.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(self.all.iter().map(|(_, after)| *after))
    }

    /// Of those that were due from `from` until before `to`: how many, and how long they waited.
    pub fn due_within(&self, from: u32, to: u32) -> (u64, Percentiles) {
        let due = || self.all.iter().filter(|(since, _)| (from..to).contains(since)).map(|(_, after)| *after);
        (due().count() as u64, Percentiles::of(due()))
    }
}

impl Percentiles {
    fn of(waits: impl Iterator<Item = u32>) -> Self {
        let mut waits: Vec<u32> = waits.collect();
        waits.sort_unstable();
        let at = |share: usize| waits.get(waits.len() * share / 100).or(waits.last()).copied().unwrap_or_default();
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(since_ms: u32, wait_ms: u32) -> Slow {
        Slow { wait_ms, since_ms, wish: format!("w0-{since_ms}"), conversation: 1, sends: 1, faults: Vec::new() }
    }

    #[test]
    fn the_slowest_are_kept_and_their_faults_named() {
        let (mut waits, mut other) = (Waits::default(), Waits::default());
        for number in 1..=50 {
            waits.add(slow(number * 100, number));
            other.add(slow(number * 100, 100 + number));
        }
        waits.join(other);
        assert_eq!(waits.percentiles(), Percentiles { p50: 101, p99: 150, max: 150 });
        assert_eq!(waits.slowest.iter().map(|slow| slow.wait_ms).collect::<Vec<_>>(), [150, 149, 148, 147, 146]);
        assert_eq!(waits.answered_by(151), 1);
        waits.explain(&[(1000, "kill nats"), (5100, "flush"), (5200, "late")]);
        assert_eq!(waits.slowest[0].faults, ["kill nats at 1.0 s", "flush at 5.1 s"]);
        assert_eq!(Waits::default().percentiles(), Percentiles::default());
    }
}
