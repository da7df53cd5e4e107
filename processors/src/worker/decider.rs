//! Decides command batches in order: from the log's end on, with all that it takes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use natter_projections::facts::FactKey;
use natter_schemas::codec::{OutcomeBatch, Source};
use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Event;
use natter_schemas::id::IdState;
use natter_schemas::limits::FACTS_LOAD_MAX;
use natter_schemas::outcome::{Decision, Learnt, Outcome, Received, Rejection};
use natter_schemas::policy::PolicyHash;
use natter_schemas::position::Position;

use super::catch_up;
use super::commands::{Group, StoredCommands};
use super::draft::{Draft, OutcomeMessage};
use crate::decide::facts::address;
use crate::decide::{Context, Facts, decide, log_time, needs};
use crate::error::Halt;
use crate::overlay::{Asked, Overlay};
use crate::policy::{Known, Policies};
use crate::ports::{Loaded, Surroundings};
use crate::telemetry;

/// Decides the commands of one partition. After any error it is worth nothing: begin again at the log's end.
#[derive(Debug)]
pub struct Decider<S> {
    around: Arc<S>,
    lease: u64,
    overlay: Overlay,
    policies: Policies,
    ids: IdState,
    log_ms: u64,
    /// When the last command batch was stored, in Unix milliseconds.
    stored_ms: u64,
    /// The last command batch that is decided.
    commands: u64,
    /// The last outcome batch that is made.
    outcomes: u64,
    /// How far the view was when it was asked last.
    watermark: u64,
}

impl<S: Surroundings> Decider<S> {
    /// Begins at the end of the log (invariant 4): its last batch holds all that a worker has to know.
    ///
    /// # Errors
    /// The log is away, or its last batch cannot be read.
    pub async fn begin(around: Arc<S>, lease: u64) -> Result<Self, Halt> {
        let last = around.last_outcomes().await?;
        let (ids, log_ms, stored_ms, commands, outcomes) = match &last {
            None => (IdState::default(), 0, 0, 0, 0),
            Some(stored) => {
                let header = OutcomeBatch::decode(&stored.payload)?.header;
                (header.ids, header.log_ms(), header.stored_ms(), header.command_sequence(), stored.sequence)
            }
        };
        let (overlay, policies) = (Overlay::above(outcomes, around.facts_max()), Policies::default());
        Ok(Self { around, lease, overlay, policies, ids, log_ms, stored_ms, commands, outcomes, watermark: 0 })
    }

    /// The last command batch that is decided.
    pub const fn commands(&self) -> u64 {
        self.commands
    }

    /// Whether log time stands behind the last batch's stored time: it advances by a bounded step a batch, so more are needed.
    pub const fn is_log_time_behind(&self) -> bool {
        self.log_ms < self.stored_ms
    }

    /// Decides a group. Outcomes that it made before are stored or on their way.
    ///
    /// # Errors
    /// Anything that makes a right decision impossible for now.
    pub async fn decide(&mut self, group: Group) -> Result<OutcomeMessage, Halt> {
        self.overlay.begin_round();
        self.policies.begin_round();
        self.make_room().await?;
        let mut round = Round { outcomes: self.outcomes + 1, ..Round::default() };
        self.prepare_policies(group.batches(), &mut round.learnt).await?;
        let mut batches = group.into_batches().into_iter();
        while let Some(batch) = batches.next() {
            self.decide_batch(batch, batches.as_slice(), &mut round).await?;
        }
        self.outcomes = round.outcomes;
        Ok(round.draft.finish(self.outcomes, self.lease, self.ids))
    }

