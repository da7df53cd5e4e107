//! The log by itself: `EVT_p` batch by batch, and what is there of `CMD_p` beside it.
//!
//! Damage has consequences: after a batch that is missing, seqs and ids jump. A batch's first difference hides what
//! follows from it, so that what is named is what happened.

mod commands;
mod sources;

use std::collections::HashMap;

use natter_nats::Stored;
use natter_processors::decide::log_time;
use natter_schemas::codec::{CodecError, OutcomeBatch, OutcomeHeader};
use natter_schemas::event::{Placed, touched};
use natter_schemas::id::{ConversationId, IdState};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;

pub(super) use self::commands::{Commands, Found};
use self::sources::Sources;
use super::report::{Differences, Kind, Store};

/// What `EVT_p` comes to so far.
#[derive(Debug)]
pub(super) struct Checker {
    partition: u16,
    partitions: u16,
    sources: Sources,
    ids: IdState,
    log_ms: u64,
    heads: HashMap<ConversationId, Head>,
    /// Batches that were not sound: seqs that were known before are unknown behind them.
    disorders: u32,
    pub(super) position: u64,
    pub(super) outcomes: u64,
    pub(super) conversations: u64,
    pub(super) messages: u64,
}

/// The last seq of a conversation.
#[derive(Debug, Clone, Copy)]
struct Head {
    seq: u64,
    /// The seq that stood where another was due: what comes next may follow it or the one that was due.
    or: u64,
    disorders: u32,
}

/// A batch as it was read.
pub(super) struct Batch {
    pub(super) header: OutcomeHeader,
    pub(super) outcomes: Vec<Placed>,
    /// The conversation that each stands behind; 0: none.
    conversations: Vec<u64>,
}

impl Checker {
    pub(super) fn new(partition: u16, partitions: u16) -> Self {
        Self {
            partition,
            partitions,
            sources: Sources::default(),
            ids: IdState::default(),
            log_ms: 0,
            heads: HashMap::new(),
            disorders: 0,
            position: 0,
            outcomes: 0,
            conversations: 0,
            messages: 0,
        }
    }

    /// The last sequence of `CMD_p` that is answered.
    pub(super) const fn answered(&self) -> u64 {
        self.sources.last
    }

    /// Reads the next batch; `None`: it cannot be read, and nothing behind it can be compared.
    pub(super) fn read(&self, stored: &Stored, found: &mut Differences) -> Option<Batch> {
        let here = Position::batch(self.partition, stored.sequence);
        match read(here, &stored.payload) {
            Ok(batch) => Some(batch),
            Err(error) => {
                found.add(Store::Log, Kind::Altered, here.to_string(), error.to_string());
                None
            }
        }
    }

    /// Checks the next batch, and the commands that it answers.
    pub(super) fn check(&mut self, stored: &Stored, batch: &Batch, commands: &[Found], found: &mut Differences) {
        let here = Position::batch(self.partition, stored.sequence);
        let before = found.total;
        let in_order = self.sources.take(here, &batch.header.sources, found);
        commands::compare(here, batch, commands, found);
        let mut ids = None;
        if found.total == before && in_order {
            for source in &batch.header.sources {
                self.sources.number(here, source, found);
            }
            self.times(here, &batch.header, found);
            ids = self.contents(here, batch, found);
        }
        let is_sound = found.total == before && in_order;
        if !is_sound {
            self.disorders += 1;
        }
        self.seqs(batch, is_sound, found);
        if found.total == before {
            headers(here, stored, batch, found);
        }
        self.take(stored.sequence, batch, ids);
    }

    /// The batch is history, whatever was found in it. `ids`: where they are due to stand, if that is known.
    fn take(&mut self, sequence: u64, batch: &Batch, ids: Option<IdState>) {
        self.ids = ids.unwrap_or_else(|| self.ids.max(batch.header.ids));
        self.log_ms = self.log_ms.max(batch.header.log_ms());
        self.position = sequence;
        self.outcomes += batch.outcomes.len() as u64;
        for outcome in &batch.outcomes {
            match outcome.event().map(|event| event.accepted) {
                Some(Accepted::Sent { .. }) => self.messages += 1,
                Some(Accepted::Created { .. }) => self.conversations += 1,
                _ => {}
            }
        }
    }

    /// Log time follows from the times of storing (invariant 2).
    fn times(&self, here: Position, header: &OutcomeHeader, found: &mut Differences) {
        let mut log_ms = self.log_ms;
        for source in &header.sources {
            let due = log_time(log_ms, source.stored_ms);
            if source.log_ms != due {
                let detail =
                    format!("log time of command batch {} is {}, {due} is due", source.sequence, source.log_ms);
                found.add(Store::Log, Kind::Altered, here.to_string(), detail);
                return;
            }
            log_ms = due;
        }
    }

