//! Both generations of a partition of the history at one position, by digests that ClickHouse computes of each group of rows
//! (mostly a conversation); rows one by one only where these differ.
//!
//! Both move on meanwhile, and where rows replace each other a newer one has taken the place of what stood at the position.
//! Such a row must be what the log says at the row's own position, and its key is compared no further: what the other
//! generation still has of it is replaced by the same.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use natter_nats::Log;
use natter_projections::clickhouse::digests::{self, Group, Range, RowDigest, Table};
use natter_projections::clickhouse::{ClickHouse, watermark};
use natter_schemas::position::{INDEX_MAX, Position, version};
use natter_schemas::subjects::outcome_stream;

use super::report::{Compared, Differences};
use crate::audit::forward::Forward;
use crate::audit::history::rows::place;

/// Groups whose rows are read in one query.
const GROUPS_AT_ONCE: usize = 200;
/// Rows read in one query, at most.
const ROWS_MAX: usize = 1_000_000;
/// Groups of a table that differ and are looked into; more of them are named as they are.
const GROUPS_SHOWN_MAX: usize = 1000;

/// A row above the position: table, group, key, version. With its digest and whether the live generation has it.
type Newer = HashMap<(Table, u64, String, u64), (u64, bool)>;

/// Rows of one key: version and digest.
type Rows = Vec<(u64, u64)>;

/// Compares a partition of two generations.
///
/// # Errors
/// ClickHouse or the log is away, or one of the two is of another log.
pub(super) async fn compare(
    log: &Log,
    live: &ClickHouse,
    next: &ClickHouse,
    partition: u16,
    found: &mut Differences,
) -> anyhow::Result<Compared> {
    let mut position = u64::MAX;
    for of in [live, next] {
        let stands = watermark(of, partition, 0).await.context("cannot see how far a generation is")?;
        if !stands.is_of(log.id()) {
            bail!("generation {} stands at {stands}, but this is log {}", of.generation(), log.id());
        }
        position = position.min(stands.sequence);
    }
    let range = Range { partition, after: 0, upto: position, since_ms: 0 };
    let mut both = Both { live, next, range, sums: [0; 2], rows: 0, newer: Newer::new() };
    for table in Table::ALL {
        both.table(table, found).await?;
    }
    let Both { sums: [live, next], rows, newer, .. } = both;
    newer_are_of_the_log(log, partition, position, newer, found).await?;
    let hex = |digest| Some(format!("{digest:016x}"));
    Ok(Compared { partition, position, compared: rows, live: hex(live), next: hex(next) })
}

/// What is compared, and what came of it so far.
struct Both<'a> {
    live: &'a ClickHouse,
    next: &'a ClickHouse,
    range: Range,
    /// Digests of what was compared: sums, so in whatever order.
    sums: [u64; 2],
    rows: u64,
    newer: Newer,
}

