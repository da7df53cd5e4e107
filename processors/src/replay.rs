//! Deciding the whole log again: commands and recorded facts out of the outcomes must give the same outcomes, ids and
//! seqs, one by one (invariants 1, 2 and 5).

use std::collections::HashMap;
use std::fmt;

use natter_nats::Stored;
use natter_projections::facts::{Change, Fact, FactKey, Refs, changes};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::command::Command;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{Event, Placed, placed};
use natter_schemas::id::IdState;
use natter_schemas::outcome::{Decision, Learnt, Outcome, Received};
use natter_schemas::position::Position;

use crate::decide::{Context, Facts, decide, log_time};
use crate::error::Halt;
use crate::policy::{Known, Policies};
use crate::ports::{OutcomeLog, PolicyStore};

/// What came of deciding a partition again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Outcome batches compared.
    pub batches: u64,
    /// Outcomes compared.
    pub outcomes: u64,
    /// The first difference, where there is one; nothing was compared behind it.
    pub difference: Option<Difference>,
}

/// Where the log and its repetition part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub position: Position,
    /// What differs.
    pub what: &'static str,
    /// What stands in the log.
    pub found: String,
    /// What was decided now.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, what, found, expected } = self;
        write!(formatter, "at {position} the {what} is {found}, but deciding again gives {expected}")
    }
}

/// Decides all of a partition's log again, from an empty memory, and compares.
///
/// # Errors
/// The log or a policy cannot be read.
pub async fn verify(log: &(impl OutcomeLog + PolicyStore), partition: u16) -> Result<Report, Halt> {
    let through = log.last_outcomes().await?.map_or(0, |last| last.sequence);
    let mut replay = Replay::of(partition);
    for after in (0..through).step_by(CHUNK) {
        let mut batches = Vec::new();
        let collect = |stored: &Stored| {
            batches.push(stored.clone());
            Ok(())
        };
        log.read_outcomes(after, (after + CHUNK as u64).min(through), collect).await?;
        for stored in &batches {
            replay.batch(stored, log).await?;
            if replay.report.difference.is_some() {
                return Ok(replay.report);
            }
        }
    }
    Ok(replay.report)
}

/// Batches held in memory at a time.
const CHUNK: usize = 64;

struct Replay {
    partition: u16,
    facts: FactBase,
    policies: Policies,
    ids: IdState,
    log_ms: u64,
    commands: u64,
    report: Report,
}

impl Replay {
    fn of(partition: u16) -> Self {
        let (facts, policies, ids, report) = Default::default();
        Self { partition, facts, policies, ids, log_ms: 0, commands: 0, report }
    }

    async fn batch(&mut self, stored: &Stored, policies: &impl PolicyStore) -> Result<(), Halt> {
        self.policies.begin_round();
        let header = OutcomeBatch::decode(&stored.payload)?.header;
        let mut outcomes = placed(self.partition, stored.sequence, &stored.payload)?.into_iter();
        for source in &header.sources {
            let here = Position::batch(self.partition, stored.sequence);
            let log_ms = log_time(self.log_ms, source.stored_ms);
            self.compare(here, "command sequence", &source.sequence, &(self.commands + 1));
            self.compare(here, "log time before", &source.before_ms, &self.log_ms.clone());
            self.compare(here, "log time", &source.log_ms, &log_ms);
            (self.commands, self.log_ms) = (source.sequence, log_ms);
            self.ids.advance(log_ms);
            for placed in outcomes.by_ref().take(source.records as usize) {
                self.outcome(&placed, policies).await?;
            }
        }
        let here = Position::batch(self.partition, stored.sequence);
        self.compare(here, "id fold", &header.ids, &self.ids.clone());
        self.report.batches += 1;
        Ok(())
    }

    async fn outcome(&mut self, placed: &Placed, policies: &impl PolicyStore) -> Result<(), Halt> {
        self.report.outcomes += 1;
        let expected = match &placed.outcome.received {
            Received::Undecodable(_) => ErrorCode::Undecodable.number().to_string(),
            Received::Command(command) => {
                let decision = self.decide(command, placed, policies).await?;
                self.compare(placed.position, "outcome", &placed.outcome.decision, &decision);
                if let Some(accepted) = placed.accepted() {
                    self.facts.fold(&accepted);
                }
                return Ok(());
            }
        };
        let found = match &placed.outcome.decision {
            Decision::Rejected(rejection) => rejection.code.to_string(),
            Decision::Accepted(accepted) => format!("{accepted:?}"),
        };
        self.compare(placed.position, "outcome of bytes that are no command", &found, &expected);
        Ok(())
    }

    async fn decide(
        &mut self,
        command: &Command,
        placed: &Placed,
        policies: &impl PolicyStore,
    ) -> Result<Decision, Halt> {
        let Outcome { learnt, .. } = placed.outcome;
        let policy = self.facts.policy(&command.tenant);
        self.compare(placed.position, "policy in force", &placed.policy, &policy);
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
        let context = Context { stored_ms: placed.stored_ms, before_ms: placed.before_ms, rules, learnt };
        Ok(decide(command, context, &self.facts, &mut self.ids))
    }

    fn compare<T: PartialEq + fmt::Debug>(&mut self, position: Position, what: &'static str, found: &T, expected: &T) {
        if found != expected && self.report.difference.is_none() {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            self.report.difference = Some(Difference { position, what, found, expected });
        }
    }
}

/// All facts of a partition, in memory: the plainest fold there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactBase(HashMap<FactKey, Fact>);

impl FactBase {
    #[cfg(test)]
    pub(crate) fn insert(&mut self, key: FactKey, fact: Fact) {
        self.0.insert(key, fact);
    }

    /// Folds the next accepted outcome.
    pub fn fold(&mut self, event: &Event<'_>) {
        for change in changes(event) {
            match change {
                Change::Set(key, Some(fact)) => {
                    self.0.insert(key, fact);
                }
                Change::Set(key, None) => {
                    self.0.remove(&key);
                }
                Change::PushRef(key, entry, before_ms) => {
                    let fact = self.0.entry(key).or_insert_with(|| Fact::Refs(Refs::default()));
                    if let Fact::Refs(refs) = fact {
                        refs.push(entry, before_ms);
                    }
                }
            }
        }
    }
}

impl Facts for FactBase {
    fn fact(&self, key: &FactKey) -> Option<&Fact> {
        self.0.get(key)
    }
}
