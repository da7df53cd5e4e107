//! Trimming: `CMD_p` is only a queue, kept for a while behind the processor (invariant 1); `EVT_p` is kept until the archive
//! has it and all views (invariant 7).

use std::time::Duration;

use async_nats::jetstream::stream::PurgeResponse;
use natter_schemas::subjects::{command_stream, outcome_stream};
use serde_json::json;

use crate::connection::Log;
use crate::error::LogError;

/// How long commands are kept behind the processor.
pub const COMMANDS_KEPT: Duration = Duration::from_hours(24);

impl Log {
    /// Drops the commands of `partition` that were stored more than `keep` before the one at `processed`, which is the
    /// last that a stored outcome answers. Never drops `processed` itself or anything behind it, so the newest message
    /// always stays. Gives how many batches went.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: `CMD_p` does not hold `processed`.
    pub async fn trim_commands(&self, partition: u16, processed: u64, keep: Duration) -> Result<u64, LogError> {
        let stream = command_stream(partition);
        if processed == 0 {
            return Ok(0);
        }
        let bounds = self.bounds(&stream).await?;
        if processed <= bounds.first {
            return Ok(0);
        }
        let Some(newest) = self.get_from_leader(&stream, processed).await? else {
            return Err(LogError::Corrupt(format!(
                "stream {stream} holds {} to {}, but EVT_{partition} answers up to {processed}",
                bounds.first, bounds.last
            )));
        };
        let horizon = newest.stored_ms.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let first_kept = self.sequence_at(&stream, horizon).await?.min(processed);
        self.purge(&stream, first_kept).await
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
