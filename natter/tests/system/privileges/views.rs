//! Redis.

use redis::aio::MultiplexedConnection;

use super::{ROLES, System};

/// What nobody but the administrator may do.
const FOR_NOBODY: [&str; 24] = [
    "CONFIG GET *",
    "CONFIG SET appendonly no",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "KEYS *",
    "DEBUG SLEEP 0",
    "SCRIPT FLUSH",
    "ACL LIST",
    "ACL SETUSER gateway +@all",
    "CLIENT LIST",
    "CLIENT PAUSE 1",
    "MONITOR",
    "REPLICAOF NO ONE",
    "SAVE",
    "BGREWRITEAOF",
    "MODULE LIST",
    "DEL {0}:watermark",
    "UNLINK {0}:watermark",
    "SET {0}:watermark x",
    "RENAME {0}:watermark {0}:other",
    "EXPIRE {0}:watermark 1",
    "PUBLISH channel text",
    "HGETALL {0}:watermark",
];
const WRITES: &str = "HSET {0}:watermark sequence 9";
/// What only some may not: commands on keys that they have no use for.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "gateway",
        &[
            WRITES,
            "HGET {0}:0:policies demo",
            "LRANGE {0}:0:r:1:ada 0 -1",
            "HGET {0}:0:iu:demo:ada x",
            "HGET other:key x",
        ],
    ),
    (
        "processor",
        &[WRITES, "LRANGE {0}:0:l:1 0 -1", "SMEMBERS {0}:0:u:demo:ada", "HGET {0}:0:n:demo ada", "HGET other:key x"],
    ),
    ("projector", &["HSET other:key a b", "LRANGE {0}:0:l:1 0 -1", "SMEMBERS {0}:0:u:demo:ada", "SCAN 0"]),
    ("auditor", &[WRITES, "RPUSH {0}:0:l:1 x", "HGET other:key x"]),
];
/// What each may do.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("gateway", &["LRANGE {0}:0:l:1 0 -1", "SMEMBERS {0}:0:u:demo:ada", "HGET {0}:0:n:demo ada"]),
    ("processor", &["HGET {0}:0:policies demo", "LRANGE {0}:0:rc:demo:ada 0 -1", "HGET {0}:0:x:demo lobby"]),
    ("projector", &["HDEL {3}:0:x:nobody nothing", "LINDEX {0}:0:l:1 -1"]),
    ("auditor", &["LRANGE {0}:0:l:1 0 -1", "HGET {0}:0:policies demo", "SCAN 0"]),
];

async fn connect(system: &System, user: &str, password: &str) -> redis::RedisResult<MultiplexedConnection> {
    let credentials = if user.is_empty() { String::new() } else { format!("{user}:{password}@") };
    let url = format!("redis://{credentials}127.0.0.1:{}/", system.port("redis"));
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

async fn run(connection: &mut MultiplexedConnection, command: &str) -> Result<redis::Value, String> {
    let mut words = command.split(' ');
    let mut sent = redis::cmd(words.next().unwrap());
    for word in words {
        sent.arg(word);
    }
    sent.query_async(connection).await.map_err(|error| error.to_string())
}

/// The same command by a script, as natter's own commands come.
async fn run_by_script(connection: &mut MultiplexedConnection, command: &str) -> Result<redis::Value, String> {
    let mut sent = redis::cmd("EVAL");
    sent.arg("return redis.call(unpack(ARGV))").arg(0);
    for word in command.split(' ') {
        sent.arg(word);
    }
    sent.query_async(connection).await.map_err(|error| error.to_string())
}

/// As 6.2 and 7 say it, of a command and of a script's.
fn is_refusal(error: &str) -> bool {
    ["NOPERM", "NoPerm", "no permission", "can't run this command", "can't access", "not allowed from script"]
        .iter()
        .any(|part| error.contains(part))
}

pub async fn nobody_runs_other_commands_or_sees_other_keys(system: &System) {
    for role in ROLES {
        let mut connection = connect(system, role, system.password("redis", role)).await.unwrap();
        let (_, own) = FORBIDDEN.iter().find(|(of, _)| *of == role).unwrap();
        for command in own.iter().chain(&FOR_NOBODY) {
            let said = run(&mut connection, command).await;
            assert!(said.as_ref().is_err_and(|error| is_refusal(error)), "{role}: {command}: {said:?}");
            let said = run_by_script(&mut connection, command).await;
            assert!(said.is_err(), "{role} by a script: {command}: {said:?}");
        }
        let (_, allowed) = ALLOWED.iter().find(|(of, _)| *of == role).unwrap();
        for command in allowed.iter().chain(&["PING", "INFO", "HMGET {0}:watermark log sequence"]) {
            let said = run(&mut connection, command).await;
            assert!(said.is_ok(), "{role} may not even {command}: {said:?}");
        }
    }
    nobody_gets_in_without_a_name(system).await;
}

async fn nobody_gets_in_without_a_name(system: &System) {
    for (user, password) in
        [("", ""), ("default", ""), ("gateway", "wrong"), ("default", system.password("redis", "gateway"))]
    {
        let answered = match connect(system, user, password).await {
            Ok(mut connection) => run(&mut connection, "PING").await.is_ok(),
            Err(_) => false,
        };
        assert!(!answered, "{user} gets in");
    }
}
