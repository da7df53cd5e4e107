//! Migrations, comments, and that reads use the tables' order.

use natter_projections::clickhouse::{ClickHouse, archive_store, migrate, show_archive};
use natter_projections::error::ViewError;

use super::{connect, history, log_id};
use crate::servers;

#[tokio::test]
async fn migrations_run_twice_and_at_the_same_time() {
    let server = servers::clickhouse().await;
    let history = connect(server);
    let (one, two, three) = tokio::join!(migrate(&history), migrate(&history), migrate(&history));
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    migrate(&history).await.unwrap();
    let sql = format!("SELECT number FROM {} FINAL ORDER BY number", history.table("migrations"));
    assert_eq!(history.client().query(&sql).fetch_all::<u32>().await.unwrap(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_schema_that_is_newer_than_the_binary_is_refused() {
    let history = history().await;
    let sql = format!("INSERT INTO {} VALUES (99, 'later', now64(3))", history.table("migrations"));
    history.client().query(&sql).execute().await.unwrap();
    let refused = migrate(&history).await.unwrap_err();
    assert!(matches!(refused, ViewError::Mismatch(_)), "{refused}");
    assert!(refused.to_string().contains("migration 99"), "{refused}");
}

#[tokio::test]
async fn every_table_view_and_column_has_a_comment() {
    let history = history().await;
    show_archive(&history, &log_id('a')).await.unwrap();
    let databases = [history.views().to_owned(), history.store(), archive_store(history.views())];
    for (of, columns) in [("tables", "database, name, comment"), ("columns", "table, name, comment")] {
        let sql = format!("SELECT {columns} FROM system.{of} WHERE database IN ?");
        let found: Vec<(String, String, String)> =
            history.client().query(&sql).bind(databases.as_slice()).fetch_all().await.unwrap();
        assert!(found.len() >= 13, "{found:?}");
        let without: Vec<_> = found.into_iter().filter(|(.., comment)| comment.is_empty()).collect();
        assert_eq!(without, [], "{of} without a comment");
    }
}

/// A page of an old conversation, a message by its id, the refs of a resend and the watermark: each reads a few of the
/// table's pieces (8192 rows each), however much has come since.
#[tokio::test]
async fn reads_do_not_scan_the_tables() {
    let history = history().await;
    fill(&history).await;
    let (messages, events) = (history.table("messages"), history.table("events"));
    let page = "tenant = 'demo' AND conversation = 77 AND seq >= 901 AND seq <= 1000";
    let by_id = "tenant = 'demo' AND conversation = 77 AND message = 77000500";
    let position = "partition = 0 AND conversation = 77 AND sequence >= 500 AND (sequence, idx) > (500, 3) AND sequence <= 9000000";
    let reference = "partition = 0 AND sequence <= 9000000 AND reference IN ['r-77-500'] AND \
                     (tenant, sender, reference) IN [('demo', 'u', 'r-77-500')] AND event != ''";
    let batches = "partition = 0 AND conversation = 0 AND command = 'batch' AND sequence >= 995";
    let words = "tenant = 'demo' AND hasAllTokens(lowerUTF8(text), 'needle haystack')";
    for (table, columns, condition) in [
        (&messages, "seq", words.to_owned()),
        (&messages, "text", format!("{page} ORDER BY seq, version DESC LIMIT 1 BY seq")),
        (&messages, "seq", format!("{by_id} LIMIT 1")),
        (&events, "detail", format!("{position} ORDER BY sequence, idx LIMIT 1 BY sequence, idx LIMIT 50")),
        (&events, "seq", format!("{reference} ORDER BY sequence, idx")),
        (&events, "uniqExact(sequence)", batches.to_owned()),
    ] {
        let sql = format!("EXPLAIN indexes = 1 SELECT {columns} FROM {table} WHERE {condition}");
        let plan: Vec<String> = history.client().query(&sql).fetch_all().await.unwrap();
        let plan = plan.join("\n");
        let (read, of) = last_granules(&plan);
        assert!(of >= 120, "{sql}\n{plan}");
        assert!(read <= 4, "{sql}\n{plan}");
    }
}

/// What is left after the last index: pieces read, and of how many the table has.
fn last_granules(plan: &str) -> (u64, u64) {
    let numbers = plan.lines().filter_map(|line| line.trim().strip_prefix("Granules: "));
    let numbers: Vec<(u64, u64)> = numbers
        .map(|numbers| numbers.split_once('/').unwrap())
        .map(|(read, of)| (read.parse().unwrap(), of.parse().unwrap()))
        .collect();
    (numbers.last().expect("an index is used").0, numbers[0].1)
}

/// 1,000 conversations of 1,000 messages, one batch each time round.
async fn fill(history: &ClickHouse) {
    let (messages, events) = (history.table("messages"), history.table("events"));
    let at = "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + intDiv(number, 1000) AS at";
    let (room, seq) = ("number % 1000 + 1 AS room", "intDiv(number, 1000) + 1 AS nth");
    let statements = [
        format!(
            "INSERT INTO {messages} (tenant, conversation, seq, message, sender, at, stored_at, log_at, text, version) \
             SELECT 'demo', room, nth, room * 1000000 + nth, 'u', at, at, at, if(room = 77 AND nth = 500, 'A needle, in a Haystack', 'text'), nth FROM \
             (SELECT number, {room}, {seq}, {at} FROM numbers(1000000))"
        ),
        format!(
            "INSERT INTO {events} (partition, sequence, idx, tenant, conversation, at, stored_at, log_at, sender, reference, \
             command, event) SELECT 0, nth, number % 1000, 'demo', room, at, at, at, 'u', concat('r-', toString(room), '-', \
             toString(nth)), 'message.send', 'message.sent' FROM (SELECT number, {room}, {seq}, {at} FROM numbers(1000000))"
        ),
        format!(
            "INSERT INTO {events} (partition, sequence, idx, command, at, stored_at, log_at, log) \
             SELECT 0, number + 1, 4294967295, 'batch', t, t, t, 'a' FROM \
             (SELECT number, toDateTime64('2026-01-01 00:00:00', 3, 'UTC') AS t FROM numbers(1000))"
        ),
    ];
    for sql in statements {
        history.client().query(&sql).execute().await.unwrap();
    }
}
