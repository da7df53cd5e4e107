//! Three nats-servers with three replicas of each stream, of which one is killed.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use natter::backends::Backend;
use natter_nats::{Answer, Lease, LeaseOptions, Log, LogConfig, Publisher, role};
use natter_schemas::subjects::LEASES_BUCKET;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{accept_all, encoded, listen, outcomes_in_order, until};
use crate::servers::Servers;

/// The servers, by their client ports. Killed on drop.
struct Cluster {
    servers: Vec<(u16, Child)>,
    _data: TempDir,
}

impl Cluster {
    /// Starts three. They are the program that the backends found or fetched.
    async fn start() -> Cluster {
        let one = Servers::with(vec![Backend::Nats]).await;
        let program: PathBuf = std::fs::read_link(format!("/proc/{}/exe", one.pid(Backend::Nats))).unwrap();
        let data = tempfile::tempdir().unwrap();
        // All are bound at once, so that no port is given twice.
        let bound: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = bound.iter().map(|port| port.local_addr().unwrap().port()).collect();
        drop(bound);
        let (clients, routes) = ports.split_at(3);
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let started = clients.iter().zip(routes).enumerate().map(|(number, (client, route))| {
            let config = format!(
                "server_name: n{number}\nlisten: \"127.0.0.1:{client}\"\nmax_payload: 8MB\n\
                 jetstream {{ store_dir: \"./n{number}\", max_file_store: 10737418240 }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                all.join(", ")
            );
            let file = data.path().join(format!("n{number}.conf"));
            std::fs::write(&file, config).unwrap();
            let mut command = Command::new(&program);
            command.arg("--config").arg(&file).current_dir(data.path()).stdout(Stdio::null()).stderr(Stdio::null());
            (*client, command.spawn().unwrap())
        });
        Cluster { servers: started.collect(), _data: data }
    }

    fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(|(port, _)| format!("nats://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    fn kill(&mut self, number: usize) {
        self.servers[number].1.kill().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, server) in &mut self.servers {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

/// Which server leads a stream.
async fn leader(log: &Log, stream: &str) -> Option<usize> {
    let found = log.jetstream().get_stream(stream).await.ok()?;
    found.cached_info().cluster.as_ref()?.leader.as_ref()?.strip_prefix('n')?.parse().ok()
}

/// The server that leads the leases' bucket is killed: leases are kept, and every command has its outcome, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_a_server_keeps_leases_and_commands() {
    let mut cluster = Cluster::start().await;
    let bytes = natter_nats::StreamBytes { commands: 32 << 20, outcomes: 256 << 20 };
    let config = LogConfig { bytes, replicas: 3, ..LogConfig::new(cluster.url(), 1) };
    let making = natter_nats::backoff::until_there("the cluster", |_| true, || Log::create(&config));
    let log = tokio::time::timeout(Duration::from_mins(2), making).await.expect("a cluster").unwrap();

    let lease = Lease::acquire(&log, role::PROCESSOR, 0, "first", LeaseOptions::default()).await.unwrap().unwrap();
    let publisher = Publisher::start(&log).unwrap();
    let _feed = listen(&log, &publisher).await;
    let _processor = accept_all(&log, 0, lease.revision());
    let mut answers = Vec::new();
    let mut send = |number: usize| {
        let (waiter, answer) = oneshot::channel();
        publisher.send(0, &encoded(number), waiter).unwrap();
        answers.push(answer);
    };
    (0..100).for_each(&mut send);

    let bucket = format!("KV_{LEASES_BUCKET}");
    let dead = leader(&log, &bucket).await.expect("a leader");
    cluster.kill(dead);
    (100..200).for_each(&mut send);
    until("another leader", async || leader(&log, &bucket).await.is_some_and(|leader| leader != dead)).await;
    (200..300).for_each(&mut send);
    for answer in answers {
        let answered = tokio::time::timeout(Duration::from_mins(2), answer).await.expect("an answer").unwrap();
        assert!(matches!(answered, Answer::Outcome(_)), "{answered:?}");
    }
    assert_eq!(outcomes_in_order(&log).await, (0..300).collect::<Vec<_>>(), "each once and in order");
    // Nobody else gets it, and it is renewed under the next leader.
    assert!(Lease::acquire(&log, role::PROCESSOR, 0, "second", LeaseOptions::default()).await.unwrap().is_none());
    assert!(!lease.is_lost());
}
