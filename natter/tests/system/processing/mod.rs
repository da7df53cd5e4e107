//! Processors over real NATS and Redis: whoever races, dies or wakes up in the past, every command gets one outcome, and
//! deciding the whole log again gives the same.

pub mod wishes;
mod world;

use std::sync::Arc;
use std::time::Duration;

use natter_nats::clock::SystemClock;
use natter_nats::{LeaseOptions, LogError, Policies};
use natter_processors::error::Halt;
use natter_processors::ports::OutcomeLog as _;
use natter_processors::role;
use natter_processors::worker::{self, Decider, Group, StoredCommands};
use natter_projections::redis::RedisProjector;
use natter_projections::runner::Runner;
use natter_schemas::codec::{OutcomeBatch, VERSION};
use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::names::Tenant;
use natter_schemas::outcome::{Accepted, Decision, Received, Rejection};
use natter_schemas::policy::{Action, Policy, WordList};
use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use wishes::{Clients, by, create, send};
use world::{DEADLINE, World};

/// Two processors on one partition: never a double outcome.
#[tokio::test]
async fn two_processors_never_decide_twice() {
    let world = World::start(1).await;
    let work = [world.workers(0, DEADLINE), world.workers(0, DEADLINE)];
    let mut clients = Clients::new(31);
    for _ in 0..150 {
        world.publish(0, &clients.batch()).await;
    }
    world.answered(0).await;
    drop(work);
    world.check(0).await;
}

/// Facts are read while the projector moves on, Redis wakes up in the past, and workers come and go with nothing in memory:
/// decisions are never stale (invariant 5).
#[tokio::test]
async fn decisions_are_right_whatever_redis_says() {
    let world = World::start(1).await;
    let work = world.workers(0, Duration::from_millis(30));
    let mut clients = Clients::new(32);
    let mut past = world.redis_now().await;
    for round in 0..60 {
        for _ in 0..4 {
            world.publish(0, &clients.batch()).await;
        }
        match round % 6 {
            0 => past = world.redis_now().await,
            2 | 4 => world.wake_redis_in(&past).await,
            5 if round > 40 => world.wake_redis_in(&[]).await,
            _ => {}
        }
    }
    world.answered(0).await;
    drop(work);
    world.check(0).await;
}

/// A processor is killed after its batch was stored and before it heard so: its successor goes on behind it, and the same
/// batch again is harmless. A deposed one is refused.
#[tokio::test]
async fn killed_between_publish_and_ack() {
    let world = World::start(1).await;
    let shell = world.shell(0);
    let first = [by("ada", create("tea")), by("ada", send("tea", "one"))];
    world.publish(0, &first).await;
    let mut deposed = Decider::begin(Arc::clone(&shell), 6).await.unwrap();
    let mut killed = Decider::begin(Arc::clone(&shell), 7).await.unwrap();
    let stale = deposed.decide(world.group(0, 1, 1).await).await.unwrap();
    let made = killed.decide(world.group(0, 1, 1).await).await.unwrap();
    shell.append(made.bytes.clone(), made.sequence, 7, made.records).await.unwrap();
    drop(killed);

    let mut successor = Decider::begin(Arc::clone(&shell), 8).await.unwrap();
    assert_eq!(successor.commands(), 1);
    world.publish(0, &[by("ada", send("tea", "two"))]).await;
    let next = successor.decide(world.group(0, 2, 2).await).await.unwrap();
    // The retry of the killed one, on its way since before.
    shell.append(made.bytes.clone(), made.sequence, 7, made.records).await.unwrap();
    let refused = shell.append(stale.bytes, stale.sequence, 6, stale.records).await;
    assert!(matches!(refused, Err(Halt::NotOwner(_))), "{refused:?}");
    shell.append(next.bytes, next.sequence, 8, next.records).await.unwrap();
    world.check(0).await;
    assert_eq!(seqs(&world).await, [1, 2]);
}

async fn seqs(world: &World) -> Vec<u64> {
    let sent = world.outcomes(0).await.into_iter().filter_map(|placed| match placed.outcome.decision {
        Decision::Accepted(Accepted::Sent { seq, .. }) => Some(seq),
        _ => None,
    });
    sent.collect()
}

