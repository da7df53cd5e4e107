//! Generations of the views of a partition: the live one, one that is built beside it, and the one before.
//!
//! ```text
//! {p}:watermark   hash   log, sequence, generation and fold of the live views
//! {p}:next        hash   the same of those that are built beside them
//! {p}:old         hash   generation of those that were live before
//! ```
//!
//! Everybody who reads or writes live views finds their generation in the script that does it, so the switch is one script
//! and nobody has to be told.

use std::sync::LazyLock;

use ::redis::Value;

use super::connection::{Args, Redis, Script, next_mark, old_mark};
use super::fold::FOLD_VERSION;
use super::query::{Answers, answered};
use crate::error::ViewError;
use crate::watermark::Watermark;

static GENERATIONS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("generations.lua")));
static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));
static SWITCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("switch.lua")));
static DROP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("drop.lua")));

/// A generation, with the version of the fold that fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Its number; 0: the first.
    pub generation: u64,
    /// [`FOLD_VERSION`] of the binary that began it.
    pub fold: u32,
}

/// The generations of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations {
    /// How far the views are that were asked: live ones, or ([`Redis::next`]) those beside them.
    pub watermark: Watermark,
    /// These views; `None`: there are none.
    pub own: Option<Filled>,
    /// What everybody reads.
    pub live: Filled,
    /// What is built beside it.
    pub next: Option<Filled>,
    /// What was live before.
    pub old: Option<u64>,
}

/// Which generations there are in a partition.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn generations(redis: &Redis, partition: u16) -> Result<Generations, ViewError> {
    let answer = redis.call(&GENERATIONS, &redis.mark(partition), &Args::default()).await?;
    let (watermark, mut answers) = answered(answer)?;
    let own = filled(&mut answers)?;
    let live = filled(&mut answers)?.unwrap_or(Filled { generation: 0, fold: 1 });
    Ok(Generations { watermark, own, live, next: filled(&mut answers)?, old: optional(&mut answers)? })
}

fn filled(answers: &mut Answers) -> Result<Option<Filled>, ViewError> {
    let (generation, fold) = (optional(answers)?, optional(answers)?);
    let fold = fold.and_then(|fold| u32::try_from(fold).ok()).unwrap_or(1);
    Ok(generation.map(|generation| Filled { generation, fold }))
}

fn optional(answers: &mut Answers) -> Result<Option<u64>, ViewError> {
    match answers.text()?.unwrap_or_default().as_str() {
        "" => Ok(None),
        text => Ok(Some(super::query::number(text.as_bytes())?)),
    }
}

/// Begins the next generation of a partition, where neither it nor an old one is there.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn begin(redis: &Redis, partition: u16) -> Result<(), ViewError> {
    let mut args = Args::default();
    args.number(FOLD_VERSION);
    redis.call(&BEGIN, &next_mark(partition), &args).await.map(drop)
}

/// Makes the next generation of a partition the live one, at once for everybody; `false`: it is behind the live one.
///
/// # Errors
/// [`ViewError::Transient`]; [`ViewError::Corrupt`] where it is gone or of another log.
pub async fn switch(redis: &Redis, partition: u16, generation: u64) -> Result<bool, ViewError> {
    let mut args = Args::default();
    args.number(generation);
    let answer = redis.call(&SWITCH, &next_mark(partition), &args).await?;
    Ok(answer == Value::Int(1))
}

/// Drops what was live before in a partition; gives its number, where there was such.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn drop_old(redis: &Redis, partition: u16) -> Result<Option<u64>, ViewError> {
    drop_keys(redis, &old_mark(partition)).await
}

/// Drops what is built beside the live views of a partition; gives its number, where there was such.
///
/// # Errors
/// As [`drop_old`].
pub async fn discard(redis: &Redis, partition: u16) -> Result<Option<u64>, ViewError> {
    drop_keys(redis, &next_mark(partition)).await
}

/// Some keys at a time, so that Redis answers others in between.
async fn drop_keys(redis: &Redis, mark: &str) -> Result<Option<u64>, ViewError> {
    let mut cursor = "0".to_owned();
    loop {
        let mut args = Args::default();
        args.push(&cursor);
        let mut answers = Answers::of(redis.call(&DROP, mark, &args).await?)?;
        let generation = optional(&mut answers)?;
        cursor = answers.text()?.unwrap_or_default();
        if cursor == "0" {
            return Ok(generation);
        }
    }
}
