use std::time::{Duration, Instant};

use natter::soak::proxy::Proxy;
use natter_nats::{Log, LogError, PacedReader, Reader, ReaderOptions};
use natter_schemas::subjects::outcome_stream;
use tokio::time::timeout;

use super::{log, made_up, one_partition, soon, write_made_up};
use natter::backends::Backend;

/// Invariant 7: a reader whose next sequence was trimmed away says so, before it gives anything.
#[tokio::test]
async fn a_reader_whose_next_sequence_was_trimmed_is_corrupt() {
    let (_servers, log) = one_partition().await;
    write_made_up(&log, 1..=10).await;
    let mut reading = Reader::open(&log, &outcome_stream(0), 1, ReaderOptions::default()).await.unwrap();
    assert_eq!(reading.next().await.unwrap().sequence, 1);
    let stream = log.jetstream().get_stream(outcome_stream(0)).await.unwrap();
    stream.purge().sequence(8).await.unwrap();

    let LogError::Corrupt(text) =
        Reader::open(&log, &outcome_stream(0), 5, ReaderOptions::default()).await.unwrap_err()
    else {
        panic!("not corrupt")
    };
    assert!(text.contains("begins at 8") && text.contains('5'), "{text}");
    assert!(Reader::open(&log, &outcome_stream(0), 8, ReaderOptions::default()).await.is_ok());
    assert!(Reader::open(&log, &outcome_stream(0), 11, ReaderOptions::default()).await.is_ok(), "the next one to come");

    let LogError::Corrupt(text) =
        Reader::open(&log, &outcome_stream(0), 12, ReaderOptions::default()).await.unwrap_err()
    else {
        panic!("not corrupt")
    };
    assert!(text.contains("ends at 10") && text.contains("12"), "{text}");
}

/// Invariant 7, of a reader that was cut off while its stream was trimmed.
#[tokio::test]
async fn a_reader_that_slept_through_a_trim_is_corrupt() {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let far = log(proxy.url(), 1).await;
    write_made_up(&direct, 1..=3).await;
    let mut reader = Reader::open(&far, &outcome_stream(0), 1, ReaderOptions::default()).await.unwrap();
    for sequence in 1..=3 {
        assert_eq!(soon("a batch", reader.next()).await.unwrap().sequence, sequence);
    }
    proxy.cut();
    write_made_up(&direct, 4..=9).await;
    direct.jetstream().get_stream(outcome_stream(0)).await.unwrap().purge().sequence(7).await.unwrap();
    proxy.mend();
    let LogError::Corrupt(text) = soon("the error", reader.next()).await.unwrap_err() else { panic!("not corrupt") };
    assert!(text.contains("begins at 7") && text.contains('4'), "{text}");
    assert_eq!(reader.next_sequence(), 4, "it stays where it is");
}

const BATCHES: u64 = 300;

/// Everything once and in order, while the broker is killed and the link flaps.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_where_it_was() {
    let sequences = read_in_a_storm(async |far| {
        let mut reader = Reader::open(&far, &outcome_stream(0), 1, ReaderOptions::default()).await.unwrap();
        let mut sequences = Vec::new();
        while reader.next_sequence() <= BATCHES {
            let batch = reader.next_batch(16).await.unwrap();
            sequences.extend(batch.iter().map(|stored| stored.sequence));
        }
        sequences
    });
    assert_eq!(sequences.await, (1..=BATCHES).collect::<Vec<_>>());
}

/// The same, at its own pace, and dropped in the middle of its waiting over and over, as a projector does that looks after
/// its watermark.
#[tokio::test(flavor = "multi_thread")]
async fn a_paced_reader_goes_on_where_it_was() {
    let sequences = read_in_a_storm(async |far| {
        let pace = Duration::from_millis(5);
        let mut reader = PacedReader::open(&far, &outcome_stream(0), 1, pace).await.unwrap();
        let mut sequences: Vec<u64> = Vec::new();
        while sequences.last() != Some(&BATCHES) {
            let Ok(batch) = timeout(Duration::from_millis(30), reader.next_batch(16)).await else { continue };
            sequences.extend(batch.unwrap().iter().map(|stored| stored.sequence));
        }
        sequences
    });
    assert_eq!(sequences.await, (1..=BATCHES).collect::<Vec<_>>());
}

/// What `read` reads of a log that is far away, while that is written, its broker killed, and the way to it cut.
async fn read_in_a_storm(read: impl AsyncFnOnce(Log) -> Vec<u64>) -> Vec<u64> {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let far = log(proxy.url(), 1).await;
    let writing = async {
        for sequence in 1..=BATCHES {
            let write = made_up(sequence, 1, 3);
            while let Err(error) = direct.write_outcomes(&write).await {
                assert!(error.is_transient(), "{error}");
            }
            match sequence {
                100 => servers.kill(Backend::Nats),
                50 | 200 => proxy.cut(),
                60 | 210 => proxy.mend(),
                _ => {}
            }
        }
    };
    let (sequences, ()) = soon("the end", async { tokio::join!(read(far), writing) }).await;
    sequences
}