    async fn decide_batch(
        &mut self,
        batch: StoredCommands,
        behind: &[StoredCommands],
        round: &mut Round,
    ) -> Result<(), Halt> {
        let StoredCommands { sequence, stored_ms, publisher, number, bytes, .. } = batch;
        if sequence != self.commands + 1 {
            return Err(Halt::Corrupt(format!("command batch {sequence} follows {}", self.commands)));
        }
        let before_ms = self.log_ms;
        let log_ms = log_time(before_ms, stored_ms);
        self.ids.advance(log_ms);
        let records = u32::try_from(batch.commands.len()).unwrap_or(u32::MAX);
        round.draft.reserve(batch.commands.len(), bytes);
        let mut commands = batch.commands.into_iter();
        let mut index = 0;
        while let Some(record) = commands.next() {
            let outcome = match record {
                Err(bytes) => undecodable(bytes),
                Ok(command) => {
                    let learnt = round.learnt.remove(&(sequence, index)).unwrap_or(Learnt::Nothing);
                    let position = Position::outcome(self.around.partition(), round.outcomes, round.draft.index());
                    let place = Place { position, stored_ms, log_ms, before_ms };
                    let ahead = commands.as_slice().iter().flatten().chain(commands_of(behind));
                    let Decided { decision, policy, learnt } =
                        self.decide_command(&command, learnt, place, ahead, round).await?;
                    let policy = round.draft.policy(policy);
                    Outcome { received: Received::Command(command), policy, learnt, decision }
                }
            };
            round.draft.push(&outcome);
            index += 1;
        }
        (self.log_ms, self.stored_ms) = (log_ms, stored_ms);
        self.commands = sequence;
        round.draft.answers(Source { sequence, stored_ms, log_ms, before_ms, publisher, number, records });
        Ok(())
    }

