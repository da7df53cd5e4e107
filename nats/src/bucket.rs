//! Keys of a KV bucket: read from the leader, written by compare-and-set, gone after a time to live.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL, NATS_SEQUENCE, NATS_SUBJECT};
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use serde_json::json;

use crate::connection::Log;
use crate::error::LogError;
use crate::streams::{bucket_stream, bucket_subject};

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The bucket's sequence at which it was written.
    pub(crate) revision: u64,
    /// `None`: the key was deleted or has expired, and this is what marks it.
    pub(crate) value: Option<Bytes>,
}

const OPERATION: &str = "KV-Operation";
const MARKER_REASON: &str = "Nats-Marker-Reason";
/// A marker that nobody needs for longer.
const MARKER_TTL: &str = "2s";

/// A bucket of the log.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    log: Log,
    name: &'static str,
}

impl Bucket {
    pub(crate) fn new(log: &Log, name: &'static str) -> Self {
        Self { log: log.clone(), name }
    }

    pub(crate) fn subject(&self, key: &str) -> String {
        bucket_subject(self.name, key)
    }

    /// What stands under `key`, as the leader knows it.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<Entry>, LogError> {
        let ask = json!({ "last_by_subj": self.subject(key) });
        let found = self.log.raw_from_leader(&bucket_stream(self.name), &ask).await?;
        Ok(found.map(|found| Entry { revision: found.sequence, value: value(Some(&found.headers), found.payload) }))
    }

    /// The keys that match one of `filters` (subjects within the bucket) and have a value, with their revisions, as some
    /// replica knows them.
    pub(crate) async fn matching(&self, filters: &[&str]) -> Result<Vec<(String, u64)>, LogError> {
        let filters: Vec<String> = filters.iter().map(|filter| self.subject(filter)).collect();
        let found = self.log.get_last(&bucket_stream(self.name), &filters).await?;
        let prefix = self.subject("");
        let keys = found.into_iter().filter_map(|message| {
            let headers = message.headers.as_ref()?;
            let subject = headers.get(NATS_SUBJECT)?.as_str().to_owned();
            let revision = headers.get(NATS_SEQUENCE)?.as_str().parse().ok()?;
            value(message.headers.as_ref(), message.payload)?;
            Some((subject.strip_prefix(&prefix)?.to_owned(), revision))
        });
        Ok(keys.collect())
    }

    /// Writes `value` if the key's last revision is `expected` (0: there is none), to be gone after `ttl`. Gives the new
    /// revision; `None`: it is another.
    pub(crate) async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, seconds(ttl));
        }
        self.publish_if(key, headers, value).await
    }

    /// Writes `value` whatever is there.
    pub(crate) async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_TTL, seconds(ttl));
        self.publish_if(key, headers, value).await.map(drop)
    }

    /// Deletes the key if its last revision is `expected`; `None` as the revision: in any case. Says whether it did.
    pub(crate) async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool, LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        headers.insert(NATS_MESSAGE_TTL, MARKER_TTL);
        if let Some(expected) = expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        Ok(self.publish_if(key, headers, Bytes::new()).await?.is_some())
    }

    async fn publish_if(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<Option<u64>, LogError> {
        match self.log.link().publish(self.subject(key), headers, value, PUBLISH_TIMEOUT).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.is(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) => Ok(None),
            Err(error) if error.is(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Ok(None),
            Err(error) => Err(error.into_transient(format_args!("cannot write {key} in bucket {}", self.name))),
        }
    }
}

const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The value of a key's last message, unless that marks its end.
pub(crate) fn value(headers: Option<&HeaderMap>, payload: Bytes) -> Option<Bytes> {
    let ended = headers.is_some_and(|headers| headers.get(OPERATION).is_some() || headers.get(MARKER_REASON).is_some());
    (!ended).then_some(payload)
}

/// The broker counts whole seconds.
fn seconds(ttl: Duration) -> String {
    format!("{}s", ttl.as_secs().max(1))
}
