//! The Redis views built anew beside the live ones: while messages arrive, killed in the middle, and refused where one of the
//! two is not what the log says.

use std::process::Stdio;
use std::time::Duration;

use natter::config::{Config, Secret};
use natter::rebuild::{self, Options, Report, View};
use natter_nats::clock::SystemClock;
use natter_nats::{Log, LogConfig, OutcomeWrite, Stored, StreamBytes};
use natter_projections::clickhouse::{ClickHouse, ClickHouseConfig};
use natter_projections::redis::generations::generations;
use natter_projections::redis::{FOLD_VERSION, Redis, RedisProjector, watermark};
use natter_projections::runner::Runner;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::generator::Generator;
use crate::process::Process;
use crate::servers::Servers;

const DEADLINE: Duration = Duration::from_mins(2);
const SMALL: StreamBytes = StreamBytes { commands: 32 << 20, outcomes: 256 << 20 };
const OPTIONS: Options = Options { throttle: None, accept: false, differences_max: 10 };

/// A log, and the live views with their projector.
struct World {
    servers: Servers,
    config: Config,
    log: Log,
    redis: Redis,
    generators: Vec<Generator>,
    projector: JoinSet<()>,
}

impl World {
    async fn start(seed: u64, partitions: u16) -> World {
        let servers = Servers::start().await;
        let mut config = Config::default();
        config.log.url = Some(Secret::new(servers.nats_url().to_owned()));
        config.log.partitions = partitions;
        config.redis.url = Some(Secret::new(servers.redis_url().to_owned()));
        let log = LogConfig { bytes: SMALL, ..LogConfig::new(servers.nats_url(), partitions) };
        let log = Log::create(&log).await.unwrap();
        let redis = Redis::connect(servers.redis_url()).await.unwrap();
        let generators =
            (0..partitions).map(|partition| Generator::new(seed + u64::from(partition), partition)).collect();
        let mut projector = JoinSet::new();
        let runner = Runner::new(log.clone(), RedisProjector::new(redis.clone()), SystemClock::shared());
        projector.spawn(runner.run(CancellationToken::new()));
        World { servers, config, log, redis, generators, projector }
    }

    async fn write(&mut self, batches: usize, records: u32) {
        for generator in &mut self.generators {
            for _ in 0..batches {
                let Stored { sequence, payload, records, .. } = generator.batch(records);
                let partition = generator.partition;
                let write = OutcomeWrite { partition, sequence, lease: 1, records: records.unwrap(), payload };
                self.log.write_outcomes(&write).await.unwrap();
            }
        }
    }

    /// The live views have all of the log.
    async fn until_shown(&self) {
        for generator in &self.generators {
            let shown = async {
                while watermark(&self.redis, generator.partition).await.unwrap().sequence < generator.sequence() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, shown).await.unwrap();
        }
    }

    async fn raw(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.servers.redis_url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut self.raw().await).await.unwrap();
        keys.sort_unstable();
        keys
    }

    async fn rebuild(&self, options: &Options) -> Report {
        rebuild::rebuild(&self.config, View::Redis, options, |_| {}).await.unwrap()
    }
}

fn assert_equal(report: &Report) {
    assert!(report.switched && report.differences.is_empty() && report.differences_total == 0, "{report}");
    assert!(report.partitions.iter().all(|one| one.compared > 0 && one.position > 0), "{report}");
}

/// Messages arrive and are projected, somebody reads all the while and never sees less than before; the next rebuild, which
/// compares what is live now with the log, finds nothing either.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_rebuilt_while_messages_arrive_and_reads_never_go_back() {
    let mut world = World::start(191, 2).await;
    world.write(30, 60).await;
    world.until_shown().await;
    let (done, redis, config) = (CancellationToken::new(), world.redis.clone(), world.config.clone());
    let reading = async {
        let (mut before, mut reads) = ([0; 2], 0);
        while !done.is_cancelled() {
            for partition in 0..2 {
                let now = watermark(&redis, partition).await.unwrap().sequence;
                let known = &mut before[usize::from(partition)];
                assert!(now >= *known, "{known} was seen before {now}");
                *known = now;
            }
            reads += 1;
        }
        reads
    };
    let writing = async {
        while !done.is_cancelled() {
            world.write(1, 40).await;
        }
    };
    let rebuilding = async {
        let report = rebuild::rebuild(&config, View::Redis, &OPTIONS, |_| {}).await.unwrap();
        done.cancel();
        report
    };
    let (report, reads, ()) = tokio::join!(rebuilding, reading, writing);
    assert!(reads > 3, "somebody read {reads} times");
    assert_equal(&report);
    assert_eq!((report.live, report.generation), (0, 1));
    world.write(3, 40).await;
    world.until_shown().await;

    let refused = rebuild::rebuild(&config, View::Redis, &OPTIONS, |_| {}).await.unwrap_err();
    assert!(format!("{refused:#}").contains("--drop-old redis"), "{refused:#}");
    assert!(!world.keys("{0}:0:*").await.is_empty(), "the old generation is kept");
    assert_eq!(rebuild::drop_old(&config, View::Redis).await.unwrap(), Some(0));
    assert_eq!(rebuild::drop_old(&config, View::Redis).await.unwrap(), None);
    assert!(world.keys("{?}:0:*").await.is_empty() && !world.keys("{0}:1:*").await.is_empty());
    assert_equal(&world.rebuild(&OPTIONS).await);
    world.write(2, 40).await;
    world.until_shown().await;
    assert_eq!(rebuild::drop_old(&config, View::Redis).await.unwrap(), Some(1));
}

