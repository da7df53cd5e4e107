//! The history over a real ClickHouse: against a model, inserted twice and in other cuts, by two projectors, killed in the
//! middle; and what clients read where hot view, history and log meet.

mod archive;
mod objects;
mod outage;
mod projectors;
mod reads;
mod rebuild;
mod refs;
mod schema;
mod seam;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use natter_nats::{Log, LogConfig, LogId, OutcomeWrite, Stored, StreamBytes};
use natter_projections::clickhouse::{
    ClickHouse, ClickHouseConfig, HistoryProjector, migrate, run_inserter, watermark,
};
use natter_projections::error::ViewError;
use natter_projections::reads::Reads;
use natter_projections::redis::{Redis, RedisProjector, Waiting};
use natter_projections::runner::{Projector, Steps};
use natter_projections::watermark::Watermark;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::generator::Generator;
use crate::servers::{self, Servers};

const DEADLINE: Duration = Duration::from_mins(1);
const SMALL: StreamBytes = StreamBytes { commands: 32 << 20, outcomes: 256 << 20 };

fn log_id(digit: char) -> LogId {
    digit.to_string().repeat(32).parse().unwrap()
}

/// The tables and views of one test, empty.
pub async fn history() -> ClickHouse {
    let history = connect(servers::clickhouse().await);
    migrate(&history).await.unwrap();
    history
}

fn connect(server: servers::ClickHouse) -> ClickHouse {
    let servers::ClickHouse { url, user, password, database } = server;
    ClickHouse::new(&ClickHouseConfig { url, user, password, database })
}

/// A projector with an inserter of its own, as another process would have.
struct Projecting {
    projector: Arc<HistoryProjector>,
    _inserter: JoinSet<()>,
}

impl Projecting {
    fn new(history: &ClickHouse, log: &LogId) -> Self {
        let (handle, inserter) = run_inserter(log.clone());
        let mut task = JoinSet::new();
        task.spawn(inserter);
        Self { projector: Arc::new(HistoryProjector::new(history.clone(), handle)), _inserter: task }
    }

    async fn apply(&self, log: &LogId, partition: u16, batches: &[Stored]) -> Result<Watermark, ViewError> {
        let after = batches[0].sequence - 1;
        self.projector.apply(Steps { log, partition, after, batches }).await
    }
}

/// Inserts `batches` as a process would that does nothing else.
async fn insert(history: &ClickHouse, log: &LogId, partition: u16, batches: &[Stored]) {
    Projecting::new(history, log).apply(log, partition, batches).await.unwrap();
}

async fn until_complete(history: &ClickHouse, partition: u16, wanted: &Watermark) {
    let complete = async {
        while watermark(history, partition, 0).await.as_ref() != Ok(wanted) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, complete).await.unwrap_or_else(|_| panic!("partition {partition} does not reach {wanted}"));
}

/// A log on real NATS, applied to Redis as it is written, and to the history when a test says so.
struct World {
    servers: Servers,
    log: Log,
    redis: Redis,
    history: ClickHouse,
    partitions: Vec<Part>,
}

/// One partition of it.
struct Part {
    generator: Generator,
    batches: Vec<Stored>,
    /// Batches that the history has.
    inserted: usize,
}

impl World {
    async fn new(seed: u64, partitions: u16) -> Self {
        Self::on(Servers::start().await, history().await, seed, partitions).await
    }

    async fn on(servers: Servers, history: ClickHouse, seed: u64, partitions: u16) -> Self {
        let log = LogConfig { bytes: SMALL, ..LogConfig::new(servers.nats_url(), partitions) };
        let log = Log::create(&log).await.unwrap();
        let redis = Redis::connect(servers.redis_url()).await.unwrap();
        let part = |p| Part { generator: Generator::new(seed + u64::from(p), p), batches: Vec::new(), inserted: 0 };
        let partitions = (0..partitions).map(part).collect();
        Self { servers, log, redis, history, partitions }
    }

    /// Writes batches of every partition, into the log alone.
    async fn log_only(&mut self, batches: usize, records: u32) {
        for part in &mut self.partitions {
            for _ in 0..batches {
                let Stored { sequence, payload, records, .. } = part.next(records);
                let partition = part.generator.partition;
                let write = OutcomeWrite { partition, sequence, lease: 1, records: records.unwrap(), payload };
                self.log.write_outcomes(&write).await.unwrap();
            }
        }
    }

    /// Writes batches of every partition, into log and Redis.
    async fn write(&mut self, batches: usize, records: u32) {
        self.log_only(batches, records).await;
        let projector = RedisProjector::new(self.redis.clone());
        for part in &self.partitions {
            let written = &part.batches[part.batches.len() - batches..];
            let (log, partition, after) = (self.log.id(), part.generator.partition, written[0].sequence - 1);
            let standing = projector.apply(Steps { log, partition, after, batches: written }).await.unwrap();
            assert_eq!(standing.sequence, part.generator.sequence());
        }
    }

    /// Brings the history of every partition up to all but the last `behind` batches.
    async fn insert_all_but(&mut self, behind: usize) {
        for part in &mut self.partitions {
            let upto = part.batches.len() - behind;
            if upto > part.inserted {
                insert(&self.history, self.log.id(), part.generator.partition, &part.batches[part.inserted..upto])
                    .await;
                part.inserted = upto;
            }
        }
    }

    fn reads(&self) -> Reads {
        let waiting = Waiting::new(self.redis.clone(), self.log.partitions());
        Reads::new(self.log.clone(), waiting, self.history.clone())
    }
}

impl Part {
    fn next(&mut self, records: u32) -> Stored {
        let batch = self.generator.batch(records);
        self.batches.push(batch.clone());
        batch
    }
}
