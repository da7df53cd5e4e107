//! The streams and buckets of the log: made once, checked at every start.
//!
//! `EVT_0` is made first and its metadata holds the log id, so processes that start at once agree on one; the bucket of
//! policies is made last, so where it stands every stream stood once, and one that is missing was lost.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, Republish, RetentionPolicy, StorageType};
use natter_schemas::subjects::{
    LEASES_BUCKET, LOG_ID_METADATA, PARTITIONS_METADATA, POLICIES_BUCKET, command_stream, command_subject,
    live_subject, outcome_stream, outcome_subject,
};

use crate::connection::{Link, LogConfig};
use crate::error::LogError;
use crate::space::OUTCOME_GROWTH_MAX;

/// The log's id: 32 hex digits, made with the streams.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(Arc<str>);

impl LogId {
    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn random() -> Result<Self, LogError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| LogError::transient("no random bytes for the log id", error))?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for LogId {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            Ok(Self(text.into()))
        } else {
            Err(LogError::Mismatch(format!("not a log id: `{text}` (32 hex digits)")))
        }
    }
}

/// How large each stream may grow, in bytes. A full stream refuses what is new, it never drops what is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBytes {
    /// Each `CMD_p`.
    pub commands: u64,
    /// Each `EVT_p`.
    pub outcomes: u64,
}

impl StreamBytes {
    /// For `partitions` on a disk where the streams may take `bytes` in all: a quarter is kept in reserve, and of the
    /// rest a sixteenth is for commands.
    pub const fn within(bytes: u64, partitions: u16) -> Self {
        let each = bytes / 4 * 3 / (partitions as u64) / 16;
        Self { commands: each, outcomes: each * OUTCOMES_TO_COMMANDS }
    }

    /// As configured; the one of the two that is not goes by the other.
    pub fn given(commands: Option<u64>, outcomes: Option<u64>) -> Self {
        match (commands, outcomes) {
            (None, None) => Self::default(),
            (Some(commands), None) => Self { commands, outcomes: commands.saturating_mul(OUTCOMES_TO_COMMANDS) },
            (None, Some(outcomes)) => Self { commands: outcomes / OUTCOMES_TO_COMMANDS, outcomes },
            (Some(commands), Some(outcomes)) => Self { commands, outcomes },
        }
    }
}

impl Default for StreamBytes {
    fn default() -> Self {
        Self { commands: 256 << 20, outcomes: OUTCOMES_TO_COMMANDS * (256 << 20) }
    }
}

/// Outcomes are kept for a week or for ever, commands for minutes; and `EVT_p` keeps free what the outcomes of a whole `CMD_p` take.
const OUTCOMES_TO_COMMANDS: u64 = 15;
const _: () = assert!(OUTCOMES_TO_COMMANDS >= 2 * OUTCOME_GROWTH_MAX, "half of EVT is of use");

/// A retried publish is recognised this long; nobody retries longer ([`natter_schemas::limits::PUBLISH_RETRY_MS_MAX`]).
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
const MESSAGE_BYTES_MAX: i32 = 8 * 1024 * 1024;
/// A bucket never holds more than small values; without a limit one could fill the disk.
const BUCKET_BYTES_MAX: u64 = 256 << 20;
/// How long the broker keeps the marker of an expired key.
const LIMIT_MARKER: Duration = Duration::from_secs(1);

/// The stream of a KV bucket.
pub(crate) fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of a key in a KV bucket.
pub(crate) fn bucket_subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// Makes what is missing and checks what is there.
pub(crate) async fn make(link: &Link, config: &LogConfig) -> Result<LogId, LogError> {
    let complete = info(link, &bucket_stream(POLICIES_BUCKET)).await?.is_some();
    let proposed = LogId::random()?;
    let mut id = None;
    for stream in expected(config, &proposed) {
        let stream = match &id {
            None => stream,
            Some(id) => with_log(stream, id),
        };
        let found = match info(link, &stream.name).await? {
            Some(found) => found,
            None if complete => {
                let name = &stream.name;
                return Err(LogError::Corrupt(format!("stream {name} is missing from a log that once was complete")));
            }
            None => create(link, &stream).await?,
        };
        let of = verify(&found.config, config, id.as_ref())?;
        if found.config.max_bytes != stream.max_bytes && may_resize(link, config, &found, stream.max_bytes).await? {
            resize(link, &found.config, stream.max_bytes).await?;
        }
        id.get_or_insert(of);
    }
    id.ok_or_else(|| LogError::Mismatch("a log without streams".into()))
}

