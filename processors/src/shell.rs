//! The outside of a worker on the real servers.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use natter_nats::clock::SharedClock;
use natter_nats::{Log, OutcomeWrite, Policies, Reader, ReaderOptions, Stored};
use natter_projections::clickhouse::{self, ClickHouse};
use natter_projections::facts::FactKey;
use natter_projections::redis::{self, Redis};
use natter_projections::watermark::Watermark;
use natter_schemas::limits::REF_LIFE_MS;
use natter_schemas::policy::PolicyHash;
use natter_schemas::subjects::{command_stream, outcome_stream};

use crate::error::Halt;
use crate::ports::{
    CommandLog, CommandReader, FactSource, Loaded, OutcomeLog, PolicyStore, RefHistory, RefQuery, Remembrance,
    Surroundings,
};

/// Clocks and log time may be this far apart when the history is searched for a ref.
const CLOCK_SLACK_MS: u64 = 24 * 3600 * 1000;
/// Batches of `EVT_p` read at once when the overlay is filled.
const READ_AT_ONCE: u64 = 256;

/// What the workers of a process share.
#[derive(Clone)]
pub struct Backends {
    /// The log.
    pub log: Log,
    /// The views.
    pub redis: Redis,
    /// The history.
    pub clickhouse: ClickHouse,
    /// Says what time it is.
    pub clock: SharedClock,
}

/// The real servers, for one partition.
pub struct Shell {
    partition: u16,
    backends: Backends,
    policies: Policies,
    /// The history of this partition is complete up to here.
    history: AtomicU64,
}

impl Shell {
    /// The outside of the worker of `partition`.
    pub fn new(partition: u16, backends: Backends) -> Self {
        let policies = Policies::new(&backends.log);
        Self { partition, backends, policies, history: AtomicU64::new(0) }
    }

    /// Invariant 6: a view of another log is none.
    fn check(&self, watermark: &Watermark) -> Result<u64, Halt> {
        let id = self.backends.log.id();
        if watermark.is_of(id) {
            return Ok(watermark.sequence);
        }
        let partition = self.partition;
        Err(Halt::Corrupt(format!(
            "the redis views of partition {partition} stand at {watermark}, but this is log {id}: empty that redis, the projector fills it again"
        )))
    }
}

impl Surroundings for Shell {
    fn partition(&self) -> u16 {
        self.partition
    }
}

impl FactSource for Shell {
    async fn load(&self, keys: &[FactKey]) -> Result<Loaded, Halt> {
        let loaded = redis::load(&self.backends.redis, self.partition, keys).await?;
        Ok(Loaded { watermark: self.check(&Watermark { log: loaded.log.clone(), sequence: loaded.watermark })?, facts: loaded.values })
    }
}

impl RefHistory for Shell {
    async fn find(&self, asked: &[RefQuery]) -> Result<Remembrance, String> {
        let Backends { log, clickhouse, clock, .. } = &self.backends;
        let checked = self.history.load(Ordering::Relaxed);
        let found = clickhouse::watermark(clickhouse, self.partition, checked).await.map_err(|error| error.to_string())?;
        if !found.is_of(log.id()) {
            return Err(format!("the history stands at {found}, but this is log {}", log.id()));
        }
        self.history.store(found.sequence, Ordering::Relaxed);
        let since_ms = clock.now_ms().saturating_sub(REF_LIFE_MS + CLOCK_SLACK_MS);
        let answered = clickhouse::find_refs(clickhouse, self.partition, found.sequence, since_ms, asked).await;
        Ok(Remembrance { watermark: found.sequence, found: answered.map_err(|error| error.to_string())? })
    }
}

impl PolicyStore for Shell {
    async fn policy(&self, hash: PolicyHash) -> Result<Option<Bytes>, Halt> {
        Ok(self.policies.fetch(hash).await?)
    }
}

impl OutcomeLog for Shell {
    async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
        Ok(self.backends.log.last_from_leader(&outcome_stream(self.partition)).await?)
    }

    async fn read_outcomes(
        &self,
        after: u64,
        through: u64,
        mut each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
    ) -> Result<(), Halt> {
        let stream = outcome_stream(self.partition);
        let mut next = after + 1;
        while next <= through {
            let batches = self.backends.log.get_batch(&stream, next, READ_AT_ONCE.min(through + 1 - next)).await?;
            if batches.is_empty() {
                return Err(Halt::Transient(format!("{stream} does not give {next}")));
            }
            for batch in &batches {
                if batch.sequence != next {
                    return Err(Halt::Corrupt(format!("{stream} gives {} where {next} should be", batch.sequence)));
                }
                each(batch)?;
                next += 1;
            }
        }
        Ok(())
    }

    async fn append(&self, batch: Bytes, sequence: u64, lease: u64, records: u32) -> Result<(), Halt> {
        let write = OutcomeWrite { partition: self.partition, sequence, lease, records, payload: batch };
        Ok(self.backends.log.write_outcomes(&write).await?)
    }
}

impl CommandLog for Shell {
    type Reader = Commands;

    async fn read_commands(&self, from: u64) -> Result<Commands, Halt> {
        let stream = command_stream(self.partition);
        Ok(Commands(Reader::open(&self.backends.log, &stream, from, ReaderOptions::default()).await?))
    }
}

/// Reads `CMD_p`.
pub struct Commands(Reader);

impl CommandReader for Commands {
    async fn next(&mut self) -> Result<Stored, Halt> {
        Ok(self.0.next().await?)
    }
}