/// Processes share the partitions by leases; when one drains, the other takes all of them on.
#[tokio::test]
async fn a_process_takes_over_from_another() {
    let world = World::start(4).await;
    let options = LeaseOptions::default();
    let (one, other) = (CancellationToken::new(), CancellationToken::new());
    let first = tokio::spawn(role::run(world.backends.clone(), "one", options, one.clone()));
    let second = tokio::spawn(role::run(world.backends.clone(), "other", options, other.clone()));
    let mut clients = Clients::new(33);
    publish_everywhere(&world, &mut clients).await;
    one.cancel();
    assert_eq!(timeout(DEADLINE, first).await.unwrap().unwrap(), Ok::<(), LogError>(()));
    publish_everywhere(&world, &mut clients).await;
    other.cancel();
    assert_eq!(timeout(DEADLINE, second).await.unwrap().unwrap(), Ok(()));
    for partition in 0..4 {
        world.check(partition).await;
    }
}

async fn publish_everywhere(world: &World, clients: &mut Clients) {
    for _ in 0..40 {
        let mut batches: [Vec<Command>; 4] = Default::default();
        for command in clients.batch() {
            let partition = command.slot().unwrap().partition(4);
            batches[usize::from(partition)].push(command);
        }
        for (partition, batch) in (0..).zip(&batches) {
            world.publish(partition, batch).await;
        }
    }
    for partition in 0..4 {
        world.answered(partition).await;
    }
}

/// The policy in force is a function of the position: stored first, then set by a command.
#[tokio::test]
async fn a_policy_changes_while_running() {
    let world = World::start(1).await;
    let work = world.workers(0, DEADLINE);
    let lists = vec![WordList { name: "rude".into(), action: Action::Mask, words: vec!["wally".into()] }];
    let (bytes, hash) = Policy { lists, ..Policy::default() }.to_stored();
    let set = |hash| Command { origin: Origin::Operator, ..by("operator", Body::SetPolicy { hash }) };
    world.publish(0, &[by("ada", create("tea")), by("ada", send("tea", "wally")), set(Some(hash))]).await;
    world.answered(0).await;
    Policies::new(&world.log).store(&bytes).await.unwrap();
    world
        .publish(0, &[set(Some(hash)), by("ada", send("tea", "wally")), set(None), by("ada", send("tea", "wally"))])
        .await;
    world.answered(0).await;
    drop(work);
    world.check(0).await;
    let outcomes = world.outcomes(0).await;
    let decisions: Vec<Decision> = outcomes.iter().map(|placed| placed.outcome.decision.clone()).collect();
    let replacements: Vec<Option<&str>> = decisions.iter().filter_map(replacement).collect();
    assert_eq!(replacements, [None, Some("*****"), None]);
    assert_eq!(rejection(&decisions[2]).error_code(), ErrorCode::UnknownPolicy);
    assert_eq!(outcomes.iter().map(|placed| placed.policy).collect::<Vec<_>>()[4..], [Some(hash), Some(hash), None]);
}

/// A policy that the store lost costs its tenant's texts, and its partition nothing else.
#[tokio::test]
async fn a_lost_policy_stops_no_partition() {
    let world = World::start(1).await;
    let work = world.workers(0, DEADLINE);
    let lists = vec![WordList { name: "rude".into(), action: Action::Mask, words: vec!["wally".into()] }];
    let (bytes, hash) = Policy { lists, ..Policy::default() }.to_stored();
    let set = |hash| Command { origin: Origin::Operator, ..by("operator", Body::SetPolicy { hash }) };
    Policies::new(&world.log).store(&bytes).await.unwrap();
    world.publish(0, &[by("ada", create("tea")), set(Some(hash))]).await;
    world.answered(0).await;
    drop(work);
    let bucket = world.log.jetstream().get_stream("KV_policies").await.unwrap();
    bucket.purge().await.unwrap();
    // A worker that has never seen it.
    let work = world.workers(0, DEADLINE);
    let other = |command: Command| Command { tenant: Tenant::try_from("other").unwrap(), ..command };
    world.publish(0, &[by("ada", send("tea", "wally")), other(by("ada", create("tea")))]).await;
    world.publish(0, &[other(by("ada", send("tea", "wally"))), set(None), by("ada", send("tea", "wally"))]).await;
    world.answered(0).await;
    drop(work);
    world.check(0).await;
    let outcomes = world.outcomes(0).await;
    let decisions: Vec<&Decision> = outcomes[2..].iter().map(|placed| &placed.outcome.decision).collect();
    assert_eq!(rejection(decisions[0]).error_code(), ErrorCode::PolicyUnavailable);
    assert!(decisions[1..].iter().all(|decision| matches!(decision, Decision::Accepted(_))), "{decisions:?}");
}

fn replacement(decision: &Decision) -> Option<Option<&str>> {
    match decision {
        Decision::Accepted(Accepted::Sent { replacement, .. }) => Some(replacement.as_deref()),
        _ => None,
    }
}

