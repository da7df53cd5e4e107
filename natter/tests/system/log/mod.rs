//! The log over a real broker, which is killed, frozen, cut off and trimmed.

mod cluster;
mod leases;
mod live;
mod outcomes;
mod publisher;
mod reader;
mod roles;
mod room;
mod streams;
mod tools;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natter_nats::backoff::until_there;
use natter_nats::{
    LiveFeed, LiveItem, LiveStart, Log, LogConfig, LogError, OutcomeWrite, Publisher, Reader, ReaderOptions, Waiter,
};
use natter_schemas::codec::{self, CommandBatch, OutcomeBatch, OutcomeBatchWriter, Source};
use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::event::{placed, touched};
use natter_schemas::id::IdState;
use natter_schemas::limits::OUTCOME_BATCH_SOURCES_MAX;
use natter_schemas::names::{DisplayName, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::servers::Servers;

const DEADLINE: Duration = Duration::from_secs(30);

/// The log of a test's broker, made where it is not there.
async fn log(url: &str, partitions: u16) -> Log {
    Log::create(&LogConfig::new(url, partitions)).await.unwrap()
}

/// Waits for what must come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// Asks until the answer is yes.
async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, asking).await;
}

/// A command whose ref is its number.
fn command(number: usize) -> Command {
    Command {
        tenant: Tenant::trusted("demo"),
        sender: UserId::trusted("ada"),
        session: 1,
        received_ms: 1,
        reference: Ref::trusted(&number.to_string()),
        origin: Origin::Client,
        body: Body::UpdateUser { name: DisplayName::trusted("Ada") },
        evidence: Vec::new(),
    }
}

fn encoded(number: usize) -> Vec<u8> {
    codec::encode(&command(number))
}

fn number_of(outcome: &Outcome) -> usize {
    let Received::Command(command) = &outcome.received else { panic!("{outcome:?}") };
    command.reference.as_str().parse().unwrap()
}

/// An outcome batch that answers these command batches, all accepted.
fn answer(lease: u64, batches: &[(u64, u64, CommandBatch)]) -> (u32, Bytes) {
    let mut writer = OutcomeBatchWriter::default();
    let mut sources = Vec::new();
    for (sequence, stored_ms, batch) in batches {
        for command in &batch.commands {
            let outcome = Outcome {
                received: Received::Command(command.clone().unwrap()),
                policy: None,
                learnt: Learnt::Nothing,
                decision: Decision::Accepted(Accepted::UserUpdated),
            };
            writer.push(&outcome, &touched(&outcome));
        }
        sources.push(Source {
            sequence: *sequence,
            stored_ms: *stored_ms,
            log_ms: *stored_ms,
            before_ms: *stored_ms,
            publisher: batch.header.publisher,
            number: batch.header.number,
            records: batch.header.records,
        });
    }
    let records = sources.iter().map(|source| source.records).sum();
    (records, writer.finish(lease, sources, IdState::default(), vec![]).into())
}

/// A processor that accepts everything: takes up behind the last outcome batch, until it is dropped.
fn accept_all(log: &Log, partition: u16, lease: u64) -> JoinSet<()> {
    let log = log.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut sequence, mut processed) = (1, 0);
        let answered = outcome_stream(partition);
        let last =
            until_there("the outcomes", LogError::is_transient, || log.last_from_leader(&answered)).await.unwrap();
        if let Some(last) = last {
            sequence = last.sequence + 1;
            processed = OutcomeBatch::decode(&last.payload).unwrap().header.command_sequence();
        }
        let asked = command_stream(partition);
        let open = || Reader::open(&log, &asked, processed + 1, ReaderOptions::default());
        let mut commands = until_there("the commands", LogError::is_transient, open).await.unwrap();
        loop {
            let stored = match commands.next_batch(OUTCOME_BATCH_SOURCES_MAX).await {
                Ok(stored) => stored,
                Err(error) if error.is_transient() => continue,
                Err(error) => panic!("{error}"),
            };
            let batches: Vec<_> = stored
                .iter()
                .map(|stored| (stored.sequence, stored.stored_ms, CommandBatch::decode(&stored.payload).unwrap()))
                .collect();
            let (records, payload) = answer(lease, &batches);
            let write = OutcomeWrite { partition, sequence, lease, records, payload };
            while let Err(error) = log.write_outcomes(&write).await {
                assert!(error.is_transient(), "{error}");
            }
            sequence += 1;
        }
    });
    task
}

/// A batch that answers `count` made-up commands, and where it stands is written into `sequence`.
fn made_up(sequence: u64, lease: u64, count: usize) -> OutcomeWrite {
    let mut writer = codec::CommandBatchWriter::default();
    for _ in 0..count {
        writer.push(&encoded(usize::try_from(sequence).unwrap()));
    }
    let (_, bytes) = writer.finish(1, sequence);
    let (records, payload) = answer(lease, &[(sequence, 1, CommandBatch::decode(&bytes).unwrap())]);
    OutcomeWrite { partition: 0, sequence, lease, records, payload }
}

async fn write_made_up(log: &Log, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        log.write_outcomes(&made_up(sequence, 1, 1)).await.unwrap();
    }
}

/// A gateway's ears: what is live answers the publisher's commands.
async fn listen<W: Waiter>(log: &Log, publisher: &Publisher<W>) -> (LiveFeed, JoinSet<()>) {
    let (into, mut items) = mpsc::channel(64);
    let unanswered = publisher.clone();
    let feed =
        LiveFeed::open(log, 0, LiveStart::Tail, Arc::new(move |p| unanswered.unanswered(p) > 0), into).await.unwrap();
    let publisher = publisher.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some(item) = items.recv().await {
            let LiveItem::Batch(batch) = item else { panic!("{item:?}") };
            let decoded = OutcomeBatch::decode(&batch.payload).unwrap();
            publisher.outcomes_seen(batch.partition, batch.sequence, &decoded).unwrap();
        }
    });
    (feed, task)
}

/// The numbers of all commands in `EVT_0`, in order.
async fn outcomes_in_order(log: &Log) -> Vec<usize> {
    let last = log.bounds(&outcome_stream(0)).await.unwrap().last;
    let mut reader = Reader::open(log, &outcome_stream(0), 1, ReaderOptions::default()).await.unwrap();
    let mut numbers = Vec::new();
    while reader.next_sequence() <= last {
        let stored = reader.next().await.unwrap();
        let placed = placed(0, stored.sequence, &stored.payload).unwrap();
        numbers.extend(placed.iter().map(|placed| number_of(&placed.outcome)));
    }
    numbers
}

/// A test's broker and its log of one partition.
async fn one_partition() -> (Servers, Log) {
    let servers = Servers::start().await;
    let log = log(servers.nats_url(), 1).await;
    (servers, log)
}
