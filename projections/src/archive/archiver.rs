//! Who fills the archive: one worker per partition, by leases, one segment at a time in a process.

use std::collections::BTreeMap;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_nats::clock::SharedClock;
use natter_nats::{Bounds, Log, Stored, role};
use natter_schemas::subjects::outcome_stream;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::segment::Manifest;
use super::store::Segments;
use super::telemetry::Telemetry;
use crate::clickhouse::{self, ClickHouse};
use crate::error::ViewError;
use crate::redis::{self, Redis};
use crate::shared::{self, Shared, Stopped};

/// Between two looks at whether a segment is to be closed.
const LOOK_MAX: Duration = Duration::from_secs(10);
const LOOK_MIN: Duration = Duration::from_millis(200);
/// Batches that are asked for at once.
const FETCH: u64 = 1024;

/// When a segment is closed, and how long the log keeps what is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// So many bytes of batches are a segment; one batch always fits.
    pub bytes: u64,
    /// What is so old is closed into a segment, however little it is.
    pub age: Duration,
    /// The log keeps batches for so long, archived or not.
    pub keep: Duration,
}

/// Fills the archive and trims the log.
pub struct Archiver {
    log: Log,
    segments: Segments,
    redis: Redis,
    clickhouse: ClickHouse,
    closing: Closing,
    clock: SharedClock,
    stopped: Stopped,
    /// Who has it may have a segment in memory.
    turn: Semaphore,
}

/// What was archived and trimmed at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caught {
    /// Segments that were put.
    pub segments: u64,
    /// Bytes of their batches.
    pub log_bytes: u64,
    /// Bytes of their objects.
    pub object_bytes: u64,
    /// Batches that the log dropped.
    pub trimmed: u64,
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A segment was put; there may be more.
    Put,
    /// Nothing is to be closed now.
    Nothing,
}

impl Archiver {
    /// An archiver of `log`; nothing is trimmed that one of the views has not got.
    pub fn new(
        log: Log,
        segments: Segments,
        redis: Redis,
        clickhouse: ClickHouse,
        closing: Closing,
        clock: SharedClock,
    ) -> Self {
        let stopped = watch::Sender::new(BTreeMap::new());
        Self { log, segments, redis, clickhouse, closing, clock, stopped, turn: Semaphore::new(1) }
    }

    /// Partitions that have stopped, each with the reason: for the readiness check.
    pub fn stopped(&self) -> watch::Receiver<BTreeMap<u16, String>> {
        self.stopped.subscribe()
    }

