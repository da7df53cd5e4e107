//! The archive as a table: analysts ask it like `events`, and ClickHouse reads the segments' Parquet objects from S3 itself.
//!
//! Where S3 is and with which keys stands in ClickHouse's own configuration, as a named collection, which shows its values to
//! nobody; the table names the collection alone. It declares every column but `batch`: what is not declared cannot be asked for.

use natter_nats::LogId;

use super::connection::{ClickHouse, read};
use crate::error::ViewError;

/// What the collection is called. It has `url`, `access_key_id`, `secret_access_key` and `format`.
pub const COLLECTION: &str = "natter_archive";
/// The table over the objects of every log in the bucket, in a database of its own: it is of no generation.
pub const OBJECTS: &str = "objects";

/// The database of the table, where `views` is the analysts'.
pub fn archive_store(views: &str) -> String {
    format!("{views}_archive")
}

/// The objects in a bucket, as a pattern of ClickHouse's.
pub fn objects_url(endpoint: &str, bucket: &str) -> String {
    format!("{}/{bucket}/archive/*/EVT_*/*.parquet", endpoint.trim_end_matches('/'))
}

/// The type of times in tables.
const UTC: &str = "DateTime64(3, 'UTC')";

/// Name, type and comment of the table's columns, which the view has too unless the comment is empty.
#[rustfmt::skip]
const COLUMNS: [(&str, &str, &str); 19] = [
    ("partition", "UInt16", ""),
    ("sequence", "UInt64", ""),
    ("idx", "UInt32", ""),
    ("tenant", "LowCardinality(String)", "The application"),
    ("conversation", "UInt64", "The conversation; 0: none"),
    ("at", UTC, "When it happened"),
    ("stored_at", UTC, "When its command batch was stored"),
    ("sender", "String", "Who"),
    ("reference", "String", "The sender''s own name of the command (ref)"),
    ("command", "LowCardinality(String)", "The command"),
    ("origin", "LowCardinality(String)", "By which door it came: client, resend (a client that repeats it), import or operator"),
    ("event", "LowCardinality(String)", "What happened; empty: nothing"),
    ("code", "LowCardinality(String)", "Why it was rejected; empty: it was accepted"),
    ("message", "UInt64", "The message; 0: none"),
    ("seq", "UInt64", "The seq or cursor; 0: none"),
    ("detail", "String", "What else the event says, as JSON, without the text of a message"),
    ("policy", "LowCardinality(String)", "SHA-256 of the policy in force; empty: the default"),
    ("lists", "Array(LowCardinality(String))", "Word lists that the text touched"),
    ("text", "String", "The text of a message, or what it was changed to, as everybody saw it then; empty: the outcome has none"),
];

/// Makes the table over the archive and the view over it, for this log, where ClickHouse knows where the archive is; else
/// takes the view away. Asks nothing of S3.
///
/// # Errors
/// Transient, with ClickHouse's words.
pub async fn show_archive(clickhouse: &ClickHouse, log: &LogId) -> Result<(), ViewError> {
    let views = clickhouse.views();
    let sql = format!("SELECT count() FROM system.named_collections WHERE name = '{COLLECTION}'");
    let known: u64 = read("looking where the archive is", clickhouse.client().query(&sql).fetch_one()).await?;
    if known == 0 {
        return clickhouse
            .execute("removing the archive's view", &format!("DROP VIEW IF EXISTS {views}.archive"))
            .await;
    }
    let database = format!("CREATE DATABASE IF NOT EXISTS {}", archive_store(views));
    clickhouse.execute("making the archive's database", &database).await?;
    // The schema is given, so that S3 need not be there now; replaced, so that it is this binary's.
    clickhouse.execute("making the archive's table", &table(views)).await?;
    clickhouse.execute("making the archive's view", &view(views, log)).await
}

fn table(views: &str) -> String {
    let columns =
        COLUMNS.map(|(name, kind, comment)| format!("    {name} {kind} COMMENT '{}'", or_name(name, comment)));
    format!(
        "CREATE OR REPLACE TABLE {}.{OBJECTS} (\n{}\n) ENGINE = S3({COLLECTION})\n\
         COMMENT 'The rows of the archive''s segments in S3, of every log, without the batches'' bytes'",
        archive_store(views),
        columns.join(",\n")
    )
}

fn or_name<'a>(name: &'a str, comment: &'a str) -> &'a str {
    match name {
        "partition" => "The partition of the log",
        "sequence" => "The outcome batch",
        "idx" => "The outcome in its batch",
        _ => comment,
    }
}

fn view(views: &str, log: &LogId) -> String {
    let shown = COLUMNS.into_iter().filter(|(_, _, comment)| !comment.is_empty());
    let comments: Vec<_> = shown
        .clone()
        .map(|(name, kind, comment)| format!("    {name} {} COMMENT '{comment}'", kind.replace(UTC, "DateTime64(3)")))
        .collect();
    // In the session's zone, as in the other views.
    let names: Vec<_> = shown
        .map(|(name, kind, _)| match kind {
            UTC => format!("fromUnixTimestamp64Milli(toUnixTimestamp64Milli({name})) AS {name}"),
            _ => name.to_owned(),
        })
        .collect();
    // An archiver that was stopped between an object and its manifest leaves one that overlaps its successor. Every outcome has a tenant;
    // that it is asked for is for ClickHouse 26.3, which else fails to find the column of a tenant's row policy (26.7 does not).
    format!(
        "CREATE OR REPLACE VIEW {views}.archive (\n\
         \x20   position String COMMENT 'Where it stands in the log: partition:sequence:index',\n{}\n\
         ) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT concat(toString(partition), ':', toString(sequence), ':', toString(idx)) AS position,\n{}\n\
         FROM {}.{OBJECTS} WHERE command != 'batch' AND tenant != '' AND _path LIKE '%/archive/{log}/%' LIMIT 1 BY partition, sequence, idx\n\
         COMMENT 'Outcomes as `events` has them, read from the archive in S3: those that are in closed segments'",
        comments.join(",\n"),
        names.join(", "),
        archive_store(views)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_bytes_of_batches_are_no_column() {
        let log = "a".repeat(32).parse().unwrap();
        for sql in [table("natter"), view("natter", &log)] {
            assert!(!sql.lines().any(|line| line.trim_start().starts_with("batch ")), "{sql}");
            assert!(!sql.contains("COMMENT ''"), "{sql}");
        }
    }

    #[test]
    fn it_has_the_columns_of_events_and_the_text() {
        let events = include_str!("migrations/0006_analysts.sql").split("\n) DEFINER").next().unwrap();
        let names = |sql: &str| -> Vec<String> {
            let lines = sql.lines().filter(|line| line.starts_with("    "));
            lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
        };
        let log = "a".repeat(32).parse().unwrap();
        assert_eq!(names(&view("natter", &log)), [names(events), vec!["text".to_owned()]].concat());
    }
}