impl Both<'_> {
    async fn table(&mut self, table: Table, found: &mut Differences) -> anyhow::Result<()> {
        let (live, next) = (self.groups(table, true).await?, self.groups(table, false).await?);
        let mut pairs: BTreeMap<u64, [Option<Group>; 2]> = BTreeMap::new();
        for (side, groups) in [live, next].into_iter().enumerate() {
            for group in groups {
                let id = group.group;
                pairs.entry(id).or_default()[side] = Some(group);
            }
        }
        let mut open = Vec::new();
        for (group, sides) in pairs {
            let [live, next] =
                sides.map(|side| side.map_or((0, 0, true), |of| (of.rows, of.digest, of.newer.is_empty())));
            if live == next && live.2 {
                self.take(live.0, [live.1, next.1]);
            } else {
                open.push(group);
            }
        }
        // Where nothing replaces a row, a group that is looked into is one that differs.
        let shown = if table.replaces() { open.len() } else { open.len().min(GROUPS_SHOWN_MAX) };
        for some in open[..shown].chunks(GROUPS_AT_ONCE) {
            self.look_into(table, some, found).await?;
        }
        for group in &open[shown..] {
            found.add(self.range.partition, format!("{} of {group}", table.name()), "its rows are not the same");
        }
        Ok(())
    }

    fn take(&mut self, rows: u64, digests: [u64; 2]) {
        self.rows += rows;
        for (sum, digest) in self.sums.iter_mut().zip(digests) {
            *sum = sum.wrapping_add(digest);
        }
    }

    /// The groups of one of the two, without the rows that are newer, which are noted.
    async fn groups(&mut self, table: Table, is_live: bool) -> anyhow::Result<Vec<Group>> {
        let of = if is_live { self.live } else { self.next };
        let groups = digests::groups(of, table, self.range, None).await.context("cannot sum up a generation")?;
        for group in &groups {
            for (key, version, digest) in &group.newer {
                self.newer.insert((table, group.group, key.clone(), *version), (*digest, is_live));
            }
        }
        Ok(groups)
    }

    /// Compares the rows of some groups, one by one.
    async fn look_into(&mut self, table: Table, groups: &[u64], found: &mut Differences) -> anyhow::Result<()> {
        let mut keys: BTreeMap<(u64, String), [Rows; 2]> = BTreeMap::new();
        for (side, of) in [self.live, self.next].into_iter().enumerate() {
            let rows = digests::rows(of, table, self.range, groups, ROWS_MAX).await.context("cannot read rows")?;
            for RowDigest { group, key, version, digest, .. } in rows {
                // What stays in its place is known by its position.
                let key = if table == Table::Events { format!("{version:020}") } else { key };
                keys.entry((group, key)).or_default()[side].push((version, digest));
            }
        }
        let newest = version(self.range.upto, INDEX_MAX);
        for ((group, key), [live, next]) in keys {
            if live.iter().chain(&next).any(|(version, _)| *version > newest) {
                continue;
            }
            let digest = |rows: &[(u64, u64)]| rows.iter().fold(0_u64, |sum, (_, digest)| sum.wrapping_add(*digest));
            self.take(live.len().max(next.len()) as u64, [digest(&live), digest(&next)]);
            let detail = match (live.is_empty(), next.is_empty()) {
                _ if live == next => continue,
                (false, true) => "only the live generation has it",
                (true, false) => "only the new generation has it",
                _ => "it is not the same in both",
            };
            let version = live.iter().chain(&next).map(|(version, _)| *version).max().unwrap_or(0);
            found.add(self.range.partition, place(self.range.partition, table, group, &key, version), detail);
        }
        Ok(())
    }
}

/// Rows above the position must be what the log says at theirs.
async fn newer_are_of_the_log(
    log: &Log,
    partition: u16,
    position: u64,
    mut newer: Newer,
    found: &mut Differences,
) -> anyhow::Result<()> {
    let sequence = |version| Position::from_version(partition, version).sequence;
    let Some(highest) = newer.keys().map(|(.., version)| sequence(*version)).max() else { return Ok(()) };
    let last = log.bounds(&outcome_stream(partition)).await.context("cannot see the log's end")?.last;
    Forward::new(log, partition)
        .fold(position, highest.min(last), |stored, _, outcomes| {
            let here = Position::batch(partition, stored.sequence);
            for row in digests::of_batch(log.id(), here, &stored.payload, outcomes)? {
                let key = (row.table, row.group, row.key, row.version);
                if newer.get(&key).is_some_and(|(digest, _)| *digest == row.digest) {
                    newer.remove(&key);
                }
            }
            Ok(())
        })
        .await
        .context("cannot read the log")?;
    for ((table, group, key, version), (_, is_live)) in newer {
        let which = if is_live { "the live generation's row" } else { "the new generation's row" };
        found.add(
            partition,
            place(partition, table, group, &key, version),
            &format!("{which} is not what the log says"),
        );
    }
    Ok(())
}
