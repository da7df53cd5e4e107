//! Generations of the history: each lies in a database of its own, and one pointer says which of them is live.
//!
//! The pointer is the table `generations` in the first database, so that the store that has the tables says which of them
//! count: no other server has to be asked before the history is read, and a copy of the store has both. A row is a step in
//! a generation's life and is never changed; the live one is the highest that went live, so a switch is one insert.
//!
//! ```text
//! building ──▶ live ──▶ shown ──▶ dropped        live: roles read and write it     shown: the analysts' views read it
//! ```
//!
//! There are at most two at a time, in two databases that take turns, so that users' rights and row policies can name them.

use std::fmt;

use clickhouse::Row;
use serde::Deserialize;

use super::connection::{ClickHouse, read};
use super::fold::FOLD_VERSION;
use crate::error::ViewError;

/// Which filling of the tables: the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The one that every history begins with.
    pub const FIRST: Self = Self(1);

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its database, where `views` is the analysts': odd ones and even ones take turns.
    pub fn store(self, views: &str) -> String {
        stores(views)[usize::from(self.0.is_multiple_of(2))].clone()
    }

    fn shares_a_database_with(self, other: Self) -> bool {
        self.0 % 2 == other.0 % 2
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The databases that tables may lie in, where `views` is the analysts' database.
pub fn stores(views: &str) -> [String; 2] {
    [format!("{views}_store"), format!("{views}_store_2")]
}

/// A generation that is there, with the version of the fold that filled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Which.
    pub generation: Generation,
    /// [`FOLD_VERSION`] of the binary that began it.
    pub fold: u32,
}

/// All generations that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    /// The one that roles read and write.
    pub live: Filled,
    /// The one that the analysts' views read.
    pub shown: Generation,
    /// The one that is built beside it.
    pub next: Option<Filled>,
    /// The one that was live before.
    pub old: Option<Generation>,
    /// The highest number that was ever given.
    highest: Generation,
}

/// A step in a generation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Building,
    Live,
    Shown,
    Dropped,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Live => "live",
            Self::Shown => "shown",
            Self::Dropped => "dropped",
        }
    }
}

#[derive(Row, Deserialize)]
struct Taken {
    number: u32,
    step: String,
    fold: u32,
}

impl Generations {
    /// Before anything was noted: the first one, of the fold that there was then.
    const NONE: Self = Self {
        live: Filled { generation: Generation::FIRST, fold: 1 },
        shown: Generation::FIRST,
        next: None,
        old: None,
        highest: Generation::FIRST,
    };

    fn of(steps: &[Taken]) -> Self {
        let highest_that = |step: Step| steps.iter().filter(|row| row.step == step.name()).max_by_key(|row| row.number);
        let filled = |row: &Taken| Filled { generation: Generation(row.number), fold: row.fold };
        let Some(live) = highest_that(Step::Live).map(filled) else { return Self::NONE };
        let is_there =
            |row: &&Taken| !steps.iter().any(|other| other.number == row.number && other.step == Step::Dropped.name());
        let there = || steps.iter().filter(is_there);
        let next = there()
            .filter(|row| row.step == Step::Building.name() && row.number > live.generation.0)
            .max_by_key(|row| row.number);
        let old = there().filter(|row| row.number < live.generation.0).map(|row| row.number).max();
        Self {
            live,
            shown: highest_that(Step::Shown).map_or(live.generation, |row| Generation(row.number)),
            next: next.map(filled),
            old: old.map(Generation),
            highest: Generation(steps.iter().map(|row| row.number).max().unwrap_or(live.generation.0)),
        }
    }

    /// The number of the next one: its database is not the live one's.
    pub(super) fn following(&self) -> Generation {
        let next = Generation(self.highest.0 + 1);
        if next.shares_a_database_with(self.live.generation) { Generation(next.0 + 1) } else { next }
    }
}

/// What is noted about generations.
///
/// # Errors
/// Transient.
pub async fn generations(clickhouse: &ClickHouse) -> Result<Generations, ViewError> {
    let sql = format!("SELECT DISTINCT number, step, fold FROM {} ORDER BY number", pointer(clickhouse));
    match read("reading the history's generations", clickhouse.client().query(&sql).fetch_all::<Taken>()).await {
        Ok(steps) => Ok(Generations::of(&steps)),
        // A schema from before there were generations, or none yet.
        Err(error) if ["UNKNOWN_TABLE", "UNKNOWN_DATABASE"].iter().any(|code| error.to_string().contains(code)) => {
            Ok(Generations::NONE)
        }
        Err(error) => Err(error),
    }
}