    /// Decides a command. In a group's first one that asks for what is not known, the facts for all `ahead` are loaded too.
    async fn decide_command<'a>(
        &mut self,
        command: &'a Command,
        learnt: Learnt,
        place: Place,
        ahead: impl Iterator<Item = &'a Command> + Clone,
        round: &mut Round,
    ) -> Result<Decided, Halt> {
        loop {
            match self.try_decide(command, learnt, place) {
                Ok(decided) => {
                    if let Decision::Accepted(accepted) = &decided.decision {
                        let Place { position, stored_ms, log_ms, before_ms } = place;
                        self.overlay.fold(&Event { position, stored_ms, log_ms, before_ms, command, accepted });
                    }
                    return Ok(decided);
                }
                Err(Missing::Facts(_)) if !round.loaded => {
                    round.loaded = true;
                    self.load_facts(std::iter::once(command).chain(ahead.clone())).await?;
                }
                // Something in this group made more of the command's facts relevant: a room that did not exist before.
                Err(Missing::Facts(keys)) => self.load(keys).await?,
                Err(Missing::Policy(hash)) => {
                    self.policies.prepare(hash, &*self.around).await?;
                }
            }
        }
    }

    fn try_decide(&mut self, command: &Command, learnt: Learnt, place: Place) -> Result<Decided, Missing> {
        let asked = Asked::of(&self.overlay);
        let policy = asked.policy(&command.tenant);
        let (rules, learnt) = match self.policies.known(policy) {
            Known::Usable(rules) => (Some(&**rules), learnt),
            // Only texts are judged by it: that tenant's are refused, and everything else goes on.
            Known::Unusable => (None, lost(learnt)),
            Known::NotYet(hash) => return Err(Missing::Policy(hash)),
        };
        let context =
            Context { stored_ms: place.stored_ms, log_ms: place.log_ms, before_ms: place.before_ms, rules, learnt };
        let mut ids = self.ids;
        let decision = decide(command, context, &asked, &mut ids);
        match asked.missed() {
            missed if missed.is_empty() => {
                self.ids = ids;
                Ok(Decided { decision, policy, learnt })
            }
            missed => Err(Missing::Facts(missed)),
        }
    }

    /// Loads what the decisions about `commands` will ask for, in one script a stage: external ids and pairs first, then
    /// what lies behind them.
    async fn load_facts<'a>(&mut self, commands: impl Iterator<Item = &'a Command> + Clone) -> Result<(), Halt> {
        let mut wanted = Vec::new();
        loop {
            let mut missing = HashSet::new();
            for command in commands.clone() {
                wanted.clear();
                needs(command, |key| address(self.overlay.fact(key)), &mut wanted);
                for key in wanted.drain(..) {
                    if !self.overlay.touch(&key) {
                        missing.insert(key);
                    }
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            self.load(missing.into_iter().collect()).await?;
        }
    }

    async fn load(&mut self, keys: Vec<FactKey>) -> Result<(), Halt> {
        let unknown: Vec<FactKey> = keys.into_iter().filter(|key| !self.overlay.touch(key)).collect();
        for keys in unknown.chunks(FACTS_LOAD_MAX) {
            let loaded = self.load_once(keys).await?;
            for (key, fact) in keys.iter().zip(loaded.facts) {
                self.overlay.settle(key.clone(), fact);
            }
        }
        Ok(())
    }

    /// Facts of a view that is not below the overlay's floor: if it is, the outcomes between are read first.
    async fn load_once(&mut self, keys: &[FactKey]) -> Result<Loaded, Halt> {
        let began = Instant::now();
        let loaded = self.around.load(keys).await?;
        metrics::histogram!(telemetry::FACTS_LOAD).record(began.elapsed());
        metrics::counter!(telemetry::FACTS_LOADED).increment(keys.len() as u64);
        if loaded.watermark > self.outcomes {
            // What this worker has not made, another has.
            let (found, own) = (loaded.watermark, self.outcomes);
            return Err(Halt::NotOwner(format!("the redis view has reached {found}, beyond this worker's {own}")));
        }
        if loaded.watermark < self.overlay.floor() {
            catch_up::lower(&mut self.overlay, &*self.around, loaded.watermark, self.outcomes).await?;
        }
        self.watermark = loaded.watermark;
        Ok(loaded)
    }

    /// Makes the policies ready that come into force within the group, and notes which cannot be used.
    async fn prepare_policies(&mut self, batches: &[StoredCommands], learnt: &mut LearntBy) -> Result<(), Halt> {
        for batch in batches {
            for (index, command) in batch.commands.iter().enumerate() {
                let Ok(Command { origin: Origin::Operator, body: Body::SetPolicy { hash: Some(hash) }, .. }) = command
                else {
                    continue;
                };
                if !self.policies.prepare(*hash, &*self.around).await? {
                    learnt.insert((batch.sequence, index), Learnt::PolicyUnknown);
                }
            }
        }
        Ok(())
    }

    /// Forgets what the view has too, before a group is decided and never after: a worker that begins with nothing in memory
    /// decides at least one group, however much that changes, so the partition always goes on.
    async fn make_room(&mut self) -> Result<(), Halt> {
        metrics::gauge!(telemetry::OVERLAY, "partition" => self.around.partition().to_string())
            .set(u32::try_from(self.overlay.weight()).unwrap_or(u32::MAX));
        if !self.overlay.is_full() {
            return Ok(());
        }
        self.load_once(&[]).await?;
        self.overlay.sweep(self.watermark);
        if self.overlay.changed_after(self.watermark) > self.around.facts_max() {
            return Err(Halt::Behind { watermark: self.watermark, last: self.outcomes });
        }
        Ok(())
    }
}

/// What was learnt outside, by command batch and index.
type LearntBy = HashMap<(u64, usize), Learnt>;

/// What belongs to one group.
#[derive(Debug, Default)]
struct Round {
    /// The sequence of its outcome batch.
    outcomes: u64,
    draft: Draft,
    learnt: LearntBy,
    /// The facts that its commands ask for were loaded, as far as they could be named then.
    loaded: bool,
}

/// Where an outcome will stand.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: Position,
    stored_ms: u64,
    log_ms: u64,
    before_ms: u64,
}

/// A decision, with what it was made by.
struct Decided {
    decision: Decision,
    policy: Option<PolicyHash>,
    learnt: Learnt,
}

/// What has to be had before a command can be decided.
enum Missing {
    Facts(Vec<FactKey>),
    Policy(PolicyHash),
}

fn commands_of(batches: &[StoredCommands]) -> impl Iterator<Item = &Command> + Clone {
    batches.iter().flat_map(|batch| batch.commands.iter().flatten())
}

/// What is learnt with a policy in force that is lost.
const fn lost(learnt: Learnt) -> Learnt {
    match learnt {
        Learnt::Nothing | Learnt::PolicyUnusable => Learnt::PolicyUnusable,
        // A new policy is set in its place, and is none either.
        Learnt::PolicyUnknown => Learnt::PolicyUnknown,
    }
}

fn undecodable(bytes: Vec<u8>) -> Outcome {
    let rejection = Rejection::new(ErrorCode::Undecodable, ErrorCode::Undecodable.description());
    Outcome {
        received: Received::Undecodable(bytes),
        policy: None,
        learnt: Learnt::Nothing,
        decision: Decision::Rejected(rejection),
    }
}
