//! Room in the log: what is decided goes when room is needed, and nothing is taken that could not be answered.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use natter_nats::{COMMANDS_HELD, Full, Log, LogConfig, OUTCOME_GROWTH_MAX, Publisher, StreamBytes};
use natter_schemas::codec::{CommandBatchWriter, OutcomeBatch};
use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::sync::oneshot;

use super::{accept_all, encoded, listen, soon, until};
use crate::servers::Servers;

const COMMANDS: u64 = 256 * 1024;

async fn cramped(servers: &Servers, bytes: StreamBytes) -> Log {
    Log::create(&LogConfig { bytes, ..LogConfig::new(servers.nats_url(), 1) }).await.unwrap()
}

/// The last batch of `CMD_0` that is answered.
async fn decided(log: &Log) -> u64 {
    let last = log.last_from_leader(&outcome_stream(0)).await.unwrap();
    last.map_or(0, |last| OutcomeBatch::decode(&last.payload).unwrap().header.command_sequence())
}

/// Publishes without looking whether there is room, as a gateway may that hears nothing; says whether the broker took it.
async fn publish(log: &Log, id: &str, bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    let sent = log.jetstream().publish_with_headers("cmd.0", headers, bytes.to_vec().into()).await.unwrap();
    sent.await.is_ok()
}

fn batch(number: u64, commands: usize) -> Vec<u8> {
    let mut writer = CommandBatchWriter::default();
    (0..commands).for_each(|_| writer.push(&encoded(usize::try_from(number).unwrap())));
    writer.finish(1, number).1
}

/// Invariant 1: a stream of commands takes many times its own size, as long as they are decided.
#[tokio::test(flavor = "multi_thread")]
async fn decided_commands_make_room_for_more() {
    let servers = Servers::start().await;
    let log = cramped(&servers, StreamBytes { commands: COMMANDS, outcomes: 64 << 20 }).await;
    let _processor = accept_all(&log, 0, 1);
    let mut published = 0;
    while published < 4 * COMMANDS {
        let bytes = batch(published, 100);
        until("room", async || {
            let is_taken = publish(&log, &published.to_string(), &bytes).await;
            if !is_taken {
                log.make_room(0, decided(&log).await, Duration::ZERO).await.unwrap();
            }
            is_taken
        })
        .await;
        published += bytes.len() as u64;
    }
    let last = log.bounds(&command_stream(0)).await.unwrap().last;
    until("the last outcome", async || decided(&log).await == last).await;
    log.make_room(0, last, Duration::ZERO).await.unwrap();
    let bounds = log.bounds(&command_stream(0)).await.unwrap();
    assert!(bounds.bytes <= COMMANDS / 2 && bounds.first <= last, "{bounds:?}");
    assert!(bounds.bytes > COMMANDS / 4, "no more goes than is needed: {bounds:?}");
}

/// What a publisher may still repeat stays, and the broker goes on knowing it.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_repeated_is_never_trimmed() {
    let servers = Servers::start().await;
    let log = cramped(&servers, StreamBytes { commands: COMMANDS, outcomes: 64 << 20 }).await;
    let _processor = accept_all(&log, 0, 1);
    let mut number = 0;
    while publish(&log, &number.to_string(), &batch(number, 100)).await {
        number += 1;
    }
    let last = log.bounds(&command_stream(0)).await.unwrap().last;
    until("the last outcome", async || decided(&log).await == last).await;
    assert_eq!(log.make_room(0, last, COMMANDS_HELD).await.unwrap(), 0, "all are younger than three minutes");

    assert!(log.make_room(0, last, Duration::ZERO).await.unwrap() > 0);
    let before = log.bounds(&command_stream(0)).await.unwrap().last;
    assert!(publish(&log, &(last - 1).to_string(), &batch(last - 1, 100)).await);
    assert_eq!(log.bounds(&command_stream(0)).await.unwrap().last, before, "a repeated batch is stored once");
}

/// Invariant 1: whatever `CMD_p` has taken, `EVT_p` has room for its outcomes.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_beside_a_nearly_full_log_is_decided_to_its_end() {
    let servers = Servers::start().await;
    let bytes = StreamBytes { commands: COMMANDS, outcomes: OUTCOME_GROWTH_MAX * COMMANDS };
    let log = cramped(&servers, bytes).await;
    let mut number = 0;
    // Again and again: a whole backlog while nobody decides, by senders who do not look.
    let rounds = async {
        loop {
            let before = log.bounds(&command_stream(0)).await.unwrap().last;
            while publish(&log, &number.to_string(), &batch(number, 20)).await {
                number += 1;
            }
            let last = log.bounds(&command_stream(0)).await.unwrap().last;
            if last == before {
                break;
            }
            let processor = accept_all(&log, 0, 1);
            until("the last outcome", async || decided(&log).await == last).await;
            drop(processor);
            log.make_room(0, last, Duration::ZERO).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(5), rounds).await.expect("the log gets full");
    let room = log.room(0, decided(&log).await).await.unwrap();
    assert!(room.outcomes.free_share() < 0.3, "nearly all of EVT is used: {room:?}");
    assert_eq!(room.undecided, 0, "{room:?}");

    // A gateway says so.
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    until("the refusal", async || {
        let (waiter, _answer) = oneshot::channel();
        publisher.send(0, &encoded(1), waiter).is_err_and(|overloaded| overloaded.reason == Full::Log)
    })
    .await;
}

/// Gateways refuse by what is undecided, and take commands again when it is decided.
#[tokio::test(flavor = "multi_thread")]
async fn gateways_refuse_when_too_much_is_undecided() {
    let servers = Servers::start().await;
    let log = cramped(&servers, StreamBytes { commands: COMMANDS, outcomes: 64 << 20 }).await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let mut number = 0;
    while log.bounds(&command_stream(0)).await.unwrap().bytes < COMMANDS * 6 / 10 {
        assert!(publish(&log, &number.to_string(), &batch(number, 100)).await);
        number += 1;
    }
    let refused = async || {
        let (waiter, _answer) = oneshot::channel();
        publisher.send(0, &encoded(1), waiter).err().map(|overloaded| overloaded.reason)
    };
    until("the refusal", async || refused().await == Some(Full::Behind)).await;
    let _processor = accept_all(&log, 0, 1);
    soon("an answer", async { until("commands are taken again", async || refused().await.is_none()).await }).await;
}