/// Makes the table of generations, and notes the first one where nothing is noted.
pub(super) async fn prepare(clickhouse: &ClickHouse) -> Result<Generations, ViewError> {
    let table = pointer(clickhouse);
    let [home, _] = stores(clickhouse.views());
    clickhouse.execute("making a database", &format!("CREATE DATABASE IF NOT EXISTS {home}")).await?;
    clickhouse
        .execute(
            "making the table of generations",
            &format!(
                "CREATE TABLE IF NOT EXISTS {table} (number UInt32 COMMENT 'The generation', step LowCardinality(String) \
                 COMMENT 'building, live (roles use it), shown (the views read it) or dropped', fold UInt32 COMMENT \
                 'The version of the code that filled it', at DateTime64(3) DEFAULT now64(3) COMMENT 'When') \
                 ENGINE = ReplacingMergeTree ORDER BY (number, step) SETTINGS fsync_after_insert = 1, \
                 fsync_part_directory = 1 COMMENT 'Which generation of these tables is live'"
            ),
        )
        .await?;
    let known = generations(clickhouse).await?;
    let sql = format!("SELECT count() FROM {table}");
    let noted: u64 = read("reading the history's generations", clickhouse.client().query(&sql).fetch_one()).await?;
    if noted == 0 {
        for step in [Step::Live, Step::Shown] {
            note(clickhouse, Filled { generation: Generation::FIRST, fold: FOLD_VERSION }, step).await?;
        }
        return generations(clickhouse).await;
    }
    Ok(known)
}

/// Notes a step.
pub(super) async fn note(clickhouse: &ClickHouse, of: Filled, step: Step) -> Result<(), ViewError> {
    let (table, Filled { generation, fold }, step) = (pointer(clickhouse), of, step.name());
    let sql = format!("INSERT INTO {table} (number, step, fold) VALUES ({generation}, '{step}', {fold})");
    clickhouse.execute("noting a generation", &sql).await
}

/// It stays where the first generation was, whatever becomes of that.
fn pointer(clickhouse: &ClickHouse) -> String {
    let [home, _] = stores(clickhouse.views());
    format!("{home}.{POINTER}")
}

/// The pointer's table, which is not a table of any generation.
pub(super) const POINTER: &str = "generations";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: &[(u32, Step)]) -> Generations {
        let taken =
            |(number, step): &(u32, Step)| Taken { number: *number, step: step.name().to_owned(), fold: *number };
        Generations::of(&steps.iter().map(taken).collect::<Vec<_>>())
    }

    #[test]
    fn the_highest_that_went_live_is_live() {
        use Step::{Building, Dropped, Live, Shown};
        assert_eq!(of(&[]), Generations::NONE);
        let first = [(1, Live), (1, Shown)];
        assert_eq!((of(&first).live.generation.0, of(&first).following().0), (1, 2));
        let building = [&first[..], &[(2, Building)]].concat();
        assert_eq!(of(&building).next, Some(Filled { generation: Generation(2), fold: 2 }));
        assert_eq!(of(&building).live.generation.0, 1);
        let discarded = [&building[..], &[(2, Dropped)]].concat();
        assert_eq!((of(&discarded).next, of(&discarded).following().0), (None, 4), "3 shares the live one's database");
        let switched = [&building[..], &[(2, Live)]].concat();
        assert_eq!(
            (of(&switched).live.generation.0, of(&switched).shown.0, of(&switched).old),
            (2, 1, Some(Generation(1)))
        );
        let dropped = [&switched[..], &[(2, Shown), (1, Dropped)]].concat();
        assert_eq!((of(&dropped).old, of(&dropped).next, of(&dropped).following().0), (None, None, 3));
    }

    #[test]
    fn two_databases_take_turns() {
        assert_eq!(Generation(1).store("natter"), "natter_store");
        assert_eq!(Generation(2).store("natter"), "natter_store_2");
        assert_eq!(Generation(5).store("natter"), "natter_store");
    }
}
