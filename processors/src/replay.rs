//! Deciding the whole log again: commands and recorded facts out of the outcomes must give the same outcomes, ids and
//! seqs, and in the end the same bytes (invariants 1, 2 and 5).
//!
//! What is in memory grows with a partition's conversations, memberships and users, never with its messages. Where the log
//! and its repetition part, the log is believed and deciding goes on behind it, so that each fault is named once.

mod difference;
mod facts;
mod given;

use bytes::Bytes;
use natter_nats::Stored;
use natter_schemas::codec::{CodecError, OutcomeBatch, OutcomeHeader, Source};
use natter_schemas::command::Command;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{Placed, placed};
use natter_schemas::id::IdState;
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Rejection};
use natter_schemas::policy::PolicyHash;
use natter_schemas::position::Position;

pub use self::difference::Difference;
use self::difference::Found;
pub use self::facts::FactBase;
use self::given::Given;
use crate::decide::{Context, Facts, decide, log_time};
use crate::error::Halt;
use crate::policy::{Known, Policies};
use crate::ports::{OutcomeLog, PolicyStore};
use crate::worker::Draft;

/// What came of deciding a partition again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Outcome batches compared.
    pub batches: u64,
    /// Outcomes compared.
    pub outcomes: u64,
    /// The first difference, where there is one; nothing was compared behind its batch.
    pub difference: Option<Difference>,
}

/// Decides all of a partition's log again, from an empty memory, and compares.
///
/// # Errors
/// The log or a policy cannot be read.
pub async fn verify(log: &(impl OutcomeLog + PolicyStore), partition: u16) -> Result<Report, Halt> {
    let through = log.last_outcomes().await?.map_or(0, |last| last.sequence);
    let (mut replay, mut report) = (Replay::of(partition), Report::default());
    for after in (0..through).step_by(CHUNK) {
        let mut batches = Vec::new();
        let collect = |stored: &Stored| {
            batches.push(DecodedBatch::of(partition, stored)?);
            Ok(())
        };
        log.read_outcomes(after, (after + CHUNK as u64).min(through), collect).await?;
        for batch in batches {
            let found = replay.batch(batch, log).await?;
            report = Report { batches: replay.batches, outcomes: replay.outcomes, difference: None };
            if let Some(difference) = found.into_iter().next() {
                return Ok(Report { difference: Some(difference), ..report });
            }
        }
    }
    Ok(report)
}

/// Batches held in memory at a time.
const CHUNK: usize = 64;

/// A batch of the log, decoded: the part of the work that asks for nothing but its bytes.
#[derive(Debug, Clone)]
pub struct DecodedBatch {
    sequence: u64,
    bytes: Bytes,
    header: OutcomeHeader,
    outcomes: Vec<Placed>,
}

impl DecodedBatch {
    /// Decodes a stored batch of `EVT_partition`.
    ///
    /// # Errors
    /// The batch or one of its outcomes cannot be decoded.
    pub fn of(partition: u16, stored: &Stored) -> Result<Self, CodecError> {
        let header = OutcomeBatch::decode(&stored.payload)?.header;
        let outcomes = placed(partition, stored.sequence, &stored.payload)?;
        Ok(Self { sequence: stored.sequence, bytes: stored.payload.clone(), header, outcomes })
    }
}

/// A partition's log, decided again from its first batch on.
#[derive(Debug)]
pub struct Replay {
    partition: u16,
    facts: FactBase,
    policies: Policies,
    ids: IdState,
    log_ms: u64,
    commands: u64,
    given: Given,
    batches: u64,
    outcomes: u64,
}

impl Replay {
    /// Before the first batch of a partition.
    pub fn of(partition: u16) -> Self {
        Self {
            partition,
            facts: FactBase::default(),
            policies: Policies::default(),
            ids: IdState::default(),
            log_ms: 0,
            commands: 0,
            given: Given::default(),
            batches: 0,
            outcomes: 0,
        }
    }

    /// Outcomes decided again so far.
    pub const fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// Facts in memory.
    pub fn facts(&self) -> usize {
        self.facts.len()
    }

