//! The next generation's life: begun beside the live one, put in its place, and the one before dropped.
//!
//! Each step is safe to do again: whoever is killed between two of them is followed by another who finds in the table of
//! generations how far it came. Only one may do this at a time; the caller sees to that.

use super::connection::{ClickHouse, read};
use super::fold::FOLD_VERSION;
use super::generations::{Filled, Generation, Generations, POINTER, Step, generations, note, prepare};
use super::migrations::{migrate_tables, show};
use crate::error::ViewError;

/// The next generation, with its tables: the one that was begun, or a new one.
///
/// # Errors
/// Transient; `Mismatch` where the one before the live one is still there, or the one that was begun is of another fold.
pub async fn begin(clickhouse: &ClickHouse) -> Result<ClickHouse, ViewError> {
    let known = prepare(clickhouse).await?;
    if let Some(old) = known.old {
        return Err(ViewError::Mismatch(format!(
            "generation {old} is still kept beside the live one, {}: drop it first with `natter rebuild --drop-old clickhouse`",
            known.live.generation
        )));
    }
    let next = match known.next {
        Some(next) if next.fold == FOLD_VERSION => next,
        Some(Filled { generation, fold }) => {
            return Err(ViewError::Mismatch(format!(
                "generation {generation} was begun by version {fold} of the history's code, this binary has {FOLD_VERSION}: drop it with `natter rebuild --discard clickhouse`"
            )));
        }
        None => {
            // Noted before there is a table, so that nothing ever lies about that nobody knows of.
            let next = Filled { generation: known.following(), fold: FOLD_VERSION };
            note(clickhouse, next, Step::Building).await?;
            next
        }
    };
    let next = clickhouse.of(next);
    migrate_tables(&next).await?;
    Ok(next)
}

/// Tables of a generation that are merged while it is built, if nobody stops it.
const MERGED: [&str; 3] = ["events", "messages", "members"];

/// From now on the parts of this generation's tables are merged, or are not: until the server is started again.
///
/// # Errors
/// Transient, also where the user may not say so.
pub async fn merge_parts(of: &ClickHouse, is_wanted: bool) -> Result<(), ViewError> {
    let verb = if is_wanted { "START" } else { "STOP" };
    for table in MERGED {
        of.execute("stopping or starting merges", &format!("SYSTEM {verb} MERGES {}", of.table(table))).await?;
    }
    Ok(())
}

/// Parts of the table of this generation that has the most.
///
/// # Errors
/// Transient.
pub async fn parts_max(of: &ClickHouse) -> Result<u64, ViewError> {
    let sql = "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts WHERE database = ? AND active GROUP BY table)";
    let asked = of.client().query(sql).bind(of.store());
    read("counting a generation's parts", asked.fetch_one::<u64>()).await
}

/// The live generation, which stays this one.
///
/// # Errors
/// Transient.
pub async fn live(clickhouse: &ClickHouse) -> Result<ClickHouse, ViewError> {
    Ok(clickhouse.of(generations(clickhouse).await?.live))
}

/// The generation that the analysts' views read, which stays this one.
///
/// # Errors
/// Transient.
pub async fn shown(clickhouse: &ClickHouse) -> Result<ClickHouse, ViewError> {
    Ok(clickhouse.of(Filled { generation: generations(clickhouse).await?.shown, fold: FOLD_VERSION }))
}

/// From now on roles read and write `next`; each notices it within [`super::POINTER_SERVES`].
///
/// # Errors
/// Transient.
pub async fn go_live(next: &ClickHouse) -> Result<(), ViewError> {
    note(next, Filled { generation: next.generation(), fold: FOLD_VERSION }, Step::Live).await
}

/// From now on the analysts' views read the live generation.
///
/// # Errors
/// Transient.
pub async fn show_live(clickhouse: &ClickHouse) -> Result<(), ViewError> {
    let live = generations(clickhouse).await?.live;
    show(&clickhouse.of(live)).await?;
    note(clickhouse, live, Step::Shown).await
}

/// Drops the generation that was live before; gives which, where there was one.
///
/// # Errors
/// Transient; `Mismatch` while the analysts' views still read it.
pub async fn drop_old(clickhouse: &ClickHouse) -> Result<Option<Generation>, ViewError> {
    let Generations { old, shown, .. } = generations(clickhouse).await?;
    let Some(old) = old else { return Ok(None) };
    if shown == old {
        return Err(ViewError::Mismatch(format!(
            "the analysts' views still read generation {old}: `natter rebuild clickhouse` ends the switch first"
        )));
    }
    drop_generation(clickhouse, old).await?;
    Ok(Some(old))
}

/// Drops the generation that was begun beside the live one; gives which, where there was one.
///
/// # Errors
/// Transient.
pub async fn discard(clickhouse: &ClickHouse) -> Result<Option<Generation>, ViewError> {
    let Some(Filled { generation, .. }) = generations(clickhouse).await?.next else { return Ok(None) };
    drop_generation(clickhouse, generation).await?;
    Ok(Some(generation))
}

/// Noted when all is gone: until then nothing new is put into this database.
async fn drop_generation(clickhouse: &ClickHouse, generation: Generation) -> Result<(), ViewError> {
    let store = generation.store(clickhouse.views());
    let sql = "SELECT name FROM system.tables WHERE database = ? AND name != ? ORDER BY name";
    let asked = clickhouse.client().query(sql).bind(&store).bind(POINTER);
    let tables: Vec<String> = read("looking for a generation's tables", asked.fetch_all()).await?;
    for table in tables {
        // However large it is: that is what the caller asked for.
        let sql = format!("DROP TABLE IF EXISTS {store}.`{table}` SYNC SETTINGS max_table_size_to_drop = 0");
        clickhouse.execute("dropping a generation of the history", &sql).await?;
    }
    note(clickhouse, Filled { generation, fold: 0 }, Step::Dropped).await
}