/// What is damaged in the live views is named and nothing is switched; what was built is kept, and accepting it mends them.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_views_are_named_and_replaced_when_that_is_accepted() {
    let mut world = World::start(192, 1).await;
    world.write(10, 50).await;
    world.until_shown().await;
    let conversation = world.keys("{0}:0:c:*").await.remove(0);
    let mut raw = world.raw().await;
    redis::cmd("HSET").arg(&conversation).arg("h").arg("999999").query_async::<()>(&mut raw).await.unwrap();
    redis::cmd("HSET").arg("{0}:watermark").arg("fold").arg("99").query_async::<()>(&mut raw).await.unwrap();
    assert_eq!(generations(&world.redis, 0).await.unwrap().live.fold, 99);
    let report = world.rebuild(&OPTIONS).await;
    assert!(!report.switched && report.differences_total > 0, "{report}");
    let key = conversation.strip_prefix("{0}:0:").unwrap();
    for one in &report.differences {
        assert!(one.key.starts_with(key) && one.detail.starts_with("the live generation: "), "{report}");
    }
    assert_eq!(generations(&world.redis, 0).await.unwrap().live.generation, 0);

    let report = world.rebuild(&Options { accept: true, ..OPTIONS }).await;
    assert!(report.switched && report.records == 0, "what was built is kept: {report}");
    assert_eq!(rebuild::drop_old(&world.config, View::Redis).await.unwrap(), Some(0));
    let known = generations(&world.redis, 0).await.unwrap();
    assert_eq!((known.live.generation, known.live.fold, known.old), (1, FOLD_VERSION, None));
    world.write(2, 50).await;
    world.until_shown().await;
    assert_equal(&world.rebuild(&OPTIONS).await);
    world.projector.shutdown().await;
}

/// A rebuild is killed in the middle, is gone on with, and can be given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rebuild_of_redis_goes_on_where_it_was() {
    let mut world = World::start(193, 2).await;
    world.write(40, 50).await;
    world.until_shown().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("natter.toml");
    let (nats, redis) = (world.servers.nats_url(), world.servers.redis_url());
    std::fs::write(&file, format!("[log]\nurl = \"{nats}\"\npartitions = 2\n[redis]\nurl = \"{redis}\"\n")).unwrap();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        command.args(["rebuild", "redis", "--json", "--config"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    };
    let next = world.redis.next();
    let applied = || async {
        let (one, other) = (watermark(&next, 0).await.unwrap(), watermark(&next, 1).await.unwrap());
        one.sequence + other.sequence
    };
    for part in 1..=3 {
        // Some 4,000 outcomes: not all of them have time.
        let mut child = command().args(["--throttle", "400"]).spawn().unwrap();
        let begun = async {
            while applied().await < 10 * part {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, begun).await.unwrap();
        child.kill().await.unwrap();
        assert_eq!(
            generations(&world.redis, 0).await.unwrap().live.generation,
            0,
            "nothing is switched before its time"
        );
    }
    let before = applied().await;
    let ended = timeout(DEADLINE, command().output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["switched"], &report["differences_total"]), (&true.into(), &0.into()), "{report:#}");
    assert!(before >= 30 && report["records"].as_u64().unwrap() <= (80 - before) * 50, "it began anew: {report:#}");
    world.write(1, 50).await;
    world.until_shown().await;

    assert_eq!(rebuild::drop_old(&world.config, View::Redis).await.unwrap(), Some(0));
    for partition in 0..2 {
        natter_projections::redis::generations::begin(&world.redis, partition).await.unwrap();
    }
    assert_eq!(rebuild::discard(&world.config, View::Redis).await.unwrap(), Some(2));
    assert_eq!(rebuild::discard(&world.config, View::Redis).await.unwrap(), None);
    assert_eq!(generations(&world.redis, 0).await.unwrap().next, None);
}

/// Both views at once: killed in the second, a rebuild does not begin anew with the first, which keeps its old generation.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_both_that_was_killed_in_the_second_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    process.ask(&["rebuild", "redis", "--json"]).await;
    let run: Value = serde_json::from_slice(&std::fs::read(folder.path().join("data/run.json")).unwrap()).unwrap();
    let url = run["clickhouse"].as_str().unwrap().strip_prefix("http://").unwrap();
    let (user, host) = url.split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap();
    let history = ClickHouse::new(&ClickHouseConfig {
        url: format!("http://{host}"),
        user: user.to_owned(),
        password: password.to_owned(),
        database: "natter".to_owned(),
    });
    natter_projections::clickhouse::rebuild::begin(&history).await.unwrap();
    let ended = process.run(&["rebuild", "all", "--json"]).await;
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && said.contains("goes on with the history"), "{said}");
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["view"], &report["switched"]), (&"clickhouse".into(), &true.into()), "{report:#}");
    // Both are done: now the old ones are in the way.
    let refused = process.run(&["rebuild", "all"]).await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--drop-old redis"));
}
