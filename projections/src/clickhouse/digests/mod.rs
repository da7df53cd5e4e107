//! What the tables hold, as digests: computed in ClickHouse by groups (mostly conversations), and from the log by the same
//! fold that fills the tables. Equal digests are equal rows, in whatever order; where they differ, a group's rows are read
//! one by one.
//!
//! A row's digest is XXH3-64 of its columns as text, joined by newlines; a group's is the sum of its rows', wrapping.

mod of_log;

use std::fmt::Write as _;

use clickhouse::Row;
use natter_schemas::position::{INDEX_BITS, INDEX_MAX, version};
use serde::Deserialize;

pub use self::of_log::of_batch;
use super::connection::{ClickHouse, look};
use crate::error::ViewError;

/// Rows that belong to no conversation are spread over so many groups.
const SPREAD: u64 = 1024;

/// A table whose rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Every outcome, and the batches' own rows.
    Events,
    /// Every message.
    Messages,
    /// Aspects of conversations.
    Conversations,
    /// Aspects of memberships.
    Members,
    /// Users' names.
    Users,
}

/// A row of any table, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDigest {
    /// Its table.
    pub table: Table,
    /// Its group: the conversation, or one below [`SPREAD`].
    pub group: u64,
    /// What it is about within its group; rows with the same replace each other.
    pub key: String,
    /// The position of what it says, as [`natter_schemas::position::Position::version`].
    pub version: u64,
    /// Its digest.
    pub digest: u64,
}

/// A group of rows, as ClickHouse sums it up.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Group {
    /// The group.
    pub group: u64,
    /// Its rows up to the asked position.
    pub rows: u64,
    /// Their digest.
    pub digest: u64,
    /// Where rows replace each other: those that are newer already (key, version, digest).
    pub newer: Vec<(String, u64, u64)>,
}

#[derive(Row, Deserialize)]
struct Columns {
    of_group: u64,
    of_key: String,
    of_version: u64,
    of_digest: u64,
}

/// Which rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: u16,
    /// Rows of the batches after this one; 0: from the first.
    pub after: u64,
    /// To this one.
    pub upto: u64,
    /// Log time of the first of them, in Unix milliseconds, as far as it is known; 0: whenever.
    pub since_ms: u64,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Events, Self::Messages, Self::Conversations, Self::Members, Self::Users];

    /// The table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Messages => "messages",
            Self::Conversations => "conversations",
            Self::Members => "members",
            Self::Users => "users",
        }
    }

    /// Whether a newer row of a key takes the place of the one before.
    pub const fn replaces(self) -> bool {
        matches!(self, Self::Conversations | Self::Members | Self::Users)
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &[
                "partition",
                "sequence",
                "idx",
                "tenant",
                "conversation",
                AT,
                STORED_AT,
                LOG_AT,
                "sender",
                "reference",
                "command",
                "origin",
                "event",
                "code",
                "message",
                "seq",
                "content",
                "detail",
                "policy",
                "arrayStringConcat(lists, ',')",
                "log",
                "records",
                "bytes",
            ],
            Self::Messages => &[
                "tenant",
                "conversation",
                "seq",
                "message",
                "sender",
                AT,
                STORED_AT,
                LOG_AT,
                "text",
                "toUInt8(masked)",
                "reference",
                "partition",
                "version",
            ],
            Self::Conversations => &[
                "tenant",
                "conversation",
                "aspect",
                "kind",
                "visibility",
                "external",
                "creator",
                "name",
                "value",
                AT,
                "partition",
                "version",
            ],
            Self::Members => &[
                "tenant",
                "conversation",
                "user",
                "aspect",
                "toUInt8(present)",
                "role",
                "read_seq",
                AT,
                "partition",
                "version",
            ],
            Self::Users => &["tenant", "user", "name", AT, "partition", "version"],
        }
    }

    /// SQL of group, key, version and digest.
    fn select(self) -> String {
        let spread = SPREAD;
        let (group, key, version) = match self {
            Self::Events => (
                format!("if(conversation = 0, sequence % {spread}, conversation)"),
                "''",
                format!("bitOr(bitShiftLeft(sequence, {INDEX_BITS}), least(toUInt64(idx), {INDEX_MAX}))"),
            ),
            Self::Messages => ("conversation".into(), "toString(seq)", "version".into()),
            Self::Conversations => ("conversation".into(), "toString(aspect)", "version".into()),
            Self::Members => ("conversation".into(), "concat(user, '\\n', toString(aspect))", "version".into()),
            Self::Users => {
                (format!("xxh3(user) % {spread}"), "concat(toString(tenant), '\\n', user)", "version".into())
            }
        };
        let columns: Vec<String> = self.columns().iter().map(|column| format!("toString({column})")).collect();
        format!(
            "toUInt64({group}) AS of_group, CAST({key}, 'String') AS of_key, toUInt64({version}) AS of_version, \
             xxh3(arrayStringConcat([{}], '\\n')) AS of_digest",
            columns.join(", ")
        )
    }

    /// SQL of what is looked at.
    fn source(self, clickhouse: &ClickHouse, range: Range) -> String {
        let Range { partition, after, upto, since_ms } = range;
        let mut sql = format!("FROM {} FINAL WHERE partition = {partition}", clickhouse.table(self.name()));
        let mut and = |condition: String| write!(sql, " AND {condition}").expect("memory takes every byte");
        match self {
            Self::Events => and(format!("sequence > {after} AND sequence <= {upto}")),
            // Where rows replace each other, those up to a position may be gone already.
            _ if self.replaces() => {}
            _ => {
                let of_batch = |sequence| version(sequence, INDEX_MAX);
                let above = if after == 0 { 0 } else { of_batch(after) };
                and(format!("version > {above} AND version <= {}", of_batch(upto)));
            }
        }
        if since_ms > 0 && !self.replaces() {
            and(format!("log_at >= fromUnixTimestamp64Milli(toInt64({since_ms}))"));
        }
        sql
    }
}

