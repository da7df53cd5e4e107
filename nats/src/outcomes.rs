//! Writing outcome batches: one writer per partition, held by compare-and-set (invariant 3).

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use natter_schemas::subjects::{LEASE_HEADER, RECORDS_HEADER, outcome_stream, outcome_subject};

use crate::api::ApiError;
use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::stored::Stored;
use crate::telemetry;

/// An outcome batch that is to stand at `sequence` of `EVT_partition`.
#[derive(Debug, Clone)]
pub struct OutcomeWrite {
    /// The partition.
    pub partition: u16,
    /// Where it is to stand: the last sequence + 1.
    pub sequence: u64,
    /// Revision of the lease under which it is written; the same as in the batch's own header.
    pub lease: u64,
    /// Outcomes in it.
    pub records: u32,
    /// Its bytes ([`natter_schemas::codec::OutcomeBatchWriter::finish`]).
    pub payload: Bytes,
}

/// As with commands: a leader that died never answers.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// After so many tries the caller hears of it; it may simply write the same again.
const TRIES_MAX: u32 = 8;

impl Log {
    /// Writes an outcome batch, and returns when it stands at its sequence, on disk. Writing the same batch again, also
    /// after an error or from another process with the same lease, is harmless.
    ///
    /// # Errors
    /// [`LogError::NotOwner`]: another batch stands there: step down. [`LogError::Transient`]: the broker does not
    /// acknowledge; the batch may or may not stand there, call again with the same. [`LogError::Corrupt`]: `EVT_p`
    /// ends below `sequence - 1`, or begins above `sequence`.
    pub async fn write_outcomes(&self, write: &OutcomeWrite) -> Result<(), LogError> {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let mut connects = self.connects();
        let mut last_error = None;
        for _ in 0..TRIES_MAX {
            connects.mark_unchanged();
            let published = tokio::select! {
                published = self.publish_outcomes(write) => published,
                _ = connects.changed() => Err(ApiError::Unanswered("connected anew".into())),
            };
            let error = match published {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let raced = error.is(ErrorCode::STREAM_WRONG_LAST_SEQUENCE)
                || error.is(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
            match self.compare(write, raced).await {
                Ok(true) => {
                    metrics::counter!(telemetry::OUTCOME_ACKS_LOST).increment(1);
                    tracing::info!(
                        partition = write.partition,
                        sequence = write.sequence,
                        "an acknowledgement was lost"
                    );
                    return Ok(());
                }
                Ok(false) => last_error = Some(error.into_transient(doing(write))),
                Err(error @ LogError::Transient(_)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
            backoff.wait().await;
        }
        Err(last_error.unwrap_or_else(|| LogError::transient(doing(write), "no acknowledgement")))
    }

    async fn publish_outcomes(&self, write: &OutcomeWrite) -> Result<(), ApiError> {
        if !self.is_connected() {
            return Err(ApiError::Unanswered("not connected".into()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (write.sequence - 1).to_string());
        headers.insert(LEASE_HEADER, write.lease.to_string());
        headers.insert(RECORDS_HEADER, write.records.to_string());
        let subject = outcome_subject(write.partition);
        let stored = self.link().publish(subject, headers, write.payload.clone(), ACK_TIMEOUT).await?;
        if stored == write.sequence {
            Ok(())
        } else {
            Err(ApiError::Unanswered(format!("acknowledged as sequence {stored}")))
        }
    }

    /// Whether this very batch stands in its place; `false`: nothing does yet.
    async fn compare(&self, write: &OutcomeWrite, raced: bool) -> Result<bool, LogError> {
        let stream = outcome_stream(write.partition);
        if let Some(found) = self.get_from_leader(&stream, write.sequence).await? {
            return same(write, &found).map(|()| true);
        }
        let bounds = self.bounds_from(&stream, write.sequence - 1).await?;
        if bounds.last + 1 < write.sequence || bounds.first > write.sequence {
            return Err(LogError::Corrupt(format!(
                "batch {} of {stream} cannot be written: the stream holds {} to {}",
                write.sequence, bounds.first, bounds.last
            )));
        }
        if raced && bounds.last + 1 == write.sequence {
            tracing::debug!(partition = write.partition, "the leader refused a sequence that is the next one");
        }
        Ok(false)
    }
}

fn doing(write: &OutcomeWrite) -> String {
    format!("cannot write batch {} of partition {}", write.sequence, write.partition)
}

fn same(write: &OutcomeWrite, found: &Stored) -> Result<(), LogError> {
    if found.lease == Some(write.lease) && found.payload == write.payload {
        return Ok(());
    }
    Err(LogError::NotOwner {
        partition: write.partition,
        sequence: write.sequence,
        own: write.lease,
        found: found.lease.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_lease_and_the_same_bytes_are_the_same_batch() {
        let write = OutcomeWrite { partition: 2, sequence: 9, lease: 5, records: 1, payload: Bytes::from_static(b"a") };
        let found = |lease, payload: &'static [u8]| Stored {
            sequence: 9,
            stored_ms: 0,
            lease,
            records: None,
            behind: 0,
            payload: Bytes::from_static(payload),
        };
        assert_eq!(same(&write, &found(Some(5), b"a")), Ok(()));
        for (lease, payload, named) in [(Some(6), &b"a"[..], 6), (Some(5), b"b", 5), (None, b"a", 0)] {
            let error = same(&write, &found(lease, payload)).unwrap_err();
            assert_eq!(error, LogError::NotOwner { partition: 2, sequence: 9, own: 5, found: named });
        }
    }
}
