//! Wrong decisions, put into a log on purpose: deciding it again names each by its position.

use std::collections::HashMap;
use std::sync::Arc;

use natter_schemas::codec::{CommandBatchWriter, OutcomeBatch, OutcomeBatchWriter, OutcomeHeader, encode};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{Placed, placed, touched};
use natter_schemas::id::{IdState, MessageId};
use natter_schemas::names::{ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received, Rejection};
use natter_schemas::policy::PolicyHash;
use natter_schemas::position::Position;
use natter_schemas::slot::Slot;

use super::memory::Memory;
use super::wishes::Clients;
use super::{Simulation, run};
use crate::replay::{DecodedBatch, Difference, Replay};

/// A log of everything that clients do, decided rightly.
struct World {
    memory: Arc<Memory>,
    all: Vec<Placed>,
}

impl World {
    async fn decided() -> Self {
        let mut simulation = Simulation::calm(77, 1, 100_000);
        masked(&mut simulation);
        for _ in 0..1500 {
            simulation.step().await;
        }
        simulation.drain().await;
        let all = simulation.placed();
        Self { memory: Arc::clone(&simulation.memory), all }
    }

    /// The outcome of this kind in the middle of the log.
    fn some(&self, is_it: impl Fn(&Placed) -> bool) -> &Placed {
        let found: Vec<_> = self.all.iter().filter(|placed| is_it(placed)).collect();
        assert!(found.len() > 1, "the log is too small");
        found[found.len() / 2]
    }

    fn sent(&self, is_it: impl Fn(u64, Option<&String>) -> bool) -> Position {
        let sent = |placed: &Placed| match &placed.outcome.decision {
            Decision::Accepted(Accepted::Sent { seq, replacement, .. }) => is_it(*seq, replacement.as_ref()),
            _ => false,
        };
        self.some(sent).position
    }

    fn rejected(&self, code: ErrorCode, is_it: impl Fn(&Body) -> bool) -> Position {
        let rejected = |placed: &Placed| match (&placed.outcome.received, &placed.outcome.decision) {
            (Received::Command(command), Decision::Rejected(rejection)) => {
                rejection.error_code() == code && is_it(&command.body)
            }
            _ => false,
        };
        self.some(rejected).position
    }

    /// All differences of the log with some outcomes, and the headers of their batches, changed.
    async fn differences(
        &self,
        at: &[Position],
        mut change: impl FnMut(&mut Outcome),
        mut header: impl FnMut(&mut OutcomeHeader),
    ) -> Vec<Difference> {
        let (mut replay, mut found) = (Replay::of(0), Vec::new());
        let stored = self.memory.state().outcomes.clone();
        for stored in stored {
            let mut stored = stored;
            if at.iter().any(|position| position.sequence == stored.sequence) {
                let batch = OutcomeBatch::decode(&stored.payload).expect("an outcome batch");
                let mut parts = batch.header.clone();
                header(&mut parts);
                let mut writer = OutcomeBatchWriter::default();
                for placed in placed(0, stored.sequence, &stored.payload).expect("an outcome batch") {
                    let mut outcome = placed.outcome;
                    if at.contains(&placed.position) {
                        change(&mut outcome);
                    }
                    writer.push(&outcome, &touched(&outcome));
                }
                stored.payload = writer.finish(parts.lease, parts.sources, parts.ids, parts.policies).into();
            }
            let batch = DecodedBatch::of(0, &stored).expect("an outcome batch");
            found.extend(replay.batch(batch, &*self.memory).await.expect("everything is there"));
        }
        found
    }

    /// The first difference is there, and of this kind.
    async fn names(&self, at: Position, what: &str, change: impl FnMut(&mut Outcome)) {
        let found = self.differences(&[at], change, |_| {}).await;
        let first = found.first().unwrap_or_else(|| panic!("nothing was named, {what} at {at} is wrong"));
        assert_eq!((first.position, first.what), (at, what), "{first}");
    }

    async fn names_batch(&self, at: Position, what: &str, change: impl FnMut(&mut OutcomeHeader)) {
        let found = self.differences(&[at], |_| {}, change).await;
        let here = Position::batch(0, at.sequence);
        assert_eq!(found.first().map(|first| (first.position, first.what)), Some((here, what)), "{found:?}");
    }
}

/// Before anything else, some texts are masked.
fn masked(simulation: &mut Simulation) {
    let (tenant, sender) = (Tenant::trusted("demo"), UserId::trusted("ada"));
    let (external, received_ms) = (ExternalId::trusted("planted"), simulation.clients.stored_ms);
    let conversation = Address::External(external.clone());
    let hash = Clients::policies().into_iter().map(|(_, hash)| hash).next();
    let (visibility, name, members) = (Visibility::Private, None, Vec::new());
    let create = Body::CreateGroup { visibility, name, members, external: Some(external) };
    let say = Body::Send { conversation, text: MessageText::trusted("you wally") };
    let bodies = [create, Body::SetPolicy { hash }, say.clone(), say.clone(), say.clone(), say];
    for (number, body) in (1..).zip(bodies) {
        let origin = if matches!(body, Body::SetPolicy { .. }) { Origin::Operator } else { Origin::Client };
        let reference = Ref::trusted(&format!("planted {number}"));
        let (tenant, sender) = (tenant.clone(), sender.clone());
        let command =
            Command { tenant, sender, session: 3, received_ms, reference, origin, body, evidence: Vec::new() };
        let mut writer = CommandBatchWriter::default();
        writer.push(&encode(&command));
        simulation.memory.state().publish(writer.finish(5, number).1, received_ms);
    }
}

