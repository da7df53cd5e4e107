//! Policies, trim and `cat`.

use std::time::Duration;

use natter_nats::cat::cat;
use natter_nats::{LogError, Policies, Publisher};
use natter_schemas::policy::{Policy, PolicyHash};
use natter_schemas::subjects::command_stream;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{accept_all, encoded, listen, one_partition, soon, write_made_up};

#[tokio::test]
async fn a_policy_is_what_its_hash_says() {
    let (_servers, log) = one_partition().await;
    let (bytes, hash) = Policy::default().to_stored();
    let policies = Policies::new(&log);
    assert_eq!(policies.fetch(hash).await.unwrap(), None);
    assert_eq!(policies.store(&bytes).await.unwrap(), hash);
    assert_eq!(policies.store(&bytes).await.unwrap(), hash, "storing it again is harmless");
    assert_eq!(Policies::new(&log).fetch(hash).await.unwrap().unwrap(), bytes);

    let forged = PolicyHash::of(b"something else");
    let key = format!("$KV.policies.{forged}");
    log.jetstream().publish(key, "forged".into()).await.unwrap().await.unwrap();
    let error = policies.fetch(forged).await.unwrap_err();
    assert!(matches!(&error, LogError::Corrupt(text) if text.contains(&forged.to_string())), "{error}");
}

/// Invariant 7: trim keeps what is not processed, what is recent behind that, and the newest in any case.
#[tokio::test]
async fn trim_keeps_what_is_recent_behind_the_processor() {
    let (_servers, log) = one_partition().await;
    let publish = async |number: usize| {
        log.jetstream().publish("cmd.0", encoded(number).into()).await.unwrap().await.unwrap();
    };
    for number in 1..=5 {
        publish(number).await;
    }
    let old = log.get_from_leader("CMD_0", 5).await.unwrap().unwrap().stored_ms;
    let keep = Duration::from_millis(200);
    // The broker's clock stamps them: wait until it has moved on.
    super::until("time to pass", async || {
        publish(6).await;
        log.last_from_leader("CMD_0").await.unwrap().unwrap().stored_ms > old + 250
    })
    .await;
    let last = log.bounds("CMD_0").await.unwrap().last;

    assert_eq!(log.trim_commands(0, 0, keep).await.unwrap(), 0, "nothing is processed");
    assert_eq!(log.trim_commands(0, 4, keep).await.unwrap(), 0, "all is recent behind 4");
    assert_eq!(log.trim_commands(0, last, Duration::from_secs(3600)).await.unwrap(), 0);
    assert!(log.trim_commands(0, last, keep).await.unwrap() >= 5);
    let bounds = log.bounds("CMD_0").await.unwrap();
    assert!(bounds.first > 5 && bounds.first <= last, "{bounds:?}");
    let first = log.get_from_leader("CMD_0", bounds.first).await.unwrap().unwrap().stored_ms;
    let newest = log.get_from_leader("CMD_0", last).await.unwrap().unwrap().stored_ms;
    assert!(newest - first <= 200);

    log.trim_commands(0, last, Duration::ZERO).await.unwrap();
    let bounds = log.bounds("CMD_0").await.unwrap();
    assert!(bounds.first <= last && bounds.last == last, "the newest stays: {bounds:?}");
    let error = log.trim_commands(0, last + 1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt(_)), "{error}");
}

async fn lines(
    log: &natter_nats::Log,
    stream: &str,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<Vec<Value>, LogError> {
    let mut lines = Vec::new();
    let push = |line| {
        lines.push(line);
        true
    };
    cat(log, stream, from, to, push).await.map(|()| lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_of_any_stream_reads_as_json() {
    let (_servers, log) = one_partition().await;
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let processor = accept_all(&log, 0, 77);
    for number in 0..3 {
        let (waiter, answer) = oneshot::channel();
        publisher.send(0, &encoded(number), waiter).unwrap();
        soon("an answer", answer).await.unwrap();
    }
    drop(processor);
    log.jetstream().publish("cmd.0", "garbage".into()).await.unwrap().await.unwrap();

    let commands = lines(&log, "CMD_0", None, None).await.unwrap();
    assert_eq!(commands.len(), 4);
    assert_eq!(commands[1]["sequence"], 2);
    assert_eq!(commands[1]["commands"][0]["ref"], "1");
    assert_eq!(commands[1]["commands"][0]["cmd"], "user.update");
    assert_eq!(commands[3]["payload"], "67617262616765");
    let outcomes = lines(&log, "EVT_0", Some(2), Some(3)).await.unwrap();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0]["lease"], 77);
    assert_eq!(outcomes[0]["outcomes"][0]["position"], "0:2:0");
    assert_eq!(outcomes[0]["outcomes"][0]["decision"]["accepted"], "user_updated");
    assert_eq!(outcomes[0]["sources"][0]["publisher"], commands[1]["publisher"]);
    assert!(matches!(lines(&log, "EVT_1", None, None).await, Err(LogError::Mismatch(_))));
}

#[tokio::test]
async fn cat_says_what_is_missing() {
    let (_servers, log) = one_partition().await;
    write_made_up(&log, 1..=100).await;
    assert_eq!(lines(&log, "EVT_0", None, None).await.unwrap().len(), 100);
    assert_eq!(lines(&log, &command_stream(0), None, None).await.unwrap().len(), 0);
    log.jetstream().get_stream("EVT_0").await.unwrap().purge().sequence(41).await.unwrap();
    assert_eq!(lines(&log, "EVT_0", None, None).await.unwrap()[0]["sequence"], 41);
    let error = lines(&log, "EVT_0", Some(5), None).await.unwrap_err();
    assert!(matches!(&error, LogError::Corrupt(text) if text.contains("begins at 41")), "{error}");
}
