//! The outside of a worker on the real servers.

use bytes::Bytes;
use natter_nats::clock::SharedClock;
use natter_nats::{Log, OutcomeWrite, Policies, Reader, ReaderOptions, Stored};
use natter_projections::facts::FactKey;
use natter_projections::redis::{self, Redis};
use natter_projections::watermark::Watermark;
use natter_schemas::policy::PolicyHash;
use natter_schemas::subjects::{command_stream, outcome_stream};

use crate::error::Halt;
use crate::ports::{CommandLog, CommandReader, FactSource, Loaded, OutcomeLog, PolicyStore, Surroundings};

/// Batches of `EVT_p` asked for at once; an answer is at most 8 MiB whatever their number.
const READ_AT_ONCE: u64 = 256;

/// What the workers of a process share.
#[derive(Clone)]
pub struct Backends {
    /// The log.
    pub log: Log,
    /// The views.
    pub redis: Redis,
    /// Says what time it is.
    pub clock: SharedClock,
}

/// The real servers, for one partition.
pub struct Shell {
    log: PartitionLog,
    backends: Backends,
}

impl Shell {
    /// The outside of the worker of `partition`.
    pub fn new(partition: u16, backends: Backends) -> Self {
        Self { log: PartitionLog::new(&backends.log, partition), backends }
    }
}

impl Surroundings for Shell {
    fn partition(&self) -> u16 {
        self.log.partition
    }
}

impl FactSource for Shell {
    async fn load(&self, keys: &[FactKey]) -> Result<Loaded, Halt> {
        let (partition, id) = (self.log.partition, self.backends.log.id());
        let loaded = redis::load(&self.backends.redis, partition, keys).await?;
        let watermark = Watermark { log: loaded.log, sequence: loaded.watermark };
        // Invariant 6: a view of another log is none.
        if !watermark.is_of(id) {
            return Err(Halt::Corrupt(format!(
                "the redis views of partition {partition} stand at {watermark}, but this is log {id}: empty that redis, the projector fills it again"
            )));
        }
        Ok(Loaded { watermark: watermark.sequence, facts: loaded.values })
    }
}

/// The log of one partition, with the policies that its outcomes name: enough to decide it again.
pub struct PartitionLog {
    log: Log,
    partition: u16,
    policies: Policies,
}

impl PartitionLog {
    /// The log of `partition`.
    pub fn new(log: &Log, partition: u16) -> Self {
        Self { log: log.clone(), partition, policies: Policies::new(log) }
    }

    /// The partition.
    pub const fn partition(&self) -> u16 {
        self.partition
    }
}

impl PolicyStore for PartitionLog {
    async fn policy(&self, hash: PolicyHash) -> Result<Option<Bytes>, Halt> {
        Ok(self.policies.fetch(hash).await?)
    }
}

impl OutcomeLog for PartitionLog {
    async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
        Ok(self.log.last_from_leader(&outcome_stream(self.partition)).await?)
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
            let batches = self.log.get_batch(&stream, next, READ_AT_ONCE.min(through + 1 - next)).await?;
            if batches.is_empty() {
                // A replica that lags; or it was trimmed, which the next worker will find too.
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
        Ok(self.log.write_outcomes(&write).await?)
    }
}

impl CommandLog for PartitionLog {
    type Reader = Commands;

    async fn read_commands(&self, from: u64) -> Result<Commands, Halt> {
        let stream = command_stream(self.partition);
        Ok(Commands(Reader::open(&self.log, &stream, from, ReaderOptions::default()).await?))
    }

    async fn tick(&self) -> Result<(), Halt> {
        Ok(self.log.publish_tick(self.partition).await?)
    }
}

/// Reads `CMD_p`.
pub struct Commands(Reader);

impl CommandReader for Commands {
    async fn next(&mut self) -> Result<Stored, Halt> {
        Ok(self.0.next().await?)
    }
}

impl PolicyStore for Shell {
    async fn policy(&self, hash: PolicyHash) -> Result<Option<Bytes>, Halt> {
        self.log.policy(hash).await
    }
}

impl OutcomeLog for Shell {
    async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
        self.log.last_outcomes().await
    }

    async fn read_outcomes(
        &self,
        after: u64,
        through: u64,
        each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
    ) -> Result<(), Halt> {
        self.log.read_outcomes(after, through, each).await
    }

    async fn append(&self, batch: Bytes, sequence: u64, lease: u64, records: u32) -> Result<(), Halt> {
        self.log.append(batch, sequence, lease, records).await
    }
}

impl CommandLog for Shell {
    type Reader = Commands;

    async fn read_commands(&self, from: u64) -> Result<Commands, Halt> {
        self.log.read_commands(from).await
    }

    async fn tick(&self) -> Result<(), Halt> {
        self.log.tick().await
    }
}
