//! Redis as a cluster.

use std::net::TcpListener;
use std::time::Duration;

use natter::backends::Backend;
use natter_projections::redis::{Redis, RedisProjector};
use tokio::time::{sleep, timeout};

use super::{DEADLINE, apply, log_id};
use crate::generator::Generator;
use crate::servers::Servers;
use crate::shown::assert_shows;

/// A Redis Cluster of one node that has every slot: the other code path of the client, with the same keys and scripts.
#[tokio::test]
async fn a_cluster_does_as_well() {
    let servers = Servers::start().await;
    let node = ClusterNode::start(&servers).await;
    let redis = Redis::connect(&node.url()).await.unwrap();
    assert_eq!(format!("{redis:?}"), "Redis(\"cluster\")");
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let mut generator = Generator::new(51, 3);
    let batches: Vec<_> = (0..5).map(|_| generator.batch(80)).collect();
    apply(&projector, &log, 3, 0, &batches).await;
    assert_shows(&redis, &generator, &log).await;
}

struct ClusterNode {
    server: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl ClusterNode {
    /// Of the same program that serves the test.
    async fn start(servers: &Servers) -> Self {
        let program = std::fs::read_link(format!("/proc/{}/exe", servers.pid(Backend::Redis))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Its bus takes the port 10,000 above.
        let port = (20_000..40_000)
            .find(|port| [*port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()))
            .unwrap();
        let server = std::process::Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", "secret", "--save", ""])
            .args(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--dir"])
            .arg(folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let node = Self { server, port, _folder: folder };
        timeout(DEADLINE, node.take_every_slot()).await.expect("the cluster is ready in time");
        node
    }

    async fn take_every_slot(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => break connection,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("ADDSLOTS").arg((0..16_384).collect::<Vec<u16>>()).query_async::<()>(&mut connection).await.unwrap();
        loop {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.unwrap();
            if info.contains("cluster_state:ok") {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self) -> String {
        format!("redis://:secret@127.0.0.1:{}/", self.port)
    }
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
