use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config, Republish};
use natter::backends::Backend;
use natter::soak::proxy::Proxy;
use natter_nats::{Answer, LiveFeed, LiveItem, LiveStart, Log, Publisher};
use natter_schemas::limits::REFILL_BATCHES_MAX;
use natter_schemas::subjects::outcome_stream;
use tokio::sync::{mpsc, oneshot};

use super::{accept_all, encoded, listen, log, made_up, one_partition, soon, until, write_made_up};

async fn open(log: &Log, start: LiveStart, hurried: bool) -> (LiveFeed, mpsc::Receiver<LiveItem>) {
    let (into, items) = mpsc::channel(16);
    (LiveFeed::open(log, 0, start, Arc::new(move |_| hurried), into).await.unwrap(), items)
}

async fn sequence(items: &mut mpsc::Receiver<LiveItem>) -> u64 {
    match soon("a batch", items.recv()).await.unwrap() {
        LiveItem::Batch(batch) => batch.sequence,
        other => panic!("{other:?}"),
    }
}

/// Stores batches that are not republished, as if the live messages were lost on the way.
async fn write_unheard(log: &Log, sequences: std::ops::RangeInclusive<u64>) {
    let config = log.jetstream().get_stream(outcome_stream(0)).await.unwrap().cached_info().config.clone();
    log.jetstream().update_stream(Config { republish: None, ..config.clone() }).await.unwrap();
    write_made_up(log, sequences).await;
    let republish = Republish { source: "evt.0".into(), destination: "live.0".into(), headers_only: false };
    log.jetstream().update_stream(Config { republish: Some(republish), ..config }).await.unwrap();
}

#[tokio::test]
async fn a_feed_starts_at_the_tail_or_at_a_sequence() {
    let (_servers, log) = one_partition().await;
    write_made_up(&log, 1..=5).await;
    let (tail, mut from_tail) = open(&log, LiveStart::Tail, false).await;
    let (early, mut from_early) = open(&log, LiveStart::From(3), false).await;
    assert_eq!((tail.start(), early.start()), (5, 2));
    write_made_up(&log, 6..=6).await;
    assert_eq!(sequence(&mut from_tail).await, 6);
    for expected in 3..=6 {
        assert_eq!(sequence(&mut from_early).await, expected);
    }
    assert_eq!(early.position(), 6);
}

/// Invariant 8: a jump in the live messages is refilled from the stream, in order.
#[tokio::test]
async fn a_gap_is_refilled() {
    let (_servers, log) = one_partition().await;
    let (_feed, mut items) = open(&log, LiveStart::Tail, false).await;
    write_made_up(&log, 1..=2).await;
    write_unheard(&log, 3..=150).await;
    write_made_up(&log, 151..=151).await;
    for expected in 1..=151 {
        let LiveItem::Batch(batch) = soon("a batch", items.recv()).await.unwrap() else { panic!("a hole") };
        assert_eq!((batch.sequence, batch.lease), (expected, 1));
        assert_eq!(batch.payload, made_up(expected, 1, 1).payload);
    }
}

/// Invariant 8: the last message before a silence may be the lost one. Within a second or so while somebody waits, within
/// 5 s otherwise.
#[tokio::test]
async fn a_lost_last_message_is_found_by_the_tail_check() {
    let (_servers, log) = one_partition().await;
    for (hurried, batch, within) in [(true, 1, 2), (false, 2, 6)] {
        let (_feed, mut items) = open(&log, LiveStart::Tail, hurried).await;
        let started = Instant::now();
        write_unheard(&log, batch..=batch).await;
        assert_eq!(sequence(&mut items).await, batch);
        assert!(started.elapsed() < Duration::from_secs(within), "{hurried}: {:?}", started.elapsed());
    }
}

/// The interleaving: the answer is lost on an idle partition while the gateway's link to the broker flaps.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_on_an_idle_partition_while_the_link_flaps_arrives_all_the_same() {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let gateway = log(proxy.url(), 1).await;
    let publisher = Publisher::start(&gateway).unwrap();
    let _feed = listen(&gateway, &publisher).await;
    let (waiter, answer) = oneshot::channel();
    publisher.send(0, &encoded(7), waiter).unwrap();
    until("the command in the log", async || direct.bounds("CMD_0").await.unwrap().last == 1).await;
    proxy.cut();
    let processor = accept_all(&direct, 0, 1);
    until("the outcome in the log", async || direct.bounds(&outcome_stream(0)).await.unwrap().last == 1).await;
    drop(processor);
    proxy.mend();
    let mended = Instant::now();
    assert!(matches!(soon("the answer", answer).await.unwrap(), Answer::Outcome(_)));
    assert!(mended.elapsed() < Duration::from_secs(5), "{:?}", mended.elapsed());
    assert_eq!(direct.bounds("CMD_0").await.unwrap().last, 1, "the command was not published twice");
}

/// Invariant 8: a hole too large to refill is said, with both ends, and the feed goes on behind it.
#[tokio::test]
async fn a_hole_too_large_is_reported() {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let far = log(proxy.url(), 1).await;
    let (_feed, mut items) = open(&far, LiveStart::Tail, true).await;
    write_made_up(&direct, 1..=1).await;
    assert_eq!(sequence(&mut items).await, 1);
    proxy.cut();
    let last = REFILL_BATCHES_MAX + 2;
    write_made_up(&direct, 2..=last).await;
    proxy.mend();
    let hole = soon("the hole", items.recv()).await.unwrap();
    assert_eq!(hole, LiveItem::Hole { partition: 0, from: 2, to: last });
    write_made_up(&direct, last + 1..=last + 1).await;
    assert_eq!(sequence(&mut items).await, last + 1);
}

/// Invariant 8: what was trimmed away cannot be refilled either.
#[tokio::test]
async fn a_trimmed_hole_is_reported() {
    let (_servers, log) = one_partition().await;
    write_made_up(&log, 1..=20).await;
    log.jetstream().get_stream(outcome_stream(0)).await.unwrap().purge().sequence(11).await.unwrap();
    let (_feed, mut items) = open(&log, LiveStart::From(5), true).await;
    let hole = soon("the hole", items.recv()).await.unwrap();
    assert_eq!(hole, LiveItem::Hole { partition: 0, from: 5, to: 10 });
    for expected in 11..=20 {
        assert_eq!(sequence(&mut items).await, expected);
    }
}

/// A feed whose receiver is slow loses nothing, and one over a killed broker neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_over_a_killed_broker_is_whole() {
    let (servers, log) = one_partition().await;
    let (_feed, mut items) = open(&log, LiveStart::Tail, true).await;
    let writing = async {
        for sequence in 1..=200 {
            let write = made_up(sequence, 1, 1);
            while let Err(error) = log.write_outcomes(&write).await {
                assert!(error.is_transient(), "{error}");
            }
            if sequence == 100 {
                servers.kill(Backend::Nats);
            }
        }
    };
    let reading = async {
        for expected in 1..=200 {
            assert_eq!(sequence(&mut items).await, expected);
            if expected % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    };
    tokio::join!(writing, reading);
}
