//! Rows of groups that differ, one by one.

use std::collections::HashMap;

use anyhow::Context;
use natter_projections::clickhouse::ClickHouse;
use natter_projections::clickhouse::digests::{Range, RowDigest, Table, rows};
use natter_schemas::position::{INDEX_MAX, Position, version};

use crate::audit::report::{Differences, Kind, Store};

/// Rows read of the groups of one table that differ.
const ROWS_MAX: usize = 1_000_000;

/// The rows that are in ClickHouse.
pub(super) async fn there(
    clickhouse: &ClickHouse,
    table: Table,
    range: Range,
    groups: &[u64],
) -> anyhow::Result<Vec<RowDigest>> {
    rows(clickhouse, table, range, groups, ROWS_MAX).await.context("cannot read rows of the history")
}

/// Names each row that differs. `upto`: rows above it are not compared here.
pub(super) fn compare(
    partition: u16,
    table: Table,
    upto: u64,
    there: Vec<RowDigest>,
    due: Vec<RowDigest>,
    found: &mut Differences,
) {
    // What stays in its place is known by its position, else by its key.
    let name = |row: &RowDigest| match row.table {
        Table::Events => (row.group, row.version.to_string()),
        _ => (row.group, row.key.clone()),
    };
    let mut by_name: HashMap<_, Vec<RowDigest>> = HashMap::new();
    for row in there {
        by_name.entry(name(&row)).or_default().push(row);
    }
    let newest = version(upto, INDEX_MAX);
    for row in due {
        let place = place(partition, table, row.group, &row.key, row.version);
        let mut differs = |kind, detail: &str| found.add(Store::ClickHouse, kind, place.clone(), detail);
        match by_name.remove(&name(&row)).unwrap_or_default().as_slice() {
            [] => differs(Kind::Missing, "there is no such row"),
            [one] if (one.version, one.digest) == (row.version, row.digest) => {}
            [one] if one.version > newest => {}
            [one] if one.version < row.version => {
                let at = Position::from_version(partition, one.version);
                differs(Kind::Missing, &format!("the row is that of {at}"));
            }
            [_] => differs(Kind::Altered, "the row is not what the log says"),
            [..] => differs(Kind::Doubled, "there are several rows"),
        }
    }
    let mut others: Vec<RowDigest> = by_name.into_values().flatten().filter(|row| row.version <= newest).collect();
    others.sort_unstable_by_key(|row| row.version);
    for row in others {
        let place = place(partition, table, row.group, &row.key, row.version);
        found.add(Store::ClickHouse, Kind::Unexpected, place, "the log comes to no such row");
    }
}

/// A row's name for people.
pub(crate) fn place(partition: u16, table: Table, group: u64, key: &str, version: u64) -> String {
    let position = Position::from_version(partition, version);
    let key = key.replace('\n', " ");
    match table {
        Table::Events => format!("events {position}"),
        Table::Messages => format!("messages {group} seq {key}"),
        Table::Conversations | Table::Members => format!("{} {group} {key}", table.name()),
        Table::Users => format!("users {key}"),
    }
}
