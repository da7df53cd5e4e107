use std::time::{Duration, Instant};

use natter_nats::{Answer, Full, Log, LogConfig, Publisher, StreamBytes};
use natter_schemas::codec::CommandBatch;
use natter_schemas::limits::{COMMAND_BATCH_BYTES_MAX, COMMAND_BATCH_RECORDS_MAX, PUBLISHER_QUEUE_MAX};
use natter_schemas::subjects::command_stream;
use tokio::sync::oneshot;

use super::{DEADLINE, accept_all, encoded, listen, number_of, one_partition, outcomes_in_order, soon, until};
use crate::servers::Servers;
use natter::backends::Backend;

/// Sends a command, waiting while the publisher is full.
async fn send(publisher: &Publisher<oneshot::Sender<Answer>>, number: usize) -> oneshot::Receiver<Answer> {
    loop {
        let (waiter, answer) = oneshot::channel();
        match publisher.send(0, &encoded(number), waiter) {
            Ok(()) => return answer,
            Err(overloaded) => {
                assert_eq!(overloaded.reason, Full::Queue);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Invariant 1, from the publisher's side: one outcome per command, in order, whatever is packed with what.
#[tokio::test(flavor = "multi_thread")]
async fn group_commit_keeps_the_order_and_answers_all() {
    const COMMANDS: usize = 20_000;
    let (_servers, log) = one_partition().await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let _processor = accept_all(&log, 0, 1);

    let mut answers = Vec::new();
    for number in 0..COMMANDS {
        answers.push(send(&publisher, number).await);
    }
    let mut last = None;
    for (number, answer) in answers.into_iter().enumerate() {
        let Answer::Outcome(placed) = soon("an answer", answer).await.unwrap() else {
            panic!("{number} has no outcome")
        };
        assert_eq!(number_of(&placed.outcome), number);
        assert!(last < Some(placed.position.version()), "answers are placed in order");
        last = Some(placed.position.version());
    }
    assert_eq!(outcomes_in_order(&log).await, (0..COMMANDS).collect::<Vec<_>>());

    let bounds = log.bounds(&command_stream(0)).await.unwrap();
    assert!(bounds.last < COMMANDS as u64 / 10, "{} batches for {COMMANDS} commands", bounds.last);
    for sequence in 1..=bounds.last {
        let stored = log.get_from_leader(&command_stream(0), sequence).await.unwrap().unwrap();
        let batch = CommandBatch::decode(&stored.payload).unwrap();
        assert!(batch.commands.len() <= COMMAND_BATCH_RECORDS_MAX && stored.payload.len() <= COMMAND_BATCH_BYTES_MAX);
        assert_eq!(stored.records, Some(batch.header.records));
        assert_eq!(batch.header.number, sequence, "batches are stored in the order of their numbers");
    }
    assert_eq!(publisher.flush(DEADLINE).await, 0);
    let (waiter, _answer) = oneshot::channel();
    assert_eq!(publisher.send(0, &encoded(0), waiter).unwrap_err().reason, Full::Stopping);
}

/// Invariants 1, 4 and 12: the broker is killed again and again; nothing is lost, nothing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_and_doubles_nothing() {
    const COMMANDS: usize = 6_000;
    let (servers, log) = one_partition().await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let _processor = accept_all(&log, 0, 1);

    let sending = async {
        let mut answers = Vec::new();
        for number in 0..COMMANDS {
            answers.push(send(&publisher, number).await);
            if number % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        answers
    };
    let killing = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            servers.restart(Backend::Nats).await;
        }
    };
    let (answers, ()) = tokio::join!(sending, killing);
    for (number, answer) in answers.into_iter().enumerate() {
        let Answer::Outcome(placed) = soon("an answer", answer).await.unwrap() else {
            panic!("{number} has no outcome")
        };
        assert_eq!(number_of(&placed.outcome), number);
    }
    assert_eq!(outcomes_in_order(&log).await, (0..COMMANDS).collect::<Vec<_>>());
}

/// Invariant 9: a full queue refuses and says when to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_what_was_taken_is_answered_later() {
    let (servers, log) = one_partition().await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    servers.take_away(Backend::Nats).await;
    let mut answers = Vec::new();
    let overloaded = loop {
        let (waiter, answer) = oneshot::channel();
        match publisher.send(0, &encoded(answers.len()), waiter) {
            Ok(()) => answers.push(answer),
            Err(overloaded) => break overloaded,
        }
    };
    assert_eq!((answers.len(), overloaded.reason), (PUBLISHER_QUEUE_MAX, Full::Queue));
    assert!(overloaded.retry_after_ms > 0);
    servers.bring_back(Backend::Nats).await;
    let _processor = accept_all(&log, 0, 1);
    for answer in answers {
        assert!(matches!(soon("an answer", answer).await.unwrap(), Answer::Outcome(_)));
    }
}

/// Invariant 7: commands are refused before a stream is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_log_takes_no_commands() {
    let servers = Servers::start().await;
    let bytes = StreamBytes { commands: 64 * 1024, outcomes: 1 << 20 };
    let log = Log::create(&LogConfig { bytes, ..LogConfig::new(servers.nats_url(), 1) }).await.unwrap();
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let _processor = accept_all(&log, 0, 1);
    until("the refusal", async || {
        let (waiter, answer) = oneshot::channel();
        match publisher.send(0, &encoded(1), waiter) {
            Ok(()) => {
                drop(answer);
                false
            }
            Err(overloaded) => overloaded.reason == Full::Log,
        }
    })
    .await;
    let room = log.room(0, log.bounds("CMD_0").await.unwrap().last).await.unwrap();
    assert_eq!(room.refuses(), Some(Full::Log), "{room:?}");
    assert!(room.commands.free_share() > 0.0, "{room:?}");
}

/// How fast the publisher, the broker with fsync, and an echo of a processor are together. A figure for the log of the
/// test; the assertion only catches a collapse.
#[tokio::test(flavor = "multi_thread")]
async fn commands_are_answered_by_the_ten_thousands() {
    const COMMANDS: usize = 60_000;
    let (_servers, log) = one_partition().await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let _processor = accept_all(&log, 0, 1);
    let started = Instant::now();
    let mut last = None;
    for number in 0..COMMANDS {
        last = Some(send(&publisher, number).await);
    }
    assert!(matches!(soon("an answer", last.unwrap()).await.unwrap(), Answer::Outcome(_)));
    let rate = COMMANDS as u128 * 1000 / started.elapsed().as_millis().max(1);
    println!("{rate} commands/s");
    assert!(rate > 5_000, "{rate} commands/s");
}
