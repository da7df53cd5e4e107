//! The Redis views over a real Redis: against a model, applied twice, by two projectors, after Redis fell back.

use std::net::TcpListener;
use std::time::Duration;

use natter::backends::Backend;
use natter_nats::clock::SystemClock;
use natter_nats::{Log, LogConfig, LogId, OutcomeWrite, Stored};
use natter_projections::error::ViewError;
use natter_projections::facts::{Fact, FactKey, Refs, load};
use natter_projections::redis::inbox::Seen;
use natter_projections::redis::{
    Redis, RedisProjector, Waiting, addresses, inbox, members, messages, users, watermark,
};
use natter_projections::runner::{Projector, Runner, Steps};
use natter_projections::watermark::Watermark;
use natter_schemas::command::Kind;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::{HOT_MESSAGES, REFS_KEPT};
use natter_schemas::names::{ExternalId, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::generator::Generator;
use crate::model::Room;
use crate::servers::Servers;

const DEADLINE: Duration = Duration::from_secs(30);

fn log_id(digit: char) -> LogId {
    digit.to_string().repeat(32).parse().unwrap()
}

async fn apply(projector: &RedisProjector, log: &LogId, partition: u16, after: u64, batches: &[Stored]) -> Watermark {
    projector.apply(Steps { log, partition, after, batches }).await.unwrap()
}

/// As `reader` sees it: refs are the sender's own.
fn seen_by(reader: &UserId, message: &Message) -> Message {
    let mut message = message.clone();
    message.reference = message.reference.filter(|_| message.sender == *reader);
    message
}

fn expected_seen(id: ConversationId, room: &Room, user: &UserId) -> Seen {
    let row = natter_projections::redis::conversations::Row {
        conversation: id,
        fact: room.fact.clone(),
        name: room.name.clone(),
        last_seq: room.messages.len() as u64,
        member_count: u32::try_from(room.members.len()).unwrap(),
        version: room.version,
        active_at_ms: room.active_at_ms,
    };
    let membership = room.members.get(user).map(|(role, at)| members::Membership { role: *role, joined_at_ms: *at });
    Seen {
        row,
        last_message: room.messages.last().map(|message| seen_by(user, message)),
        membership,
        read_seq: room.cursors.get(user).copied().unwrap_or(0),
    }
}

/// Every reader against the model, after the batch at `sequence`.
async fn assert_shows(redis: &Redis, generator: &Generator, sequence: u64) {
    for (id, room) in &generator.model.conversations {
        assert_room(redis, generator, *id, room).await;
    }
    assert_users(redis, generator).await;
    assert_facts(redis, generator, sequence).await;
}

async fn assert_room(redis: &Redis, generator: &Generator, id: ConversationId, room: &Room) {
    let (partition, last) = (generator.partition, room.messages.len() as u64);
    let first_hot = (last + 1).saturating_sub(HOT_MESSAGES as u64).max(1);
    for user in &generator.users {
        let (_, seen) = inbox::conversation(redis, partition, id, user).await.unwrap();
        assert_eq!(seen, Some(expected_seen(id, room, user)));
        let (_, is_member) = members::is_member(redis, partition, id, user).await.unwrap();
        assert_eq!(is_member, room.members.contains_key(user));
    }
    let reader = &generator.users[0];
    let middle = last / 2;
    for (from, to) in [
        (1, u64::from(u32::MAX)),
        (last.saturating_sub(9).max(1), last),
        (middle.max(1), middle + 5),
        (last + 1, last + 9),
    ] {
        let hot = messages::hot(redis, partition, id, from..=to, reader).await.unwrap();
        assert_eq!((hot.last_seq, hot.first_hot_seq), (last, first_hot));
        let asked = |message: &&Message| message.seq >= from.max(first_hot) && message.seq <= to;
        let expected: Vec<_> = room.messages.iter().filter(asked).map(|message| seen_by(reader, message)).collect();
        assert_eq!(hot.messages, expected, "seqs {from} to {to} of {last}");
    }
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = members::page(redis, partition, id, after.as_ref(), 3).await.unwrap();
        assert_eq!(page.member_count, u32::try_from(room.members.len()).unwrap());
        after = page.members.last().map(|member| member.user.clone());
        let is_last = page.members.len() < 3;
        found.extend(
            page.members
                .into_iter()
                .map(|member| (member.user, (member.membership.role, member.membership.joined_at_ms), member.read_seq)),
        );
        if is_last {
            break;
        }
    }
    let expected = room.members.iter().map(|(user, member)| (user.clone(), *member, room.cursors[user]));
    assert_eq!(found, expected.collect::<Vec<_>>());
    if let Some(external) = &room.fact.external {
        let found = addresses::external(redis, partition, &room.fact.tenant, external).await.unwrap();
        assert_eq!(found.1, Some(id));
    }
}

