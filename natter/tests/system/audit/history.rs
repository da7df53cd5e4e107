//! The history, damaged in every way.

use natter::audit::{Kind, Store};

use super::world::{World, only};

/// The conversation with most messages.
const BUSIEST: &str = "SELECT argMax(conversation, seq) FROM {store}.messages";
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

    /// Damages a table, sees that exactly that is named, and undoes it. Statements end with `;`.
    async fn check(&self, table: &str, damage: &str, expected: Option<(Kind, &str)>) {
        let damage = damage.replace("{table}", &format!("{{store}}.{table}"));
        for statement in damage.split(';') {
            self.sql(statement).await;
        }
        let report = self.world.audit().await;
        let expected = expected.map(|(kind, place)| (Store::ClickHouse, kind, place));
        assert_eq!(only(&report), expected, "{damage}: {report}");
        self.restore(table).await;
    }

    /// Some rows of a table are gone.
    async fn without(&self, table: &str, which: &str, expected: (Kind, &str)) {
        self.check(table, &format!("ALTER TABLE {{table}} DELETE WHERE {which} {NOW}"), Some(expected)).await;
    }

    /// Some rows of a table say something else.
    async fn altered(&self, table: &str, change: &str, which: &str, expected: (Kind, &str)) {
        let damage = format!("ALTER TABLE {{table}} UPDATE {change} WHERE {which} {NOW}");
        self.check(table, &damage, Some(expected)).await;
    }

    /// There are more rows, like some that are there.
    async fn beside(&self, table: &str, replaced: &str, which: &str, expected: (Kind, &str)) {
        self.check(table, &copies(table, replaced, which), Some(expected)).await;
    }
}

/// Inserts copies of some rows, with some columns replaced.
fn copies(table: &str, replaced: &str, which: &str) -> String {
    let rows = format!("(SELECT * FROM {{store}}.kept_{table} WHERE {which})");
    format!("INSERT INTO {{table}} SELECT * REPLACE({replaced}) FROM {rows}")
}

/// Changes of rows are over when they are answered.
const NOW: &str = "SETTINGS mutations_sync = 2";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_the_history_is_named() {
    let mut world = World::start(23, 1).await;
    world.wish(60).await;
    world.settle().await;
    let last = world.audit().await.partitions[0].batches;
    let all = Damages { world };
    all.keep().await;

    // Inserting what is there is inserting it once, by construction.
    for table in TABLES {
        all.check(table, &format!("INSERT INTO {{table}} SELECT * FROM {{store}}.kept_{table}"), None).await;
    }
    messages_and_events(&all, last).await;
    current_rows(&all).await;
    watermarks(&all, last).await;
}

async fn messages_and_events(all: &Damages, last: u64) {
    let busiest = all.number(BUSIEST).await;
    let second = format!("conversation = {busiest} AND seq = 2");
    let message = format!("messages {busiest} seq 2");
    all.without("messages", &second, (Kind::Missing, &message)).await;
    all.altered("messages", "text = 'x'", &second, (Kind::Altered, &message)).await;
    let more = format!("messages {busiest} seq 100002");
    all.beside("messages", "seq + 100000 AS seq", &second, (Kind::Unexpected, &more)).await;

    let first = format!("sequence = {} AND idx = 0", last / 2);
    let event = format!("events 0:{}:0", last / 2);
    all.without("events", &first, (Kind::Missing, &event)).await;
    all.altered("events", "sender = 'x'", &first, (Kind::Altered, &event)).await;
    let more = format!("events 0:{}:60000", last / 2);
    all.beside("events", "toUInt32(60000) AS idx", &first, (Kind::Unexpected, &more)).await;
}

/// Rows that replace each other.
async fn current_rows(all: &Damages) {
    let busiest = all.number(BUSIEST).await;
    let head = format!("conversation = {busiest} AND aspect = 'head'");
    let place = format!("conversations {busiest} head");
    all.without("conversations", &head, (Kind::Missing, &place)).await;
    all.altered("conversations", "value = 0", &head, (Kind::Altered, &place)).await;
    // The newest row has gone, and an older one is there again.
    let older = copies("conversations", "version - 1 AS version", &head);
    let older = format!("ALTER TABLE {{table}} DELETE WHERE {head} {NOW};{older}");
    all.check("conversations", &older, Some((Kind::Missing, &place))).await;

    let cursor = format!("conversation = {busiest} AND user = 'ada' AND aspect = 'cursor'");
    let place = format!("members {busiest} ada cursor");
    all.without("members", &cursor, (Kind::Missing, &place)).await;
    all.altered("members", "read_seq = 7777", &cursor, (Kind::Altered, &place)).await;
    let more = format!("members {busiest} nobody cursor");
    all.beside("members", "'nobody' AS user", &cursor, (Kind::Unexpected, &more)).await;
    // Newer than the watermark, and nothing that the log says.
    let future = "version + (100000 * 131072) AS version";
    all.beside("members", future, &cursor, (Kind::Unexpected, &place)).await;

    all.altered("users", "name = 'x'", "user = 'ada'", (Kind::Altered, "users demo ada")).await;
    all.without("users", "user = 'ada'", (Kind::Missing, "users demo ada")).await;
}

async fn watermarks(all: &Damages, last: u64) {
    let place = "the history of partition 0";
    let batch = "command = 'batch'";
    let further = format!("toUInt64({}) AS sequence", last + 3);
    all.beside("events", &further, &format!("{batch} AND sequence = 1"), (Kind::Ahead, place)).await;
    all.without("events", &format!("{batch} AND sequence = {}", last / 2), (Kind::Behind, place)).await;
    all.altered("watermarks", &format!("checked = {}", last + 4), "1", (Kind::Behind, place)).await;
    all.altered("events", &format!("log = '{}'", "7".repeat(32)), batch, (Kind::Foreign, place)).await;
    // Less than the log has, and said so: it is behind, and no difference.
    all.sql("TRUNCATE TABLE {store}.watermarks").await;
    all.check("events", &format!("ALTER TABLE {{table}} DELETE WHERE sequence > {} {NOW}", last - 5), None).await;
}
