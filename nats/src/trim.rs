//! Trimming: `CMD_p` is only a queue, whose decided part goes when room is needed and is kept for a while otherwise
//! (invariant 1); `EVT_p` is kept until the archive has it and all views (invariant 7).

use std::time::Duration;

use async_nats::jetstream::stream::PurgeResponse;
use natter_schemas::limits::PUBLISH_RETRY_MS_MAX;
use natter_schemas::subjects::{command_stream, outcome_stream};
use serde_json::json;

use crate::connection::Log;
use crate::direct::Bounds;
use crate::error::LogError;
use crate::space::{OUTCOME_GROWTH_MAX, may_come, stored_bytes};
use crate::streams::DUPLICATE_WINDOW;

/// How long commands are kept behind the processor while there is room.
pub const COMMANDS_KEPT: Duration = Duration::from_hours(24);
/// How long each command is kept, however little room there is: a broker that starts again knows by what it holds which batches a
/// publisher may still repeat.
pub const COMMANDS_HELD: Duration = DUPLICATE_WINDOW.saturating_add(Duration::from_millis(PUBLISH_RETRY_MS_MAX));

/// Steps of one call: batches differ in size, and how many go is reckoned by the mean.
const STEPS_MAX: u32 = 16;
/// Batches whose sizes are asked for at once.
const SIZES_AT_ONCE: u64 = 256;

impl Log {
    /// Drops the commands of `partition` that were stored more than `keep` before the one at `processed`, which is the
    /// last that a stored outcome answers. Never drops `processed` itself or anything behind it, so the newest message
    /// always stays. Gives how many batches went.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: `CMD_p` does not hold `processed`.
    pub async fn trim_commands(&self, partition: u16, processed: u64, keep: Duration) -> Result<u64, LogError> {
        let stream = command_stream(partition);
        let bounds = self.commands_from(&stream, partition, processed).await?;
        if processed <= bounds.first {
            return Ok(0);
        }
        let Some(newest) = self.get_from_leader(&stream, processed).await? else {
            return Err(LogError::Transient(format!("{stream} does not give {processed}")));
        };
        let horizon = newest.stored_ms.saturating_sub(millis(keep));
        let old = self.sequence_at(&stream, horizon).await?.min(processed);
        let first_kept = self.leaving_room(partition, processed, &bounds, old).await?;
        self.purge(&stream, first_kept).await
    }

    /// Where `CMD_p` is fuller than half: drops the oldest of its commands up to `processed` until it is not, but none that was stored
    /// within `held` by the broker's clock. Gives how many batches went.
    ///
    /// # Errors
    /// As [`Log::trim_commands`].
    pub async fn make_room(&self, partition: u16, processed: u64, held: Duration) -> Result<u64, LogError> {
        let stream = command_stream(partition);
        let mut bounds = self.commands_from(&stream, partition, processed).await?;
        if !is_half_full(&bounds) || processed <= bounds.first {
            return Ok(0);
        }
        // By the broker's clock and not by the newest message: a stream that is full gets none.
        let horizon = self.broker_ms().await?.saturating_sub(millis(held));
        let last_kept = self.sequence_at(&stream, horizon).await?.min(processed);
        let mut dropped = 0;
        for _ in 0..STEPS_MAX {
            if !is_half_full(&bounds) || last_kept <= bounds.first {
                break;
            }
            let surplus = bounds.bytes - bounds.bytes_max / 2;
            let mean = (bounds.bytes / bounds.messages().max(1)).max(1);
            let wanted = (bounds.first + surplus.div_ceil(mean)).min(last_kept);
            let first_kept = self.leaving_room(partition, processed, &bounds, wanted).await?;
            if first_kept <= bounds.first {
                break;
            }
            dropped += self.purge(&stream, first_kept).await?;
            bounds = self.bounds(&stream).await?;
        }
        Ok(dropped)
    }

    /// The bounds of `CMD_p`, which must reach `processed`.
    async fn commands_from(&self, stream: &str, partition: u16, processed: u64) -> Result<Bounds, LogError> {
        let bounds = self.bounds_from(stream, processed).await?;
        if processed > bounds.last {
            return Err(LogError::Corrupt(format!(
                "stream {stream} holds {} to {}, but EVT_{partition} answers up to {processed}",
                bounds.first, bounds.last
            )));
        }
        Ok(bounds)
    }

    /// How far `CMD_p` may be trimmed, at most to `wanted`, so that `EVT_p` still has room for the outcomes of all that may then come.
    /// What stays is ballast: it is decided, and takes the room of commands that `EVT_p` could not answer.
    async fn leaving_room(
        &self,
        partition: u16,
        processed: u64,
        commands: &Bounds,
        wanted: u64,
    ) -> Result<u64, LogError> {
        let outcomes = self.bounds(&outcome_stream(partition)).await?;
        if commands.bytes_max == 0 || outcomes.bytes_max == 0 {
            return Ok(wanted);
        }
        let answerable = outcomes.free_bytes() / OUTCOME_GROWTH_MAX;
        let may_go = answerable.saturating_sub(may_come(commands, processed));
        if may_go >= commands.bytes {
            return Ok(wanted);
        }
        let (mut next, mut bytes) = (commands.first, 0);
        while next < wanted {
            let count = SIZES_AT_ONCE.min(wanted - next);
            let batches = self.get_batch(&command_stream(partition), next, count).await?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                bytes += stored_bytes(&batch);
                if batch.sequence != next || bytes > may_go {
                    return Ok(next);
                }
                next += 1;
            }
        }
        Ok(next)
    }

    /// Drops the outcome batches of `partition` before `first_kept`; the newest always stays. Gives how many went. What they were is
    /// for the caller to know: they must be in the archive and in every view.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: there is no such stream any more.
    pub async fn trim_outcomes(&self, partition: u16, first_kept: u64) -> Result<u64, LogError> {
        let stream = outcome_stream(partition);
        let last = self.bounds(&stream).await?.last;
        self.purge(&stream, first_kept.min(last)).await
    }

    async fn purge(&self, stream: &str, first_kept: u64) -> Result<u64, LogError> {
        if first_kept <= self.bounds(stream).await?.first {
            return Ok(0);
        }
        let ask = json!({ "seq": first_kept });
        let purged = self.link().api::<PurgeResponse>(format!("STREAM.PURGE.{stream}"), &ask).await;
        let purged = purged.map_err(|error| error.into_transient(format_args!("cannot trim stream {stream}")))?;
        tracing::debug!(stream, first_kept, purged = purged.purged, "trimmed");
        Ok(purged.purged)
    }
}

const fn is_half_full(bounds: &Bounds) -> bool {
    bounds.bytes_max > 0 && bounds.bytes > bounds.bytes_max / 2
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
