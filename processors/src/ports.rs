//! What the decisions need of the outside, each for one partition. [`crate::shell`] gives it on the real servers; the
//! tests give it in memory.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use natter_nats::Stored;
use natter_projections::facts::{Fact, FactKey};
use natter_schemas::limits::{OVERLAY_FACTS_MAX, TICK_INTERVAL_MS};
use natter_schemas::policy::PolicyHash;

use crate::error::Halt;

/// Facts as a view holds them.
pub trait FactSource: Send + Sync {
    /// The facts under `keys` and how far the view was, both of one moment. At most
    /// [`natter_schemas::limits::FACTS_LOAD_MAX`] keys; none asks for the watermark alone.
    ///
    /// # Errors
    /// [`Halt::Transient`]: the view is away. [`Halt::Corrupt`]: it is another log's.
    fn load(&self, keys: &[FactKey]) -> impl Future<Output = Result<Loaded, Halt>> + Send;
}

/// Facts of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The last sequence of `EVT_p` that the view has applied; 0: none.
    pub watermark: u64,
    /// The facts, in the order of the keys.
    pub facts: Vec<Option<Fact>>,
}

/// Policies by hash.
pub trait PolicyStore: Send + Sync {
    /// The bytes whose hash is `hash`; `None`: no such policy is stored.
    ///
    /// # Errors
    /// [`Halt::Transient`]: the store is away.
    fn policy(&self, hash: PolicyHash) -> impl Future<Output = Result<Option<Bytes>, Halt>> + Send;
}

/// `EVT_p`.
pub trait OutcomeLog: Send + Sync {
    /// The last batch as the stream's leader has it; `None`: there is none yet.
    ///
    /// # Errors
    /// [`Halt::Transient`] or [`Halt::Corrupt`].
    fn last_outcomes(&self) -> impl Future<Output = Result<Option<Stored>, Halt>> + Send;

    /// Gives `each` the batches after `after`, up to and with `through`, in order and without a hole.
    ///
    /// # Errors
    /// [`Halt::Corrupt`]: one is missing; whatever `each` says.
    fn read_outcomes(
        &self,
        after: u64,
        through: u64,
        each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
    ) -> impl Future<Output = Result<(), Halt>> + Send;

    /// Stores a batch as the stream's message `sequence`, written under `lease` and holding `records` outcomes.
    ///
    /// # Errors
    /// [`Halt::NotOwner`]: another worker's batch stands there. [`Halt::Transient`].
    fn append(
        &self,
        batch: Bytes,
        sequence: u64,
        lease: u64,
        records: u32,
    ) -> impl Future<Output = Result<(), Halt>> + Send;
}

/// `CMD_p`.
pub trait CommandLog: Send + Sync {
    /// Reads from a place on.
    type Reader: CommandReader;

    /// A reader whose first batch is the one at `from`, which need not exist yet.
    ///
    /// # Errors
    /// [`Halt::Corrupt`]: `from` was trimmed away, or lies beyond the stream's end.
    fn read_commands(&self, from: u64) -> impl Future<Output = Result<Self::Reader, Halt>> + Send;

    /// Publishes a tick: a batch without commands, by which log time moves on (invariant 16).
    ///
    /// # Errors
    /// [`Halt::Transient`]: it was not acknowledged.
    fn tick(&self) -> impl Future<Output = Result<(), Halt>> + Send;
}

/// Command batches in order.
pub trait CommandReader: Send + 'static {
    /// The next batch, as soon as it is stored.
    ///
    /// # Errors
    /// [`Halt::Corrupt`]: the sequences jump.
    fn next(&mut self) -> impl Future<Output = Result<Stored, Halt>> + Send;
}

/// Everything that a worker needs for one partition.
pub trait Surroundings: FactSource + PolicyStore + OutcomeLog + CommandLog + 'static {
    /// The partition.
    fn partition(&self) -> u16;

    /// Where nobody says anything, log time moves by a tick once in so long.
    fn tick_interval(&self) -> Duration {
        Duration::from_millis(TICK_INTERVAL_MS)
    }

    /// Facts that a worker keeps; more only while the Redis view is behind.
    fn facts_max(&self) -> usize {
        OVERLAY_FACTS_MAX
    }
}
