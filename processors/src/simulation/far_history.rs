//! Resends beside a history that has fallen far behind: only what neither it, nor the log above it, nor the facts can know
//! is refused.

use std::sync::Arc;

use natter_schemas::codec::{CommandBatchWriter, encode};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::placed;
use natter_schemas::limits::{REFS_KEPT, REFS_RECENT_MS, RESEND_BATCHES_MAX};
use natter_schemas::names::{ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision};
use natter_schemas::random::Random;

use super::memory::Memory;
use super::run;
use crate::ports::OutcomeLog;
use crate::worker::{Decider, Group, StoredCommands};

const LEASE: u64 = 1;

/// One partition whose history never gets beyond its first batch.
struct World {
    memory: Arc<Memory>,
    decider: Decider<Memory>,
    now_ms: u64,
}

impl World {
    async fn new() -> Self {
        let memory = Memory::new(Random::seeded(1), 100_000);
        memory.state().history_at = Some(1);
        memory.state().calm();
        memory.settle();
        let decider = Decider::begin(Arc::clone(&memory), LEASE).await.unwrap();
        Self { memory, decider, now_ms: natter_schemas::id::EPOCH_MS + 1_000_000 }
    }

    /// Stores a command by itself, `after_ms` behind the last, and decides it.
    async fn decide(&mut self, after_ms: u64, reference: &str, origin: Origin, body: Body) -> Decision {
        self.now_ms += after_ms;
        let command = Command {
            tenant: Tenant::trusted("demo"),
            sender: UserId::trusted("ada"),
            session: 1,
            received_ms: self.now_ms,
            reference: Ref::trusted(reference),
            origin,
            body,
        };
        let mut writer = CommandBatchWriter::default();
        writer.push(&encode(&command));
        let stored = {
            let mut state = self.memory.state();
            let number = state.commands.len() as u64 + 1;
            state.publish(writer.finish(4, number).1, self.now_ms);
            state.commands.last().unwrap().clone()
        };
        let mut group = Group::default();
        group.push(StoredCommands::decode(&stored).unwrap());
        let message = self.decider.decide(group).await.unwrap();
        let decided = placed(0, message.sequence, &message.bytes).unwrap().remove(0);
        self.memory.append(message.bytes, message.sequence, LEASE, message.records).await.unwrap();
        decided.outcome.decision
    }

    /// A room, and so many messages in it, `r1`, `r2` and so on.
    async fn chat(messages: u64, step_ms: u64) -> Self {
        let mut world = Self::new().await;
        let (visibility, external) = (Visibility::Private, Some(ExternalId::trusted("tea")));
        let room = Body::CreateGroup { visibility, name: None, members: Vec::new(), external };
        world.decide(0, "room", Origin::Client, room).await;
        for number in 1..=messages {
            world.decide(step_ms, &format!("r{number}"), Origin::Client, send()).await;
        }
        world
    }

    async fn resend(&mut self, reference: &str) -> Decision {
        self.decide(1, reference, Origin::Resend, send()).await
    }
}

fn send() -> Body {
    let conversation = Address::External(ExternalId::trusted("tea"));
    Body::Send { conversation, text: MessageText::trusted("hi") }
}

fn first_seq(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Accepted(Accepted::Repeated(first)) => first.seq,
        other => panic!("no repetition: {other:?}"),
    }
}

fn is_new(decision: &Decision) -> bool {
    matches!(decision, Decision::Accepted(Accepted::Sent { .. }))
}

/// However many batches the history lacks: those of the last two minutes are among the facts.
#[test]
fn what_the_facts_remember_needs_no_history() {
    run(async {
        let step_ms = REFS_RECENT_MS / (RESEND_BATCHES_MAX * 2);
        let mut world = World::chat(RESEND_BATCHES_MAX * 3 / 2, step_ms).await;
        assert_eq!(first_seq(&world.resend("r3").await), Some(3));
        assert!(is_new(&world.resend("another").await));
    });
}

/// What lies between the history and the facts is read from the log.
#[test]
fn what_history_and_facts_do_not_know_is_in_the_log() {
    run(async {
        let beyond = REFS_KEPT as u64 + 100;
        let mut world = World::chat(beyond * 2, REFS_RECENT_MS / beyond).await;
        assert_eq!(first_seq(&world.resend("r3").await), Some(3));
        assert!(is_new(&world.resend("another").await));
    });
}

/// Where that is more than is read, nobody can know, and a new client's message goes on.
#[test]
fn too_much_between_history_and_facts_refuses_resends_only() {
    run(async {
        let step_ms = REFS_RECENT_MS / 100;
        let mut world = World::chat(RESEND_BATCHES_MAX + 200, step_ms).await;
        let refused = world.resend("another").await;
        assert!(
            matches!(&refused, Decision::Rejected(why) if why.error_code() == ErrorCode::Unavailable),
            "{refused:?}"
        );
        assert!(is_new(&world.decide(1, "new", Origin::Client, send()).await));
    });
}