const AT: &str = "toUnixTimestamp64Milli(at)";
const STORED_AT: &str = "toUnixTimestamp64Milli(stored_at)";
const LOG_AT: &str = "toUnixTimestamp64Milli(log_at)";

/// The groups of a table, rising; some of them, where some are named. Where rows replace each other,
/// [`Range::after`] has no meaning.
///
/// # Errors
/// Transient.
pub async fn groups(
    clickhouse: &ClickHouse,
    table: Table,
    range: Range,
    only: Option<&[u64]>,
) -> Result<Vec<Group>, ViewError> {
    let upto = version(range.upto, INDEX_MAX);
    let newer = if table.replaces() {
        format!("groupArrayIf((of_key, of_version, of_digest), of_version > {upto})")
    } else {
        "CAST([], 'Array(Tuple(String, UInt64, UInt64))')".to_owned()
    };
    let sql = format!(
        "SELECT of_group AS `group`, countIf(of_version <= {upto}) AS rows, \
         sumWithOverflowIf(of_digest, of_version <= {upto}) AS digest, {newer} AS newer \
         FROM (SELECT {} {}{}) GROUP BY of_group ORDER BY of_group",
        table.select(),
        table.source(clickhouse, range),
        of_groups(table, only),
    );
    look("summing up the history", clickhouse.client().query(&sql).fetch_all()).await
}

/// The rows of some groups of a table, one by one, up to `limit`.
///
/// # Errors
/// Transient.
pub async fn rows(
    clickhouse: &ClickHouse,
    table: Table,
    range: Range,
    only: &[u64],
    limit: usize,
) -> Result<Vec<RowDigest>, ViewError> {
    let sql = format!(
        "SELECT {} {}{} ORDER BY of_version LIMIT {limit}",
        table.select(),
        table.source(clickhouse, range),
        of_groups(table, Some(only)),
    );
    let found: Vec<Columns> = look("reading rows of the history", clickhouse.client().query(&sql).fetch_all()).await?;
    let row = |found: Columns| RowDigest {
        table,
        group: found.of_group,
        key: found.of_key,
        version: found.of_version,
        digest: found.of_digest,
    };
    Ok(found.into_iter().map(row).collect())
}

fn of_groups(table: Table, only: Option<&[u64]>) -> String {
    let Some(only) = only else { return String::new() };
    let list: Vec<String> = only.iter().map(ToString::to_string).collect();
    let list = if list.is_empty() { "0".to_owned() } else { list.join(",") };
    match table {
        // By the column itself, which is of the primary key.
        Table::Messages | Table::Conversations | Table::Members => format!(" AND conversation IN ({list})"),
        Table::Events | Table::Users => format!(" AND of_group IN ({list})"),
    }
}
