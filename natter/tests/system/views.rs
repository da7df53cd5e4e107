//! The Redis views over a real Redis: against a model, applied twice, by two projectors, after Redis fell back.

mod cluster;
mod large;

use std::time::Duration;

use natter::backends::Backend;
use natter_nats::clock::SystemClock;
use natter_nats::{Log, LogConfig, LogId, OutcomeWrite, Stored};
use natter_projections::error::ViewError;
use natter_projections::facts::{FactKey, load};
use natter_projections::redis::{Redis, RedisProjector, Waiting, inbox, watermark};
use natter_projections::runner::{Projector, Runner, Steps};
use natter_projections::watermark::Watermark;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::HOT_MESSAGES;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::generator::Generator;
use crate::servers::Servers;
use crate::shown::assert_shows;

const DEADLINE: Duration = Duration::from_secs(30);

fn log_id(digit: char) -> LogId {
    digit.to_string().repeat(32).parse().unwrap()
}

async fn apply(projector: &RedisProjector, log: &LogId, partition: u16, after: u64, batches: &[Stored]) -> Watermark {
    projector.apply(Steps { log, partition, after, batches }).await.unwrap()
}

/// Invariants 5 and 13: the views show what folding the log in plain Rust shows, at every position looked at and
/// however the log was cut into steps.
#[tokio::test]
async fn views_show_what_the_log_comes_to() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    for seed in 0..3 {
        // Another partition for each: they share nothing.
        let partition = u16::try_from(seed).unwrap();
        let mut generator = Generator::new(seed, partition);
        let mut after = 0;
        for round in 0..6 {
            let count = 1 + generator.random.below(12);
            let batches: Vec<_> = (0..count)
                .map(|_| {
                    let records = u32::try_from(1 + generator.random.below(120)).unwrap();
                    generator.batch(records)
                })
                .collect();
            let last = batches.last().unwrap().sequence;
            assert_eq!(apply(&projector, &log, partition, after, &batches).await, Watermark::new(log.clone(), last));
            after = last;
            println!("seed {seed}, round {round}: {after} batches");
            assert_shows(&redis, &generator, &log).await;
        }
    }
}

#[tokio::test]
async fn empty_views_say_so() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let id = ConversationId::from_raw(4711);
    let loaded = load(&redis, 3, &[FactKey::Head(id), FactKey::Conversation(id)]).await.unwrap();
    assert_eq!((loaded.log, loaded.watermark, loaded.values), (None, 0, vec![None, None]));
    assert_eq!(load(&redis, 3, &[]).await.unwrap().values, []);
    let user = UserId::try_from("ada").unwrap();
    let tenant = Tenant::try_from("demo").unwrap();
    assert_eq!(inbox::conversation(&redis, 3, id, &tenant, &user).await.unwrap(), (Watermark::default(), None));
}

/// Invariant 3: a stale projector's write changes nothing, and it learns where the view stands.
#[tokio::test]
async fn a_stale_projector_writes_nothing() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let mut generator = Generator::new(7, 0);
    let batches: Vec<_> = (0..6).map(|_| generator.batch(60)).collect();
    apply(&projector, &log, 0, 0, &batches).await;
    let stands = Watermark::new(log.clone(), 6);
    for (after, range) in [(0, 0..6), (2, 2..4), (5, 5..6)] {
        assert_eq!(apply(&projector, &log, 0, after, &batches[range]).await, stands);
    }
    assert_eq!(apply(&projector, &log, 0, 9, &batches[..1]).await, stands);
    assert_eq!(apply(&projector, &log_id('b'), 0, 6, &batches[..1]).await, stands);
    assert_shows(&redis, &generator, &log).await;
}