    /// Ids follow from the times of storing and what was made before (invariant 2). Gives where they stand then.
    fn contents(&self, here: Position, batch: &Batch, found: &mut Differences) -> Option<IdState> {
        let mut ids = self.ids;
        let mut outcomes = batch.outcomes.iter();
        for source in &batch.header.sources {
            ids.advance(source.stored_ms);
            for outcome in outcomes.by_ref().take(source.records as usize) {
                let Some(event) = outcome.event() else { continue };
                let (id, slot) = match event.accepted {
                    Accepted::Created { conversation, .. } => (conversation.get(), event.command.slot()),
                    Accepted::Sent { conversation, message, .. } => (message.get(), Some(conversation.slot())),
                    _ => continue,
                };
                let slot = slot.unwrap_or_else(|| ConversationId::from_raw(id).slot());
                let due = ids.next(slot);
                if id != due {
                    let detail = format!("id {id}, {due} is due");
                    found.add(Store::Log, Kind::Altered, outcome.position.to_string(), detail);
                    return None;
                }
                if slot.partition(self.partitions) != self.partition {
                    let detail = format!("id {id} belongs to partition {}", slot.partition(self.partitions));
                    found.add(Store::Log, Kind::Altered, outcome.position.to_string(), detail);
                    return None;
                }
            }
        }
        if ids != batch.header.ids {
            let detail = format!("the header's ids end at {:?}, {ids:?} is due", batch.header.ids);
            found.add(Store::Log, Kind::Altered, here.to_string(), detail);
        }
        Some(ids)
    }

    /// Seqs of a conversation are 1, 2, 3 and so on.
    fn seqs(&mut self, batch: &Batch, is_sound: bool, found: &mut Differences) {
        let disorders = self.disorders;
        for outcome in &batch.outcomes {
            let Some(event) = outcome.event() else { continue };
            let (conversation, seq) = match event.accepted {
                Accepted::Created { conversation, .. } => (conversation, 0),
                Accepted::Sent { conversation, seq, .. } => (conversation, *seq),
                _ => continue,
            };
            let head = self.heads.entry(*conversation).or_insert(Head { seq: 0, or: 0, disorders: 0 });
            let is_known = is_sound && head.disorders == disorders;
            let due = head.seq + 1;
            if seq == 0 || !is_known || seq == due || seq == head.or + 1 {
                let seq = if is_sound { seq } else { head.seq.max(seq) };
                *head = Head { seq, or: seq, disorders };
                continue;
            }
            *head = Head { seq: due, or: seq, disorders };
            let kind = if seq > due { Kind::Missing } else { Kind::Doubled };
            let detail = format!("seq {seq} in conversation {conversation}, {due} is due");
            found.add(Store::Log, kind, outcome.position.to_string(), detail);
        }
    }

    /// Names what never came.
    pub(super) fn settle(&mut self, found: &mut Differences) {
        self.sources.settle(self.partition, found);
    }
}

fn read(here: Position, bytes: &[u8]) -> Result<Batch, CodecError> {
    let batch = OutcomeBatch::decode(bytes)?;
    let raws = batch.records()?;
    let conversations = raws.iter().map(|raw| raw.conversation).collect();
    let header = batch.header;
    let mut outcomes = Vec::with_capacity(raws.len());
    for raw in raws {
        let outcome = raw.decode()?;
        let policy = outcome.policy.and_then(|index| header.policies.get(usize::from(index)).copied());
        let position = Position::outcome(here.partition, here.sequence, raw.index);
        outcomes.push(raw.placed(position, policy, outcome));
    }
    Ok(Batch { header, outcomes, conversations })
}

/// What headers and touch lists say is what the outcomes say.
fn headers(here: Position, stored: &Stored, batch: &Batch, found: &mut Differences) {
    let header = &batch.header;
    let mut altered = |detail: String| found.add(Store::Log, Kind::Altered, here.to_string(), detail);
    if stored.records != Some(header.records()) {
        return altered(format!("its header says {:?} records, it holds {}", stored.records, header.records()));
    }
    if stored.lease != Some(header.lease) {
        return altered(format!("its header says lease {:?}, the batch itself {}", stored.lease, header.lease));
    }
    let (mut conversations, mut users) = (Vec::new(), Vec::new());
    for (outcome, behind) in batch.outcomes.iter().zip(&batch.conversations) {
        let touched = touched(&outcome.outcome);
        if *behind != touched.conversation.unwrap_or(0) {
            return altered(format!("outcome {} stands behind conversation {behind}", outcome.position));
        }
        if outcome.outcome.policy.is_some() && outcome.policy.is_none() {
            return altered(format!("outcome {} names a policy that the batch does not list", outcome.position));
        }
        conversations.extend(touched.conversation);
        users.extend(touched.users);
    }
    for (what, mut due, listed) in
        [("conversations", conversations, &header.conversations), ("users", users, &header.users)]
    {
        due.sort_unstable();
        due.dedup();
        if due != *listed {
            return altered(format!("its list of {what} is not what its outcomes touch"));
        }
    }
}