fn sent(outcome: &mut Outcome) -> (&mut MessageId, &mut u64, &mut Option<String>) {
    match &mut outcome.decision {
        Decision::Accepted(Accepted::Sent { message, seq, replacement, .. }) => (message, seq, replacement),
        other => panic!("a message, not {other:?}"),
    }
}

#[test]
fn wrong_decisions_are_named_by_position() {
    run(async {
        let world = World::decided().await;
        assert_eq!(world.differences(&[], |_| {}, |_| {}).await, []);

        let message = world.sent(|seq, _| seq > 1);
        world.names(message, "outcome", |outcome| *sent(outcome).1 += 1).await;
        world.names(message, "id", |outcome| *sent(outcome).0 = MessageId::from_raw(1 << 40)).await;
        world
            .names(message, "outcome", |outcome| {
                outcome.decision = Decision::Rejected(Rejection::new(ErrorCode::NotMember, "no"));
            })
            .await;
        let masked = world.sent(|_, replacement| replacement.is_some());
        world.names(masked, "outcome", |outcome| *sent(outcome).2 = None).await;
        let clean = world.sent(|_, replacement| replacement.is_none());
        world.names(clean, "outcome", |outcome| *sent(outcome).2 = Some("**".into())).await;

        foreign_answers(&world).await;
        strangers(&world).await;
        counts(&world).await;
        policies(&world).await;
        headers(&world, message).await;
    });
}

/// A command of another tenant gets what its namesake got.
async fn foreign_answers(world: &World) {
    let mut answers: HashMap<Tenant, Accepted> = HashMap::new();
    for placed in &world.all {
        if let Some(event) = placed.event() {
            answers.insert(event.command.tenant.clone(), Accepted::Repeated(event.answered()));
        }
    }
    let foreign = answers[&Tenant::trusted("demo")].clone();
    let of_other = |placed: &Placed| match &placed.outcome.received {
        Received::Command(command) => {
            command.tenant.as_str() == "other" && matches!(placed.outcome.decision, Decision::Rejected(_))
        }
        Received::Undecodable(_) => false,
    };
    let at = world.some(of_other).position;
    world.names(at, "outcome", |outcome| outcome.decision = Decision::Accepted(foreign.clone())).await;
}

/// Accepted although not a member, or not there.
async fn strangers(world: &World) {
    let room = world.all.iter().find_map(|placed| placed.event()?.accepted.conversation()).expect("a conversation");
    let renamed = Decision::Accepted(Accepted::Renamed { conversation: room });
    for code in [ErrorCode::NotMember, ErrorCode::NotFound] {
        let at = world.rejected(code, |body| !matches!(body, Body::SetPolicy { .. }));
        world.names(at, "outcome", |outcome| outcome.decision = renamed.clone()).await;
    }
}

async fn counts(world: &World) {
    let joined = |placed: &Placed| matches!(&placed.outcome.decision, Decision::Accepted(Accepted::Joined { .. }));
    let at = world.some(joined).position;
    world
        .names(at, "outcome", |outcome| {
            if let Decision::Accepted(Accepted::Joined { member_count, .. }) = &mut outcome.decision {
                *member_count += 1;
            }
        })
        .await;
    let read = |placed: &Placed| matches!(&placed.outcome.decision, Decision::Accepted(Accepted::Read { .. }));
    let at = world.some(read).position;
    world
        .names(at, "outcome", |outcome| {
            if let Decision::Accepted(Accepted::Read { seq, .. }) = &mut outcome.decision {
                *seq += 1;
            }
        })
        .await;
}

async fn policies(world: &World) {
    let at = world.some(|placed| placed.policy.is_some()).position;
    world.names(at, "policy in force", |outcome| outcome.policy = None).await;
    let change = |header: &mut OutcomeHeader| header.policies.push(PolicyHash([9; 32]));
    world.names_batch(at, "batch", change).await;
}

async fn headers(world: &World, at: Position) {
    let another = |header: &mut OutcomeHeader| header.ids = IdState::after(header.ids.next(Slot::from_bits(1)));
    world.names_batch(at, "id fold", another).await;
    world.names_batch(at, "log time", |header| header.sources[0].log_ms += 1).await;
    world.names_batch(at, "command sequence", |header| header.sources[0].sequence += 1).await;
}

/// One fault hides no other, and what follows from it is not named.
#[test]
fn deciding_goes_on_behind_a_difference() {
    run(async {
        let world = World::decided().await;
        let masked: Vec<Position> = world
            .all
            .iter()
            .filter(|placed| match &placed.outcome.decision {
                Decision::Accepted(Accepted::Sent { replacement, .. }) => replacement.is_some(),
                _ => false,
            })
            .map(|placed| placed.position)
            .collect();
        let two = [masked[0], masked[masked.len() - 1]];
        assert_ne!(two[0].sequence, two[1].sequence);
        let found = world.differences(&two, |outcome| *sent(outcome).2 = None, |_| {}).await;
        assert_eq!(found.iter().map(|found| found.position).collect::<Vec<_>>(), two, "{found:?}");
    });
}