/// Invariant 13: lists have bounds, whatever the number of messages.
#[tokio::test]
async fn what_is_kept_does_not_grow_with_messages() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let mut generator = Generator::new(11, 0);
    generator.users.truncate(3);
    generator.tenants.truncate(1);
    let mut sizes = Vec::new();
    for round in 0..10 {
        for _ in 0..4 {
            let after = generator.sequence();
            let batch = generator.batch(900);
            apply(&projector, &log, 0, after, &[batch]).await;
        }
        generator.pause(130_000);
        if round >= 5 {
            sizes.push(lengths(&servers).await);
        }
    }
    assert_shows(&redis, &generator, &log).await;
    let recent_max = 4 * 900;
    for (messages, refs) in sizes {
        assert!(messages <= (HOT_MESSAGES + 50) as u64, "{messages} messages in a list");
        assert!(refs <= 128 + recent_max, "{refs} refs in a list");
    }
    // A little later they are not recent any more, and the next one clears them away.
    generator.pause(130_000);
    let batch = generator.batch(900);
    apply(&projector, &log, 0, batch.sequence - 1, &[batch]).await;
    let (_, refs) = lengths(&servers).await;
    assert!(refs <= 128 + 900, "{refs} refs in a list");
}

/// The longest list of messages and of refs.
async fn lengths(servers: &Servers) -> (u64, u64) {
    let mut connection = servers.redis().await;
    let mut longest = (0, 0);
    let keys: Vec<String> = redis::cmd("KEYS").arg("{0}:*").query_async(&mut connection).await.unwrap();
    for key in keys {
        let name = key.splitn(3, ':').nth(2).unwrap_or("").to_owned();
        let length = match name.split(':').next().unwrap() {
            "l" | "r" | "ru" | "rc" => redis::cmd("LLEN").arg(&key).query_async(&mut connection).await.unwrap(),
            _ => 0,
        };
        if name.starts_with("l:") {
            longest.0 = longest.0.max(length);
        } else {
            longest.1 = longest.1.max(length);
        }
    }
    longest
}

/// A log on real NATS with one partition, into which a generator writes.
struct Written {
    log: Log,
    generator: Generator,
}

impl Written {
    async fn new(servers: &Servers, seed: u64) -> Self {
        let log = Log::create(&LogConfig::new(servers.nats_url(), 1)).await.unwrap();
        Self { log, generator: Generator::new(seed, 0) }
    }

    async fn write(&mut self, batches: u64) {
        for _ in 0..batches {
            let Stored { sequence, payload, records, .. } = self.generator.batch(40);
            let write = OutcomeWrite { partition: 0, sequence, lease: 1, records: records.unwrap(), payload };
            self.log.write_outcomes(&write).await.unwrap();
        }
    }

    fn runner(&self, redis: &Redis) -> Runner<RedisProjector> {
        Runner::new(self.log.clone(), RedisProjector::new(redis.clone()), SystemClock::shared())
    }

    async fn applied(&self, redis: &Redis) {
        let end = Watermark::new(self.log.id().clone(), self.generator.sequence());
        timeout(DEADLINE, async {
            while watermark(redis, 0).await != Ok(end.clone()) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("the views do not reach {end}"));
    }

    async fn assert_shows(&self, redis: &Redis) {
        assert_shows(redis, &self.generator, self.log.id()).await;
    }
}

/// Two projectors without a lease between them: every batch is applied once.
#[tokio::test]
async fn two_projectors_apply_every_batch_once() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let mut written = Written::new(&servers, 21).await;
    let (one, other) = (written.runner(&redis), written.runner(&redis));
    let until = CancellationToken::new();
    let work = async { tokio::join!(one.run_partition(0, &until), other.run_partition(0, &until)) };
    let write = async {
        written.write(60).await;
        written.applied(&redis).await;
        until.cancel();
    };
    let ((first, second), ()) = tokio::join!(work, write);
    assert_eq!((first, second), (Ok(()), Ok(())));
    written.assert_shows(&redis).await;
}

/// Runners with leases share the work, and a successor goes on where its predecessor stopped.
#[tokio::test]
async fn a_successor_goes_on_from_the_watermark() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let mut written = Written::new(&servers, 22).await;
    for _ in 0..2 {
        let until = CancellationToken::new();
        let run = tokio::spawn(written.runner(&redis).run(until.clone()));
        written.write(20).await;
        written.applied(&redis).await;
        until.cancel();
        timeout(DEADLINE, run).await.unwrap().unwrap();
        written.write(5).await;
    }
    let until = CancellationToken::new();
    let run = tokio::spawn(written.runner(&redis).run(until.clone()));
    written.applied(&redis).await;
    until.cancel();
    run.await.unwrap();
    written.assert_shows(&redis).await;
}

