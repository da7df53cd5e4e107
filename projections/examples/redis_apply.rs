//! How many messages a second the Redis views take, one partition, one projector:
//!
//! ```text
//! cargo run --release -p natter-projections --example redis_apply -- redis://:PASSWORD@HOST:PORT [MESSAGES]
//! ```
//!
//! Writes into partition 1023 of that server, deletes it first, and leaves what it wrote.
#![expect(clippy::print_stdout, reason = "the output of a measurement")]

use std::error::Error;
use std::time::{Duration, Instant};

use natter_nats::{LogId, Stored};
use natter_projections::redis::{Redis, RedisProjector};
use natter_projections::runner::{Projector, Steps};
use natter_schemas::codec::{OutcomeBatchWriter, Source};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::event::touched;
use natter_schemas::id::{ConversationId, IdState, MessageId};
use natter_schemas::names::{MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use natter_schemas::slot::Slot;
use redis::aio::MultiplexedConnection;

const PARTITION: u16 = 1023;
const ROOMS: u64 = 100;
const USERS: u64 = 1000;
const BATCH_RECORDS: u32 = 1000;
const TEXT_BYTES: usize = 200;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: redis_apply redis://:PASSWORD@HOST:PORT [MESSAGES]")?;
    let messages: u64 = args.next().map_or(Ok(500_000), |count| count.parse())?;
    let mut connection = redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
    clear(&mut connection).await?;

    let projector = RedisProjector::new(Redis::connect(&url).await?);
    let log: LogId = "0".repeat(32).parse()?;
    let mut source = Generated::default();
    let first = source.rooms();
    projector.apply(Steps { log: &log, partition: PARTITION, after: 0, batches: &[first] }).await?;

    let (mut elapsed, mut applied) = (Duration::ZERO, 0);
    let (cpu_before, commands_before) = (cpu_seconds(&mut connection).await?, commands(&mut connection).await?);
    while applied < messages {
        let batches = [source.messages()];
        let after = batches[0].sequence - 1;
        let started = Instant::now();
        let standing = projector.apply(Steps { log: &log, partition: PARTITION, after, batches: &batches }).await?;
        elapsed += started.elapsed();
        assert_eq!(standing.sequence, after + 1, "the step was applied");
        applied += u64::from(BATCH_RECORDS);
    }
    let cpu = cpu_seconds(&mut connection).await? - cpu_before;
    let commands = commands(&mut connection).await? - commands_before;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = applied as f64;
    println!("{applied} messages of {TEXT_BYTES} bytes in {ROOMS} rooms of {USERS} users, {BATCH_RECORDS} a step");
    println!("apply:  {:>9.0} messages/s, one projector with decoding and folding", count / elapsed.as_secs_f64());
    println!("redis:  {:>9.0} messages/s of its CPU, {:.2} commands a message", count / cpu, commands / count);
    Ok(())
}

async fn clear(connection: &mut MultiplexedConnection) -> Result<(), Box<dyn Error>> {
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(format!("{{{PARTITION}}}:*")).query_async(connection).await?;
    for some in keys.chunks(1000) {
        redis::cmd("UNLINK").arg(some).query_async::<()>(connection).await?;
    }
    Ok(())
}

async fn cpu_seconds(connection: &mut MultiplexedConnection) -> Result<f64, Box<dyn Error>> {
    let info: String = redis::cmd("INFO").arg("cpu").query_async(connection).await?;
    let seconds = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    Ok(seconds("used_cpu_user:").unwrap_or(0.0) + seconds("used_cpu_sys:").unwrap_or(0.0))
}

/// Calls of all commands, those made by scripts included.
async fn commands(connection: &mut MultiplexedConnection) -> Result<f64, Box<dyn Error>> {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await?;
    let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<f64>().ok();
    Ok(info.lines().filter_map(calls).sum())
}

/// Something that differs as texts do: Redis's Lua slows down with many strings that are nearly the same.
fn text(number: u64) -> String {
    let letter = |bits: u64| char::from(b'a' + u8::try_from(bits % 26).unwrap_or(0));
    let mut state = number;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letter(state >> 33)
    });
    letters.take(TEXT_BYTES).collect()
}

/// A log of one partition: rooms first, then messages, each room in turn.
#[derive(Default)]
struct Generated {
    sequence: u64,
    ids: IdState,
    rooms: Vec<ConversationId>,
    sent: u64,
}

impl Generated {
    fn rooms(&mut self) -> Stored {
        self.batch(u32::try_from(ROOMS).unwrap_or(u32::MAX), |generated, index| {
            let conversation = ConversationId::from_raw(generated.ids.next(Slot::from_bits(PARTITION.into())));
            generated.rooms.push(conversation);
            let body =
                Body::CreateGroup { visibility: Visibility::Public, name: None, members: Vec::new(), external: None };
            (index, body, Accepted::Created { conversation, members: Vec::new() })
        })
    }

    fn messages(&mut self) -> Stored {
        self.batch(BATCH_RECORDS, |generated, _| {
            let text = MessageText::trusted(&text(generated.sent));
            let conversation = generated.rooms[usize::try_from(generated.sent % ROOMS).unwrap_or(0)];
            let message = MessageId::from_raw(generated.ids.next(conversation.slot()));
            let seq = generated.sent / ROOMS + 1;
            // Everybody writes now and then, some a lot.
            let sender = (generated.sent * generated.sent) % USERS;
            generated.sent += 1;
            let sent = Accepted::Sent { conversation, message, seq, replacement: None, lists: Vec::new(), run: None };
            (sender, Body::Send { conversation: Address::Id(conversation), text }, sent)
        })
    }

    fn batch(&mut self, records: u32, mut next: impl FnMut(&mut Self, u64) -> (u64, Body, Accepted)) -> Stored {
        self.sequence += 1;
        // 10,000 messages a second of log time.
        let stored_ms = 1_800_000_000_000 + self.sequence * 100;
        self.ids.advance(stored_ms);
        let mut writer = OutcomeBatchWriter::default();
        for index in 0..records {
            let (sender, body, accepted) = next(self, index.into());
            let command = Command {
                tenant: Tenant::trusted("demo"),
                sender: UserId::trusted(&format!("user-{sender}")),
                session: 1,
                received_ms: stored_ms,
                reference: Ref::trusted(&format!("{}-{index}", self.sequence)),
                origin: Origin::Client,
                body,
                evidence: Vec::new(),
            };
            let decision = Decision::Accepted(accepted);
            let outcome =
                Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision };
            writer.push(&outcome, &touched(&outcome));
        }
        let sequence = self.sequence;
        let source = Source {
            sequence,
            stored_ms,
            log_ms: stored_ms,
            before_ms: stored_ms,
            publisher: 1,
            number: sequence,
            records,
        };
        let payload = writer.finish(1, vec![source], self.ids, Vec::new()).into();
        Stored { sequence, stored_ms, lease: Some(1), records: Some(records), behind: 0, payload }
    }
}
