//! Each role's work passes with its own user, and nobody else's does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use natter_nats::server::ServerRole;
use natter_nats::{
    Answer, Lease, LeaseOptions, LiveFeed, LiveStart, Log, LogConfig, Policies, Publisher, Reader, ReaderOptions,
    SignalFeed, SignalSender, held, role,
};
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::signal::PlacedSignal;
use natter_schemas::wire::client::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{DEADLINE, accept_all, encoded, listen, soon};
use crate::servers::Servers;

/// The same log, as each role's user.
struct Logs {
    _servers: Servers,
    admin: Log,
    gateway: Log,
    processor: Log,
    projector: Log,
    gateway_url: String,
}

impl Logs {
    async fn start() -> Logs {
        let servers = Servers::start().await;
        let config = |role| LogConfig::new(servers.nats_url_of(role), 2);
        let admin = Log::create(&config(ServerRole::Admin)).await.unwrap();
        let gateway = Log::connect(&config(ServerRole::Gateway)).await.unwrap();
        let processor = Log::connect(&config(ServerRole::Processor)).await.unwrap();
        let projector = Log::connect(&config(ServerRole::Projector)).await.unwrap();
        let gateway_url = servers.nats_url_of(ServerRole::Gateway).to_owned();
        Logs { _servers: servers, admin, gateway, processor, projector, gateway_url }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_can_do_its_work_with_its_own_user() {
    let Logs { _servers, admin, gateway, processor, projector, .. } = Logs::start().await;
    assert!([&gateway, &processor, &projector].iter().all(|log| log.id() == admin.id()));

    // A gateway: commands, answers, signals, reads by sequence.
    let publisher = Publisher::start(&gateway).unwrap();
    let _listening = listen(&gateway, &publisher).await;
    let lease = Lease::acquire(&processor, role::PROCESSOR, 0, "test", LeaseOptions::default()).await.unwrap().unwrap();
    assert_eq!(held(&gateway, role::PROCESSOR).await.unwrap(), [0]);
    let _processing = accept_all(&processor, 0, lease.revision());
    let (waiter, answer) = oneshot::channel();
    publisher.send(0, &encoded(1), waiter).unwrap();
    assert!(matches!(soon("an answer", answer).await.unwrap(), Answer::Outcome(_)));
    assert_eq!(gateway.get_batch("EVT_0", 1, 10).await.unwrap().len(), 1);
    assert!(gateway.get_from_leader("EVT_0", 1).await.unwrap().is_some());
    let (into, mut items) = mpsc::channel(8);
    let _from_start = LiveFeed::open(&gateway, 0, LiveStart::From(1), Arc::new(|_| true), into).await.unwrap();
    soon("a refilled batch", items.recv()).await.unwrap();
    assert!(gateway.room(1, 0).await.unwrap().outcomes.free_share() > 0.9);
    let hash = Policies::new(&admin).store(b"{}").await.unwrap();
    let mut signals = SignalFeed::open(&gateway, 1).await.unwrap();
    gateway.client().flush().await.unwrap();
    let sender = SignalSender::start(&gateway);
    let conversation = ConversationId::from_raw(5);
    let signal = PlacedSignal {
        tenant: Tenant::trusted("demo"),
        conversation,
        user: UserId::trusted("ada"),
        signal: Signal::Typing,
    };
    sender.send(1, signal.clone());
    assert_eq!(soon("a signal", signals.next()).await.unwrap(), [signal]);

    // A processor: leases, policies, its last batch, trim.
    assert_eq!(Policies::new(&processor).fetch(hash).await.unwrap(), Some(Bytes::from_static(b"{}")));
    assert!(processor.last_from_leader("EVT_0").await.unwrap().is_some());
    assert_eq!(processor.trim_commands(0, 1, Duration::ZERO).await.unwrap(), 0);
    lease.release().await;

    // A projector: outcomes from any sequence, and leases of its own.
    let mut reader = Reader::open(&projector, "EVT_0", 1, ReaderOptions::default()).await.unwrap();
    assert_eq!(soon("a batch", reader.next()).await.unwrap().sequence, 1);
    for role in [role::REDIS_PROJECTOR, role::CLICKHOUSE_PROJECTOR] {
        let lease = Lease::acquire(&projector, role, 0, "test", LeaseOptions::default()).await.unwrap();
        lease.unwrap().release().await;
    }
    assert_eq!(publisher.flush(DEADLINE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_do_the_work_of_another_role() {
    let Logs { _servers, admin, gateway, processor, projector, gateway_url } = Logs::start().await;
    let forbidden = [
        (&gateway, "evt.0"),
        (&gateway, "live.0"),
        (&gateway, "$KV.leases.processor.0"),
        (&gateway, "$JS.API.STREAM.DELETE.EVT_0"),
        (&gateway, "$JS.API.STREAM.PURGE.CMD_0"),
        (&gateway, "$JS.API.DIRECT.GET.CMD_0"),
        (&gateway, "$KV.policies.x"),
        (&processor, "live.0"),
        (&processor, "$JS.API.STREAM.PURGE.EVT_0"),
        (&processor, "$KV.policies.x"),
        (&projector, "evt.0"),
        (&projector, "cmd.0"),
        (&projector, "$KV.leases.processor.0"),
        (&projector, "$JS.API.STREAM.MSG.GET.CMD_0"),
    ];
    for (log, subject) in forbidden {
        let asked = log.client().request(subject, "{}".into());
        let asked = timeout(Duration::from_millis(300), asked).await;
        assert!(!matches!(asked, Ok(Ok(_))), "{subject} was answered");
    }
    for stream in ["EVT_0", "CMD_0", "KV_policies", "KV_leases"] {
        assert_eq!(admin.bounds(stream).await.unwrap().last, 0, "{stream}");
    }
    let (front, address) = gateway_url.rsplit_once('@').unwrap();
    let wrong = format!("{front}x@{address}");
    assert!(Log::connect(&LogConfig::new(wrong, 2)).await.is_err());
}

/// Nor listen to what is answered to another.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_the_answers_to_another_role() {
    let Logs { _servers, gateway, processor, projector, .. } = Logs::start().await;
    for (log, subject) in [
        (&gateway, "_INBOX_processor.>"),
        (&processor, "_INBOX_gateway.>"),
        (&projector, "_INBOX_processor.>"),
        (&gateway, "cmd.*"),
        (&projector, "signal.*"),
        (&gateway, ">"),
    ] {
        let mut heard = log.client().subscribe(subject).await.unwrap();
        // Answered on the same connection, so the refusal has come before.
        gateway.bounds("EVT_0").await.unwrap();
        processor.bounds("EVT_0").await.unwrap();
        assert!(timeout(Duration::from_millis(200), heard.next()).await.is_err(), "{subject} was heard");
    }
}