/// What a paced reader finds first comes at once; what is stored while it rests comes together.
#[tokio::test]
async fn a_paced_reader_takes_together_what_gathers() {
    let (_servers, log) = one_partition().await;
    let mut reader = PacedReader::open(&log, &outcome_stream(0), 1, Duration::from_millis(200)).await.unwrap();
    let (first, ()) = tokio::join!(reader.next_batch(100), write_made_up(&log, 1..=1));
    assert_eq!(first.unwrap().len(), 1);
    write_made_up(&log, 2..=20).await;
    let together = reader.next_batch(100).await.unwrap();
    assert_eq!(together.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), (2..=20).collect::<Vec<_>>());
    // And what it may not take at once it takes without a rest.
    write_made_up(&log, 21..=30).await;
    let parts =
        [reader.next_batch(4).await.unwrap(), reader.next_batch(4).await.unwrap(), reader.next_batch(4).await.unwrap()];
    assert_eq!(parts.map(|part| part.len()), [4, 4, 2]);
    // Nothing for longer than a request waits at the broker: the next is heard all the same.
    assert!(timeout(Duration::from_secs(6), reader.next_batch(4)).await.is_err());
    let (last, ()) = tokio::join!(reader.next_batch(4), write_made_up(&log, 31..=31));
    assert_eq!(last.unwrap()[0].sequence, 31);
    purge_and_expect_corrupt(&log, reader).await;
}

/// Invariant 7 of a paced reader.
async fn purge_and_expect_corrupt(log: &Log, mut reader: PacedReader) {
    write_made_up(log, 32..=36).await;
    log.jetstream().get_stream(outcome_stream(0)).await.unwrap().purge().sequence(35).await.unwrap();
    let error = soon("the error", async {
        loop {
            // A request that waited at the broker may have brought some of them before they went.
            if let Err(error) = reader.next_batch(1).await {
                return error;
            }
        }
    });
    let LogError::Corrupt(text) = error.await else { panic!("not corrupt") };
    assert!(text.contains("begins at 35") || text.contains("jumps"), "{text}");
}

/// An idle partition adds no latency: what is stored comes at once, also after a long silence.
#[tokio::test]
async fn an_idle_reader_hears_at_once() {
    let (_servers, log) = one_partition().await;
    let mut reader = Reader::open(&log, &outcome_stream(0), 1, ReaderOptions::default()).await.unwrap();
    // Longer than two heartbeats: they must not be taken for a broken consumer, nor delay anything.
    assert!(timeout(Duration::from_secs(5), reader.next()).await.is_err());
    let mut waited = Vec::new();
    for sequence in 1..=20 {
        let (batch, started) = (made_up(sequence, 1, 1), Instant::now());
        let (read, wrote) = tokio::join!(reader.next(), log.write_outcomes(&batch));
        wrote.unwrap();
        assert_eq!(read.unwrap().sequence, sequence);
        waited.push(started.elapsed());
    }
    waited.sort_unstable();
    println!("store and read: median {:?}, worst {:?}", waited[10], waited[19]);
    assert!(waited[10] < Duration::from_millis(100), "{waited:?}");
}

/// Direct reads: batches, single ones, by time.
#[tokio::test]
async fn messages_are_found_by_sequence_and_by_time() {
    let (_servers, log) = one_partition().await;
    let stream = outcome_stream(0);
    assert_eq!(log.last_from_leader(&stream).await.unwrap(), None);
    assert_eq!(log.get_batch(&stream, 1, 10).await.unwrap(), []);
    assert_eq!(log.sequence_at(&stream, 0).await.unwrap(), 1);
    write_made_up(&log, 1..=20).await;

    let got = log.get_batch(&stream, 5, 10).await.unwrap();
    assert_eq!(got.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), (5..=14).collect::<Vec<_>>());
    assert_eq!(got[0].payload, made_up(5, 1, 1).payload);
    assert_eq!((got[0].lease, got[0].records), (Some(1), Some(1)));
    let one = log.get(&stream, 5).await.unwrap().unwrap();
    assert_eq!((one.stored_ms, &one.payload), (got[0].stored_ms, &got[0].payload));
    let leader = log.get_from_leader(&stream, 5).await.unwrap().unwrap();
    assert_eq!((leader.stored_ms, leader.lease, leader.payload), (one.stored_ms, one.lease, one.payload));
    assert_eq!(log.get(&stream, 21).await.unwrap(), None);
    assert_eq!(log.get_from_leader(&stream, 21).await.unwrap(), None);
    let last = log.last_from_leader(&stream).await.unwrap().unwrap();
    assert_eq!(last.sequence, 20);
    assert_eq!(log.sequence_at(&stream, last.stored_ms + 1).await.unwrap(), 21);
    assert!(log.sequence_at(&stream, last.stored_ms).await.unwrap() <= 20);
    assert_eq!(log.sequence_at(&stream, got[0].stored_ms - 60_000).await.unwrap(), 1);
}
