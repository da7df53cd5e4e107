//! Waiting until a view has reached a position: the one place where reads wait.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use natter_schemas::limits::READ_WAIT_MS_MAX;
use natter_schemas::position::Position;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::apply::watermark;
use super::connection::Redis;
use crate::error::ViewError;
use crate::watermark::Watermark;

/// How often the watermark is looked at while somebody waits; one look serves all who wait for a partition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Redis with the places where reads wait. Cheap to clone; all readers of a process share one.
#[derive(Clone)]
pub struct Waiting {
    redis: Redis,
    looks: Arc<[Mutex<Look>]>,
}

/// The last look at a partition's watermark.
struct Look {
    sequence: u64,
    next_at: Instant,
}

impl Waiting {
    /// For the views of `partitions` partitions.
    pub fn new(redis: Redis, partitions: u16) -> Self {
        let look = || Mutex::new(Look { sequence: 0, next_at: Instant::now() });
        Self { redis, looks: (0..partitions).map(|_| look()).collect() }
    }

    /// The Redis that is read.
    pub const fn redis(&self) -> &Redis {
        &self.redis
    }

    /// What `read` answers as soon as it shows the batch at `min` (0: whatever it shows). Waits at most
    /// [`READ_WAIT_MS_MAX`].
    ///
    /// # Errors
    /// [`ViewError::Behind`] with what is reached; and whatever `read` fails with.
    pub async fn at_least<T, R: Future<Output = Result<T, ViewError>>>(
        &self,
        partition: u16,
        min: u64,
        shows: impl Fn(&T) -> &Watermark,
        read: impl Fn(Redis) -> R,
    ) -> Result<T, ViewError> {
        let deadline = Instant::now() + Duration::from_millis(READ_WAIT_MS_MAX);
        loop {
            let answer = read(self.redis.clone()).await?;
            let reached = shows(&answer).sequence;
            if reached >= min {
                return Ok(answer);
            }
            let behind = ViewError::Behind { reached: Position::batch(partition, reached) };
            timeout_at(deadline, self.reached(partition, min)).await.map_err(|_| behind)??;
        }
    }

    /// Returns when the partition's watermark has been seen at `min` or above.
    async fn reached(&self, partition: u16, min: u64) -> Result<(), ViewError> {
        let Some(look) = self.looks.get(usize::from(partition)) else {
            return Err(ViewError::Mismatch(format!(
                "there is no partition {partition}, there are {}",
                self.looks.len()
            )));
        };
        loop {
            let mut look = look.lock().await;
            if Instant::now() >= look.next_at {
                look.sequence = watermark(&self.redis, partition).await?.sequence;
                look.next_at = Instant::now() + LOOK_INTERVAL;
            }
            if look.sequence >= min {
                return Ok(());
            }
            // Held while it sleeps, so that the others who wait find the next look done.
            sleep_until(look.next_at).await;
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Waiting").field("redis", &self.redis).field("partitions", &self.looks.len()).finish()
    }
}
