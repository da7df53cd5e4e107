//! What the log comes to in the history's tables, summed up by groups: state for conversations and members, none for messages.

use std::collections::{HashMap, HashSet};

use natter_nats::{LogId, Stored};
use natter_projections::clickhouse::digests::{RowDigest, Table, of_batch};
use natter_schemas::codec::OutcomeHeader;
use natter_schemas::event::Placed;
use natter_schemas::position::Position;

/// Rows, and the sum of their digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) digest: u64,
}

/// The newest row of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) digest: u64,
}

type Groups<T> = HashMap<(Table, u64), T>;

/// The tables at one position.
#[derive(Debug, Default)]
pub(in crate::audit) struct Sums {
    /// The last sequence that was folded.
    pub(in crate::audit) position: u64,
    /// The one up to which the history was compared.
    pub(super) compared: u64,
    /// Log time at that position.
    pub(super) since_ms: u64,
    log_ms: u64,
    /// Of tables whose rows stay.
    whole: Groups<Sum>,
    /// Of these, what came since the last look.
    recent: Groups<Sum>,
    /// Of tables whose rows replace each other.
    keyed: Groups<HashMap<Box<str>, Row>>,
    /// Of these, the groups that changed since the last look.
    changed: HashSet<(Table, u64)>,
}

impl Sum {
    const fn with(self, digest: u64) -> Self {
        Self { rows: self.rows + 1, digest: self.digest.wrapping_add(digest) }
    }

    pub(super) const fn without(self, row: Row) -> Self {
        Self { rows: self.rows - 1, digest: self.digest.wrapping_sub(row.digest) }
    }
}

impl Sums {
    /// Folds the next batch.
    pub(in crate::audit) fn fold(
        &mut self,
        log: &LogId,
        partition: u16,
        stored: &Stored,
        header: &OutcomeHeader,
        outcomes: &[Placed],
    ) -> anyhow::Result<()> {
        let here = Position::batch(partition, stored.sequence);
        for row in of_batch(log, here, &stored.payload, outcomes)? {
            let group = (row.table, row.group);
            if row.table.replaces() {
                let newest = Row { version: row.version, digest: row.digest };
                self.keyed.entry(group).or_default().insert(row.key.into(), newest);
                self.changed.insert(group);
            } else {
                for sums in [&mut self.whole, &mut self.recent] {
                    let sum = sums.entry(group).or_default();
                    *sum = sum.with(row.digest);
                }
            }
        }
        (self.position, self.log_ms) = (stored.sequence, header.log_ms());
        Ok(())
    }

    /// Everything up to here was compared.
    pub(super) fn settle(&mut self) {
        (self.compared, self.since_ms) = (self.position, self.log_ms);
        self.recent.clear();
        self.changed.clear();
    }

    /// The groups of a table, of those named: all rows; or, where rows stay, those since the last look.
    pub(super) fn of(&self, table: Table, full: bool, only: Option<&[u64]>) -> Vec<(u64, Sum)> {
        if !table.replaces() {
            let sums = if full { &self.whole } else { &self.recent };
            return sums.iter().filter(|(group, _)| group.0 == table).map(|(group, sum)| (group.1, *sum)).collect();
        }
        let sum = |rows: &HashMap<Box<str>, Row>| rows.values().fold(Sum::default(), |sum, row| sum.with(row.digest));
        if let Some(only) = only {
            let known = |group: &u64| Some((*group, sum(self.keyed.get(&(table, *group))?)));
            return only.iter().filter_map(known).collect();
        }
        self.keyed.iter().filter(|(group, _)| group.0 == table).map(|(group, rows)| (group.1, sum(rows))).collect()
    }

    /// The groups of a table that changed since the last look.
    pub(super) fn changed(&self, table: Table) -> Vec<u64> {
        self.changed.iter().filter(|group| group.0 == table).map(|group| group.1).collect()
    }

    /// The newest row of a key.
    pub(super) fn row(&self, table: Table, group: u64, key: &str) -> Option<Row> {
        self.keyed.get(&(table, group))?.get(key).copied()
    }

    /// The newest rows of some groups.
    pub(super) fn rows(&self, table: Table, groups: &[u64]) -> Vec<RowDigest> {
        let mut all = Vec::new();
        for group in groups {
            for (key, Row { version, digest }) in self.keyed.get(&(table, *group)).into_iter().flatten() {
                let (key, version, digest) = (key.to_string(), *version, *digest);
                all.push(RowDigest { table, group: *group, key, version, digest });
            }
        }
        all
    }
}
