//! The Redis views, damaged in every way.

use natter::audit::{Kind, Store};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, cmd};

use super::world::{World, only};

const PREFIX: &str = "{0}:0:";
const WATERMARK: &str = "{0}:watermark";

type Dump = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything in Redis, of one moment.
async fn dump(redis: &mut MultiplexedConnection) -> Dump {
    const ALL: &str = "local all = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
         all[#all + 1] = {key, redis.call('DUMP', key)} end return all";
    cmd("EVAL").arg(ALL).arg(0).query_async(redis).await.unwrap()
}

async fn restore(redis: &mut MultiplexedConnection, all: &Dump) {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("FLUSHALL").ignore();
    for (key, value) in all {
        pipe.cmd("RESTORE").arg(key).arg(0).arg(value.as_slice()).ignore();
    }
    pipe.query_async::<()>(redis).await.unwrap();
}

/// The key of this kind that holds most.
async fn largest(redis: &mut MultiplexedConnection, kind: &str, count: &str) -> String {
    let keys: Vec<String> = cmd("KEYS").arg(format!("{PREFIX}{kind}:*")).query_async(redis).await.unwrap();
    let mut best = (0, String::new());
    for key in keys {
        let holds: u64 = cmd(count).arg(&key).query_async(redis).await.unwrap();
        best = best.max((holds, key));
    }
    assert!(best.0 > 3, "the workload is too small for {kind}");
    best.1
}

fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    command
}

/// Damages, one after the other, each undone before the next.
struct Damages {
    world: World,
    redis: MultiplexedConnection,
    whole: Dump,
}

impl Damages {
    async fn check(&mut self, damage: &[Cmd], expected: (Kind, &str)) {
        for command in damage {
            command.query_async::<redis::Value>(&mut self.redis).await.unwrap();
        }
        let report = self.world.audit().await;
        assert_eq!(only(&report), Some((Store::Redis, expected.0, expected.1)), "{report}");
        restore(&mut self.redis, &self.whole).await;
    }

    async fn list(&mut self, key: &str, at: i64) -> Vec<u8> {
        cmd("LINDEX").arg(key).arg(at).query_async(&mut self.redis).await.unwrap()
    }
}

