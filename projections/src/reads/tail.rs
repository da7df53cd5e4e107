//! The hole between the history and the log's end, read from EVT: at most [`HOLE_RECORDS_MAX`] records, kept for each
//! partition as long as the history does not have them.

use std::collections::VecDeque;

use natter_nats::{Log, Stored};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::HOLE_RECORDS_MAX;
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;
use natter_schemas::wire::server::ErrorBody;
use tokio::sync::Mutex;

use super::error_body;
use crate::clickhouse::{ClickHouse, watermark};
use crate::error::ViewError;

/// Batches fetched at once.
const FETCH: u64 = 256;

/// The tails of all partitions.
pub(super) struct Tails {
    log: Log,
    history: ClickHouse,
    tails: Vec<Mutex<Tail>>,
}

/// Batches of one partition that the history does not have yet.
#[derive(Default)]
struct Tail {
    /// The history is complete up to here.
    history: u64,
    batches: VecDeque<Stored>,
}

impl Tails {
    pub(super) fn new(log: Log, history: ClickHouse) -> Self {
        let tails = (0..log.partitions()).map(|_| Mutex::default()).collect();
        Self { log, history, tails }
    }

    /// The sequence of `partition` up to which the history is complete.
    pub(super) async fn history(&self, partition: u16) -> Result<u64, ErrorBody> {
        let mut tail = self.tails[usize::from(partition)].lock().await;
        self.look(partition, &mut tail).await.map_err(|error| error_body(&error))?;
        Ok(tail.history)
    }

    /// Events of `conversation` that the history lacks, up to the batch `last`.
    ///
    /// # Errors
    /// `history_behind`: more than [`HOLE_RECORDS_MAX`] records would have to be read.
    pub(super) async fn missing(
        &self,
        partition: u16,
        conversation: ConversationId,
        last: u64,
    ) -> Result<Vec<Placed>, ErrorBody> {
        let mut tail = self.tails[usize::from(partition)].lock().await;
        self.look(partition, &mut tail).await.map_err(|error| error_body(&error))?;
        self.extend(partition, &mut tail, last).await?;
        let mut events = Vec::new();
        for batch in tail.batches.iter().take_while(|batch| batch.sequence <= last) {
            of_conversation(partition, batch, conversation, &mut events).map_err(|error| error_body(&error))?;
        }
        Ok(events)
    }

    /// Where the history is now; what it has is forgotten here.
    async fn look(&self, partition: u16, tail: &mut Tail) -> Result<(), ViewError> {
        let found = watermark(&self.history, partition, tail.history).await?;
        tail.history = found.sequence;
        while tail.batches.front().is_some_and(|batch| batch.sequence <= tail.history) {
            tail.batches.pop_front();
        }
        Ok(())
    }

    async fn extend(&self, partition: u16, tail: &mut Tail, last: u64) -> Result<(), ErrorBody> {
        let stream = outcome_stream(partition);
        let mut records: u64 = tail.batches.iter().map(records_of).sum();
        loop {
            let from = tail.batches.back().map_or(tail.history, |batch| batch.sequence) + 1;
            if from > last {
                return Ok(());
            }
            // A batch has at least one record.
            if records + (last - from) >= HOLE_RECORDS_MAX {
                return Err(ErrorBody::of(ErrorCode::HistoryBehind).retry_after(1000));
            }
            let found = self.log.get_batch(&stream, from, FETCH.min(last + 1 - from)).await;
            let found = found.map_err(|error| error_body(&error.into()))?;
            let dense = found.iter().zip(from..).take_while(|(batch, wanted)| batch.sequence == *wanted).count();
            if dense == 0 {
                let reason = format!("{stream} does not give {from}, although it was stored");
                return Err(error_body(&ViewError::Transient(reason)));
            }
            for batch in found.into_iter().take(dense) {
                records += records_of(&batch);
                tail.batches.push_back(batch);
            }
        }
    }
}

fn records_of(batch: &Stored) -> u64 {
    u64::from(batch.records.unwrap_or(1))
}

/// Decodes only the outcomes of this conversation.
fn of_conversation(
    partition: u16,
    batch: &Stored,
    conversation: ConversationId,
    events: &mut Vec<Placed>,
) -> Result<(), ViewError> {
    let decoded = OutcomeBatch::decode(&batch.payload)?;
    if decoded.header.conversations.binary_search(&conversation.get()).is_err() {
        return Ok(());
    }
    for raw in decoded.records()? {
        if raw.conversation == conversation.get() {
            let position = Position::outcome(partition, batch.sequence, raw.index);
            let (stored_ms, log_ms) = (raw.stored_ms, raw.log_ms);
            events.push(Placed { position, stored_ms, log_ms, policy: None, outcome: raw.decode()? });
        }
    }
    Ok(())
}
