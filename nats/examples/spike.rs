//! How many commands a second the log alone carries: a publisher, an echo of a processor and a live feed over one
//! partition, everything in this process but the broker.
//!
//! ```text
//! cargo run --release -p natter-nats --example spike -- nats://admin:PASSWORD@127.0.0.1:PORT
//! ```
//!
//! The broker should be a fresh one: the log of one partition is made there.
#![expect(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natter_nats::{
    LiveFeed, LiveItem, LiveStart, Log, LogConfig, LogError, OutcomeWrite, Publisher, Reader, ReaderOptions, Waiter,
};
use natter_schemas::codec::{self, CommandBatch, OutcomeBatch, OutcomeBatchWriter, Source};
use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::event::touched;
use natter_schemas::id::{ConversationId, IdState};
use natter_schemas::names::{MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use tokio::sync::mpsc;
use tokio::time::Instant;

const SECONDS: u64 = 5;
/// Commands a second; 0: as many as are taken.
const RATES: [u64; 4] = [500, 20_000, 100_000, 0];

/// Knows when its command was sent; the feed below claims it.
struct Sent(Instant);

impl Waiter for Sent {
    fn answer(self, _: natter_nats::Answer) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("which broker?")?;
    let log = Log::create(&LogConfig::new(url, 1)).await?;
    let publisher = Publisher::start(&log)?;
    let answered = Arc::new(AtomicU64::new(0));
    let (waited, mut waits) = mpsc::channel(1 << 16);
    let (into, items) = mpsc::channel(64);
    let _feed = LiveFeed::open(&log, 0, LiveStart::Tail, Arc::new(|_| true), into).await?;
    tokio::spawn(answer_all(publisher.clone(), items, Arc::clone(&answered), waited));
    tokio::spawn(accept_all(log.clone()));
    for rate in RATES {
        let before = answered.load(Ordering::Relaxed);
        let started = Instant::now();
        let sent = send(&publisher, rate).await;
        while answered.load(Ordering::Relaxed) < before + sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let per_second = u128::from(sent) * 1000 / started.elapsed().as_millis().max(1);
        let mut waits: Vec<Duration> = std::iter::from_fn(|| waits.try_recv().ok()).collect();
        waits.sort_unstable();
        let (p50, p99) = (waits.get(waits.len() / 2), waits.get(waits.len() * 99 / 100));
        println!("offered {rate}/s: {per_second} commands/s answered, p50 {p50:?}, p99 {p99:?}");
    }
    Ok(())
}

async fn send(publisher: &Publisher<Sent>, rate: u64) -> u64 {
    let started = Instant::now();
    let command = codec::encode(&Command {
        tenant: Tenant::trusted("demo"),
        sender: UserId::trusted("ada"),
        session: 1,
        received_ms: 1_800_000_000_000,
        reference: Ref::trusted("0123456789"),
        origin: Origin::Client,
        body: Body::Send {
            conversation: Address::Id(ConversationId::from_raw(1 << 60)),
            text: MessageText::trusted(&"x".repeat(150)),
        },
    });
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(SECONDS) {
        if let Some(apart) = 1_000_000_000_u64.checked_div(rate) {
            tokio::time::sleep_until(started + Duration::from_nanos(apart * sent)).await;
        }
        // Timers are as fine as a millisecond: what is due within one goes together.
        for _ in 0..(rate / 1000).max(1) {
            while publisher.send(0, &command, Sent(Instant::now())).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            sent += 1;
        }
    }
    sent
}

async fn answer_all(
    publisher: Publisher<Sent>,
    mut items: mpsc::Receiver<LiveItem>,
    answered: Arc<AtomicU64>,
    waited: mpsc::Sender<Duration>,
) {
    while let Some(LiveItem::Batch(live)) = items.recv().await {
        let Ok(batch) = OutcomeBatch::decode(&live.payload) else { continue };
        for Sent(at) in publisher.claim(0, &batch.header).into_iter().flat_map(|claimed| claimed.waiters) {
            // A sample is enough where there are more.
            waited.try_send(at.elapsed()).ok();
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn accept_all(log: Log) -> Result<(), LogError> {
    let mut commands = Reader::open(&log, "CMD_0", 1, ReaderOptions::default()).await?;
    let accepted = Accepted::Read { conversation: ConversationId::from_raw(1 << 60), seq: 1, peer: None };
    for sequence in 1.. {
        let mut writer = OutcomeBatchWriter::default();
        let mut sources = Vec::new();
        for stored in commands.next_batch(4).await? {
            let CommandBatch { header, commands } = CommandBatch::decode(&stored.payload)?;
            for command in commands {
                let outcome = Outcome {
                    received: command.map_or_else(Received::Undecodable, Received::Command),
                    policy: None,
                    learnt: Learnt::Nothing,
                    decision: Decision::Accepted(accepted.clone()),
                };
                writer.push(&outcome, &touched(&outcome));
            }
            sources.push(Source {
                sequence: stored.sequence,
                stored_ms: stored.stored_ms,
                log_ms: stored.stored_ms,
                publisher: header.publisher,
                number: header.number,
                records: header.records,
            });
        }
        let records = sources.iter().map(|source| source.records).sum();
        let payload = writer.finish(1, sources, IdState::default(), vec![]).into();
        log.write_outcomes(&OutcomeWrite { partition: 0, sequence, lease: 1, records, payload }).await?;
    }
    Ok(())
}
