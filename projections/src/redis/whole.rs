//! The whole content of a partition's live views, key by key, for whoever compares it with the log.
//!
//! Nothing here holds Redis up: keys come some at a time, large ones in pages, and each answer is of one moment and says
//! of which position. What changes between two answers is the reader's to follow.

use std::sync::LazyLock;

use super::connection::{Args, Redis, Script};
use super::query::{Answers, answered};
use super::refs;
use crate::error::ViewError;
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("whole.lua")));

/// The type of a key that was left out of an answer that is long already.
const UNREAD: &str = "unread";

/// Where a scan, or the pages of a key, begin and end.
pub const START: &str = "0";

/// Some keys at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The position that they show.
    pub watermark: Watermark,
    /// How many outcomes of the batch behind it they show, too.
    pub index: u32,
    /// Where the scan goes on; [`START`]: that was all.
    pub next: String,
    /// The keys. A scan may give one twice.
    pub pages: Vec<Page>,
    /// Keys that did not fit into this answer, and are to be asked for by [`keys`].
    pub unread: Vec<String>,
}

/// A key, or a part of a large one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name, without partition and generation.
    pub key: String,
    /// Redis's name of its type; `none`: there is no such key.
    pub kind: String,
    /// Where the key goes on; [`START`]: that was all of it.
    pub next: String,
    /// Its items: a hash's fields and values, a set's members with nothing, users with the rest, lists of refs with their times.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// A list's elements.
    pub elements: Vec<Vec<u8>>,
}

/// The keys that come next in a scan of all keys; those that are there from its begin to its end come.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn scan(redis: &Redis, partition: u16, cursor: &str) -> Result<Look, ViewError> {
    ask(redis, partition, "scan", [cursor]).await
}

/// These keys, each from its begin.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn keys<'k>(
    redis: &Redis,
    partition: u16,
    keys: impl IntoIterator<Item = &'k str>,
) -> Result<Look, ViewError> {
    ask(redis, partition, "keys", keys).await
}

/// The next page of a key.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn page(redis: &Redis, partition: u16, key: &str, cursor: &str) -> Result<Look, ViewError> {
    ask(redis, partition, "page", [key, cursor]).await
}

async fn ask<'a>(
    redis: &Redis,
    partition: u16,
    what: &str,
    of: impl IntoIterator<Item = &'a str>,
) -> Result<Look, ViewError> {
    let mut args = Args::default();
    args.push(what);
    for one in of {
        args.push(one);
    }
    let (watermark, mut answers) = answered(redis.call(&SCRIPT, &redis.mark(partition), &args).await?)?;
    let index = answers.number()?.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
    let next = answers.text()?.unwrap_or_default();
    let (mut pages, mut unread) = (Vec::with_capacity(answers.len() / 4), Vec::new());
    while answers.len() > 0 {
        let page = next_page(&mut answers)?;
        if page.kind == UNREAD { unread.push(page.key) } else { pages.push(page) }
    }
    Ok(Look { watermark, index, next, pages, unread })
}

fn next_page(answers: &mut Answers) -> Result<Page, ViewError> {
    // A key that no view made may have any name.
    let key = String::from_utf8_lossy(&answers.bytes()?.unwrap_or_default()).into_owned();
    let (kind, next) = (answers.text()?.unwrap_or_default(), answers.text()?.unwrap_or_default());
    let mut items = answers.many()?;
    let (mut fields, mut elements) = (Vec::new(), Vec::new());
    while items.len() > 0 {
        let item = items.bytes()?.unwrap_or_default();
        match kind.as_str() {
            "list" => elements.push(item),
            "hash" => fields.push((item, items.bytes()?.unwrap_or_default())),
            "zset" if key == refs::QUEUE => fields.push((item, items.bytes()?.unwrap_or_default())),
            "zset" => fields.push(user(&item, &items.bytes()?.unwrap_or_default())),
            _ => fields.push((item, Vec::new())),
        }
    }
    Ok(Page { key, kind, next, fields, elements })
}

/// User and the rest. Scores are all 0, or users could not be found: another one shows.
fn user(entry: &[u8], score: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let end = entry.iter().position(|byte| *byte == 0).unwrap_or(entry.len());
    let mut rest = entry.get(end + 1..).unwrap_or_default().to_vec();
    if score != b"0" {
        rest.extend_from_slice(b" with score ");
        rest.extend_from_slice(score);
    }
    (entry[..end].to_vec(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_not_0_shows() {
        assert_eq!(user(b"ada\0m5", b"0"), (b"ada".to_vec(), b"m5".to_vec()));
        assert_eq!(user(b"ada\0m5", b"2"), (b"ada".to_vec(), b"m5 with score 2".to_vec()));
        assert_eq!(user(b"ada", b"0"), (b"ada".to_vec(), Vec::new()));
    }
}