fn order(element: &[u8]) -> u64 {
    u64::from_be_bytes(element[..8].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_redis_is_named() {
    let mut world = World::start(11, 1).await;
    world.wish(60).await;
    world.settle().await;
    // As it was then, under what comes later.
    let mut redis = world.servers.redis().await;
    let earlier = dump(&mut redis).await;
    world.resume();
    world.wish(30).await;
    world.settle().await;
    let whole = dump(&mut redis).await;
    let last = world.audit().await.partitions[0].batches;
    let mut damages = Damages { world, redis, whole };
    let all = &mut damages;

    fields(all).await;
    lists(all).await;
    watermarks(all, last, &earlier).await;

    // What holds nothing claims nothing: it is behind, and no difference.
    cmd("FLUSHALL").query_async::<()>(&mut all.redis).await.unwrap();
    let report = all.world.audit().await;
    assert_eq!(only(&report), None, "{report}");
    assert_eq!(report.partitions[0].redis.as_ref().unwrap().behind, last);
}

async fn fields(all: &mut Damages) {
    let members = largest(&mut all.redis, "m", "ZCARD").await;
    let conversation = members.rsplit(':').next().unwrap().to_owned();
    let of = |kind: &str| match kind {
        "m" | "k" => format!("{kind}:demo:{conversation}"),
        _ => format!("{kind}:{conversation}"),
    };
    let key = |kind: &str| format!("{PREFIX}{}", of(kind));
    let (about, cursors) = (key("c"), key("k"));

    all.check(&[command(&["DEL", &cursors])], (Kind::Missing, &of("k"))).await;
    let user = "ada";
    all.check(&[command(&["HDEL", &cursors, user])], (Kind::Missing, &format!("{} {user}", of("k")))).await;
    all.check(&[command(&["HSET", &about, "h", "999"])], (Kind::Altered, &format!("{} h", of("c")))).await;
    all.check(&[command(&["HSET", &about, "m", "0"])], (Kind::Altered, &format!("{} m", of("c")))).await;
    all.check(&[command(&["HSET", &cursors, user, "9999"])], (Kind::Altered, &format!("{} {user}", of("k")))).await;
    all.check(&[command(&["HSET", &cursors, "nobody", "1"])], (Kind::Unexpected, &format!("{} nobody", of("k")))).await;
    all.check(&[command(&["HSET", &key("c77"), "f", "x"])], (Kind::Unexpected, &of("c77"))).await;
    all.check(&[command(&["DEL", &about]), command(&["SET", &about, "x"])], (Kind::Altered, &of("c"))).await;

    let entries: Vec<String> = cmd("ZRANGE").arg(&members).arg(0).arg(-1).query_async(&mut all.redis).await.unwrap();
    let (user, _) = entries[0].split_once('\0').unwrap();
    let place = format!("{} {user}", of("m"));
    all.check(&[command(&["ZREM", &members, &entries[0]])], (Kind::Missing, &place)).await;
    all.check(&[command(&["ZADD", &members, "0", &format!("{user}\0m9")])], (Kind::Doubled, &place)).await;
    all.check(&[command(&["ZADD", &members, "1", &entries[0]])], (Kind::Altered, &place)).await;
    all.check(&[command(&["ZADD", &members, "0", "zed\0m9"])], (Kind::Unexpected, &format!("{} zed", of("m")))).await;

    let inbox = format!("{PREFIX}u:demo:{user}");
    let place = format!("u:demo:{user} {conversation}");
    all.check(&[command(&["SREM", &inbox, &conversation])], (Kind::Missing, &place)).await;
    all.check(&[command(&["SADD", &inbox, "77"])], (Kind::Unexpected, &format!("u:demo:{user} 77"))).await;

    let names = format!("{PREFIX}n:demo");
    all.check(&[command(&["HSET", &names, "ada", "Eve"])], (Kind::Altered, "n:demo ada")).await;
    let external = format!("{PREFIX}x:demo");
    all.check(&[command(&["HSET", &external, "tea", "77"])], (Kind::Altered, "x:demo tea")).await;
    all.check(&[command(&["HDEL", &external, "tea"])], (Kind::Missing, "x:demo tea")).await;
    all.check(&[command(&["DEL", &format!("{PREFIX}d:demo")])], (Kind::Missing, "d:demo")).await;
}

async fn lists(all: &mut Damages) {
    for (kind, name) in [("l", "seq"), ("r", "version")] {
        let list = largest(&mut all.redis, kind, "LLEN").await;
        let key = list.strip_prefix(PREFIX).unwrap().to_owned();
        let place = |element: &[u8]| format!("{key} {name} {}", order(element));
        let (last, before) = (all.list(&list, -1).await, all.list(&list, -2).await);
        let at = |index: i64, value: &[u8]| {
            let mut set = command(&["LSET", &list]);
            set.arg(index).arg(value);
            set
        };
        let push = |value: &[u8]| {
            let mut push = command(&["RPUSH", &list]);
            push.arg(value);
            push
        };
        let mut remove = command(&["LREM", &list, "1"]);
        remove.arg(&before);
        all.check(&[remove], (Kind::Missing, &place(&before))).await;
        all.check(&[push(&last)], (Kind::Doubled, &place(&last))).await;
        all.check(&[at(-1, &before), at(-2, &last)], (Kind::Reordered, &place(&before))).await;
        let mut altered = before.clone();
        *altered.last_mut().unwrap() ^= 1;
        all.check(&[at(-2, &altered)], (Kind::Altered, &place(&before))).await;
    }
    let list = largest(&mut all.redis, "l", "LLEN").await;
    let key = list.strip_prefix(PREFIX).unwrap().to_owned();
    let mut later = all.list(&list, -1).await;
    let seq = order(&later) + 1;
    later[..8].copy_from_slice(&seq.to_be_bytes());
    let mut push = command(&["RPUSH", &list]);
    push.arg(later);
    all.check(&[push], (Kind::Unexpected, &format!("{key} seq {seq}"))).await;
}

async fn watermarks(all: &mut Damages, last: u64, earlier: &Dump) {
    let place = "redis of partition 0";
    let set = |field: &str, value: &str| [command(&["HSET", WATERMARK, field, value])];
    all.check(&set("sequence", &(last + 7).to_string()), (Kind::Ahead, place)).await;
    all.check(&set("sequence", &(last - 9).to_string()), (Kind::Behind, place)).await;
    all.check(&[command(&["DEL", WATERMARK])], (Kind::Behind, place)).await;
    all.check(&set("log", &"7".repeat(32)), (Kind::Foreign, place)).await;
    // The data of an earlier day under the watermark of today.
    restore(&mut all.redis, earlier).await;
    all.check(&set("sequence", &last.to_string()), (Kind::Ahead, place)).await;
}
