//! The history built anew beside the live one: while messages arrive, killed in the middle, and refused where the two differ.

use std::path::Path;
use std::process::Stdio;

use natter::config::{Config, Secret};
use natter::rebuild::{self, Options, Report, View};
use natter_nats::clock::SystemClock;
use natter_projections::clickhouse::generations::{Generations, generations};
use natter_projections::clickhouse::{ClickHouse, FOLD_VERSION, HistoryProjector, migrate, run_inserter, watermark};
use natter_projections::runner::Runner;
use natter_projections::watermark::Watermark;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tables::assert_shown;
use super::{DEADLINE, World, connect, until_complete};
use crate::servers::{self, Servers};

const OPTIONS: Options = Options { throttle: None, accept: false, differences_max: 10 };

/// A log and its history, and how a command reaches both.
async fn world(seed: u64, partitions: u16) -> (World, Config) {
    let (servers, server) = (Servers::start().await, servers::clickhouse().await);
    let mut config = Config::default();
    config.log.url = Some(Secret::new(servers.nats_url().to_owned()));
    config.log.partitions = partitions;
    config.clickhouse.url = Some(server.url.clone());
    config.clickhouse.user.clone_from(&server.user);
    config.clickhouse.password = Some(Secret::new(server.password.clone()));
    config.clickhouse.database.clone_from(&server.database);
    let history = connect(server);
    migrate(&history).await.unwrap();
    (World::on(servers, history, seed, partitions).await, config)
}

/// A projector of the live generation, whichever that is, as another process would be.
fn projector(world: &World) -> JoinSet<()> {
    let (handle, inserter) = run_inserter(world.log.id().clone());
    let projector = HistoryProjector::new(world.history.clone(), handle);
    let runner = Runner::new(world.log.clone(), projector, SystemClock::shared());
    let mut process = JoinSet::new();
    process.spawn(runner.run(CancellationToken::new()));
    process.spawn(inserter);
    process
}

/// The live generation has all of the log, and analysts see it.
async fn assert_live(world: &World, generation: u32) {
    let live = rebuild_live(&world.history).await;
    assert_eq!(live.generation().number(), generation);
    for part in &world.partitions {
        let end = Watermark::new(world.log.id().clone(), part.generator.sequence());
        until_complete(&live, part.generator.partition, &end).await;
    }
    // Generated partitions have users of the same names, as no log has: their rows replace each other.
    if let [part] = &world.partitions[..] {
        assert_shown(&live, &[(&part.generator, &part.batches)]).await;
    }
}

async fn rebuild_live(history: &ClickHouse) -> ClickHouse {
    natter_projections::clickhouse::rebuild::live(history).await.unwrap()
}

fn assert_equal(report: &Report) {
    assert!(report.switched && report.differences.is_empty() && report.differences_total == 0, "{report}");
    for one in &report.partitions {
        assert!(one.live == one.next && one.compared > 0 && one.position > 0, "{report}");
    }
}

/// What an analyst sees: messages, and the sequences up to which everything is there.
async fn seen(history: &ClickHouse) -> (u64, u64) {
    let views = history.views();
    let of = |what| format!("assumeNotNull((SELECT {what}))");
    let messages = of(format!("count() FROM {views}.messages"));
    let sql = format!("SELECT {messages}, {}", of(format!("sum(applied) FROM {views}.watermarks")));
    history.client().query(&sql).fetch_one().await.unwrap()
}

