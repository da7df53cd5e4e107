//! Each role's work passes with its own user, and nobody else's does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natter::backends::{self, Backend, Backends, Given, NatsAccess, Options};
use natter_nats::server::{Password, ServerRole, authorization};
use natter_nats::{
    Answer, Lease, LeaseOptions, LiveFeed, LiveStart, Log, LogConfig, Policies, Publisher, Reader, ReaderOptions,
    SignalFeed, SignalSender, role,
};
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::signal::PlacedSignal;
use natter_schemas::wire::client::Signal;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{DEADLINE, accept_all, encoded, listen, soon, until};
use crate::servers::to_stderr;

struct Broker {
    backends: Backends,
    _data: TempDir,
}

impl Broker {
    async fn start() -> Broker {
        let data = tempfile::tempdir().unwrap();
        let users = ServerRole::ALL.map(|role| (role, Password::Literal(format!("secret-{}", role.user()))));
        let block = authorization(2, &users);
        let access = NatsAccess { user: "admin".into(), password: "secret-admin".into(), block };
        let options = Options {
            data: Path::new(data.path()).into(),
            shim: env!("CARGO_BIN_EXE_natter").into(),
            which: vec![Backend::Nats],
            given: Given::default(),
            nats_access: Some(access),
            notify: to_stderr(),
        };
        let backends = backends::start(options).await.unwrap();
        backends.ready(Backend::Nats).await.unwrap();
        Broker { backends, _data: data }
    }

    fn config(&self, role: ServerRole) -> LogConfig {
        let admin = &self.backends.endpoints().nats_url;
        let address = admin.rsplit_once('@').unwrap().1;
        LogConfig::new(format!("nats://{0}:secret-{0}@{address}", role.user()), 2)
    }

    async fn log(&self, role: ServerRole) -> Log {
        Log::connect(&self.config(role)).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_can_do_its_work_with_its_own_user() {
    let broker = Broker::start().await;
    let admin = Log::create(&broker.config(ServerRole::Admin)).await.unwrap();
    let gateway = broker.log(ServerRole::Gateway).await;
    let processor = broker.log(ServerRole::Processor).await;
    let projector = broker.log(ServerRole::Projector).await;
    assert!([&gateway, &processor, &projector].iter().all(|log| log.id() == admin.id()));

    // A gateway: commands, answers, signals, policies, reads by sequence.
    let publisher = Publisher::start(&gateway).unwrap();
    let _listening = listen(&gateway, &publisher).await;
    let lease = Lease::acquire(&processor, role::PROCESSOR, 0, "test", LeaseOptions::default()).await.unwrap().unwrap();
    let _processing = accept_all(&processor, 0, lease.revision());
    let (waiter, answer) = oneshot::channel();
    publisher.send(0, &encoded(1), waiter).unwrap();
    assert!(matches!(soon("an answer", answer).await.unwrap(), Answer::Outcome(_)));
    assert_eq!(gateway.get_batch("EVT_0", 1, 10).await.unwrap().len(), 1);
    assert!(gateway.get_from_leader("EVT_0", 1).await.unwrap().is_some());
    let (into, mut items) = mpsc::channel(8);
    let _from_start = LiveFeed::open(&gateway, 0, LiveStart::From(1), Arc::new(|_| true), into).await.unwrap();
    soon("a refilled batch", items.recv()).await.unwrap();
    assert!(gateway.free_share(1).await.unwrap() > 0.9);
    let hash = Policies::new(&gateway).store(b"{}").await.unwrap();
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
    let broker = Broker::start().await;
    let admin = Log::create(&broker.config(ServerRole::Admin)).await.unwrap();
    let gateway = broker.log(ServerRole::Gateway).await;
    let processor = broker.log(ServerRole::Processor).await;
    let projector = broker.log(ServerRole::Projector).await;
    let forbidden = [
        (&gateway, "evt.0"),
        (&gateway, "live.0"),
        (&gateway, "$KV.leases.processor.0"),
        (&gateway, "$JS.API.STREAM.DELETE.EVT_0"),
        (&gateway, "$JS.API.STREAM.PURGE.CMD_0"),
        (&gateway, "$JS.API.DIRECT.GET.CMD_0"),
        (&processor, "cmd.0"),
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
    let other_answers = gateway.client().subscribe("_INBOX_processor.>").await.unwrap();
    until("the refusal", async || gateway.client().flush().await.is_ok()).await;
    drop(other_answers);
    let wrong = LogConfig::new(broker.config(ServerRole::Gateway).url.replace("secret-gateway", "guess"), 2);
    assert!(Log::connect(&wrong).await.is_err());
}
