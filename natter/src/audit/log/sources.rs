//! Which command batches are answered, in which order: command positions rise without a hole (invariant 1).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use natter_schemas::codec::Source;
use natter_schemas::position::Position;

use crate::audit::report::{Differences, Kind, Store};

/// Publishers whose last number is remembered; each process has one, so this is a long time.
const PUBLISHERS_MAX: usize = 10_000;
/// Holes that may still be filled by a batch that comes too late.
const HOLES_MAX: usize = 1000;

/// Command batches answered so far.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The highest.
    pub(super) last: u64,
    /// Those passed over, each with where that was.
    holes: Vec<(RangeInclusive<u64>, Position)>,
    /// The last number of each publisher.
    publishers: HashMap<u64, (u64, u64)>,
}

impl Sources {
    /// Takes the sources of the batch at `here`; whether they are the next ones.
    pub(super) fn take(&mut self, here: Position, sources: &[Source], found: &mut Differences) -> bool {
        let mut in_order = true;
        if sources.is_empty() {
            found.add(Store::Log, Kind::Altered, here.to_string(), "it answers no command batch");
            return false;
        }
        for source in sources {
            let (sequence, due) = (source.sequence, self.last + 1);
            if sequence > due {
                in_order = false;
                if self.holes.len() < HOLES_MAX {
                    self.holes.push((due..=sequence - 1, here));
                }
            } else if sequence < due {
                in_order = false;
                let late = self.fill(sequence);
                let (kind, how) = if late { (Kind::Reordered, "too late") } else { (Kind::Doubled, "again") };
                let detail = format!("command batch {sequence} is answered {how}, {due} is due");
                found.add(Store::Log, kind, here.to_string(), detail);
            }
            self.last = self.last.max(sequence);
        }
        in_order
    }

    /// Names what was passed over and never came.
    pub(super) fn settle(&mut self, partition: u16, found: &mut Differences) {
        for (hole, at) in self.holes.drain(..) {
            let detail = format!("command batches {} to {} have no outcomes", hole.start(), hole.end());
            debug_assert_eq!(at.partition, partition);
            found.add(Store::Log, Kind::Missing, at.to_string(), detail);
        }
    }

    /// Whether `sequence` was passed over.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some(at) = self.holes.iter().position(|(hole, _)| hole.contains(&sequence)) else { return false };
        let (hole, position) = self.holes.swap_remove(at);
        let parts = [*hole.start()..=sequence - 1, sequence + 1..=*hole.end()];
        self.holes.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (part, position)));
        true
    }

    /// A publisher numbers its batches upwards: one that was stored twice has the same number.
    pub(super) fn number(&mut self, here: Position, source: &Source, found: &mut Differences) {
        let Source { publisher, number, sequence, .. } = *source;
        if (publisher, number) == (0, 0) {
            return;
        }
        if self.publishers.len() >= PUBLISHERS_MAX {
            self.publishers.clear();
        }
        let known = self.publishers.insert(publisher, (number, sequence));
        if let Some((last, at)) = known
            && number <= last
        {
            let kind = if number == last { Kind::Doubled } else { Kind::Reordered };
            let detail = format!(
                "command batch {sequence} is number {number} of publisher {publisher:016x}, as {last} was batch {at}"
            );
            found.add(Store::Log, kind, here.to_string(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(batches: &[&[u64]]) -> Vec<(Kind, String)> {
        let mut sources = Sources::default();
        let mut found = Differences::of(Some(0), 100);
        for (at, sequences) in (1..).zip(batches) {
            let source = |sequence: &u64| Source {
                sequence: *sequence,
                stored_ms: 0,
                log_ms: 0,
                before_ms: 0,
                publisher: 7,
                number: *sequence,
                records: 1,
            };
            let all: Vec<_> = sequences.iter().map(source).collect();
            sources.take(Position::batch(0, at), &all, &mut found);
        }
        sources.settle(0, &mut found);
        found.kept.into_iter().map(|one| (one.kind, one.place)).collect()
    }

    #[test]
    fn holes_repetitions_and_disorder_are_told_apart() {
        assert_eq!(taken(&[&[1, 2], &[3]]), []);
        assert_eq!(taken(&[&[1], &[4]]), [(Kind::Missing, "0:2".into())]);
        assert_eq!(taken(&[&[1], &[1], &[2]]), [(Kind::Doubled, "0:2".into())]);
        assert_eq!(taken(&[&[1], &[3], &[2], &[4]]), [(Kind::Reordered, "0:3".into())]);
        assert_eq!(taken(&[&[2], &[3]]), [(Kind::Missing, "0:1".into())]);
        assert_eq!(taken(&[&[1], &[]]), [(Kind::Altered, "0:2".into())]);
        let expected = [(Kind::Reordered, "0:3".into()), (Kind::Missing, "0:2".into()), (Kind::Missing, "0:2".into())];
        assert_eq!(taken(&[&[1], &[5], &[3], &[6]]), expected);
    }
}