/// Messages arrive and are projected, an analyst reads all the while and never sees less than before; then the projector
/// goes on in the new generation, and after the old one was dropped there is room for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_rebuilt_while_messages_arrive_and_reads_never_go_back() {
    let (mut world, config) = world(181, 1).await;
    let mut projector = projector(&world);
    world.log_only(30, 60).await;
    for part in &world.partitions {
        let end = Watermark::new(world.log.id().clone(), part.generator.sequence());
        until_complete(&world.history, part.generator.partition, &end).await;
    }
    let (done, history) = (CancellationToken::new(), world.history.clone());
    let reading = async {
        let (mut before, mut reads) = (seen(&history).await, 0);
        while !done.is_cancelled() {
            let now = seen(&history).await;
            assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} was seen before {now:?}");
            (before, reads) = (now, reads + 1);
        }
        reads
    };
    let writing = async {
        while !done.is_cancelled() {
            world.log_only(1, 40).await;
        }
    };
    let rebuilding = async {
        let mut told = 0;
        let report = rebuild::rebuild(&config, View::ClickHouse, &OPTIONS, |_| told += 1).await.unwrap();
        done.cancel();
        assert!(told > 0, "it says how far it is");
        report
    };
    let (report, reads, ()) = tokio::join!(rebuilding, reading, writing);
    assert!(reads > 3, "an analyst read {reads} times");
    assert_equal(&report);
    assert_eq!((report.live, report.generation), (1, 2));
    world.log_only(3, 40).await;
    assert_live(&world, 2).await;
    assert_eq!(
        watermark(&history.live().await.unwrap(), 0, 0).await.unwrap().sequence,
        world.partitions[0].generator.sequence()
    );

    let refused = rebuild::rebuild(&config, View::ClickHouse, &OPTIONS, |_| {}).await.unwrap_err();
    assert!(format!("{refused:#}").contains("--drop-old clickhouse"), "{refused:#}");
    assert_eq!(rebuild::drop_old(&config, View::ClickHouse).await.unwrap(), Some(1));
    assert_eq!(rebuild::drop_old(&config, View::ClickHouse).await.unwrap(), None);
    let tables = "SELECT name FROM system.tables WHERE database = ?";
    let store = format!("{}_store", history.views());
    let left: Vec<String> = history.client().query(tables).bind(store).fetch_all().await.unwrap();
    assert_eq!(left, ["generations"], "the old generation is gone, the pointer stays");
    assert_equal(&rebuild::rebuild(&config, View::ClickHouse, &OPTIONS, |_| {}).await.unwrap());
    world.log_only(2, 40).await;
    assert_live(&world, 3).await;
    projector.shutdown().await;
}

/// What is damaged in the live generation is named and nothing is switched; what was built is kept, so that accepting it
/// builds nothing again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_differs_is_refused_with_the_keys_and_can_be_accepted() {
    let (mut world, config) = world(182, 1).await;
    world.log_only(12, 50).await;
    world.insert_all_but(0).await;
    let (conversation, seq): (u64, u64) = {
        let sql = format!("SELECT conversation, seq FROM {} ORDER BY version LIMIT 1", world.history.table("messages"));
        world.history.client().query(&sql).fetch_one().await.unwrap()
    };
    let damage = [
        format!(
            "ALTER TABLE {} UPDATE text = 'x' WHERE conversation = {conversation} AND seq = {seq}",
            world.history.table("messages")
        ),
        format!(
            "ALTER TABLE {} DELETE WHERE conversation = {conversation} AND aspect = 'created'",
            world.history.table("conversations")
        ),
        // And it says that other code filled it.
        format!("ALTER TABLE {} UPDATE fold = 99 WHERE 1", world.history.table("generations")),
    ];
    for sql in damage {
        world.history.client().query(&sql).with_setting("mutations_sync", "2").execute().await.unwrap();
    }
    assert_eq!(rebuild_live(&world.history).await.filled_by(), Some(99));
    let report = rebuild::rebuild(&config, View::ClickHouse, &OPTIONS, |_| {}).await.unwrap();
    assert!(!report.switched && report.records > 0, "{report}");
    let mut keys: Vec<_> = report.differences.iter().map(|one| (one.key.as_str(), one.detail.as_str())).collect();
    keys.sort_unstable();
    let (created, message) =
        (format!("conversations {conversation} created"), format!("messages {conversation} seq {seq}"));
    assert_eq!(keys, [(&*created, "only the new generation has it"), (&*message, "it is not the same in both")]);
    assert_ne!(report.partitions[0].live, report.partitions[0].next);
    let Generations { live, shown, next, .. } = generations(&world.history).await.unwrap();
    assert_eq!((live.generation.number(), shown.number(), next.map(|next| next.generation.number())), (1, 1, Some(2)));

    let accepting = Options { accept: true, ..OPTIONS };
    let report = rebuild::rebuild(&config, View::ClickHouse, &accepting, |_| {}).await.unwrap();
    assert!(report.switched && report.differences_total == 2 && report.records == 0, "{report}");
    assert_live(&world, 2).await;
    assert_eq!(rebuild_live(&world.history).await.filled_by(), Some(FOLD_VERSION));
}