/// Checks that the log is there and the one that is expected.
pub(crate) async fn check(link: &Link, config: &LogConfig) -> Result<LogId, LogError> {
    let mut id = None;
    for stream in expected(config, &LogId::random()?) {
        let Some(found) = info(link, &stream.name).await? else {
            return Err(LogError::Transient(format!("stream {} does not exist: the log is not made yet", stream.name)));
        };
        let of = verify(&found.config, config, id.as_ref())?;
        id.get_or_insert(of);
    }
    id.ok_or_else(|| LogError::Mismatch("a log without streams".into()))
}

/// Every stream of the log, in the order in which they are made.
pub(crate) fn expected(config: &LogConfig, id: &LogId) -> Vec<Config> {
    let outcomes = (0..config.partitions).map(|partition| Config {
        republish: Some(Republish {
            source: outcome_subject(partition),
            destination: live_subject(partition),
            headers_only: false,
        }),
        ..batches(outcome_stream(partition), outcome_subject(partition), config.bytes.outcomes)
    });
    let commands = (0..config.partitions)
        .map(|partition| batches(command_stream(partition), command_subject(partition), config.bytes.commands));
    let leases =
        Config { allow_message_ttl: true, subject_delete_marker_ttl: Some(LIMIT_MARKER), ..bucket(LEASES_BUCKET) };
    let all = outcomes.chain(commands).chain([leases, bucket(POLICIES_BUCKET)]);
    all.map(|stream| Config {
        num_replicas: config.replicas,
        metadata: HashMap::from([
            (LOG_ID_METADATA.to_owned(), id.to_string()),
            (PARTITIONS_METADATA.to_owned(), config.partitions.to_string()),
        ]),
        ..stream
    })
    .collect()
}

fn batches(name: String, subject: String, bytes: u64) -> Config {
    Config {
        name,
        subjects: vec![subject],
        duplicate_window: DUPLICATE_WINDOW,
        max_message_size: MESSAGE_BYTES_MAX,
        ..kept(bytes)
    }
}

fn bucket(name: &str) -> Config {
    Config {
        name: bucket_stream(name),
        subjects: vec![bucket_subject(name, ">")],
        max_messages_per_subject: 1,
        allow_rollup: true,
        ..kept(BUCKET_BYTES_MAX)
    }
}

fn kept(bytes: u64) -> Config {
    Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        // What is stored stays: a full stream refuses, and no single message can be taken out.
        discard: DiscardPolicy::New,
        deny_delete: true,
        max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        allow_direct: true,
        ..Config::default()
    }
}

fn with_log(mut stream: Config, id: &LogId) -> Config {
    stream.metadata.insert(LOG_ID_METADATA.to_owned(), id.to_string());
    stream
}

async fn info(link: &Link, name: &str) -> Result<Option<Info>, LogError> {
    match link.api::<Info>(format!("STREAM.INFO.{name}"), &()).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => Ok(None),
        Err(error) => Err(error.into_transient(format_args!("cannot look at stream {name}"))),
    }
}

async fn create(link: &Link, stream: &Config) -> Result<Info, LogError> {
    let name = &stream.name;
    match link.api::<Info>(format!("STREAM.CREATE.{name}"), stream).await {
        Ok(info) => Ok(info),
        // Another process was faster; its log id counts.
        Err(error) if error.is(ErrorCode::STREAM_NAME_EXIST) => {
            let found = info(link, name).await?;
            found.ok_or_else(|| LogError::Transient(format!("stream {name} comes and goes")))
        }
        Err(error) => Err(error.into_transient(format_args!("cannot make stream {name}"))),
    }
}

async fn resize(link: &Link, found: &Config, max_bytes: i64) -> Result<(), LogError> {
    let name = &found.name;
    tracing::info!(stream = name, from = found.max_bytes, to = max_bytes, "changing a stream's size");
    let wanted = Config { max_bytes, ..found.clone() };
    let done = link.api::<Info>(format!("STREAM.UPDATE.{name}"), &wanted).await;
    done.map(drop).map_err(|error| error.into_transient(format_args!("cannot change the size of stream {name}")))
}

