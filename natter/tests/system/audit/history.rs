//! The history, damaged in every way.

use natter::audit::{Kind, Store};

use super::world::{World, only};

const TABLES: [&str; 6] = ["events", "messages", "conversations", "members", "users", "watermarks"];

struct Damages {
    world: World,
}

impl Damages {
    async fn sql(&self, sql: &str) {
        let sql = sql.replace("{store}", &self.world.store).replace('?', "??");
        self.world.history.query(&sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn number(&self, sql: &str) -> u64 {
        let sql = sql.replace("{store}", &self.world.store);
        self.world.history.query(&sql).fetch_one().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn keep(&self) {
        for table in TABLES {
            self.sql(&format!("CREATE TABLE {{store}}.kept_{table} AS {{store}}.{table}")).await;
            self.sql(&format!("INSERT INTO {{store}}.kept_{table} SELECT * FROM {{store}}.{table} FINAL")).await;
        }
    }

    async fn restore(&self, table: &str) {
        self.sql(&format!("TRUNCATE TABLE {{store}}.{table}")).await;
        self.sql(&format!("INSERT INTO {{store}}.{table} SELECT * FROM {{store}}.kept_{table}")).await;
    }

    /// Damages a table, sees that exactly that is named, and undoes it.
    async fn check(&self, table: &str, damage: &str, expected: Option<(Kind, &str)>) {
        let damage = damage.replace("{table}", &format!("{{store}}.{table}"));
        self.sql(&damage).await;
        let report = self.world.audit().await;
        let expected = expected.map(|(kind, place)| (Store::ClickHouse, kind, place));
        assert_eq!(only(&report), expected, "{damage}: {report}");
        self.restore(table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_the_history_is_named() {
    let mut world = World::start(23, 1).await;
    world.wish(60).await;
    world.settle().await;
    let last = world.audit().await.partitions[0].batches;
    let all = Damages { world };
    all.keep().await;
    let now = "SETTINGS mutations_sync = 2";

    // Inserting what is there is inserting it once, by construction.
    for table in TABLES {
        all.check(table, &format!("INSERT INTO {{table}} SELECT * FROM {{store}}.kept_{table}"), None).await;
    }

    let busiest = all.number("SELECT argMax(conversation, seq) FROM {store}.messages").await;
    let of = format!("conversation = {busiest}");
    let message = format!("messages {busiest} seq 2");
    all.check(
        "messages",
        &format!("ALTER TABLE {{table}} DELETE WHERE {of} AND seq = 2 {now}"),
        Some((Kind::Missing, &message)),
    )
    .await;
    all.check(
        "messages",
        &format!("ALTER TABLE {{table}} UPDATE text = 'x' WHERE {of} AND seq = 2 {now}"),
        Some((Kind::Altered, &message)),
    )
    .await;
    let more = "SELECT * REPLACE(seq + 100000 AS seq) FROM {store}.kept_messages";
    let unexpected = format!("messages {busiest} seq 100002");
    all.check(
        "messages",
        &format!("INSERT INTO {{table}} {more} WHERE {of} AND seq = 2"),
        Some((Kind::Unexpected, &unexpected)),
    )
    .await;

    let at = format!("sequence = {}", last / 2);
    let event = format!("events 0:{}:0", last / 2);
    all.check(
        "events",
        &format!("ALTER TABLE {{table}} DELETE WHERE {at} AND idx = 0 {now}"),
        Some((Kind::Missing, &event)),
    )
    .await;
    all.check(
        "events",
        &format!("ALTER TABLE {{table}} UPDATE sender = 'x' WHERE {at} AND idx = 0 {now}"),
        Some((Kind::Altered, &event)),
    )
    .await;
    let more = "SELECT * REPLACE(toUInt32(60000) AS idx) FROM {store}.kept_events";
    let unexpected = format!("events 0:{}:60000", last / 2);
    all.check(
        "events",
        &format!("INSERT INTO {{table}} {more} WHERE {at} AND idx = 0"),
        Some((Kind::Unexpected, &unexpected)),
    )
    .await;

    let place = format!("conversations {busiest} head");
    let head = format!("{of} AND aspect = 'head'");
    all.check(
        "conversations",
        &format!("ALTER TABLE {{table}} DELETE WHERE {head} {now}"),
        Some((Kind::Missing, &place)),
    )
    .await;
    all.check(
        "conversations",
        &format!("ALTER TABLE {{table}} UPDATE value = 0 WHERE {head} {now}"),
        Some((Kind::Altered, &place)),
    )
    .await;
    // The newest row has gone, and the one before it is there again.
    all.check(
        "conversations",
        &format!("ALTER TABLE {{table}} UPDATE value = value - 1, at = at - 1 WHERE {head} {now}"),
        Some((Kind::Altered, &place)),
    )
    .await;

    let place = format!("members {busiest} ada cursor");
    let cursor = format!("{of} AND user = 'ada' AND aspect = 'cursor'");
    all.check("members", &format!("ALTER TABLE {{table}} DELETE WHERE {cursor} {now}"), Some((Kind::Missing, &place)))
        .await;
    all.check(
        "members",
        &format!("ALTER TABLE {{table}} UPDATE read_seq = 7777 WHERE {cursor} {now}"),
        Some((Kind::Altered, &place)),
    )
    .await;
    let more = "SELECT * REPLACE('nobody' AS user) FROM {store}.kept_members";
    let unexpected = format!("members {busiest} nobody cursor");
    all.check(
        "members",
        &format!("INSERT INTO {{table}} {more} WHERE {cursor}"),
        Some((Kind::Unexpected, &unexpected)),
    )
    .await;

    all.check(
        "users",
        &format!("ALTER TABLE {{table}} UPDATE name = 'x' WHERE user = 'ada' {now}"),
        Some((Kind::Altered, "users demo ada")),
    )
    .await;
    all.check(
        "users",
        &format!("ALTER TABLE {{table}} DELETE WHERE user = 'ada' {now}"),
        Some((Kind::Missing, "users demo ada")),
    )
    .await;

    // Newer than the watermark, and nothing that the log says.
    let future = "SELECT * REPLACE(version + (100000 * 131072) AS version) FROM {store}.kept_members";
    all.check("members", &format!("INSERT INTO {{table}} {future} WHERE {cursor}"), Some((Kind::Unexpected, &place)))
        .await;

    watermarks(&all, last).await;
}

async fn watermarks(all: &Damages, last: u64) {
    let place = "the history of partition 0";
    let now = "SETTINGS mutations_sync = 2";
    let row = "FROM {store}.kept_events WHERE command = 'batch' AND sequence = 1";
    let ahead = format!("INSERT INTO {{table}} SELECT * REPLACE(toUInt64({}) AS sequence) {row}", last + 3);
    all.check("events", &ahead, Some((Kind::Ahead, place))).await;
    let behind = format!("ALTER TABLE {{table}} DELETE WHERE command = 'batch' AND sequence = {} {now}", last / 2);
    all.check("events", &behind, Some((Kind::Behind, place))).await;
    let noted = format!("ALTER TABLE {{table}} UPDATE checked = {} WHERE 1 {now}", last + 4);
    all.check("watermarks", &noted, Some((Kind::Behind, place))).await;
    let foreign = format!("ALTER TABLE {{table}} UPDATE log = '{}' WHERE command = 'batch' {now}", "7".repeat(32));
    all.check("events", &foreign, Some((Kind::Foreign, place))).await;
    // Less than the log has, and said so: it is behind, and no difference.
    let less = format!("ALTER TABLE {{table}} DELETE WHERE sequence > {} {now}", last - 5);
    all.sql("TRUNCATE TABLE {store}.watermarks").await;
    all.check("events", &less, None).await;
}
