//! Threads for the engine's blocking calls: one per running request, a bounded number of them, none of the runtime's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Role;
use super::errors::{EngineError, code};
use super::library::Engine;

/// How many requests run at once; more only take memory from each other.
const RUNNING_MAX: usize = 16;
/// How many may wait for that; beyond it they are refused at once.
const WAITING_MAX: usize = 256;
/// How many of those that run, and of those that wait, may be of analysts, and as many of the analysts of tenants: chat's own reads and inserts find a place
/// whatever these ask.
const GUESTS_MAX: usize = 4;
const GUESTS_WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(10);
/// ClickHouse's analysis of a query recurses; it gives its own threads as much.
const STACK_BYTES: usize = 8 << 20;

/// Runs work on the engine. When all threads are busy and the queue is full, work is refused with `TOO_MANY_SIMULTANEOUS_QUERIES` (202, HTTP 503).
pub struct Workers {
    engine: Arc<Engine>,
    all: Places,
    analysts: Places,
    tenants: Places,
}

/// A number of places, and of those who may wait for one.
struct Places {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Places {
    fn new(running: usize, waiting: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(running)), waiting: Semaphore::new(waiting) }
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        let _place = self.waiting.try_acquire().map_err(|_| too_many())?;
        let permit = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await;
        permit.map_err(|_| too_many())?.map_err(|_| EngineError::internal("the engine is shutting down"))
    }
}

impl Workers {
    pub fn new(engine: Engine) -> Self {
        Self {
            engine: Arc::new(engine),
            all: Places::new(RUNNING_MAX, WAITING_MAX),
            analysts: Places::new(GUESTS_MAX, GUESTS_WAITING_MAX),
            tenants: Places::new(GUESTS_MAX, GUESTS_WAITING_MAX),
        }
    }

    /// Starts `work` on a thread of its own, once one is free. It reports by channels of its caller.
    ///
    /// # Errors
    /// `TOO_MANY_SIMULTANEOUS_QUERIES`, and when the system gives no thread.
    pub async fn start(&self, role: &Role, work: impl FnOnce(&Engine) + Send + 'static) -> Result<(), EngineError> {
        // Guests wait among themselves first, so that they do not fill the queue of all.
        let guest = match role {
            Role::Tenant { .. } => Some(self.tenants.take().await?),
            Role::Analyst => Some(self.analysts.take().await?),
            Role::Admin | Role::Writer { .. } | Role::Reader => None,
        };
        let permit = self.all.take().await?;
        let engine = Arc::clone(&self.engine);
        let thread = std::thread::Builder::new().name("clickhouse-query".to_owned()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            work(&engine);
            // The permit says that the engine is let go: `finish` relies on it.
            drop(engine);
            drop((guest, permit));
        });
        spawned.map(drop).map_err(|error| EngineError::internal(format!("no thread for a query: {error}")))
    }

    /// Waits until all work has ended, then closes the engine. `false` when work was still running at the deadline; the engine stays open then.
    pub async fn finish(self, deadline: Duration) -> bool {
        let all = u32::try_from(RUNNING_MAX).unwrap_or(u32::MAX);
        match tokio::time::timeout(deadline, self.all.running.acquire_many(all)).await {
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
        "Too many simultaneous queries: no place became free",
    )
}
