//! Real servers with a generated log, decided by real processors and shown by real projectors, which then stop, so that
//! nobody mends what a test damages.

use std::time::Duration;

use natter::audit::{self, Kind, Options, Report, Store};
use natter::config::{Config, Secret};
use natter_nats::backoff::Backoff;
use natter_nats::clock::SystemClock;
use natter_nats::{LeaseOptions, Log, LogConfig, StreamBytes};
use natter_processors::role;
use natter_processors::shell::Backends;
use natter_projections::clickhouse::{ClickHouse, ClickHouseConfig, HistoryProjector, migrate, run_inserter};
use natter_projections::redis::{Redis, RedisProjector};
use natter_projections::runner::Runner;
use natter_schemas::codec::{CommandBatchWriter, encode};
use natter_schemas::command::Command;
use natter_schemas::subjects::{command_subject, outcome_stream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::processing::wishes::Clients;
use crate::servers::{self, Servers};

/// Everything commanded is decided and shown within this.
const CAUGHT_UP: Duration = Duration::from_mins(1);
const SMALL: StreamBytes = StreamBytes { commands: 32 << 20, outcomes: 256 << 20 };

pub struct World {
    pub servers: Servers,
    pub log: Log,
    pub config: Config,
    pub history: clickhouse::Client,
    /// The database of the tables.
    pub store: String,
    pub roles: JoinSet<()>,
    pub redis: Redis,
    views: ClickHouse,
    clients: Clients,
    batches: u64,
}

impl World {
    pub async fn start(seed: u64, partitions: u16) -> World {
        let servers = Servers::start().await;
        let clickhouse = servers::clickhouse().await;
        let mut config = Config::default();
        config.log.url = Some(Secret::new(servers.nats_url().to_owned()));
        config.log.partitions = partitions;
        config.redis.url = Some(Secret::new(servers.redis_url().to_owned()));
        config.clickhouse.url = Some(clickhouse.url.clone());
        config.clickhouse.user = clickhouse.user.clone();
        config.clickhouse.password = Some(Secret::new(clickhouse.password.clone()));
        config.clickhouse.database = clickhouse.database.clone();
        let views = ClickHouse::new(&ClickHouseConfig {
            url: clickhouse.url.clone(),
            user: clickhouse.user.clone(),
            password: clickhouse.password.clone(),
            database: clickhouse.database.clone(),
        });
        migrate(&views).await.unwrap();
        let log = LogConfig { bytes: SMALL, ..LogConfig::new(servers.nats_url(), partitions) };
        let log = Log::create(&log).await.unwrap();
        let redis = Redis::connect(servers.redis_url()).await.unwrap();
        let roles = roles(&log, &redis, &views);
        let (history, store) = (clickhouse.admin(), format!("{}_store", clickhouse.database));
        World { servers, log, config, history, store, roles, redis, views, clients: Clients::new(seed), batches: 0 }
    }

    /// Lets clients wish something: so many batches, to whichever partitions they belong.
    pub async fn wish(&mut self, batches: u32) {
        for _ in 0..batches {
            let commands = self.clients.batch();
            for partition in 0..self.log.partitions() {
                let mut writer = CommandBatchWriter::default();
                for command in &commands {
                    if command.slot().is_some_and(|slot| slot.partition(self.log.partitions()) == partition) {
                        writer.push(&encode(command));
                    }
                }
                if writer.is_empty() {
                    continue;
                }
                self.batches += 1;
                let bytes = writer.finish(1, self.batches).1;
                let published = self.log.jetstream().publish(command_subject(partition), bytes.into()).await;
                published.unwrap().await.unwrap();
            }
        }
    }

    /// Sends these commands to the only partition.
    pub async fn command(&mut self, commands: &[Command]) {
        let mut writer = CommandBatchWriter::default();
        for command in commands {
            writer.push(&encode(command));
        }
        self.batches += 1;
        let bytes = writer.finish(1, self.batches).1;
        let published = self.log.jetstream().publish(command_subject(0), bytes.into()).await;
        published.unwrap().await.unwrap();
    }

    /// The same, one outcome batch for each.
    pub async fn wish_slowly(&mut self, batches: u32) {
        for _ in 0..batches {
            let before = self.log.bounds(&outcome_stream(0)).await.unwrap().last;
            self.wish(1).await;
            let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
            while self.log.bounds(&outcome_stream(0)).await.unwrap().last == before {
                backoff.wait().await;
            }
        }
    }

    /// Waits until all of it is decided and shown, and finds no difference; then all roles end.
    pub async fn settle(&mut self) {
        let options = Options { caught_up_within: Some(CAUGHT_UP), ..Options::default() };
        let report = audit::run(&self.config, &options).await.unwrap();
        assert!(report.is_clean() && report.clean, "{report}");
        self.roles.shutdown().await;
    }

    /// Roles begin again.
    pub fn resume(&mut self) {
        self.roles = roles(&self.log, &self.redis, &self.views);
    }

    pub async fn audit(&self) -> Report {
        audit::run(&self.config, &Options::default()).await.unwrap()
    }

    pub async fn audit_log(&self) -> Report {
        let options = Options { redis: false, clickhouse: false, ..Options::default() };
        audit::run(&self.config, &options).await.unwrap()
    }
}

fn roles(log: &Log, redis: &Redis, history: &ClickHouse) -> JoinSet<()> {
    let (forever, clock) = (CancellationToken::new(), SystemClock::shared());
    let mut roles = JoinSet::new();
    let views = Runner::new(log.clone(), RedisProjector::new(redis.clone()), clock.clone());
    let (inserter, inserting) = run_inserter(log.id().clone());
    let store = Runner::new(log.clone(), HistoryProjector::new(history.clone(), inserter), clock.clone());
    let backends = Backends { log: log.clone(), redis: redis.clone(), clock };
    let until = forever.clone();
    roles.spawn(async move { views.run(until).await });
    let until = forever.clone();
    roles.spawn(async move { store.run(until).await });
    roles.spawn(inserting);
    roles.spawn(async move { role::run(backends, "test", LeaseOptions::default(), forever).await.unwrap() });
    roles
}

/// The one difference that was found, or none.
pub fn only(report: &Report) -> Option<(Store, Kind, &str)> {
    assert_eq!(report.is_clean(), report.differences.is_empty());
    match report.differences.as_slice() {
        [] => None,
        [one] => Some((one.store, one.kind, one.place.as_str())),
        _ => panic!("more than one difference: {report}"),
    }
}