    /// Decides the next batch again, and compares: each outcome, what the header says, and all bytes. Gives where they
    /// differ; what follows from a difference is not named beside it.
    ///
    /// # Errors
    /// A policy or an older batch cannot be read.
    pub async fn batch(
        &mut self,
        batch: DecodedBatch,
        log: &(impl OutcomeLog + PolicyStore),
    ) -> Result<Vec<Difference>, Halt> {
        let DecodedBatch { sequence, bytes, header, outcomes } = batch;
        self.policies.begin_round();
        let here = Position::batch(self.partition, sequence);
        let (mut found, mut draft) = (Found::default(), Draft::default());
        draft.reserve(0, bytes.len());
        let mut outcomes = outcomes.iter();
        for source in &header.sources {
            let log_ms = log_time(self.log_ms, source.stored_ms);
            found.compare(here, "command sequence", &source.sequence, &(self.commands + 1));
            found.compare(here, "log time before", &source.before_ms, &self.log_ms);
            found.compare(here, "log time", &source.log_ms, &log_ms);
            (self.commands, self.log_ms) = (source.sequence, source.log_ms);
            self.ids.advance(log_ms);
            for placed in outcomes.by_ref().take(source.records as usize) {
                self.outcome(placed, log, &mut draft, &mut found).await?;
            }
            draft.answers(Source { log_ms, ..source.clone() });
        }
        self.batches += 1;
        self.facts.forget_old_refs(self.log_ms);
        if found.is_empty() {
            found.compare(here, "id fold", &header.ids, &self.ids);
            found.bytes(here, &bytes, &draft.finish(sequence, header.lease, self.ids).bytes);
        } else {
            self.ids = header.ids;
        }
        Ok(found.into_differences())
    }

    async fn outcome(
        &mut self,
        placed: &Placed,
        log: &(impl OutcomeLog + PolicyStore),
        draft: &mut Draft,
        found: &mut Found,
    ) -> Result<(), Halt> {
        self.outcomes += 1;
        let stands = &placed.outcome.decision;
        let before = self.ids;
        let (decision, policy) = match &placed.outcome.received {
            Received::Undecodable(_) => (undecodable(), None),
            Received::Command(command) => self.decide(command, placed, log).await?,
        };
        let in_force = found.compare(placed.position, "policy in force", &placed.policy, &policy);
        if *stands != decision {
            self.ids = ids_after(before, self.ids, stands, &decision);
            if in_force {
                found.decision(placed.position, stands, &decision);
            }
        }
        if let (Received::Command(command), Decision::Accepted(accepted)) = (&placed.outcome.received, stands) {
            if let Some(wrong) = self.given.check(placed.position, command, accepted, log).await? {
                found.add(placed.position, "answer", accepted, &wrong);
            }
            self.given.note(placed.position, command, accepted);
        }
        if let Some(accepted) = placed.accepted() {
            self.facts.fold(&accepted);
        }
        write(draft, &placed.outcome, policy);
        Ok(())
    }

    async fn decide(
        &mut self,
        command: &Command,
        placed: &Placed,
        policies: &impl PolicyStore,
    ) -> Result<(Decision, Option<PolicyHash>), Halt> {
        let Outcome { learnt, .. } = placed.outcome;
        let policy = self.facts.policy(&command.tenant);
        if let Some(hash) = policy
            && learnt != Learnt::PolicyUnusable
            && !self.policies.prepare(hash, policies).await?
        {
            return Err(Halt::Corrupt(format!("policy {hash} is in force, but is not stored or cannot be used")));
        }
        let rules = match self.policies.known(policy) {
            // As it was then: it may have been stored again since.
            Known::Usable(rules) if learnt != Learnt::PolicyUnusable => Some(&**rules),
            Known::Usable(_) | Known::Unusable | Known::NotYet(_) => None,
        };
        let context =
            Context { stored_ms: placed.stored_ms, log_ms: placed.log_ms, before_ms: placed.before_ms, rules, learnt };
        Ok((decide(command, context, &self.facts, &mut self.ids), policy))
    }
}

fn undecodable() -> Decision {
    Decision::Rejected(Rejection::new(ErrorCode::Undecodable, ErrorCode::Undecodable.description()))
}

/// Writes the outcome as a processor would: it names its policy by the order in which they came into the batch.
fn write(draft: &mut Draft, outcome: &Outcome, policy: Option<PolicyHash>) {
    let policy = draft.policy(policy);
    if policy == outcome.policy {
        draft.push(outcome);
    } else {
        draft.push(&Outcome { policy, ..outcome.clone() });
    }
}

/// Where ids stand behind an outcome that stands otherwise than `decision`: one that makes something takes an id.
fn ids_after(before: IdState, decided: IdState, stands: &Decision, decision: &Decision) -> IdState {
    match (made(stands), made(decision)) {
        (Some(_), Some(_)) | (None, None) => decided,
        (None, Some(_)) => before,
        (Some(id), None) => IdState::after(id).max(before),
    }
}

/// The id of what was made.
fn made(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Accepted(Accepted::Created { conversation, .. }) => Some(conversation.get()),
        Decision::Accepted(Accepted::Sent { message, .. }) => Some(message.get()),
        Decision::Accepted(
            Accepted::Existing { .. }
            | Accepted::Added { .. }
            | Accepted::Joined { .. }
            | Accepted::Left { .. }
            | Accepted::Renamed { .. }
            | Accepted::Read { .. }
            | Accepted::UserUpdated
            | Accepted::NameKept
            | Accepted::PolicySet { .. }
            | Accepted::Unchanged { .. }
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. },
        )
        | Decision::Rejected(_) => None,
    }
}
