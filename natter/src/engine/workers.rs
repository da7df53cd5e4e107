//! Threads for the engine's blocking calls: one per running request, a bounded number of them, none of the runtime's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::errors::{EngineError, code};
use super::library::Engine;

/// How many requests run at once; more only take memory from each other.
const RUNNING_MAX: usize = 16;
/// How many may wait for that; beyond it they are refused at once.
const WAITING_MAX: usize = 256;
const WAIT_MAX: Duration = Duration::from_secs(10);
/// ClickHouse's analysis of a query recurses; it gives its own threads as much.
const STACK_BYTES: usize = 8 << 20;

/// Runs work on the engine. When all threads are busy and the queue is full, work is refused with `TOO_MANY_SIMULTANEOUS_QUERIES` (202, HTTP 503).
pub struct Workers {
    engine: Arc<Engine>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Workers {
    pub fn new(engine: Engine) -> Self {
        Self {
            engine: Arc::new(engine),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// Starts `work` on a thread of its own, once one is free. It reports by channels of its caller.
    ///
    /// # Errors
    /// `TOO_MANY_SIMULTANEOUS_QUERIES`, and when the system gives no thread.
    pub async fn start(&self, work: impl FnOnce(&Engine) + Send + 'static) -> Result<(), EngineError> {
        let permit = {
            let _place = self.waiting.try_acquire().map_err(|_| too_many())?;
            let permit = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await;
            permit.map_err(|_| too_many())?.map_err(|_| EngineError::internal("the engine is shutting down"))?
        };
        let engine = Arc::clone(&self.engine);
        let thread = std::thread::Builder::new().name("clickhouse-query".to_owned()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            work(&engine);
            // The permit says that the engine is let go: `finish` relies on it.
            drop(engine);
            drop(permit);
        });
        spawned.map(drop).map_err(|error| EngineError::internal(format!("no thread for a query: {error}")))
    }

    /// Waits until all work has ended, then closes the engine. `false` when work was still running at the deadline; the engine stays open then.
    pub async fn finish(self, deadline: Duration) -> bool {
        let all = u32::try_from(RUNNING_MAX).unwrap_or(u32::MAX);
        match tokio::time::timeout(deadline, self.running.acquire_many(all)).await {
            Ok(_idle) => {
                drop(self.engine);
                true
            }
            Err(_) => false,
        }
    }
}

fn too_many() -> EngineError {
    EngineError::new(
        code::TOO_MANY_SIMULTANEOUS_QUERIES,
        "TOO_MANY_SIMULTANEOUS_QUERIES",
        format!("Too many simultaneous queries: {RUNNING_MAX} run and no place became free"),
    )
}
