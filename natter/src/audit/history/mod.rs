//! The history against the log: what ClickHouse says of each group of rows (mostly a conversation), summed up in SQL,
//! against the same of the log; rows one by one only where that differs.
//!
//! Rows of batches above the watermark may be there or not, and where rows replace each other they have taken the place of
//! what stood at the watermark. So these are checked by themselves: the log must say the same at their position.

pub(crate) mod rows;
mod sums;

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use natter_nats::Log;
use natter_projections::clickhouse::digests::{self, Group, Range, RowDigest, Table, groups};
use natter_projections::clickhouse::{Claim, ClickHouse, claim};
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;

use self::sums::{Sum, Sums};
use super::forward::Forward;
use super::report::{Differences, Kind, Store, View};

/// Groups that differ are looked into one by one up to so many of each table.
const GROUPS_SHOWN_MAX: usize = 50;
/// More changed groups than this are not named in a query.
const GROUPS_NAMED_MAX: usize = 2000;

/// The history of a partition, and what it must hold.
pub(super) struct HistorySide {
    /// Whichever generation is live.
    history: ClickHouse,
    /// The one that is looked at.
    clickhouse: ClickHouse,
    partition: u16,
    pub(super) sums: Sums,
    forward: Forward,
}

/// Rows that are newer than the watermark: (table, group, key, version), with their digests.
type Newer = HashMap<(Table, u64, String, u64), u64>;

impl HistorySide {
    pub(super) fn new(log: &Log, partition: u16, history: ClickHouse) -> Self {
        let clickhouse = history.clone();
        Self { history, clickhouse, partition, sums: Sums::default(), forward: Forward::new(log, partition) }
    }

    /// What the live generation of the history says about how far it is.
    pub(super) async fn claim(&mut self) -> anyhow::Result<Claim> {
        let live = self.history.live().await.context("cannot see which generation of the history is live")?;
        if live.generation() != self.clickhouse.generation() {
            // What was compared before says nothing about another one.
            self.sums = Sums::default();
        }
        self.clickhouse = live;
        claim(&self.clickhouse, self.partition).await.context("cannot read the watermark of the history")
    }

    /// Compares all rows up to the position that is claimed, or those since the last look.
    pub(super) async fn compare(
        &mut self,
        claim: &Claim,
        last: u64,
        full: bool,
        found: &mut Differences,
    ) -> anyhow::Result<Option<View>> {
        let log = self.forward.log().id().to_string();
        let place = format!("the history of partition {}", self.partition);
        if let Some(other) = claim.logs.iter().find(|id| **id != log) {
            let detail = format!("it has rows of log {other}, the log is {log}");
            found.add(Store::ClickHouse, Kind::Foreign, place, detail);
            return Ok(None);
        }
        if claim.last > last {
            let detail = format!("it has a row for batch {}, the log ends at {last}", claim.last);
            found.add(Store::ClickHouse, Kind::Ahead, place, detail);
            return Ok(None);
        }
        if claim.noted > claim.complete {
            let detail = format!(
                "a projector noted that it is complete up to {}, but the row for batch {} is not there",
                claim.noted,
                claim.complete + 1
            );
            found.add(Store::ClickHouse, Kind::Behind, place, detail);
        }
        let upto = claim.complete.min(last);
        if upto < self.sums.position {
            // It fell back: what was compared before says nothing any more.
            self.sums = Sums::default();
        }
        self.fold_to(upto).await?;
        let full = full || self.sums.compared == 0;
        let mut newer = Newer::new();
        let mut compared = 0;
        for table in Table::ALL {
            compared += self.table(table, full, &mut newer, found).await?;
        }
        self.newer(newer, found).await?;
        self.sums.settle();
        Ok(Some(View { watermark: upto, behind: last.saturating_sub(upto), compared }))
    }

    async fn fold_to(&mut self, upto: u64) -> anyhow::Result<()> {
        let (log, partition) = (self.forward.log().id().clone(), self.partition);
        let sums = &mut self.sums;
        let after = sums.position;
        self.forward
            .fold(after, upto, |stored, header, outcomes| sums.fold(&log, partition, stored, header, outcomes))
            .await
    }

    fn range(&self, full: bool) -> Range {
        let (after, since_ms) = if full { (0, 0) } else { (self.sums.compared, self.sums.since_ms) };
        Range { partition: self.partition, after, upto: self.sums.position, since_ms }
    }