/// Whether a stream can have another size and `EVT_p` still has room for the outcomes of a whole `CMD_p`.
async fn may_resize(link: &Link, config: &LogConfig, found: &Info, max_bytes: i64) -> Result<bool, LogError> {
    let (name, grows) = (&found.config.name, max_bytes > found.config.max_bytes);
    let bytes = |wanted: i64| u64::try_from(wanted).unwrap_or(0);
    let parts = name.split_once('_').map(|(kind, partition)| (kind, partition.parse()));
    let Some((kind, Ok(partition))) = parts else { return Ok(true) };
    let (commands, outcomes) = match kind {
        "CMD" if grows => {
            let Some(outcomes) = info(link, &outcome_stream(partition)).await? else { return Ok(true) };
            (bytes(max_bytes), bytes(outcomes.config.max_bytes).saturating_sub(outcomes.state.bytes))
        }
        "EVT" if !grows => {
            let commands = info(link, &command_stream(partition)).await?.map_or(0, |found| found.state.bytes);
            (commands.max(config.bytes.commands), bytes(max_bytes).saturating_sub(found.state.bytes))
        }
        _ => return Ok(true),
    };
    let fits = commands.saturating_mul(OUTCOME_GROWTH_MAX) <= outcomes;
    if !fits {
        let (from, to) = (found.config.max_bytes, max_bytes);
        tracing::warn!(
            stream = name,
            from,
            to,
            free = outcomes,
            commands,
            "a stream keeps its size: EVT would have no room for the outcomes of a full CMD"
        );
    }
    Ok(fits)
}

/// Whether this stream belongs to the log that is expected; gives its log id.
fn verify(found: &Config, config: &LogConfig, log: Option<&LogId>) -> Result<LogId, LogError> {
    let name = &found.name;
    let metadata = |key: &str| {
        let lacks =
            || LogError::Mismatch(format!("stream {name} has no `{key}` in its metadata: it is not of this system"));
        found.metadata.get(key).ok_or_else(lacks)
    };
    let partitions = metadata(PARTITIONS_METADATA)?;
    if *partitions != config.partitions.to_string() {
        return Err(LogError::Mismatch(format!(
            "stream {name} belongs to a log of {partitions} partitions, this process is configured for {}",
            config.partitions
        )));
    }
    if found.num_replicas != config.replicas {
        return Err(LogError::Mismatch(format!(
            "stream {name} has {} replicas, this process is configured for {}",
            found.num_replicas, config.replicas
        )));
    }
    let id: LogId = metadata(LOG_ID_METADATA)?.parse()?;
    match log {
        Some(log) if *log != id => {
            Err(LogError::Mismatch(format!("stream {name} belongs to log {id}, the streams before it to log {log}")))
        }
        _ => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(partitions: u16) -> LogConfig {
        LogConfig::new("nats://localhost", partitions)
    }

    #[test]
    fn the_first_stream_holds_the_log_id_and_the_policies_come_last() {
        let names: Vec<_> =
            expected(&config(2), &LogId::random().unwrap()).into_iter().map(|stream| stream.name).collect();
        assert_eq!(names, ["EVT_0", "EVT_1", "CMD_0", "CMD_1", "KV_leases", "KV_policies"]);
    }

    #[test]
    fn a_stream_of_another_log_is_named_with_both() {
        let id = LogId::random().unwrap();
        let stream = expected(&config(4), &id).remove(0);
        assert_eq!(verify(&stream, &config(4), None), Ok(id.clone()));

        let error = verify(&stream, &config(8), None).unwrap_err().to_string();
        assert!(error.contains("EVT_0") && error.contains("4 partitions") && error.contains("for 8"), "{error}");

        let error = verify(&stream, &LogConfig { replicas: 3, ..config(4) }, None).unwrap_err().to_string();
        assert!(error.contains("1 replicas") && error.contains("for 3"), "{error}");

        let other = LogId::random().unwrap();
        let error = verify(&stream, &config(4), Some(&other)).unwrap_err().to_string();
        assert!(error.contains(id.as_str()) && error.contains(other.as_str()), "{error}");

        let foreign = Config { metadata: HashMap::new(), ..stream };
        let error = verify(&foreign, &config(4), None).unwrap_err().to_string();
        assert!(error.contains("natter.partitions"), "{error}");
    }

    #[test]
    fn all_streams_together_stay_below_the_disk() {
        let bytes = StreamBytes::within(100 << 30, 4);
        assert!(4 * (bytes.commands + bytes.outcomes) <= 75 << 30);
        assert!(4 * (bytes.commands + bytes.outcomes) > 74 << 30);
    }
}
