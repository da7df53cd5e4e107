//! The schema, as numbered migrations: append-only. A migration that has run anywhere is never changed.
//!
//! `{store}` is the database of the tables, of whichever generation; `{views}` the analysts', whose views over the tables are
//! made again when another generation takes over.

use super::connection::{ClickHouse, read};
use super::generations::prepare;
use crate::error::ViewError;

const MIGRATIONS: &[(u32, &str, &str)] = &[
    (1, "tables", include_str!("migrations/0001_tables.sql")),
    (2, "views", include_str!("migrations/0002_views.sql")),
    (3, "words", include_str!("migrations/0003_words.sql")),
    (4, "aggregates", include_str!("migrations/0004_aggregates.sql")),
    (5, "compact", include_str!("migrations/0005_compact.sql")),
    (6, "hours", include_str!("migrations/0006_hours.sql")),
];

/// Brings the schema of the live generation up to what this binary needs. What is there is left; several processes may do
/// it at once.
///
/// # Errors
/// ClickHouse is away (transient), or its schema is newer than this binary.
pub async fn migrate(clickhouse: &ClickHouse) -> Result<(), ViewError> {
    let live = clickhouse.of(prepare(clickhouse).await?.live);
    make_database(&live, live.views()).await?;
    migrate_generation(&live, |_| true).await
}

/// Brings the tables of a generation up, and leaves the analysts' views alone.
pub(super) async fn migrate_tables(generation: &ClickHouse) -> Result<(), ViewError> {
    migrate_generation(generation, |statement| !makes_a_view(statement)).await
}

/// Lets the analysts' views read this generation: each that reads tables is replaced, at once and as it is defined last.
pub(super) async fn show(generation: &ClickHouse) -> Result<(), ViewError> {
    let all: Vec<&str> = MIGRATIONS.iter().flat_map(|(_, _, sql)| statements(sql)).collect();
    for (index, statement) in all.iter().enumerate() {
        let head = head(statement);
        let is_last = !all[index + 1..].iter().any(|later| self::head(later) == head);
        if makes_a_view(statement) && statement.contains(STORE) && is_last {
            let sql = placed(statement, &generation.store(), generation.views());
            generation.execute("showing a generation of the history", &sql).await?;
        }
    }
    Ok(())
}

async fn migrate_generation(generation: &ClickHouse, is_wanted: impl Fn(&str) -> bool) -> Result<(), ViewError> {
    let store = generation.store();
    make_database(generation, &store).await?;
    let table = generation.table("migrations");
    generation
        .execute(
            "making the table of migrations",
            &format!(
                "CREATE TABLE IF NOT EXISTS {table} (number UInt32 COMMENT 'The migration', name String COMMENT 'Its name', \
                 at DateTime64(3) COMMENT 'When it ran') ENGINE = ReplacingMergeTree ORDER BY number \
                 COMMENT 'Migrations of the schema that have run'"
            ),
        )
        .await?;
    let done = done(generation).await?;
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| !done.contains(number)) {
        for statement in statements(sql).into_iter().filter(|statement| is_wanted(statement)) {
            let sql = placed(statement, &store, generation.views());
            generation.execute(&format!("migration {number} ({name})"), &sql).await?;
        }
        let insert = format!("INSERT INTO {table} VALUES ({number}, '{name}', now64(3))");
        generation.execute("recording a migration", &insert).await?;
    }
    Ok(())
}

async fn make_database(clickhouse: &ClickHouse, name: &str) -> Result<(), ViewError> {
    clickhouse.execute("making a database", &format!("CREATE DATABASE IF NOT EXISTS {name}")).await
}

/// Numbers of the migrations that this binary needs and that have not run.
///
/// # Errors
/// As [`migrate`]; transient as well where no migration ever ran.
pub async fn missing_migrations(clickhouse: &ClickHouse) -> Result<Vec<u32>, ViewError> {
    let done = done(clickhouse).await?;
    Ok(MIGRATIONS.iter().map(|(number, ..)| *number).filter(|number| !done.contains(number)).collect())
}

async fn done(clickhouse: &ClickHouse) -> Result<Vec<u32>, ViewError> {
    let sql = format!("SELECT DISTINCT number FROM {} ORDER BY number", clickhouse.table("migrations"));
    let done: Vec<u32> = read("reading the migrations", clickhouse.client().query(&sql).fetch_all()).await?;
    let newest = MIGRATIONS.last().map_or(0, |(number, ..)| *number);
    match done.iter().find(|number| **number > newest) {
        Some(unknown) => Err(ViewError::Mismatch(format!(
            "the schema in ClickHouse has migration {unknown}, this binary knows up to {newest}: roll out a newer binary"
        ))),
        None => Ok(done),
    }
}

const STORE: &str = "{store}";
const VIEWS: &str = "{views}";

/// The statements of a migration: each ends with a line that ends in `;`.
fn statements(sql: &str) -> Vec<&str> {
    sql.split(";\n").map(|text| text.trim().trim_end_matches(';')).filter(|text| !text.is_empty()).collect()
}

/// A statement of these databases, without its comments.
fn placed(statement: &str, store: &str, views: &str) -> String {
    let lines: Vec<&str> = statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    lines.join("\n").replace(STORE, store).replace(VIEWS, views).trim().to_owned()
}

/// What a statement makes or changes: its first line of SQL.
fn head(statement: &str) -> &str {
    statement.lines().find(|line| !line.trim_start().starts_with("--")).unwrap_or_default()
}

/// Whether a statement is about the analysts' database, and not about the tables: by the database that it names first.
fn makes_a_view(statement: &str) -> bool {
    head(statement).contains(VIEWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_by_one_and_every_statement_is_repeatable() {
        for (index, (number, name, sql)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(*number as usize, index + 1);
            for template in statements(sql) {
                let statement = placed(template, "s", "v");
                let is_repeatable =
                    [" IF NOT EXISTS ", " MODIFY SETTING "].iter().any(|words| statement.contains(words))
                        || statement.starts_with("CREATE OR REPLACE");
                assert!(is_repeatable, "{name}: {statement}");
                assert!(!statement.contains(['{', '}']), "{statement}");
                // `show` runs it once more, over another generation.
                let replaced = !makes_a_view(template) || !template.contains(STORE);
                assert!(replaced || statement.starts_with("CREATE OR REPLACE VIEW"), "{name}: {statement}");
            }
        }
    }

    #[test]
    fn every_table_and_column_has_a_comment() {
        for (_, name, sql) in MIGRATIONS {
            let placed = statements(sql).into_iter().map(|statement| placed(statement, "s", "v"));
            for statement in placed.filter(|statement| statement.starts_with("CREATE")) {
                let columns: Vec<&str> =
                    statement.lines().filter(|line| line.starts_with("    ") && !line.contains("INDEX")).collect();
                assert!(columns.len() > 2, "{name}: {statement}");
                for column in columns {
                    assert!(column.contains(" COMMENT '"), "{name}: no comment on {column}");
                }
                assert!(statement.lines().last().is_some_and(|line| line.contains("COMMENT '")), "{name}: {statement}");
            }
        }
    }
}