async fn assert_users(redis: &Redis, generator: &Generator) {
    let (partition, model) = (generator.partition, &generator.model);
    for tenant in &generator.tenants {
        let (_, names) = users::names(redis, partition, tenant, &generator.users).await.unwrap();
        let expected = generator.users.iter().map(|user| model.names.get(&(tenant.clone(), user.clone())).cloned());
        assert_eq!(names, expected.collect::<Vec<_>>());
        for user in &generator.users {
            let mut expected: Vec<_> = model
                .conversations
                .iter()
                .filter(|(_, room)| room.fact.tenant == *tenant && room.members.contains_key(user))
                .map(|(id, room)| expected_seen(*id, room, user))
                .collect();
            let (_, ids) = inbox::memberships(redis, partition, tenant, user).await.unwrap();
            assert_eq!(ids, expected.iter().map(|seen| seen.row.conversation).collect::<Vec<_>>());
            expected.sort_by_key(|seen| std::cmp::Reverse((seen.row.active_at_ms, seen.row.conversation)));
            let mut found = Vec::new();
            loop {
                let after = found.last().map(|seen: &Seen| (seen.row.active_at_ms, seen.row.conversation));
                let page = inbox::page(redis, partition, tenant, user, after, 4).await.unwrap();
                assert_eq!(page.total, expected.len());
                let is_last = page.conversations.len() < 4;
                found.extend(page.conversations);
                if is_last {
                    break;
                }
            }
            assert_eq!(found, expected, "conversations of {user} in {tenant}");
        }
    }
}

async fn assert_facts(redis: &Redis, generator: &Generator, sequence: u64) {
    let model = &generator.model;
    let mut expected: Vec<(FactKey, Option<Fact>)> = Vec::new();
    for (id, room) in &model.conversations {
        let (tenant, last) = (&room.fact.tenant, room.messages.len() as u64);
        expected.push((FactKey::Conversation(*id), Some(Fact::Conversation(room.fact.clone()))));
        expected.push((FactKey::Head(*id), (last > 0).then_some(Fact::Head(last))));
        let count = u32::try_from(room.members.len()).unwrap();
        expected.push((FactKey::MemberCount(*id), Some(Fact::MemberCount(count))));
        for user in &generator.users {
            let role = room.members.get(user).map(|(role, _)| Fact::Member(*role));
            expected.push((FactKey::Member(*id, user.clone()), role));
            let cursor = room.cursors.get(user).map(|seq| Fact::Cursor(*seq));
            expected.push((FactKey::Cursor(*id, user.clone()), cursor));
        }
        if let Some(external) = &room.fact.external {
            expected.push((FactKey::External(tenant.clone(), external.clone()), Some(Fact::Address(*id))));
        }
        if let (Kind::Direct, Some(peer)) = (room.fact.kind, &room.fact.peer) {
            expected.push((FactKey::direct(tenant, peer, &room.fact.creator), Some(Fact::Address(*id))));
        }
    }
    expected.extend(
        model
            .conversation_lines
            .iter()
            .map(|((id, source), line)| (FactKey::ConversationLine(*id, *source), Some(Fact::Line(*line)))),
    );
    expected.extend(model.user_lines.iter().map(|((tenant, user, source), line)| {
        (FactKey::UserLine(tenant.clone(), user.clone(), *source), Some(Fact::Line(*line)))
    }));
    expected.extend(
        generator
            .tenants
            .iter()
            .map(|tenant| (FactKey::Policy(tenant.clone()), model.policies.get(tenant).copied().map(Fact::Policy))),
    );
    expected.push((FactKey::External(generator.tenants[0].clone(), ExternalId::try_from("none").unwrap()), None));
    // In another order than they lie in, so that places matter.
    expected.sort_by_key(|(key, _)| {
        natter_schemas::event::content_hash(&natter_schemas::command::Body::UpdateUser {
            name: natter_schemas::names::DisplayName::trusted(&format!("{key:?}")),
        })
    });
    let refs: Vec<_> = model.refs.iter().collect();
    let mut keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
    keys.extend(
        refs.iter().map(|((tenant, user, scope), _)| FactKey::Refs(tenant.clone(), user.clone(), scope.clone())),
    );
    let loaded = load(redis, generator.partition, &keys).await.unwrap();
    assert_eq!((loaded.log, loaded.watermark), (Some(log_id('a')), sequence));
    for ((key, value), found) in expected.iter().zip(&loaded.values) {
        assert_eq!(found, value, "{key:?}");
    }
    for ((key, whole), found) in refs.iter().zip(&loaded.values[expected.len()..]) {
        let Some(Fact::Refs(found)) = found else { panic!("{key:?}: {found:?}") };
        assert_same_refs(found, whole, generator.log_ms());
    }
}

