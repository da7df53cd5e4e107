//! How much room the streams have left (invariant 7: commands are refused before `EVT` is full).

use std::sync::Mutex;
use std::time::Duration;

use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::time::Instant;

use crate::connection::Log;
use crate::error::LogError;
use crate::telemetry;

/// Below this share of free bytes in a partition's streams no command is taken.
pub const FREE_SHARE_MIN: f64 = 0.1;

/// An answer counts as fresh for so long.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer per partition.
#[derive(Debug)]
pub(crate) struct FreeSpace(Vec<Mutex<Option<(Instant, f64)>>>);

impl FreeSpace {
    pub(crate) fn new(partitions: u16) -> Self {
        Self((0..partitions).map(|_| Mutex::new(None)).collect())
    }
}

impl Log {
    /// The smaller free share of `CMD_p` and `EVT_p`, 0 to 1; asked at most once a second.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn free_share(&self, partition: u16) -> Result<f64, LogError> {
        let slot = &self.space().0[usize::from(partition)];
        let known = *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, share)) = known
            && at.elapsed() < FRESH
        {
            return Ok(share);
        }
        let mut share = 1.0_f64;
        for stream in [command_stream(partition), outcome_stream(partition)] {
            share = share.min(self.bounds(&stream).await?.free_share());
        }
        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), share));
        metrics::gauge!(telemetry::FREE_SHARE, "partition" => partition.to_string()).set(share);
        Ok(share)
    }
}