    /// Compares a table; gives how many rows.
    async fn table(&self, table: Table, full: bool, newer: &mut Newer, found: &mut Differences) -> anyhow::Result<u64> {
        let only = (!full && table.replaces()).then(|| self.sums.changed(table));
        if only.as_ref().is_some_and(Vec::is_empty) || (!full && self.sums.compared == self.sums.position) {
            return Ok(0);
        }
        let named = only.as_deref().filter(|only| only.len() <= GROUPS_NAMED_MAX);
        let range = self.range(full);
        let there = groups(&self.clickhouse, table, range, named).await.context("cannot sum up the history")?;
        let compared: u64 = there.iter().map(|group| group.rows + group.newer.len() as u64).sum();
        let mut there: HashMap<u64, Group> = there.into_iter().map(|group| (group.group, group)).collect();
        if let Some(only) = &only {
            let only: HashSet<u64> = only.iter().copied().collect();
            there.retain(|group, _| only.contains(group));
        }
        let mut differing = Vec::new();
        for (group, mut sum) in self.sums.of(table, full, only.as_deref()) {
            let there = there.remove(&group);
            let (rows, digest) = there.as_ref().map_or((0, 0), |there| (there.rows, there.digest));
            for (key, version, digest) in there.into_iter().flat_map(|there| there.newer) {
                if let Some(row) = self.sums.row(table, group, &key) {
                    sum = sum.without(row);
                }
                newer.insert((table, group, key, version), digest);
            }
            if sum != (Sum { rows, digest }) {
                differing.push(group);
            }
        }
        for (group, there) in there {
            if there.rows > 0 {
                differing.push(group);
            }
            newer.extend(there.newer.into_iter().map(|(key, version, digest)| ((table, group, key, version), digest)));
        }
        differing.sort_unstable();
        self.look_into(table, full, &differing, found).await?;
        Ok(compared)
    }

    /// Names what differs in these groups.
    async fn look_into(
        &self,
        table: Table,
        full: bool,
        differing: &[u64],
        found: &mut Differences,
    ) -> anyhow::Result<()> {
        let shown = &differing[..differing.len().min(GROUPS_SHOWN_MAX)];
        if !shown.is_empty() {
            let range = self.range(full);
            let there = rows::there(&self.clickhouse, table, range, shown).await?;
            let due =
                if table.replaces() { self.sums.rows(table, shown) } else { self.of_log(table, range, shown).await? };
            rows::compare(self.partition, table, range.upto, there, due, found);
        }
        for group in &differing[shown.len()..] {
            let place = format!("{} of {group}", table.name());
            found.add(Store::ClickHouse, Kind::Altered, place, "its rows are not what the log says");
        }
        Ok(())
    }

    /// The rows of these groups that the log comes to.
    async fn of_log(&self, table: Table, range: Range, only: &[u64]) -> anyhow::Result<Vec<RowDigest>> {
        let mut rows = Vec::new();
        let log = self.forward.log().id().clone();
        let mut forward = Forward::new(self.forward.log(), self.partition);
        forward
            .fold(range.after, range.upto, |stored, _, outcomes| {
                let here = Position::batch(self.partition, stored.sequence);
                let all = digests::of_batch(&log, here, &stored.payload, outcomes)?;
                rows.extend(all.into_iter().filter(|row| row.table == table && only.contains(&row.group)));
                Ok(())
            })
            .await?;
        Ok(rows)
    }

    /// Rows that are newer than the watermark must be what the log says at their position.
    async fn newer(&self, mut newer: Newer, found: &mut Differences) -> anyhow::Result<()> {
        let position = |version| Position::from_version(self.partition, version);
        let Some(highest) = newer.keys().map(|(.., version)| position(*version).sequence).max() else { return Ok(()) };
        let last = self.forward.log().bounds(&outcome_stream(self.partition)).await?.last;
        let log = self.forward.log().id().clone();
        let mut forward = Forward::new(self.forward.log(), self.partition);
        forward
            .fold(self.sums.position, highest.min(last), |stored, _, outcomes| {
                let here = Position::batch(self.partition, stored.sequence);
                for row in digests::of_batch(&log, here, &stored.payload, outcomes)? {
                    let key = (row.table, row.group, row.key, row.version);
                    if newer.get(&key).is_some_and(|digest| *digest == row.digest) {
                        newer.remove(&key);
                    }
                }
                Ok(())
            })
            .await?;
        for (table, group, key, version) in newer.into_keys() {
            let place = rows::place(self.partition, table, group, &key, version);
            let detail = format!("the log says something else at {}", position(version));
            found.add(Store::ClickHouse, Kind::Unexpected, place, detail);
        }
        Ok(())
    }
}