/// What is visible is the same, however much of the rest is still there.
fn assert_same_refs(found: &Refs, whole: &Refs, log_ms: u64) {
    for log_ms in [log_ms, log_ms + 60_000, log_ms + 200_000] {
        assert_eq!(found.recent(log_ms), whole.recent(log_ms));
        for entry in &whole.0 {
            assert_eq!(found.find(&entry.reference, log_ms), whole.find(&entry.reference, log_ms));
        }
    }
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
            assert_shows(&redis, &generator, after).await;
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
    assert_eq!(inbox::conversation(&redis, 3, id, &user).await.unwrap(), (Watermark::default(), None));
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
    assert_shows(&redis, &generator, 6).await;
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
    assert_shows(&redis, &generator, generator.sequence()).await;
    let recent_max = 4 * 900;
    for (messages, refs) in sizes {
        assert!(messages <= (HOT_MESSAGES + 50) as u64, "{messages} messages in a list");
        assert!(refs <= 2 * REFS_KEPT as u64 + recent_max, "{refs} refs in a list");
    }
    // A little later they are not recent any more, and the next one clears them away.
    generator.pause(130_000);
    let batch = generator.batch(900);
    apply(&projector, &log, 0, batch.sequence - 1, &[batch]).await;
    let (_, refs) = lengths(&servers).await;
    assert!(refs <= 2 * REFS_KEPT as u64 + 900, "{refs} refs in a list");
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
        for (id, room) in &self.generator.model.conversations {
            assert_room(redis, &self.generator, *id, room).await;
        }
        assert_users(redis, &self.generator).await;
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
            |found: &(Watermark, Vec<ConversationId>)| &found.0,
            |redis| {
                let (tenant, user) = (generator.tenants[0].clone(), generator.users[0].clone());
                async move { inbox::memberships(&redis, 0, &tenant, &user).await }
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

/// The hot view holds each message once, whichever way the log was applied.
#[tokio::test]
async fn a_view_that_was_half_written_is_completed() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let mut generator = Generator::new(41, 0);
    let batches: Vec<_> = (0..8).map(|_| generator.batch(80)).collect();
    apply(&projector, &log, 0, 0, &batches).await;
    // As if the script had ended before it wrote the watermark.
    let mut connection = servers.redis().await;
    let mut set = redis::cmd("HSET");
    set.arg("{0}:watermark")
        .arg("sequence")
        .arg(3)
        .arg("begun")
        .arg(8)
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    apply(&projector, &log, 0, 3, &batches[3..]).await;
    assert_shows(&redis, &generator, 8).await;
}

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
    assert_shows(&redis, &generator, 5).await;
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
