//! Where an outcome and its command lie in the log.

use anyhow::{Context, bail};
use natter_nats::{Log, LogError, Stored};
use natter_processors::worker::StoredCommands;
use natter_schemas::codec::{OutcomeBatch, Source};
use natter_schemas::event::{Placed, placed};
use natter_schemas::id::{IdState, MessageId};
use natter_schemas::outcome::{Accepted, Decision, Received};
use natter_schemas::position::Position;
use natter_schemas::subjects::{command_stream, outcome_stream};
use natter_schemas::wire::times::{as_rfc3339, rfc3339};
use serde::Serialize;

/// An outcome with its place in the log.
#[derive(Debug)]
pub struct Found {
    /// The outcome.
    pub placed: Placed,
    /// Its stream; sequence and index are in its position.
    pub stream: String,
    /// When its batch was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Outcomes in its batch.
    pub records: u32,
    /// Bytes of its batch.
    pub bytes: usize,
    /// NATS has it no more: it was read from the archive.
    pub archived: bool,
    /// The lease under which it was decided.
    pub lease: u64,
    /// Its command.
    pub command: CommandAt,
}

/// Where a command lies, or lay.
#[derive(Debug, Clone, Serialize)]
pub struct CommandAt {
    /// The stream.
    pub stream: String,
    /// Its batch's sequence.
    pub sequence: u64,
    /// Its index in the batch, from 0.
    pub index: u32,
    /// Commands in the batch.
    pub records: u32,
    /// When the batch was stored, in Unix milliseconds.
    #[serde(rename = "stored_at", with = "as_rfc3339")]
    pub stored_ms: u64,
    /// Who published it: a number of that process's life.
    pub publisher: String,
    /// The batch's number among that publisher's.
    pub number: u64,
    /// Whether it is still there.
    pub state: CommandState,
}

/// What stands in the place of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// The very command that the outcome repeats.
    There,
    /// Nothing any more: commands are kept for a day behind the processor, and the outcome repeats them.
    Trimmed,
    /// Something else than the outcome says: `natter audit` says more.
    Differs,
    /// The stream ends before it: `natter audit` says more.
    Missing,
}

/// The outcome that made `id`. The batch is found by the id fold in the batches' headers, which no clock and no view takes part in.
pub(super) async fn message(log: &Log, id: MessageId) -> anyhow::Result<Found> {
    let partition = id.slot().partition(log.partitions());
    let stream = outcome_stream(partition);
    let made = IdState::after(id.get());
    let before = |stored: &Stored| Ok(OutcomeBatch::decode(&stored.payload)?.header.ids < made);
    let sequence = log.first_not(&stream, before).await.context("cannot search the log")?;
    let of_id = |placed: &Placed| matches!(&placed.outcome.decision, Decision::Accepted(Accepted::Sent { message, .. }) if *message == id);
    if let Some(stored) = log.get_wherever(&stream, sequence).await?
        && let Some(found) = in_batch(log, partition, &stored, of_id).await?
    {
        return Ok(found);
    }
    let bounds = log.whole_bounds(&stream).await?;
    let made_at = rfc3339(id.unix_ms());
    let why = if sequence > bounds.last {
        format!("{stream}, its partition's stream, ends before that, at batch {}", bounds.last)
    } else if sequence == bounds.first && bounds.first > 1 {
        format!(
            "{stream}, its partition's stream, begins at batch {}: what was before is not there any more",
            bounds.first
        )
    } else {
        format!("batch {sequence} of {stream}, the only one that could have made it, did not")
    };
    bail!("there is no message {id} in the log: by its id it would have been made at {made_at}, and {why}")
}

/// The outcome at a position.
pub(super) async fn outcome(log: &Log, position: Position) -> anyhow::Result<Found> {
    let Position { partition, sequence, .. } = position;
    if partition >= log.partitions() {
        bail!("there is no outcome {position}: the log has {} partitions, the first is 0", log.partitions());
    }
    let stream = outcome_stream(partition);
    let Some(stored) = log.get_wherever(&stream, sequence).await? else {
        let bounds = log.whole_bounds(&stream).await?;
        bail!("there is no outcome {position}: {stream} holds batches {} to {}", bounds.first, bounds.last);
    };
    match in_batch(log, partition, &stored, |placed| placed.position == position).await? {
        Some(found) => Ok(found),
        None => bail!("there is no outcome {position}: batch {sequence} has {} outcomes", stored.records.unwrap_or(0)),
    }
}

/// The first outcome of a batch that is the one.
async fn in_batch(
    log: &Log,
    partition: u16,
    stored: &Stored,
    is_it: impl Fn(&Placed) -> bool,
) -> anyhow::Result<Option<Found>> {
    let header = OutcomeBatch::decode(&stored.payload)?.header;
    let mut outcomes = placed(partition, stored.sequence, &stored.payload)?.into_iter();
    for source in &header.sources {
        let of_source = outcomes.by_ref().take(source.records as usize);
        let Some((index, placed)) = (0..).zip(of_source).find(|(_, placed)| is_it(placed)) else { continue };
        let archived = stored.sequence < log.bounds(&outcome_stream(partition)).await?.first;
        let state = state(log, partition, source, index, &placed.outcome.received).await?;
        let command = CommandAt {
            stream: command_stream(partition),
            sequence: source.sequence,
            index,
            records: source.records,
            stored_ms: source.stored_ms,
            publisher: format!("{:016x}", source.publisher),
            number: source.number,
            state,
        };
        return Ok(Some(Found {
            placed,
            stream: outcome_stream(partition),
            stored_ms: stored.stored_ms,
            records: header.records(),
            bytes: stored.payload.len(),
            archived,
            lease: header.lease,
            command,
        }));
    }
    Ok(None)
}

/// Whether the command is still where its outcome says that it came from.
async fn state(
    log: &Log,
    partition: u16,
    source: &Source,
    index: u32,
    received: &Received,
) -> Result<CommandState, LogError> {
    let stream = command_stream(partition);
    let Some(stored) = log.get_from_leader(&stream, source.sequence).await? else {
        let last = log.bounds(&stream).await?.last;
        return Ok(if source.sequence > last { CommandState::Missing } else { CommandState::Trimmed });
    };
    let commands = StoredCommands::decode(&stored).map(|batch| batch.commands).unwrap_or_default();
    let same = match (commands.get(index as usize), received) {
        (Some(Ok(command)), Received::Command(received)) => command == received,
        (Some(Err(bytes)), Received::Undecodable(received)) => bytes == received,
        _ => false,
    };
    Ok(if same { CommandState::There } else { CommandState::Differs })
}
