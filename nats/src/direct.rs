//! Messages by their sequence, without a consumer.
//!
//! Direct get is answered by any replica, also by one that lags: good for what is known to be there. What decides
//! something (the last batch, what stands at a sequence) is asked of the stream's leader.

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessage};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::stored::Stored;

/// Where a stream begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first sequence still there; `last + 1` where the stream is empty.
    pub first: u64,
    /// The last sequence ever given; 0 where none was.
    pub last: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Bytes it may take.
    pub bytes_max: u64,
}

impl Bounds {
    /// Messages between first and last.
    pub const fn messages(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Bytes that are left.
    pub const fn free_bytes(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// 0 (full) to 1 (empty).
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn free_share(&self) -> f64 {
        if self.bytes_max == 0 { 1.0 } else { 1.0 - (self.bytes as f64 / self.bytes_max as f64).min(1.0) }
    }
}

#[derive(Deserialize)]
struct Raw {
    message: RawMessage,
}

/// How long one answer of several messages may pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A stream that ends too low is looked at again so often, over two and a half seconds.
const LOWER_ENDS_MAX: u32 = 5;
/// Bytes of one answer: the largest message fits.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Log {
    /// Where `stream` begins and ends, as its leader knows it.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: there is no such stream any more.
    pub async fn bounds(&self, stream: &str) -> Result<Bounds, LogError> {
        match self.link().api::<Info>(format!("STREAM.INFO.{stream}"), &()).await {
            Ok(Info { config, state, .. }) => Ok(Bounds {
                // A stream that never had a message says 0.
                first: state.first_sequence.max(1),
                last: state.last_sequence,
                bytes: state.bytes,
                bytes_max: u64::try_from(config.max_bytes).unwrap_or(0),
            }),
            Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => {
                Err(LogError::Corrupt(format!("stream {stream} is gone")))
            }
            Err(error) => Err(error.into_transient(format_args!("cannot look at stream {stream}"))),
        }
    }

    /// [`Log::bounds`] of a stream that is known to hold `last`. A leader that was just elected may not have caught up with
    /// what its predecessor acknowledged, so a lower end is believed only when it stays for a while.
    ///
    /// # Errors
    /// As [`Log::bounds`].
    pub async fn bounds_from(&self, stream: &str, last: u64) -> Result<Bounds, LogError> {
        let mut patience = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for _ in 0..LOWER_ENDS_MAX {
            let bounds = self.bounds(stream).await?;
            if bounds.last >= last {
                return Ok(bounds);
            }
            patience.wait().await;
        }
        self.bounds(stream).await
    }

    /// The message at `sequence`; `None`: not there, or not yet on the replica that answered.
    ///
    /// # Errors
    /// [`LogError::Transient`].
    pub async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError> {
        let doing = || format!("direct get of {sequence} from {stream}");
        let ask = json!({ "seq": sequence }).to_string();
        let answer = self.client().request(format!("$JS.API.DIRECT.GET.{stream}"), ask.into()).await;
        let answer = answer.map_err(|error| LogError::transient(doing(), error))?;
        match answer.status {
            None | Some(StatusCode::OK) => Stored::from_direct(answer).map(Some),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(LogError::transient(doing(), format_args!("status {status}"))),
        }
    }

    /// Up to `count` messages from `from` on, as far as the replica that answers has them and up to 8 MiB; what was trimmed
    /// comes from the archive. The first may come after `from`, and there may be jumps, where messages are missing: the
    /// caller checks.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: the archive is not what was put there.
    pub async fn get_batch(&self, stream: &str, from: u64, count: u64) -> Result<Vec<Stored>, LogError> {
        let ask = json!({ "seq": from, "batch": count, "max_bytes": ANSWER_BYTES_MAX });
        let found = self.get_many(stream, &ask).await?;
        if found.first().is_some_and(|first| first.sequence == from) {
            return Ok(found);
        }
        let mut archived = self.archived(stream, from).await?;
        archived.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(if archived.is_empty() { found } else { archived })
    }

    /// The last message of each subject that matches one of `subjects`.
    pub(crate) async fn get_last(
        &self,
        stream: &str,
        subjects: &[String],
    ) -> Result<Vec<async_nats::Message>, LogError> {
        self.ask_many(stream, &json!({ "multi_last": subjects })).await
    }

    async fn get_many(&self, stream: &str, ask: &serde_json::Value) -> Result<Vec<Stored>, LogError> {
        let answers = self.ask_many(stream, ask).await?;
        answers.into_iter().map(Stored::from_direct).collect()
    }

    /// One request, many answers, ended by a status message.
    async fn ask_many(&self, stream: &str, ask: &serde_json::Value) -> Result<Vec<async_nats::Message>, LogError> {
        let doing = || format!("direct get of {ask} from {stream}");
        let inbox = self.client().new_inbox();
        let subscribed = self.client().subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|error| LogError::transient(doing(), error))?;
        let asked =
            self.client().publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, ask.to_string().into());
        asked.await.map_err(|error| LogError::transient(doing(), error))?;
        let mut messages = Vec::new();
        loop {
            let next = tokio::time::timeout(PAUSE_MAX, answers.next()).await;
            let Ok(Some(message)) = next else {
                return Err(LogError::transient(doing(), "no answer in time"));
            };
            match message.status {
                None | Some(StatusCode::OK) => messages.push(message),
                // 204: that was all. 404: there is none.
                Some(status) if status.as_u16() == 204 || status == StatusCode::NOT_FOUND => return Ok(messages),
                Some(status) => return Err(LogError::transient(doing(), format_args!("status {status}"))),
            }
        }
    }

    /// The message at `sequence` as the stream's leader has it.
    ///
    /// # Errors
    /// [`LogError::Transient`].
    pub async fn get_from_leader(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError> {
        let found = self.raw_from_leader(stream, &json!({ "seq": sequence })).await?;
        Ok(found.map(Stored::from))
    }

    /// The last message of `stream` as its leader has it: where a worker takes up (invariant 4).
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: the last message is gone, which no trim does.
    pub async fn last_from_leader(&self, stream: &str) -> Result<Option<Stored>, LogError> {
        let bounds = self.bounds(stream).await?;
        if bounds.last == 0 {
            return Ok(None);
        }
        // By its sequence: asked for the last of a subject, a broker whose disk failed also gives what it could not store.
        match self.get_from_leader(stream, bounds.last).await? {
            Some(found) => Ok(Some(found)),
            None => Err(LogError::Corrupt(format!(
                "stream {stream} ends at {}, but that message is not there",
                bounds.last
            ))),
        }
    }

    pub(crate) async fn raw_from_leader(
        &self,
        stream: &str,
        ask: &serde_json::Value,
    ) -> Result<Option<StreamMessage>, LogError> {
        let doing = || format!("cannot get {ask} from the leader of {stream}");
        match self.link().api::<Raw>(format!("STREAM.MSG.GET.{stream}"), ask).await {
            Ok(found) => found.message.try_into().map(Some).map_err(|error| LogError::transient(doing(), error)),
            Err(error) if error.is(ErrorCode::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error.into_transient(doing())),
        }
    }

    /// The first sequence of `stream` that was stored at `stored_ms` or later; `last + 1` where none was. Broker clocks that
    /// step back make this approximate, never wrong by more than the step.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: a message within the bounds is missing.
    pub async fn sequence_at(&self, stream: &str, stored_ms: u64) -> Result<u64, LogError> {
        self.first_not(stream, |found| Ok(found.stored_ms < stored_ms)).await
    }

    /// The first sequence of `stream` whose message is not `before` what is looked for; `last + 1` where all are. Those that are before it must all stand in
    /// front of those that are not. Some twenty messages of a million are read, the trimmed ones from the archive.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: a message within the bounds is missing; whatever `before` says.
    pub async fn first_not(
        &self,
        stream: &str,
        before: impl Fn(&Stored) -> Result<bool, LogError>,
    ) -> Result<u64, LogError> {
        let bounds = self.whole_bounds(stream).await?;
        let (mut low, mut high) = (bounds.first, bounds.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get_wherever(stream, middle).await? {
                Some(found) if before(&found)? => low = middle + 1,
                Some(_) => high = middle,
                None => {
                    // Trimmed meanwhile, or missing.
                    let first = self.whole_bounds(stream).await?.first;
                    if middle >= first {
                        return Err(LogError::Corrupt(format!(
                            "stream {stream} has no message {middle}, though its first is {first}"
                        )));
                    }
                    low = first;
                    high = high.max(first);
                }
            }
        }
        Ok(low)
    }
}
