//! Real NATS and Redis with a projector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natter_nats::clock::SystemClock;
use natter_nats::{Log, LogConfig};
use natter_processors::replay::verify;
use natter_processors::shell::{Backends, PartitionLog, Shell};
use natter_processors::worker;
use natter_projections::redis::Redis;
use natter_schemas::codec::{CommandBatch, CommandBatchWriter, OutcomeBatch, encode};
use natter_schemas::command::Command;
use natter_schemas::event::{Placed, placed};
use natter_schemas::outcome::Received;
use natter_schemas::subjects::{command_stream, command_subject, outcome_stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::servers::Servers;

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct World {
    pub log: Log,
    pub redis: Redis,
    pub backends: Backends,
    /// The projector; it ends with the world.
    _projector: JoinSet<()>,
    batches: AtomicU64,
    servers: Servers,
}

/// Workers that end when this is dropped.
pub struct Working(CancellationToken);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Leases are numbered as the bucket of a log would.
static LEASES: AtomicU64 = AtomicU64::new(1);

impl World {
    pub async fn start(partitions: u16) -> Self {
        let servers = Servers::start().await;
        let log = Log::create(&LogConfig::new(servers.nats_url(), partitions)).await.unwrap();
        let redis = Redis::connect(servers.redis_url()).await.unwrap();
        let clock = SystemClock::shared();
        let backends = Backends { log: log.clone(), redis: redis.clone(), clock };
        let batches = AtomicU64::new(1);
        let mut world = Self { log, redis, backends, _projector: JoinSet::new(), batches, servers };
        let projector = world.projector();
        world._projector.spawn(async move {
            let until = CancellationToken::new();
            projector.run(until).await;
        });
        world
    }

    pub fn shell(&self, partition: u16) -> Arc<Shell> {
        Arc::new(Shell::new(partition, self.backends.clone()))
    }

    /// One worker after another, each with a lease of its own and for at most `life`; the next begins whatever became of it.
    pub fn workers(&self, partition: u16, life: Duration) -> Working {
        let shell = self.shell(partition);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            loop {
                let lease = LEASES.fetch_add(1, Ordering::Relaxed);
                let work = worker::run(Arc::clone(&shell), lease, SystemClock::shared());
                if let Ok(halt) = timeout(life, work).await {
                    tracing::debug!(%halt, "the next worker begins");
                }
            }
        }));
        Working(stop)
    }

    pub async fn publish(&self, partition: u16, commands: &[Command]) {
        let mut writer = CommandBatchWriter::default();
        for command in commands {
            writer.push(&encode(command));
        }
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        self.publish_bytes(partition, writer.finish(1, number).1).await;
    }

    pub async fn publish_bytes(&self, partition: u16, bytes: Vec<u8>) {
        let published = self.log.jetstream().publish(command_subject(partition), bytes.into()).await;
        published.unwrap().await.unwrap();
    }

    /// Waits until every command has its outcome.
    pub async fn answered(&self, partition: u16) {
        let wanted = self.log.bounds(&command_stream(partition)).await.unwrap().last;
        let mut reached = 0;
        let waited = timeout(DEADLINE, async {
            while reached < wanted {
                if let Some(last) = self.log.last_from_leader(&outcome_stream(partition)).await.unwrap() {
                    reached = OutcomeBatch::decode(&last.payload).unwrap().header.command_sequence();
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "commands of partition {partition} are not answered");
    }

    pub async fn outcomes(&self, partition: u16) -> Vec<Placed> {
        let stream = outcome_stream(partition);
        let mut outcomes = Vec::new();
        for sequence in 1..=self.log.bounds(&stream).await.unwrap().last {
            let stored = self.log.get_from_leader(&stream, sequence).await.unwrap().unwrap();
            outcomes.extend(placed(partition, sequence, &stored.payload).unwrap());
        }
        outcomes
    }

    /// Every command has one outcome, in order, and deciding all of them again gives the same.
    pub async fn check(&self, partition: u16) {
        let (commands, outcomes) = (command_stream(partition), self.outcomes(partition).await);
        let mut received = Vec::new();
        for sequence in 1..=self.log.bounds(&commands).await.unwrap().last {
            let stored = self.log.get_from_leader(&commands, sequence).await.unwrap().unwrap();
            received.extend(CommandBatch::decode(&stored.payload).unwrap().commands);
        }
        assert!(!received.is_empty());
        assert_eq!(outcomes.len(), received.len());
        for (placed, command) in outcomes.iter().zip(received) {
            assert_eq!(placed.outcome.received, Received::Command(command.unwrap()), "at {}", placed.position);
        }
        let report = verify(&PartitionLog::new(&self.log, partition), partition).await.unwrap();
        assert_eq!(report.outcomes, outcomes.len() as u64);
        if let Some(difference) = report.difference {
            panic!("{difference}");
        }
    }

    /// Everything in Redis, of one moment.
    pub async fn redis_now(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        const DUMP_ALL: &str = "local all = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
             all[#all + 1] = {key, redis.call('DUMP', key)} end return all";
        let mut connection = self.servers.redis().await;
        redis::cmd("EVAL").arg(DUMP_ALL).arg(0).query_async(&mut connection).await.unwrap()
    }

    /// All at once, as a server does that starts from an older file.
    pub async fn wake_redis_in(&self, past: &[(Vec<u8>, Vec<u8>)]) {
        let mut connection = self.servers.redis().await;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("FLUSHALL").ignore();
        for (key, value) in past {
            pipe.cmd("RESTORE").arg(key).arg(0).arg(value.as_slice()).ignore();
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }
}
