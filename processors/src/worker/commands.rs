//! Command batches as a worker takes them in.

use natter_nats::Stored;
use natter_schemas::codec::{CodecError, CommandBatch};
use natter_schemas::command::Command;
use natter_schemas::limits::{OUTCOME_BATCH_BYTES_MAX, OUTCOME_BATCH_SOURCES_MAX, OUTCOME_EXTRA_BYTES};

use crate::error::Halt;

/// One stored command batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommands {
    /// Its sequence in `CMD_p`.
    pub sequence: u64,
    /// When it was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Its publisher; 0 where it cannot be read.
    pub publisher: u64,
    /// Its number; 0 where it cannot be read.
    pub number: u64,
    /// Its size.
    pub bytes: usize,
    /// Batches that were behind it in the stream.
    pub behind: u64,
    /// Its commands; bytes that are none.
    pub commands: Vec<Result<Command, Vec<u8>>>,
}

impl StoredCommands {
    /// Reads a batch. One that cannot be read at all is a single undecodable record: it gets its outcome like any other, and
    /// the partition goes on.
    ///
    /// # Errors
    /// [`Halt::Corrupt`]: written by a newer binary, which it names.
    pub fn decode(stored: &Stored) -> Result<Self, Halt> {
        let (publisher, number, commands) = match CommandBatch::decode(&stored.payload) {
            Ok(batch) => (batch.header.publisher, batch.header.number, batch.commands),
            Err(error @ CodecError::Version { .. }) => {
                return Err(Halt::Corrupt(format!("command batch {}: {error}", stored.sequence)));
            }
            Err(CodecError::Truncated(_) | CodecError::Malformed { .. }) => (0, 0, vec![Err(stored.payload.to_vec())]),
        };
        let (sequence, stored_ms, behind) = (stored.sequence, stored.stored_ms, stored.behind);
        Ok(Self { sequence, stored_ms, publisher, number, bytes: stored.payload.len(), behind, commands })
    }
}

/// Command batches that are decided together and answered by one outcome batch.
#[derive(Debug, Default)]
pub struct Group {
    batches: Vec<StoredCommands>,
    outcome_bytes: usize,
}

impl Group {
    /// Whether `batch` may come into this group.
    ///
    /// Their outcomes fit into one batch.
    pub fn takes(&self, batch: &StoredCommands) -> bool {
        self.batches.is_empty()
            || (self.batches.len() < OUTCOME_BATCH_SOURCES_MAX
                && self.outcome_bytes() + outcome_bytes(batch) <= OUTCOME_BATCH_BYTES_MAX)
    }

    /// Takes a batch in.
    pub fn push(&mut self, batch: StoredCommands) {
        self.outcome_bytes += outcome_bytes(&batch);
        self.batches.push(batch);
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes that its outcomes take at most.
    pub const fn outcome_bytes(&self) -> usize {
        self.outcome_bytes
    }

    /// The batches.
    pub fn batches(&self) -> &[StoredCommands] {
        &self.batches
    }

    /// The batches.
    pub fn into_batches(self) -> Vec<StoredCommands> {
        self.batches
    }
}

const fn outcome_bytes(batch: &StoredCommands) -> usize {
    2 * batch.bytes + batch.commands.len() * OUTCOME_EXTRA_BYTES
}
