//! The surroundings of one partition in memory, as bad as the real ones can be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use natter_nats::Stored;
use natter_projections::facts::FactKey;
use natter_schemas::codec::CommandBatchWriter;
use natter_schemas::event::placed;
use natter_schemas::policy::PolicyHash;

use crate::decide::Facts;
use crate::error::Halt;
use crate::ports::{CommandLog, CommandReader, FactSource, Loaded, OutcomeLog, PolicyStore, Surroundings};
use crate::replay::FactBase;
use natter_schemas::random::Random;

/// One partition: streams, views and policies.
#[derive(Debug)]
pub(super) struct Memory {
    state: Mutex<State>,
    facts_max: usize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) commands: Vec<Stored>,
    pub(super) outcomes: Vec<Stored>,
    pub(super) policies: HashMap<PolicyHash, Bytes>,
    /// The Redis view: how far it is, and what it says there.
    view: (usize, FactBase),
    random: Random,
    /// The Redis view moves with every look at it.
    unsteady: bool,
    /// It also falls back, and stores do not answer, by chance.
    wild: bool,
    pub(super) away: Away,
}

/// What a schedule has made to stay away, for so many looks.
#[derive(Debug, Default)]
pub(super) struct Away {
    pub(super) view_moves: u32,
    pub(super) redis: u32,
    pub(super) history: u32,
}

/// Whether it is away still; one look less.
pub(super) fn is_away(looks: &mut u32) -> bool {
    let away = *looks > 0;
    *looks = looks.saturating_sub(1);
    away
}

impl Memory {
    pub(super) fn new(random: Random, facts_max: usize) -> Arc<Self> {
        let state = State {
            commands: Vec::new(),
            outcomes: Vec::new(),
            policies: HashMap::new(),
            view: (0, FactBase::default()),
            random,
            unsteady: true,
            wild: true,
            away: Away::default(),
        };
        Arc::new(Self { state: Mutex::new(state), facts_max })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// From now on the view stands still, at the end.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        state.unsteady = false;
        state.away = Away::default();
        let end = state.outcomes.len();
        state.set_view(end);
    }
}

impl State {
    /// Stores a command batch as the broker does.
    pub(super) fn publish(&mut self, payload: Vec<u8>, stored_ms: u64) {
        let sequence = self.commands.len() as u64 + 1;
        self.commands.push(Stored {
            sequence,
            stored_ms,
            lease: None,
            records: None,
            behind: 0,
            payload: payload.into(),
        });
    }

    /// Nothing goes wrong by chance from now on: the view only moves on.
    pub(super) fn calm(&mut self) {
        self.wild = false;
    }

    /// The view loses its last batches.
    pub(super) fn fall_back(&mut self, batches: usize) {
        self.set_view(self.view.0.saturating_sub(batches));
    }

    /// The projector moves on, or Redis wakes up in the past, or loses everything.
    fn move_view(&mut self) {
        let end = self.outcomes.len();
        if is_away(&mut self.away.view_moves) {
            return;
        }
        if !self.wild {
            let step = usize::try_from(self.random.below(6)).expect("small");
            return self.set_view((self.view.0 + step).min(end));
        }
        let at = match self.random.below(12) {
            0 => 0,
            1 | 2 => self.view.0.saturating_sub(usize::try_from(self.random.below(6)).expect("small")),
            3..=8 => (self.view.0 + usize::try_from(self.random.below(8)).expect("small")).min(end),
            _ => return,
        };
        self.set_view(at);
    }

    fn set_view(&mut self, at: usize) {
        if at < self.view.0 {
            self.view = (0, FactBase::default());
        }
        for stored in &self.outcomes[self.view.0..at] {
            for placed in placed(0, stored.sequence, &stored.payload).expect("an outcome batch") {
                if let Some(accepted) = placed.accepted() {
                    self.view.1.fold(&accepted);
                }
            }
        }
        self.view.0 = at;
    }
}

impl FactSource for Memory {
    async fn load(&self, keys: &[FactKey]) -> Result<Loaded, Halt> {
        let mut state = self.state();
        if state.unsteady {
            state.move_view();
            if is_away(&mut state.away.redis) || (state.wild && state.random.once_in(40)) {
                return Err(Halt::Transient("redis is away".into()));
            }
        }
        let facts = keys.iter().map(|key| state.view.1.fact(key).cloned()).collect();
        Ok(Loaded { watermark: state.view.0 as u64, facts })
    }
}

impl PolicyStore for Memory {
    async fn policy(&self, hash: PolicyHash) -> Result<Option<Bytes>, Halt> {
        Ok(self.state().policies.get(&hash).cloned())
    }
}

impl OutcomeLog for Memory {
    async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
        Ok(self.state().outcomes.last().cloned())
    }

    async fn read_outcomes(
        &self,
        after: u64,
        through: u64,
        mut each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
    ) -> Result<(), Halt> {
        let outcomes = self.state().outcomes.clone();
        assert!(through <= outcomes.len() as u64, "nobody reads beyond the end");
        outcomes.iter().filter(|stored| stored.sequence > after && stored.sequence <= through).try_for_each(&mut each)
    }

    async fn append(&self, batch: Bytes, sequence: u64, lease: u64, _records: u32) -> Result<(), Halt> {
        let outcomes = &mut self.state().outcomes;
        match sequence.cmp(&(outcomes.len() as u64 + 1)) {
            std::cmp::Ordering::Equal => {
                let (lease, payload) = (Some(lease), batch);
                outcomes.push(Stored { sequence, stored_ms: 0, lease, records: None, behind: 0, payload });
                Ok(())
            }
            std::cmp::Ordering::Less => {
                let there = &outcomes[usize::try_from(sequence - 1).expect("an index")];
                let same = there.lease == Some(lease) && there.payload == batch;
                if same { Ok(()) } else { Err(Halt::NotOwner(format!("{sequence} is another's"))) }
            }
            std::cmp::Ordering::Greater => Err(Halt::Corrupt(format!("{sequence} is beyond the end"))),
        }
    }
}

/// Not read in order by a simulation, which takes what it wants.
pub(super) struct NoReader;

impl CommandReader for NoReader {
    async fn next(&mut self) -> Result<Stored, Halt> {
        std::future::pending().await
    }
}

impl CommandLog for Memory {
    type Reader = NoReader;

    async fn read_commands(&self, _from: u64) -> Result<NoReader, Halt> {
        Ok(NoReader)
    }

    async fn tick(&self) -> Result<(), Halt> {
        let mut state = self.state();
        let stored_ms = state.commands.last().map_or(0, |last| last.stored_ms);
        state.publish(CommandBatchWriter::default().finish(0, 0).1, stored_ms);
        Ok(())
    }
}

impl Surroundings for Memory {
    fn partition(&self) -> u16 {
        0
    }

    fn tick_interval(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn facts_max(&self) -> usize {
        self.facts_max
    }
}
