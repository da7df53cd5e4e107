//! The hole between the history and the log's end, read from EVT: at most [`HOLE_RECORDS_MAX`] records, kept for each
//! partition as long as the history does not have them.

use std::collections::VecDeque;
use std::time::Duration;

use natter_nats::{Log, LogError, Stored};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::HOLE_RECORDS_MAX;
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;
use natter_schemas::wire::server::ErrorBody;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error_body;
use crate::clickhouse::generations::Generation;
use crate::clickhouse::{ClickHouse, watermark};
use crate::error::ViewError;

/// Batches fetched at once, each of at most [`OUTCOME_BATCH_BYTES_MAX`](natter_schemas::limits::OUTCOME_BATCH_BYTES_MAX).
const FETCH: u64 = 16;
/// One look at the history's watermark, or one failure of it, serves all reads of a partition for so long. A watermark
/// that is too low does no harm: what lies above it is read from EVT.
const LOOK_SERVES: Duration = Duration::from_millis(200);

/// The tails of all partitions.
pub(super) struct Tails {
    log: Log,
    history: ClickHouse,
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    look: Mutex<Option<Look>>,
    /// Up to where a generation of the history was seen to be complete.
    known: Mutex<Option<(Generation, u64)>>,
    tail: Mutex<Tail>,
}

/// The last look at the history's watermark.
struct Look {
    done_at: Instant,
    found: Result<Complete, ViewError>,
}

/// How far a history is: the one that is live now, which the rest of a read is asked of as well.
#[derive(Clone)]
pub(super) struct Complete {
    pub(super) history: ClickHouse,
    /// It is complete up to here.
    pub(super) upto: u64,
}

/// Successive batches of one partition that the history does not have yet.
#[derive(Default)]
struct Tail(VecDeque<Stored>);

impl Tails {
    pub(super) fn new(log: Log, history: ClickHouse) -> Self {
        let parts = (0..log.partitions()).map(|_| Part::default()).collect();
        Self { log, history, parts }
    }

    /// The sequence of `partition` up to which the history is complete. Ask for it before the history: what it has not
    /// got then is in [`Tails::above`] this sequence.
    pub(super) async fn history(&self, partition: u16) -> Result<Complete, ErrorBody> {
        self.complete_history(partition).await.map_err(|failure| error_body(&failure))
    }

    /// The same, with the view's own error.
    pub(super) async fn complete_history(&self, partition: u16) -> Result<Complete, ViewError> {
        let Part { look, known, .. } = &self.parts[usize::from(partition)];
        let mut look = look.lock().await;
        if let Some(look) = look.as_ref().filter(|look| look.done_at.elapsed() < LOOK_SERVES) {
            return look.found.clone();
        }
        let found = self.complete(partition, known).await;
        look.insert(Look { done_at: Instant::now(), found }).found.clone()
    }

    /// The last outcome of `partition` whose log time is not after `log_ms`; sequence 0: there is none.
    pub(super) async fn last_until(&self, partition: u16, log_ms: u64) -> Result<Position, ErrorBody> {
        let failed = |error: LogError| error_body(&error.into());
        let stream = outcome_stream(partition);
        let until = |stored: &Stored| Ok(OutcomeBatch::decode(&stored.payload)?.header.log_ms() <= log_ms);
        let sequence = self.log.first_not(&stream, until).await.map_err(failed)?;
        // The first batch that ends after it may have begun before it.
        if let Some(stored) = self.log.get_wherever(&stream, sequence).await.map_err(failed)? {
            let header = OutcomeBatch::decode(&stored.payload).map_err(|error| error_body(&error.into()))?.header;
            let begun = header.sources.iter().take_while(|source| source.log_ms <= log_ms);
            if let Some(last) = begun.map(|source| source.records).sum::<u32>().checked_sub(1) {
                return Ok(Position::outcome(partition, sequence, last));
            }
        }
        Ok(Position::batch(partition, sequence.saturating_sub(1)))
    }