/// Redis woken up in the past, and emptied: the projector notices, also while nothing happens, and reads EVT again.
#[tokio::test]
async fn redis_that_fell_back_is_brought_forward_again() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let mut written = Written::new(&servers, 23).await;
    let until = CancellationToken::new();
    let runner = written.runner(&redis);
    let running = async { runner.run_partition(0, &until).await.unwrap() };
    let falling = async {
        written.write(20).await;
        written.applied(&redis).await;
        let past = snapshot(&servers).await;
        written.write(20).await;
        written.applied(&redis).await;
        restore(&servers, &past).await;
        written.applied(&redis).await;
        written.assert_shows(&redis).await;
        restore(&servers, &[]).await;
        written.applied(&redis).await;
        // And killed while batches come.
        servers.kill(Backend::Redis);
        written.write(20).await;
        written.applied(&redis).await;
        written.assert_shows(&redis).await;
        until.cancel();
    };
    tokio::join!(running, falling);
}

type Dump = Vec<(Vec<u8>, Vec<u8>)>;

async fn snapshot(servers: &Servers) -> Dump {
    let mut connection = servers.redis().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut dump = Vec::new();
    for key in keys {
        let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap();
        dump.push((key, value));
    }
    dump
}

/// All at once, as a server does that starts from an older file.
async fn restore(servers: &Servers, dump: &[(Vec<u8>, Vec<u8>)]) {
    let mut connection = servers.redis().await;
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("FLUSHALL").ignore();
    for (key, value) in dump {
        pipe.cmd("RESTORE").arg(key).arg(0).arg(value.as_slice()).ignore();
    }
    pipe.query_async::<()>(&mut connection).await.unwrap();
}

/// Invariant 6: a watermark of another log or above the log's end stops the partition; the error names both and what to do.
#[tokio::test]
async fn impossible_watermarks_stop_the_partition() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let mut written = Written::new(&servers, 24).await;
    written.write(3).await;
    let own = written.log.id().to_string();
    let other = "b".repeat(32);
    for (log, sequence, named) in [(&own, 99, "EVT_0 ends at 3"), (&other, 2, &*format!("this is log {own}"))] {
        let mut connection = servers.redis().await;
        let mut set = redis::cmd("HSET");
        set.arg("{0}:watermark").arg("log").arg(log).arg("sequence").arg(sequence);
        set.query_async::<()>(&mut connection).await.unwrap();
        let stopped = written.runner(&redis).run_partition(0, &CancellationToken::new()).await.unwrap_err();
        let text = stopped.to_string();
        assert!(matches!(stopped, ViewError::Mismatch(_)), "{text}");
        for part in [named, &format!("sequence {sequence} of log {log}"), "redis-cli"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn reads_wait_for_a_position_and_say_what_is_reached() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let waiting = Waiting::new(redis, 1);
    let mut generator = Generator::new(31, 0);
    let batches: Vec<_> = (0..2).map(|_| generator.batch(50)).collect();
    apply(&projector, &log, 0, 0, &batches[..1]).await;
    let read = |min| {
        waiting.at_least(
            0,
            min,
            |found: &(Watermark, Vec<Vec<ConversationId>>)| &found.0,
            |redis| {
                let users = [(generator.tenants[0].clone(), generator.users[0].clone())];
                async move { inbox::memberships(&redis, 0, &users).await }
            },
        )
    };
    assert_eq!(read(1).await.unwrap().0.sequence, 1);
    let reached = Position::batch(0, 1);
    assert_eq!(read(2).await.unwrap_err(), ViewError::Behind { reached });
    let (waited, _) = tokio::join!(read(2), apply(&projector, &log, 0, 1, &batches[1..]));
    assert_eq!(waited.unwrap().0.sequence, 2);
}

#[tokio::test]
async fn servers_that_evict_are_refused() {
    let servers = Servers::start().await;
    let mut connection = servers.redis().await;
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("allkeys-lru").query_async::<()>(&mut connection).await.unwrap();
    let refused = Redis::connect(servers.redis_url()).await.unwrap_err().to_string();
    assert!(refused.contains("allkeys-lru"), "{refused}");
    let wrong = servers.redis_url().replace("://:", "://:x");
    let refused = Redis::connect(&wrong).await.unwrap_err();
    assert!(matches!(refused, ViewError::Mismatch(_)), "{refused}");
}
