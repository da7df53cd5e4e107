//! The commands themselves, as far as they are still there: `CMD_p` beside `EVT_p`.

use natter_nats::{Log, LogError, Stored};
use natter_processors::worker::StoredCommands;
use natter_schemas::codec::Source;
use natter_schemas::command::Command;
use natter_schemas::event::Placed;
use natter_schemas::outcome::Received;
use natter_schemas::position::Position;
use natter_schemas::subjects::command_stream;

use super::Batch;
use crate::audit::reading::Tail;
use crate::audit::report::{Differences, Kind, Store};

/// What stands in `CMD_p` for one source of an outcome batch.
#[derive(Debug)]
pub(in crate::audit) enum Found {
    /// It was trimmed.
    Trimmed,
    /// It is there.
    There(Box<Stored>),
    /// The stream ends below it.
    Beyond(u64),
}

/// Reads `CMD_p` as the sources of outcome batches ask for it.
pub(in crate::audit) struct Commands {
    log: Log,
    partition: u16,
    tail: Option<Tail>,
    /// Where it begins and ends, as far as is known.
    first: u64,
    last: u64,
    told_beyond: bool,
    pub(in crate::audit) compared: u64,
}

impl Commands {
    pub(in crate::audit) fn new(log: &Log, partition: u16) -> Self {
        Self { log: log.clone(), partition, tail: None, first: 1, last: 0, told_beyond: false, compared: 0 }
    }

    /// What stands in `CMD_p` for each of `sources`.
    pub(in crate::audit) async fn of(&mut self, sources: &[Source]) -> Result<Vec<Found>, LogError> {
        let mut all = Vec::with_capacity(sources.len());
        for source in sources {
            all.push(self.at(source.sequence).await?);
        }
        Ok(all)
    }

    /// The command batches that have no outcome yet.
    pub(in crate::audit) async fn unanswered(&self, answered: u64) -> Result<u64, LogError> {
        Ok(self.log.bounds(&command_stream(self.partition)).await?.last.saturating_sub(answered))
    }

    async fn at(&mut self, sequence: u64) -> Result<Found, LogError> {
        let stream = command_stream(self.partition);
        if sequence > self.last {
            let bounds = self.log.bounds(&stream).await?;
            (self.first, self.last) = (bounds.first, bounds.last);
        }
        if sequence > self.last {
            // What comes after it is beyond as well.
            let told = std::mem::replace(&mut self.told_beyond, true);
            return Ok(if told { Found::Trimmed } else { Found::Beyond(self.last) });
        }
        if sequence < self.first {
            return Ok(Found::Trimmed);
        }
        let next = self.tail.as_ref().map(Tail::next_sequence);
        if next.is_some_and(|next| next > sequence) {
            // Out of order: it was passed before.
            let found = self.log.get_from_leader(&stream, sequence).await?;
            return Ok(found.map_or(Found::Trimmed, |stored| Found::There(Box::new(stored))));
        }
        match self.next(&stream, sequence).await {
            Ok(stored) => {
                self.compared += 1;
                Ok(Found::There(Box::new(stored)))
            }
            Err(error @ LogError::Corrupt(_)) => {
                self.tail = None;
                self.first = self.log.bounds(&stream).await?.first;
                // What is old is trimmed while this reads.
                if sequence < self.first { Ok(Found::Trimmed) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    async fn next(&mut self, stream: &str, sequence: u64) -> Result<Stored, LogError> {
        let mut tail = match self.tail.take() {
            Some(tail) if tail.next_sequence() == sequence => tail,
            _ => Tail::open(&self.log, stream, sequence).await?,
        };
        let stored = tail.next().await?;
        self.tail = Some(tail);
        Ok(stored)
    }
}

/// Whether the batch at `here` answers these commands and no others.
pub(super) fn compare(here: Position, batch: &Batch, commands: &[Found], found: &mut Differences) {
    let mut outcomes = batch.outcomes.iter();
    for (source, command) in batch.header.sources.iter().zip(commands) {
        let answers: Vec<&Placed> = outcomes.by_ref().take(source.records as usize).collect();
        match command {
            Found::Trimmed => {}
            Found::Beyond(last) => {
                let detail = format!("it answers command batch {}, the last one is {last}", source.sequence);
                found.add(Store::Log, Kind::Ahead, here.to_string(), detail);
                return;
            }
            Found::There(stored) => {
                if let Some((kind, place, detail)) = difference(here, source, &answers, stored) {
                    found.add(Store::Log, kind, place.to_string(), detail);
                }
            }
        }
    }
}

/// The first difference between a command batch and what answers it.
fn difference(
    here: Position,
    source: &Source,
    answers: &[&Placed],
    stored: &Stored,
) -> Option<(Kind, Position, String)> {
    let sequence = source.sequence;
    let Ok(batch) = StoredCommands::decode(stored) else {
        return Some((Kind::Altered, here, format!("command batch {sequence} is of a newer version")));
    };
    let (records, commands) = (answers.len(), batch.commands.len());
    if records != commands {
        let kind = if records < commands { Kind::Missing } else { Kind::Doubled };
        return Some((kind, here, format!("command batch {sequence} has {commands} commands, {records} outcomes")));
    }
    let wrong: Vec<_> = answers.iter().zip(&batch.commands).filter(|(one, other)| differs(one, other)).collect();
    if let Some((placed, _)) = wrong.first() {
        let same = |placed: &Placed| batch.commands.iter().any(|command| !differs(placed, command));
        let kind = if wrong.len() > 1 && wrong.iter().all(|(placed, _)| same(placed)) {
            Kind::Reordered
        } else {
            Kind::Altered
        };
        let many = if wrong.len() > 1 { format!(" and {} more", wrong.len() - 1) } else { String::new() };
        let detail = format!("it is not the outcome of its command in command batch {sequence}{many}");
        return Some((kind, placed.position, detail));
    }
    let said = (source.stored_ms, source.publisher, source.number);
    let stands = (batch.stored_ms, batch.publisher, batch.number);
    (said != stands).then(|| {
        let detail =
            format!("it says of command batch {sequence} (stored, publisher, number) {said:?}, not {stands:?}");
        (Kind::Altered, here, detail)
    })
}

fn differs(placed: &Placed, command: &Result<Command, Vec<u8>>) -> bool {
    match (&placed.outcome.received, command) {
        (Received::Command(received), Ok(command)) => received != command,
        (Received::Undecodable(received), Err(bytes)) => received != bytes,
        _ => true,
    }
}