    async fn complete(&self, partition: u16, known: &Mutex<Option<(Generation, u64)>>) -> Result<Complete, ViewError> {
        let (history, mut known) = (self.history.live().await?, known.lock().await);
        let generation = history.generation();
        let from = known.filter(|(of, _)| *of == generation).map_or(0, |(_, upto)| upto);
        let found = watermark(&history, partition, from).await?;
        if !found.is_of(self.log.id()) {
            let id = self.log.id();
            return Err(ViewError::Mismatch(format!(
                "the history of partition {partition} stands at {found}, but this is log {id}"
            )));
        }
        *known = Some((generation, found.sequence));
        Ok(Complete { history, upto: found.sequence })
    }

    /// Events of `conversation` in the batches after `complete`, which is what [`Tails::history`] said, up to `last`.
    ///
    /// # Errors
    /// `history_behind`: more than [`HOLE_RECORDS_MAX`] records would have to be read.
    pub(super) async fn above(
        &self,
        partition: u16,
        conversation: ConversationId,
        complete: u64,
        last: u64,
    ) -> Result<Vec<Placed>, ErrorBody> {
        let mut tail = self.parts[usize::from(partition)].tail.lock().await;
        tail.begin_after(complete);
        tail.extend(&self.log, partition, complete, last).await?;
        tail.events(partition, conversation, complete, last).map_err(|error| error_body(&error))
    }
}

impl Tail {
    /// Forgets what the history has. What a read with an older watermark still needs is read again.
    fn begin_after(&mut self, complete: u64) {
        while self.0.front().is_some_and(|batch| batch.sequence <= complete) {
            self.0.pop_front();
        }
        if self.0.front().is_some_and(|batch| batch.sequence > complete + 1) {
            self.0.clear();
        }
    }

    async fn extend(&mut self, log: &Log, partition: u16, complete: u64, last: u64) -> Result<(), ErrorBody> {
        let stream = outcome_stream(partition);
        let mut records: u64 = self.0.iter().map(records_of).sum();
        loop {
            let from = self.0.back().map_or(complete, |batch| batch.sequence) + 1;
            if from > last {
                return Ok(());
            }
            // Nearly every batch has a record at least; a tick has none.
            if records + (last - from) >= HOLE_RECORDS_MAX {
                return Err(too_far_behind());
            }
            let found = log.get_batch(&stream, from, FETCH.min(last + 1 - from)).await;
            let found = found.map_err(|error| error_body(&error.into()))?;
            let dense = found.iter().zip(from..).take_while(|(batch, wanted)| batch.sequence == *wanted).count();
            if dense == 0 {
                let reason = format!("{stream} does not give {from}, although it was stored");
                return Err(error_body(&ViewError::Transient(reason)));
            }
            for batch in found.into_iter().take(dense) {
                records += records_of(&batch);
                if records > HOLE_RECORDS_MAX {
                    return Err(too_far_behind());
                }
                self.0.push_back(batch);
            }
        }
    }

    fn events(
        &self,
        partition: u16,
        conversation: ConversationId,
        complete: u64,
        last: u64,
    ) -> Result<Vec<Placed>, ViewError> {
        let mut events = Vec::new();
        for batch in self.0.iter().filter(|batch| batch.sequence > complete && batch.sequence <= last) {
            of_conversation(partition, batch, conversation, &mut events)?;
        }
        Ok(events)
    }
}

fn too_far_behind() -> ErrorBody {
    ErrorBody::of(ErrorCode::HistoryBehind).retry_after(1000)
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
            events.push(raw.placed(position, None, raw.decode()?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(sequences: std::ops::RangeInclusive<u64>) -> Tail {
        let batch = |sequence| Stored {
            sequence,
            stored_ms: 0,
            lease: None,
            records: Some(1),
            behind: 0,
            payload: bytes::Bytes::new(),
        };
        Tail(sequences.map(batch).collect())
    }

    fn after(mut tail: Tail, complete: u64) -> Vec<u64> {
        tail.begin_after(complete);
        tail.0.iter().map(|batch| batch.sequence).collect()
    }

    #[test]
    fn a_tail_begins_right_after_what_the_reader_knows_of_the_history() {
        assert_eq!(after(tail(5..=8), 4), [5, 6, 7, 8]);
        assert_eq!(after(tail(5..=8), 6), [7, 8]);
        assert_eq!(after(tail(5..=8), 8), [0; 0]);
        assert_eq!(after(tail(5..=8), 20), [0; 0]);
        // A read that looked at the history before another one moved on finds no hole.
        assert_eq!(after(tail(5..=8), 3), [0; 0]);
    }
}
