//! The schema, as numbered migrations: append-only. A migration that has run anywhere is never changed.
//!
//! `{store}` is the database of the tables, `{views}` the analysts'.

use super::connection::{ClickHouse, read};
use crate::error::ViewError;

const MIGRATIONS: &[(u32, &str, &str)] = &[
    (1, "tables", include_str!("migrations/0001_tables.sql")),
    (2, "views", include_str!("migrations/0002_views.sql")),
    (4, "words", include_str!("migrations/0004_words.sql")),
    (5, "aggregates", include_str!("migrations/0005_aggregates.sql")),
];

/// Brings the schema up to what this binary needs. What is there is left; several processes may do it at once.
///
/// # Errors
/// ClickHouse is away (transient), or its schema is newer than this binary.
pub async fn migrate(clickhouse: &ClickHouse) -> Result<(), ViewError> {
    let store = clickhouse.store();
    for database in [&*store, clickhouse.views()] {
        clickhouse.execute("making a database", &format!("CREATE DATABASE IF NOT EXISTS {database}")).await?;
    }
    let table = clickhouse.table("migrations");
    clickhouse
        .execute(
            "making the table of migrations",
            &format!(
                "CREATE TABLE IF NOT EXISTS {table} (number UInt32 COMMENT 'The migration', name String COMMENT 'Its name', \
                 at DateTime64(3) COMMENT 'When it ran') ENGINE = ReplacingMergeTree ORDER BY number \
                 COMMENT 'Migrations of the schema that have run'"
            ),
        )
        .await?;
    let done = done(clickhouse).await?;
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| !done.contains(number)) {
        for statement in statements(sql, &store, clickhouse.views()) {
            clickhouse.execute(&format!("migration {number} ({name})"), &statement).await?;
        }
        let insert = format!("INSERT INTO {table} VALUES ({number}, '{name}', now64(3))");
        clickhouse.execute("recording a migration", &insert).await?;
    }
    Ok(())
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

/// The statements of a migration: each ends with a line that ends in `;`.
fn statements(sql: &str, store: &str, views: &str) -> Vec<String> {
    let sql = sql.replace("{store}", store).replace("{views}", views);
    let lines: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    lines
        .join("\n")
        .split(";\n")
        .map(|text| text.trim().trim_end_matches(';').to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_statement_is_repeatable() {
        assert!(MIGRATIONS.is_sorted_by(|(before, ..), (number, ..)| before < number));
        for (_, name, sql) in MIGRATIONS {
            for statement in statements(sql, "s", "v") {
                assert!(
                    statement.contains(" IF NOT EXISTS ") || statement.starts_with("CREATE OR REPLACE"),
                    "{name}: {statement}"
                );
                assert!(!statement.contains(['{', '}']), "{statement}");
            }
        }
    }

    #[test]
    fn every_table_and_column_has_a_comment() {
        for (_, name, sql) in MIGRATIONS {
            for statement in statements(sql, "s", "v").iter().filter(|statement| statement.starts_with("CREATE")) {
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
