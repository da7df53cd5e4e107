//! Questions about one partition, answered at one moment with the watermark: one script, one round trip.

use std::sync::LazyLock;

use ::redis::Value;
use natter_nats::LogId;

use super::connection::{Args, Redis, Script};
use crate::error::ViewError;
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("query.lua")));

/// Fields asked of one hash in one question; Lua's stack holds some 8,000 values.
pub(crate) const FIELDS_MAX: usize = 4000;

/// Questions in the making. Keys are without their prefix, which the script adds.
#[derive(Debug, Default)]
pub(crate) struct Query {
    args: Args,
    /// Where each question begins.
    begins: Vec<usize>,
}

impl Query {
    /// Values of a hash's fields, each or nil.
    pub(crate) fn fields<T: AsRef<[u8]>>(&mut self, key: &str, fields: impl ExactSizeIterator<Item = T>) {
        debug_assert!((1..=FIELDS_MAX).contains(&fields.len()), "one to {FIELDS_MAX} fields in one question");
        self.question("fields", key, fields.len());
        for field in fields {
            self.args.push(field);
        }
    }

    /// All of a list.
    pub(crate) fn list(&mut self, key: &str) {
        self.question("list", key, 0);
    }

    /// Some members of a set after a cursor (`0` at first), the next cursor first (`0`: these were all). One may come twice.
    pub(crate) fn some(&mut self, key: &str, cursor: &str) {
        self.question("some", key, 1);
        self.args.push(cursor);
    }

    /// All values of a hash.
    pub(crate) fn values(&mut self, key: &str) {
        self.question("values", key, 0);
    }

    /// The last of a list, or nil.
    pub(crate) fn last(&mut self, key: &str) {
        self.question("last", key, 0);
    }

    /// A list's messages of these seqs, as far as they are there.
    pub(crate) fn seqs(&mut self, key: &str, from: u64, to: u64) {
        self.question("seqs", key, 2);
        self.args.number(from);
        self.args.number(to);
    }

    /// One user's entry in an ordered list of users, or nil.
    pub(crate) fn user(&mut self, key: &str, user: &str) {
        self.question("user", key, 1);
        self.args.push(user);
    }

    /// At most `limit` entries of an ordered list of users after one, each followed by its field in the hash `cursors`.
    pub(crate) fn users(&mut self, key: &str, after: Option<&str>, limit: u32, cursors: &str) {
        self.question("users", key, 3);
        self.args.push(after.unwrap_or_default());
        self.args.number(limit);
        self.args.push(cursors);
    }

    fn question(&mut self, name: &str, key: &str, count: usize) {
        self.begins.push(self.args.len());
        self.args.push(name);
        self.args.push(key);
        self.args.number(count);
    }

    /// Asks all of them, whose answers are short, at one moment.
    ///
    /// # Errors
    /// [`ViewError::Transient`] or [`ViewError::Corrupt`].
    pub(crate) async fn ask(self, redis: &Redis, partition: u16) -> Result<(Watermark, Answers), ViewError> {
        let asked = self.begins.len();
        let (watermark, answers) = self.ask_some(redis, partition).await?;
        if answers.len() < asked {
            return Err(ViewError::Corrupt("one answer in redis is too long for what was asked".into()));
        }
        Ok((watermark, answers))
    }

    /// Asks as many of them as one script answers, at least the first.
    ///
    /// # Errors
    /// As [`Query::ask`].
    pub(crate) async fn ask_some(&self, redis: &Redis, partition: u16) -> Result<(Watermark, Answers), ViewError> {
        answered(redis.call(&SCRIPT, &redis.mark(partition), &self.args).await?)
    }

    /// Asks all of them, by as many scripts as that takes, with the earliest watermark.
    ///
    /// # Errors
    /// As [`Query::ask`].
    pub(crate) async fn ask_in_turns(self, redis: &Redis, partition: u16) -> Result<(Watermark, Answers), ViewError> {
        let (mut watermark, answers) = self.ask_some(redis, partition).await?;
        let mut all: Vec<Value> = answers.0.collect();
        while let Some(next) = self.begins.get(all.len()) {
            let rest = redis.call(&SCRIPT, &redis.mark(partition), &self.args.after(*next)).await?;
            let (shown, more) = answered(rest)?;
            watermark = watermark.earlier(shown)?;
            all.extend(more.0);
        }
        Ok((watermark, Answers(all.into_iter())))
    }
}

/// What a script answered: the watermark first, then what was asked.
pub(crate) fn answered(answer: Value) -> Result<(Watermark, Answers), ViewError> {
    let mut answers = Answers::of(answer)?;
    let log = answers.text()?.unwrap_or_default();
    let sequence = answers.number()?.unwrap_or(0);
    let log: Option<LogId> = match log.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| ViewError::corrupt("the watermark in redis", error))?),
    };
    Ok((Watermark { log, sequence }, answers))
}

/// Answers in the order of the questions.
pub(crate) struct Answers(std::vec::IntoIter<Value>);

impl Answers {
    /// A script's answers.
    pub(crate) fn of(answer: Value) -> Result<Self, ViewError> {
        Ok(Self(array(answer)?.into_iter()))
    }

    /// The next as bytes, or nil.
    pub(crate) fn bytes(&mut self) -> Result<Option<Vec<u8>>, ViewError> {
        bytes(self.value()?)
    }

    /// The next as text, or nil.
    pub(crate) fn text(&mut self) -> Result<Option<String>, ViewError> {
        let text = |bytes| String::from_utf8(bytes).map_err(|error| ViewError::corrupt("a text in redis", error));
        self.bytes()?.map(text).transpose()
    }

    /// The next as a number, or nil.
    pub(crate) fn number(&mut self) -> Result<Option<u64>, ViewError> {
        match self.value()? {
            Value::Int(number) => Ok(Some(number.unsigned_abs())),
            value => bytes(value)?.map(|bytes| number(&bytes)).transpose(),
        }
    }

    /// The next as answers of their own.
    pub(crate) fn many(&mut self) -> Result<Self, ViewError> {
        Self::of(self.value()?)
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn value(&mut self) -> Result<Value, ViewError> {
        self.0.next().ok_or_else(|| ViewError::Corrupt("redis answered less than was asked".into()))
    }
}

/// A decimal number in Redis.
pub(crate) fn number<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, ViewError> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ViewError::Corrupt(format!("not a number in redis: {:?}", String::from_utf8_lossy(bytes))))
}

fn bytes(value: Value) -> Result<Option<Vec<u8>>, ViewError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        other => Err(unexpected(&other)),
    }
}

fn array(value: Value) -> Result<Vec<Value>, ViewError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(value: &Value) -> ViewError {
    let mut text = format!("{value:?}");
    text.truncate(text.floor_char_boundary(100));
    ViewError::Corrupt(format!("redis answered with something else than expected: {text}"))
}