    /// Archives this process's share of the partitions, by leases, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        shared::run(self, shutdown).await;
    }

    /// Archives and trims all of a partition that is due now. Beside another archiver it is a waste and does no harm.
    ///
    /// # Errors
    /// Transient; `Corrupt`: the archive and the log do not fit together, or the store gives back other bytes.
    pub async fn catch_up(&self, partition: u16) -> Result<Caught, ViewError> {
        let telemetry = Telemetry::new(partition);
        let mut caught = Caught::default();
        while let Some(segment) = self.close(partition, &telemetry).await? {
            caught.segments += 1;
            caught.log_bytes += segment.log_bytes;
            caught.object_bytes += segment.object_bytes;
        }
        caught.trimmed = self.trim(partition, &mut None, &telemetry).await?;
        Ok(caught)
    }

    async fn look(
        &self,
        partition: u16,
        oldest: &mut Option<Manifest>,
        telemetry: &Telemetry,
    ) -> Result<Look, ViewError> {
        if self.close(partition, telemetry).await?.is_some() {
            return Ok(Look::Put);
        }
        self.trim(partition, oldest, telemetry).await?;
        Ok(Look::Nothing)
    }

    /// Puts the next segment, if it is to be closed.
    async fn close(&self, partition: u16, telemetry: &Telemetry) -> Result<Option<Manifest>, ViewError> {
        let stream = outcome_stream(partition);
        let end = self.segments.end(partition).await?;
        let bounds = self.log.bounds_from(&stream, end).await?;
        check(&stream, end, &bounds)?;
        let oldest = if end < bounds.last { self.log.get_from_leader(&stream, end + 1).await? } else { None };
        let age_ms = oldest.map_or(0, |oldest| self.clock.now_ms().saturating_sub(oldest.stored_ms));
        telemetry.stands(end, bounds.last - end, age_ms);
        let waiting = (bounds.last - end) * (bounds.bytes / bounds.messages().max(1));
        let is_due = waiting >= self.closing.bytes || Duration::from_millis(age_ms) >= self.closing.age;
        if end == bounds.last || !is_due {
            return Ok(None);
        }
        let _turn = self.turn.acquire().await.map_err(|error| ViewError::transient("archiving", error))?;
        let batches = self.gather(&stream, end + 1, bounds.last).await?;
        let segment = self.segments.put(partition, batches).await?;
        telemetry.put(&segment);
        let Manifest { first, last, object_bytes, .. } = segment;
        tracing::info!(partition, first, last, object_bytes, "archived");
        Ok(Some(segment))
    }

    /// Batches from `next` to `last`, as many as a segment may hold.
    async fn gather(&self, stream: &str, mut next: u64, last: u64) -> Result<Vec<Stored>, ViewError> {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while next <= last && bytes < self.closing.bytes {
            let found = self.log.get_batch(stream, next, FETCH.min(last + 1 - next)).await?;
            if found.is_empty() {
                // A replica that lags, or a leader that does: the next look asks again.
                return Err(ViewError::Transient(format!("{stream} does not give {next} of {last} yet")));
            }
            for batch in found {
                if batch.sequence != next {
                    return Err(ViewError::Corrupt(format!("{stream} jumps from {} to {}", next - 1, batch.sequence)));
                }
                let size = batch.payload.len() as u64;
                if bytes > 0 && bytes + size > self.closing.bytes {
                    return Ok(batches);
                }
                (next, bytes) = (next + 1, bytes + size);
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// Drops what is older than it is to be kept, is archived, and is in every view; whole segments, oldest first. Keeps in
    /// `oldest` the segment that the log begins with.
    async fn trim(
        &self,
        partition: u16,
        oldest: &mut Option<Manifest>,
        telemetry: &Telemetry,
    ) -> Result<u64, ViewError> {
        let bounds = self.log.bounds(&outcome_stream(partition)).await?;
        let keep_ms = u64::try_from(self.closing.keep.as_millis()).unwrap_or(u64::MAX);
        let (horizon, mut first_kept) = (self.clock.now_ms().saturating_sub(keep_ms), bounds.first);
        while first_kept < bounds.last {
            if oldest.as_ref().is_none_or(|known| known.last < first_kept || known.first > first_kept) {
                let spans = self.segments.spans(partition).await?;
                let Some(span) = spans.iter().rev().find(|span| span.first <= first_kept && span.last >= first_kept)
                else {
                    break;
                };
                *oldest = Some(self.segments.manifest(partition, *span).await?);
            }
            match oldest {
                Some(segment) if segment.stored_ms < horizon => first_kept = segment.last + 1,
                _ => break,
            }
        }
        if first_kept == bounds.first {
            return Ok(0);
        }
        let everywhere = self.applied_everywhere(partition).await?;
        let trimmed = self.log.trim_outcomes(partition, first_kept.min(everywhere + 1)).await?;
        telemetry.trimmed(trimmed);
        if trimmed > 0 {
            tracing::info!(partition, trimmed, "trimmed what is archived");
        }
        Ok(trimmed)
    }

    /// The last sequence that every view has.
    async fn applied_everywhere(&self, partition: u16) -> Result<u64, ViewError> {
        let hot = redis::watermark(&self.redis, partition).await?;
        let history = clickhouse::watermark(&self.clickhouse.live().await?, partition, 0).await?;
        let of_this = |of: &crate::watermark::Watermark| if of.is_of(self.log.id()) { of.sequence } else { 0 };
        Ok(of_this(&hot).min(of_this(&history)))
    }
}

/// The archive and the log must meet: what is in neither is lost.
fn check(stream: &str, end: u64, bounds: &Bounds) -> Result<(), ViewError> {
    let Bounds { first, last, .. } = *bounds;
    if end + 1 < first {
        return Err(ViewError::Corrupt(format!(
            "the archive of {stream} ends at {end}, but {stream} begins at {first}: put the bucket back that had what lies between, or see s3.bucket"
        )));
    }
    if end > last {
        return Err(ViewError::Corrupt(format!(
            "the archive of {stream} ends at {end}, but {stream} ends at {last}: the stream lost messages"
        )));
    }
    Ok(())
}

impl Shared for Archiver {
    fn role(&self) -> &'static str {
        role::ARCHIVER
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn stopped(&self) -> &Stopped {
        &self.stopped
    }

    async fn work(&self, partition: u16, until: &CancellationToken) -> Result<(), ViewError> {
        let telemetry = Telemetry::new(partition);
        let mut backoff = Backoff::new(Duration::from_millis(100), LOOK_MAX);
        let mut oldest = None;
        while !until.is_cancelled() {
            let Some(looked) = until.run_until_cancelled(self.look(partition, &mut oldest, &telemetry)).await else {
                break;
            };
            match looked {
                Ok(Look::Put) => backoff.reset(),
                Ok(Look::Nothing) => {
                    backoff.reset();
                    until.run_until_cancelled(tokio::time::sleep(self.closing.age.clamp(LOOK_MIN, LOOK_MAX))).await;
                }
                Err(error) if error.is_transient() => {
                    telemetry.failed();
                    tracing::warn!(partition, %error, "archiving is tried again");
                    until.run_until_cancelled(backoff.wait()).await;
                }
                Err(error) => {
                    telemetry.stopped(true);
                    tracing::error!(partition, %error, "this partition is not archived any more");
                    return Err(error);
                }
            }
        }
        telemetry.stopped(false);
        Ok(())
    }
}