/// A rebuild is killed again and again, and then ends with the same digests as one that was not.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rebuild_goes_on_where_it_was() {
    let (mut world, config) = world(183, 2).await;
    world.log_only(40, 50).await;
    world.insert_all_but(0).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("natter.toml");
    let section = &config.clickhouse;
    let text = format!(
        "[log]\nurl = \"{}\"\npartitions = 2\n[clickhouse]\nurl = \"{}\"\nuser = \"{}\"\npassword = \"{}\"\ndatabase = \"{}\"\n",
        world.servers.nats_url(),
        section.url.as_ref().unwrap(),
        section.user,
        section.password.as_ref().unwrap().expose(),
        section.database
    );
    std::fs::write(&file, text).unwrap();
    for part in 1..=3 {
        // Some 4,000 outcomes: no step is larger than 100, and not all of them have time.
        let mut child = command(&file).args(["--throttle", "400"]).spawn().unwrap();
        let begun = async {
            while applied(&world.history).await < 10 * part {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, begun).await.unwrap();
        child.kill().await.unwrap();
        assert_eq!(rebuild_live(&world.history).await.generation().number(), 1, "nothing is switched before its time");
    }
    let refused = merge(&world.history, "_store_2").await.unwrap_err().to_string();
    assert!(refused.contains("Cancelled merging parts"), "parts are not merged while they are built: {refused}");
    let before = applied(&world.history).await;
    let ended = timeout(DEADLINE, command(&file).output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["switched"], &report["differences_total"]), (&true.into(), &0.into()), "{report:#}");
    for one in report["partitions"].as_array().unwrap() {
        assert_eq!(one["live"], one["next"], "{report:#}");
    }
    assert!(before >= 30 && report["records"].as_u64().unwrap() <= (80 - before) * 50, "it began anew: {report:#}");
    assert_live(&world, 2).await;
    for store in ["_store", "_store_2"] {
        merge(&world.history, store).await.unwrap();
    }
}

/// Merges all parts of a table of one generation.
async fn merge(history: &ClickHouse, store: &str) -> clickhouse::error::Result<()> {
    history.client().query(&format!("OPTIMIZE TABLE {}{store}.messages FINAL", history.views())).execute().await
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.args(["rebuild", "clickhouse", "--json", "--config"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Batches that the next generation has, of both partitions.
async fn applied(history: &ClickHouse) -> u64 {
    let sql = format!(
        "SELECT uniqExact(partition, sequence) FROM {}_store_2.events WHERE command = 'batch'",
        history.views()
    );
    // Its tables come with the first rebuild.
    history.client().query(&sql).fetch_one().await.unwrap_or(0)
}

/// A generation that was begun can be given up, and the next one begins with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_was_begun_is_discarded() {
    let (mut world, config) = world(184, 1).await;
    world.log_only(3, 20).await;
    world.insert_all_but(0).await;
    let next = natter_projections::clickhouse::rebuild::begin(&world.history).await.unwrap();
    let stray =
        format!("INSERT INTO {} (tenant, user, name, version) VALUES ('demo', 'ada', 'x', 1)", next.table("users"));
    next.client().query(&stray).execute().await.unwrap();
    assert_eq!(rebuild::discard(&config, View::ClickHouse).await.unwrap(), Some(2));
    assert_eq!(rebuild::discard(&config, View::ClickHouse).await.unwrap(), None);
    let report = rebuild::rebuild(&config, View::ClickHouse, &OPTIONS, |_| {}).await.unwrap();
    assert_equal(&report);
    assert_eq!(report.generation, 4, "3 would lie where the live one does");
    assert_live(&world, 4).await;
}