fn rejection(decision: &Decision) -> &Rejection {
    match decision {
        Decision::Rejected(rejection) => rejection,
        Decision::Accepted(accepted) => panic!("accepted: {accepted:?}"),
    }
}

/// Without evidence, resends that the facts do not know are refused, and everything else goes on.
#[tokio::test]
async fn resends_need_evidence_and_nothing_else_does() {
    let world = World::start(1).await;
    let work = world.workers(0, DEADLINE);
    let known = by("ada", send("tea", "one"));
    world.publish(0, &[by("ada", create("tea")), known.clone()]).await;
    world.answered(0).await;
    let again = |command: Command| Command { origin: Origin::Resend, ..command };
    world.publish(0, &[again(known), again(by("ada", send("tea", "two"))), by("ada", send("tea", "three"))]).await;
    world.answered(0).await;
    drop(work);
    world.check(0).await;
    let outcomes = world.outcomes(0).await;
    let decisions: Vec<&Decision> = outcomes.iter().map(|placed| &placed.outcome.decision).collect();
    assert!(matches!(decisions[2], Decision::Accepted(Accepted::Repeated(first)) if first.seq == Some(1)));
    assert_eq!(rejection(decisions[3]).error_code(), ErrorCode::Unavailable);
    assert_eq!(seqs(&world).await, [1, 2]);
}

/// A tick is a batch without commands: it is answered, and log time moves on.
#[tokio::test]
async fn a_tick_moves_log_time_on() {
    let world = World::start(1).await;
    let work = world.workers(0, DEADLINE);
    world.publish(0, &[by("ada", create("tea"))]).await;
    world.answered(0).await;
    let before = world.log.last_from_leader(&outcome_stream(0)).await.unwrap().unwrap();
    world.log.publish_tick(0).await.unwrap();
    world.publish(0, &[by("ada", send("tea", "one"))]).await;
    world.answered(0).await;
    drop(work);
    world.check(0).await;
    let log_ms = |stored: &natter_nats::Stored| OutcomeBatch::decode(&stored.payload).unwrap().header.log_ms();
    let after = world.log.last_from_leader(&outcome_stream(0)).await.unwrap().unwrap();
    assert!(log_ms(&after) > log_ms(&before));
    let commands = OutcomeBatch::decode(&after.payload).unwrap().header.command_sequence();
    assert_eq!(commands, 3, "the tick has its place among the commands");
    assert_eq!(seqs(&world).await, [1]);
}

/// A next command that was trimmed away stops the partition loudly (invariant 7).
#[tokio::test]
async fn trimmed_commands_stop_the_partition() {
    let world = World::start(1).await;
    for text in ["one", "two", "three"] {
        world.publish(0, &[by("ada", send("tea", text))]).await;
    }
    let stream = world.log.jetstream().get_stream(command_stream(0)).await.unwrap();
    stream.purge().sequence(3).await.unwrap();
    let halt = timeout(DEADLINE, worker::run(world.shell(0), 1, SystemClock::shared())).await.unwrap();
    let Halt::Corrupt(why) = halt else { panic!("{halt:?}") };
    assert!(why.contains("CMD_0") && why.contains('3') && why.contains('1'), "{why}");
}

/// Bytes that are no command get an outcome, and the partition goes on (invariant 11).
#[tokio::test]
async fn undecodable_records_are_answered() {
    let world = World::start(1).await;
    let work = world.workers(0, DEADLINE);
    world.publish_bytes(0, [&[VERSION], &b"no batch at all"[..]].concat()).await;
    world.publish(0, &[by("ada", create("tea"))]).await;
    world.answered(0).await;
    drop(work);
    let outcomes = world.outcomes(0).await;
    assert!(matches!(&outcomes[0].outcome.received, Received::Undecodable(bytes) if bytes.ends_with(b"all")));
    assert_eq!(rejection(&outcomes[0].outcome.decision).error_code(), ErrorCode::Undecodable);
    assert!(matches!(outcomes[1].outcome.decision, Decision::Accepted(Accepted::Created { .. })));
}

impl World {
    async fn group(&self, partition: u16, from: u64, to: u64) -> Group {
        let mut group = Group::default();
        for sequence in from..=to {
            let stored = self.log.get_from_leader(&command_stream(partition), sequence).await.unwrap().unwrap();
            group.push(StoredCommands::decode(&stored).unwrap());
        }
        group
    }

    /// The Redis projector of every partition.
    fn projector(&self) -> Runner<RedisProjector> {
        Runner::new(self.log.clone(), RedisProjector::new(self.redis.clone()), SystemClock::shared())
    }
}
