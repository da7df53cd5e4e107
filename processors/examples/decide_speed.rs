//! How fast commands are decided with their facts in memory: decoding, deciding, encoding, without network.
//!
//! `cargo run --release --example decide_speed -p natter-processors`

use std::sync::Arc;

use bytes::Bytes;
use natter_nats::Stored;
use natter_processors::error::Halt;
use natter_processors::ports::{CommandLog, CommandReader, FactSource, Loaded, OutcomeLog, PolicyStore, Surroundings};
use natter_processors::worker::{Decider, Group, StoredCommands};
use natter_projections::facts::FactKey;
use natter_schemas::codec::{CommandBatchWriter, OutcomeBatch, encode};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::id::{ConversationId, EPOCH_MS};
use natter_schemas::names::{MessageText, Ref, Tenant, UserId};
use natter_schemas::policy::PolicyHash;

const BATCHES: u64 = 600;
const COMMANDS: u64 = 1000;
const ROOMS: u64 = 1000;
const USERS: u64 = 100;

/// A partition whose views are empty.
struct Empty;

impl FactSource for Empty {
    async fn load(&self, keys: &[FactKey]) -> Result<Loaded, Halt> {
        Ok(Loaded { watermark: 0, facts: vec![None; keys.len()] })
    }
}

impl PolicyStore for Empty {
    async fn policy(&self, _hash: PolicyHash) -> Result<Option<Bytes>, Halt> {
        Ok(None)
    }
}

impl OutcomeLog for Empty {
    async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
        Ok(None)
    }

    async fn read_outcomes(
        &self,
        _after: u64,
        _through: u64,
        _each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
    ) -> Result<(), Halt> {
        Ok(())
    }

    async fn append(&self, _batch: Bytes, _sequence: u64, _lease: u64, _records: u32) -> Result<(), Halt> {
        Ok(())
    }
}

struct Nothing;

impl CommandReader for Nothing {
    async fn next(&mut self) -> Result<Stored, Halt> {
        std::future::pending().await
    }
}

impl CommandLog for Empty {
    type Reader = Nothing;

    async fn read_commands(&self, _from: u64) -> Result<Nothing, Halt> {
        Ok(Nothing)
    }

    async fn tick(&self) -> Result<(), Halt> {
        Ok(())
    }
}

impl Surroundings for Empty {
    fn partition(&self) -> u16 {
        0
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement")]
async fn main() -> Result<(), Halt> {
    let mut decider = Decider::begin(Arc::new(Empty), 1).await?;
    let made = decider.decide(group(StoredCommands::decode(&stored(1, rooms()))?)).await?;
    let batch = OutcomeBatch::decode(&made.bytes)?;
    let rooms: Vec<ConversationId> =
        batch.header.conversations.iter().map(|id| ConversationId::from_raw(*id)).collect();
    let messages: Vec<Stored> = (0..BATCHES).map(|batch| stored(batch + 2, sends(batch, &rooms))).collect();
    let (mut reading, mut deciding, mut bytes) = (0.0, 0.0, 0);
    for stored in &messages {
        let began = on_cpu();
        let batch = StoredCommands::decode(stored)?;
        let read = on_cpu();
        let made = decider.decide(group(batch)).await?;
        reading += read - began;
        deciding += on_cpu() - read;
        assert_eq!(u64::from(made.records), COMMANDS);
        bytes += made.bytes.len();
    }
    let commands = (BATCHES * COMMANDS) as f64;
    println!("decode  {:>9.0} commands/s", commands / reading);
    println!("decide  {:>9.0} commands/s, {:.0} bytes an outcome", commands / deciding, bytes as f64 / commands);
    Ok(())
}

/// Seconds that this thread has run, so that other work on the machine counts less.
fn on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: f64 = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0.0);
    nanos / 1e9
}

fn group(batch: StoredCommands) -> Group {
    let mut group = Group::default();
    group.push(batch);
    group
}

fn stored(sequence: u64, commands: impl Iterator<Item = Command>) -> Stored {
    let mut writer = CommandBatchWriter::default();
    commands.for_each(|command| writer.push(&encode(&command)));
    let payload = writer.finish(1, sequence).1.into();
    Stored { sequence, stored_ms: EPOCH_MS + 1000 * sequence, lease: None, records: None, behind: 0, payload }
}

fn command(number: u64, sender: u64, body: Body) -> Command {
    Command {
        tenant: Tenant::trusted("demo"),
        sender: UserId::trusted(&format!("user-{sender}")),
        session: 77,
        received_ms: EPOCH_MS + 1_000_000_000,
        reference: Ref::trusted(&format!("ref-{number}")),
        origin: Origin::Client,
        body,
        evidence: Vec::new(),
    }
}

fn rooms() -> impl Iterator<Item = Command> {
    let members: Vec<UserId> = (1..USERS).map(|user| UserId::trusted(&format!("user-{user}"))).collect();
    (0..ROOMS).map(move |number| {
        let members = members.clone();
        command(number, 0, Body::CreateGroup { visibility: Visibility::Private, name: None, members, external: None })
    })
}

fn sends(batch: u64, rooms: &[ConversationId]) -> impl Iterator<Item = Command> {
    let first = 1_000_000 + batch * COMMANDS;
    (first..first + COMMANDS).map(|number| {
        let room = rooms[usize::try_from(number * 7 % rooms.len() as u64).unwrap_or(0)];
        let text =
            MessageText::trusted("a message of some eighty characters, as people in such rooms tend to write them");
        command(number, number * 13 % USERS, Body::Send { conversation: Address::Id(room), text })
    })
}
