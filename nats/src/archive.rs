//! What was trimmed from `EVT_p` and is kept elsewhere: whoever reads the log goes on there, and its caller does not notice.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use natter_schemas::subjects::outcome_partition;

use crate::connection::Log;
use crate::direct::Bounds;
use crate::error::LogError;
use crate::stored::Stored;

/// Outcome batches that are kept outside the broker, exactly as it stored them.
pub trait Archive: Debug + Send + Sync {
    /// The last sequence of `EVT_partition` up to which nothing is missing; 0: the archive does not hold its first.
    ///
    /// # Errors
    /// [`LogError::Transient`]: it cannot be asked now.
    fn end(&self, partition: u16) -> BoxFuture<'_, Result<u64, LogError>>;

    /// Batches of `EVT_partition` from `from` on, without a jump, as many as lie together there; none where it has none.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: what lies there is not what was put there.
    fn read(&self, partition: u16, from: u64) -> BoxFuture<'_, Result<Vec<Stored>, LogError>>;
}

impl Log {
    /// Where `stream` begins and ends, with what the archive has of it.
    ///
    /// # Errors
    /// As [`Log::bounds`]; [`LogError::Transient`]: the archive is needed and away.
    pub async fn whole_bounds(&self, stream: &str) -> Result<Bounds, LogError> {
        let bounds = self.bounds(stream).await?;
        let Some((archive, partition)) = self.archive_of(stream).filter(|_| bounds.first > 1) else {
            return Ok(bounds);
        };
        let is_whole = archive.end(partition).await? + 1 >= bounds.first;
        Ok(Bounds { first: if is_whole { 1 } else { bounds.first }, ..bounds })
    }

    /// The batch at `sequence` of `stream` as the stream's leader has it, or the archive.
    ///
    /// # Errors
    /// As [`Log::get_from_leader`] and [`Archive::read`].
    pub async fn get_wherever(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError> {
        match self.get_from_leader(stream, sequence).await? {
            Some(found) => Ok(Some(found)),
            None => Ok(self.archived(stream, sequence).await?.into_iter().next()),
        }
    }

    /// What the archive has of `stream` from `from` on, as many batches as lie together; none where it has none, or `from`
    /// was not trimmed.
    pub(crate) async fn archived(&self, stream: &str, from: u64) -> Result<Vec<Stored>, LogError> {
        let Some((archive, partition)) = self.archive_of(stream) else { return Ok(Vec::new()) };
        let bounds = self.bounds(stream).await?;
        if from >= bounds.first {
            return Ok(Vec::new());
        }
        let mut batches = archive.read(partition, from).await?;
        if let Some(first) = batches.first().filter(|first| first.sequence != from) {
            let found = first.sequence;
            return Err(LogError::Corrupt(format!(
                "the archive of {stream} gave batch {found} where {from} was asked for"
            )));
        }
        for batch in &mut batches {
            batch.behind = bounds.last.saturating_sub(batch.sequence);
        }
        Ok(batches)
    }

    fn archive_of(&self, stream: &str) -> Option<(&dyn Archive, u16)> {
        Some((self.archive()?, outcome_partition(stream)?))
    }
}
