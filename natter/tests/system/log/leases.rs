use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use natter::backends::Backend;
use natter::soak::proxy::Proxy;
use natter_nats::{Lease, LeaseEnd, LeaseOptions, Leases, Log, role};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{log, one_partition, soon, until};
use crate::servers::Servers;

async fn acquire(log: &Log, holder: &str) -> Option<Lease> {
    Lease::acquire(log, role::PROCESSOR, 0, holder, LeaseOptions::default()).await.unwrap()
}

async fn acquired(log: &Log, holder: &str) -> Lease {
    let acquiring = async {
        loop {
            if let Some(lease) = acquire(log, holder).await {
                return lease;
            }
            tokio::time::sleep(LeaseOptions::default().look).await;
        }
    };
    soon("the lease", acquiring).await
}

/// Invariant 3: one worker per partition; a killed one's partition moves within 5 s, with a higher revision.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_moves_within_five_seconds_of_a_kill() {
    let (servers, direct) = one_partition().await;
    let proxy = Proxy::to(servers.nats_url()).await.unwrap();
    let dying = log(proxy.url(), 1).await;
    let first = acquire(&dying, "first").await.unwrap();
    assert!(acquire(&direct, "second").await.is_none());
    // It is kept well beyond its time to live.
    assert!(timeout(Duration::from_secs(5), first.ended()).await.is_err());
    assert!(acquire(&direct, "second").await.is_none());

    proxy.cut();
    let cut = Instant::now();
    let second = acquired(&direct, "second").await;
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    assert!(second.revision() > first.revision());
    assert_eq!(soon("the end", first.ended()).await, LeaseEnd::Lost);
    assert!(first.is_lost());
    proxy.mend();
    drop(first);
    assert!(timeout(Duration::from_secs(4), second.lost()).await.is_err(), "the first does not take it back");
}

#[tokio::test]
async fn a_released_lease_is_free_at_once() {
    let (_servers, log) = one_partition().await;
    let mut last = 0;
    for holder in ["first", "second", "third"] {
        let lease = acquire(&log, holder).await.unwrap();
        assert!(lease.revision() > last);
        last = lease.revision();
        lease.release().await;
    }
    let started = Instant::now();
    drop(acquire(&log, "fourth").await.unwrap());
    acquired(&log, "fifth").await;
    assert!(started.elapsed() < Duration::from_secs(2), "dropping lets go of it too");
}

/// The revision is the tenure's: renewals do not change it, and neither does a broker that is killed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_killed_broker_there_is_still_one_holder() {
    let (servers, log) = one_partition().await;
    let first = acquire(&log, "first").await.unwrap();
    servers.restart(Backend::Nats).await;
    // Either it could renew in time, or it knows that it could not.
    let second = timeout(Duration::from_secs(8), acquired(&log, "second")).await;
    assert_eq!(second.is_ok(), first.is_lost());
    if let Ok(second) = second {
        assert!(second.revision() > first.revision(), "revisions survive the broker");
    }
}

/// A process that works on what it is given and hands over when it is asked.
struct Worker {
    leases: Leases,
    held: mpsc::Receiver<(u16, bool)>,
    _task: JoinSet<()>,
}

impl Worker {
    async fn start(log: &Log, name: &str) -> Worker {
        let (leases, mut acquired) = Leases::start(log, role::PROCESSOR, name, LeaseOptions::default()).await.unwrap();
        let (tell, held) = mpsc::channel(64);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut working = JoinSet::new();
            while let Some(lease) = acquired.recv().await {
                let tell = tell.clone();
                working.spawn(async move {
                    tell.send((lease.partition(), true)).await.unwrap();
                    lease.ended().await;
                    let partition = lease.partition();
                    lease.release().await;
                    tell.send((partition, false)).await.ok();
                });
            }
        });
        Worker { leases, held, _task: task }
    }

    /// Waits until it holds `wanted` partitions.
    async fn holds(&mut self, holding: &mut BTreeMap<u16, bool>, wanted: usize) {
        while holding.values().filter(|held| **held).count() != wanted {
            let (partition, held) = soon("a lease", self.held.recv()).await.unwrap();
            holding.insert(partition, held);
        }
    }
}

fn partitions(holding: &BTreeMap<u16, bool>) -> Vec<u16> {
    holding.iter().filter(|(_, held)| **held).map(|(partition, _)| *partition).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_by_the_processes_that_are_there() {
    let servers = Servers::start().await;
    let log = log(servers.nats_url(), 4).await;
    let (mut held_by_one, mut held_by_two) = (BTreeMap::new(), BTreeMap::new());
    let mut one = Worker::start(&log, "one").await;
    one.holds(&mut held_by_one, 4).await;

    let mut two = Worker::start(&log, "two").await;
    two.holds(&mut held_by_two, 2).await;
    one.holds(&mut held_by_one, 2).await;
    let mut all = [partitions(&held_by_one), partitions(&held_by_two)].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "each once");

    // One ends properly: the other takes over without waiting for anything to expire.
    let started = Instant::now();
    let Worker { leases, _task, .. } = one;
    leases.stop().await;
    drop(_task);
    two.holds(&mut held_by_two, 4).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    two.leases.stop().await;
    until("no presence", async || {
        let leases = log.jetstream().get_stream("KV_leases").await.unwrap();
        leases.info_builder().subjects("$KV.leases.presence.>").fetch().await.unwrap().count().await == 0
    })
    .await;
}

/// A broker that was killed brings keys of the dead back, and never ends them.
#[tokio::test(flavor = "multi_thread")]
async fn the_dead_whom_the_broker_brings_back_keep_no_partition() {
    let servers = Servers::start().await;
    let log = log(servers.nats_url(), 4).await;
    for key in ["presence.processor.dead-1", "presence.processor.dead-2", "presence.processor.dead-3", "processor.2"] {
        let stored = log.jetstream().publish(format!("$KV.leases.{key}"), "1".into()).await.unwrap();
        stored.await.unwrap();
    }
    let mut holding = BTreeMap::new();
    let mut alive = Worker::start(&log, "alive").await;
    // At first they count, as processes do that are just starting.
    alive.holds(&mut holding, 1).await;
    alive.holds(&mut holding, 4).await;
    assert_eq!(partitions(&holding), [0, 1, 2, 3]);
}
