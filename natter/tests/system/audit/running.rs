//! Systems that work are clean, also while they work; and the subcommand says so by its exit code and its metrics.

use std::process::Stdio;
use std::time::Duration;

use natter::backends::free_port;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;

use super::world::{World, only};
use crate::gateway::client::Http;
use crate::servers::signal;

/// Audits beside the load.
const LOOKS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_system_under_load_does_not_differ_from_itself() {
    let mut world = World::start(41, 4).await;
    world.wish(40).await;
    let config = world.config.clone();
    let looking = tokio::spawn(async move {
        let mut reports = Vec::new();
        for _ in 0..LOOKS {
            reports.push(natter::audit::run(&config, &natter::audit::Options::default()).await.unwrap());
        }
        reports
    });
    let followed = follow(&world);
    while !looking.is_finished() {
        world.wish(5).await;
    }
    for report in looking.await.unwrap() {
        assert_eq!(only(&report), None, "{report}");
    }
    followed.rounds(4).await;
    let (code, report) = followed.end().await;
    assert_eq!((code, &report["clean"]), (Some(0), &Value::Bool(true)), "{report}");
    for one in report["partitions"].as_array().unwrap() {
        assert!(one["batches"] == 0 || one["redis"]["watermark"] != 0, "nothing new is not all behind: {report}");
    }
    world.settle().await;
    exit_codes(world).await;
}

/// The subcommand, with the configuration of a system that runs elsewhere.
fn command(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    let config = &world.config;
    let exposed = |secret: &Option<natter::config::Secret>| secret.as_ref().unwrap().expose().to_owned();
    command.args(["audit", "--json", "--config", "/dev/null"]).stdin(Stdio::null()).kill_on_drop(true);
    command
        .env("NATTER_LOG_URL", exposed(&config.log.url))
        .env("NATTER_LOG_PARTITIONS", config.log.partitions.to_string())
        .env("NATTER_REDIS_URL", exposed(&config.redis.url))
        .env("NATTER_CLICKHOUSE_URL", config.clickhouse.url.as_ref().unwrap())
        .env("NATTER_CLICKHOUSE_USER", &config.clickhouse.user)
        .env("NATTER_CLICKHOUSE_PASSWORD", exposed(&config.clickhouse.password))
        .env("NATTER_CLICKHOUSE_DATABASE", &config.clickhouse.database);
    command
}

struct Followed {
    child: tokio::process::Child,
    private: Http,
}

fn follow(world: &World) -> Followed {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut command = command(world);
    command.args(["--follow", "--every", "1s", "--full-every", "2s", "--listen", &address.to_string()]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    Followed { child, private: Http { address, token: None } }
}

impl Followed {
    /// Waits until both kinds of looks together were so many.
    async fn rounds(&self, wanted: u64) {
        let mut backoff = natter_nats::backoff::Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let text = match tokio::net::TcpStream::connect(self.private.address).await {
                Ok(_) => String::from_utf8(self.private.get("/metrics").await.body.to_vec()).unwrap(),
                Err(_) => String::new(),
            };
            let of = |look: &str| {
                let name = format!("natter_audit_rounds_total{{look=\"{look}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
            };
            if of("new") > 0 && of("everything") > 1 && of("new") + of("everything") >= wanted {
                assert!(text.contains("natter_audit_last_round_differences 0"), "{text}");
                return;
            }
            backoff.wait().await;
        }
    }

    /// Its exit code and its last line.
    async fn end(self) -> (Option<i32>, Value) {
        signal(self.child.id().unwrap(), Signal::TERM);
        let output = self.child.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str(text.lines().last().unwrap()).unwrap())
    }
}

async fn exit_codes(world: World) {
    let output = command(&world).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["clean"], report["partitions"].as_array().unwrap().len()), (&Value::Bool(true), 4));

    let mut redis = world.servers.redis().await;
    redis::cmd("HSET").arg(&["{0}:0:n:demo", "zoe", "Zoe"]).query_async::<()>(&mut redis).await.unwrap();
    let output = command(&world).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let difference = &report["differences"][0];
    assert_eq!(
        (&difference["store"], &difference["kind"], &difference["place"], &difference["partition"]),
        (&"redis".into(), &"unexpected".into(), &"n:demo zoe".into(), &0.into())
    );

    let output = command(&world).env("NATTER_REDIS_URL", "redis://127.0.0.1:1").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
