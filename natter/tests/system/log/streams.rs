use futures_util::future::join_all;
use natter_nats::{Log, LogConfig, LogError, StreamBytes};

use super::log;
use crate::servers::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_agree_on_one_log() {
    let servers = Servers::start().await;
    let config = LogConfig::new(servers.nats_url(), 2);
    let logs = join_all((0..6).map(|_| Log::create(&config))).await;
    let ids: Vec<_> = logs.into_iter().map(|log| log.unwrap().id().clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = Log::connect(&config).await.unwrap();
    assert_eq!((again.id(), again.partitions()), (&ids[0], 2));
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_and_both_are_named() {
    let servers = Servers::start().await;
    let nothing = Log::connect(&LogConfig::new(servers.nats_url(), 2)).await.unwrap_err();
    assert!(nothing.is_transient() && nothing.to_string().contains("EVT_0"), "{nothing}");
    log(servers.nats_url(), 2).await;
    for partitions in [1, 4] {
        let config = LogConfig::new(servers.nats_url(), partitions);
        for tried in [Log::connect(&config).await, Log::create(&config).await] {
            let LogError::Mismatch(text) = tried.unwrap_err() else { panic!("not refused") };
            assert!(text.contains("2 partitions") && text.contains(&format!("for {partitions}")), "{text}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_lost_is_not_made_anew() {
    let servers = Servers::start().await;
    let made = log(servers.nats_url(), 2).await;
    made.jetstream().delete_stream("EVT_1").await.unwrap();
    let LogError::Corrupt(text) = Log::create(&LogConfig::new(servers.nats_url(), 2)).await.unwrap_err() else {
        panic!("made anew")
    };
    assert!(text.contains("EVT_1"), "{text}");
    let error = made.bounds("EVT_1").await.unwrap_err();
    assert!(matches!(&error, LogError::Corrupt(text) if text.contains("EVT_1")), "{error}");
}

#[tokio::test]
async fn a_stream_of_somebody_else_is_refused() {
    let servers = Servers::start().await;
    let jetstream = async_nats::jetstream::new(servers.nats().await);
    let foreign = async_nats::jetstream::stream::Config {
        name: "EVT_0".into(),
        subjects: vec!["evt.0".into()],
        ..Default::default()
    };
    jetstream.create_stream(foreign).await.unwrap();
    let error = Log::create(&LogConfig::new(servers.nats_url(), 1)).await.unwrap_err();
    assert!(
        matches!(&error, LogError::Mismatch(text) if text.contains("EVT_0") && text.contains("natter.partitions")),
        "{error}"
    );
}

#[tokio::test]
async fn streams_can_be_made_larger() {
    let servers = Servers::start().await;
    let config = LogConfig::new(servers.nats_url(), 1);
    let before = Log::create(&config).await.unwrap();
    let bytes = StreamBytes { commands: 512 << 20, outcomes: 5 << 30 };
    let after = Log::create(&LogConfig { bytes, ..config }).await.unwrap();
    assert_eq!(before.id(), after.id());
    assert_eq!(after.bounds("EVT_0").await.unwrap().bytes_max, 5 << 30);
}
