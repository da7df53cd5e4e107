use bytes::Bytes;
use natter::backends::Backend;
use natter::soak::proxy::Proxy;
use natter_nats::{LogError, OutcomeWrite};
use natter_schemas::subjects::outcome_stream;

use super::{log, made_up, one_partition, soon, until, write_made_up};

/// Invariant 3: two workers on one partition never leave a double outcome batch, and the one that lost is told by whom.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_at_one_sequence_one_stands() {
    const ROUNDS: u64 = 40;
    let (servers, one) = one_partition().await;
    let two = log(servers.nats_url(), 1).await;
    for sequence in 1..=ROUNDS {
        let (ours, theirs) = (made_up(sequence, 7, 2), made_up(sequence, 9, 1));
        let (first, second) = tokio::join!(one.write_outcomes(&ours), two.write_outcomes(&theirs));
        let lost = match (first, second) {
            (Ok(()), Err(lost)) => {
                assert_eq!(lost, LogError::NotOwner { partition: 0, sequence, own: 9, found: 7 });
                &theirs
            }
            (Err(lost), Ok(())) => {
                assert_eq!(lost, LogError::NotOwner { partition: 0, sequence, own: 7, found: 9 });
                &ours
            }
            both => panic!("{both:?}"),
        };
        let stands = one.get_from_leader(&outcome_stream(0), sequence).await.unwrap().unwrap();
        assert_ne!(stands.payload, lost.payload);
    }
    assert_eq!(one.bounds(&outcome_stream(0)).await.unwrap().last, ROUNDS);
}

/// Invariant 3: a write whose acknowledgement was lost is found in its place; other bytes under the same lease are not it.
#[tokio::test]
async fn a_batch_that_stands_already_counts_as_written() {
    let (_servers, log) = one_partition().await;
    let write = made_up(1, 7, 2);
    log.write_outcomes(&write).await.unwrap();
    log.write_outcomes(&write).await.unwrap();
    write_made_up(&log, 2..=3).await;
    log.write_outcomes(&write).await.unwrap();
    assert_eq!(log.bounds(&outcome_stream(0)).await.unwrap().last, 3);

    let other = OutcomeWrite { payload: Bytes::from_static(b"other"), ..write };
    let error = log.write_outcomes(&other).await.unwrap_err();
    assert_eq!(error, LogError::NotOwner { partition: 0, sequence: 1, own: 7, found: 7 });
}

/// Invariant 3: the acknowledgement is really lost, with the link it came by.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_is_compared_and_not_taken_for_a_lost_race() {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let far = log(proxy.url(), 1).await;
    for sequence in 1..=10 {
        let write = made_up(sequence, 7, 1);
        let writing = async {
            while let Err(error) = far.write_outcomes(&write).await {
                assert!(error.is_transient(), "{error}");
            }
        };
        let cutting = async {
            until("the batch", async || {
                let stands = direct.bounds(&outcome_stream(0)).await.unwrap().last == sequence;
                if !stands {
                    proxy.cut();
                    proxy.mend();
                }
                stands
            })
            .await;
        };
        soon("the write", async { tokio::join!(writing, cutting) }).await;
    }
    assert_eq!(direct.bounds(&outcome_stream(0)).await.unwrap().last, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_over_a_killed_broker() {
    let (servers, log) = one_partition().await;
    for sequence in 1..=60 {
        let write = made_up(sequence, 7, 1);
        while let Err(error) = log.write_outcomes(&write).await {
            assert!(error.is_transient(), "{error}");
        }
        if sequence % 25 == 0 {
            servers.kill(Backend::Nats);
        }
    }
    let bounds = log.bounds(&outcome_stream(0)).await.unwrap();
    assert_eq!((bounds.first, bounds.last), (1, 60));
}

/// Invariant 6: a stream that ends below what was written before is not written to.
#[tokio::test]
async fn a_stream_that_lost_its_end_is_corrupt() {
    let (_servers, log) = one_partition().await;
    write_made_up(&log, 1..=2).await;
    let LogError::Corrupt(text) = log.write_outcomes(&made_up(5, 1, 1)).await.unwrap_err() else {
        panic!("not corrupt")
    };
    assert!(text.contains("holds 1 to 2") && text.contains("batch 5"), "{text}");
}
