//! The connection to one Redis or a Redis Cluster, behind one small type.

use std::fmt;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Client, Cmd, ErrorKind, RedisError, ServerErrorKind, Value, cmd};

use crate::error::ViewError;

/// An answer that takes longer will not come: the server hangs or the link is dead without a word.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Scripts use commands of 6.2 and none above.
const VERSION_MIN: (u32, u32) = (6, 2);

/// A Redis that was checked to be usable: 6.2 or newer, never evicting. Cheap to clone; reconnects by itself. It is of the
/// live views, or of those that are built beside them.
#[derive(Clone)]
pub struct Redis {
    link: Link,
    of: Of,
}

/// Which generation of the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Live,
    Next,
}

#[derive(Clone)]
enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Redis {
    /// Connects to `redis://[:password@]host:port`; the other nodes of a cluster are found by themselves.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: no answer. [`ViewError::Mismatch`]: an impossible URL, or a server that must not be used.
    pub async fn connect(url: &str) -> Result<Self, ViewError> {
        let single = connect_single(url).await?;
        let redis = Self { link: Link::Single(single), of: Of::Live };
        let info = redis.info().await?;
        info.check()?;
        if !info.cluster {
            return Ok(redis);
        }
        let cluster = Self { link: Link::Cluster(connect_cluster(url).await?), of: Of::Live };
        cluster.info().await?.check()?;
        Ok(cluster)
    }

    /// The same server, for the views that are built beside the live ones: what is read and written by it is theirs.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { of: Of::Next, ..self.clone() }
    }

    /// Where a partition's watermark lies, with the generation of these views. All its keys carry the same hash tag.
    pub(crate) fn mark(&self, partition: u16) -> String {
        match self.of {
            Of::Live => live_mark(partition),
            Of::Next => next_mark(partition),
        }
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: it does not.
    pub async fn ping(&self) -> Result<(), ViewError> {
        self.send(&cmd("PING")).await.map(drop).map_err(|error| error_of("redis refuses PING", &error))
    }

    /// Its version; of a cluster's nodes, the oldest.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: no answer.
    pub async fn version(&self) -> Result<String, ViewError> {
        Ok(self.info().await?.version)
    }

    /// Runs a script on the node of `key`. Every script here may run twice: reads, and writes guarded by the watermark.
    pub(crate) async fn call(&self, script: &Script, key: &str, args: &Args) -> Result<Value, ViewError> {
        let by_hash = script_command("EVALSHA", &script.hash, key, args);
        let mut answer = self.send(&by_hash).await;
        // The link broke since it was last used; the answer to one more try is the server's own.
        if answer.as_ref().is_err_and(RedisError::is_connection_dropped) {
            answer = self.send(&by_hash).await;
        }
        // A server that was restarted knows no scripts: this teaches it.
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = self.send(&script_command("EVAL", script.code, key, args)).await;
        }
        answer.map_err(|error| error_of("redis", &error))
    }

    async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        match &self.link {
            Link::Single(connection) => command.query_async(&mut connection.clone()).await,
            Link::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    async fn info(&self) -> Result<Info, ViewError> {
        let answer = self.send(&cmd("INFO")).await.map_err(|error| error_of("redis refuses INFO", &error))?;
        Ok(Info::of(&answer))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.link {
            Link::Single(_) => "single",
            Link::Cluster(_) => "cluster",
        };
        formatter.debug_tuple("Redis").field(&kind).finish()
    }
}

async fn connect_single(url: &str) -> Result<ConnectionManager, ViewError> {
    // The URL itself is left out of every message: it holds a password.
    let client = Client::open(url).map_err(|error| ViewError::Mismatch(format!("not a redis url: {error}")))?;
    // Who calls has a backoff of its own; here only the first moment is bridged.
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_number_of_retries(1);
    ConnectionManager::new_with_config(client, config)
        .await
        .map_err(|error| error_of("cannot connect to redis", &error))
}

async fn connect_cluster(url: &str) -> Result<ClusterConnection, ViewError> {
    let client = ClusterClient::builder([url])
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .retries(2)
        .build()
        .map_err(|error| error_of("cannot use the redis cluster", &error))?;
    client.get_async_connection().await.map_err(|error| error_of("cannot connect to the redis cluster", &error))
}

fn script_command(verb: &str, script: &str, key: &str, args: &Args) -> Cmd {
    let mut command = Cmd::with_capacity(args.len() + 4, args.bytes.len() + script.len() + key.len() + 16);
    command.arg(verb).arg(script).arg(1).arg(key);
    for arg in args.iter() {
        command.arg(arg);
    }
    command
}

/// The mark of a partition's live views.
pub(crate) fn live_mark(partition: u16) -> String {
    format!("{{{partition}}}:watermark")
}

/// The mark of the views that are built beside them.
pub(crate) fn next_mark(partition: u16) -> String {
    format!("{{{partition}}}:next")
}

/// What says which views were live before.
pub(crate) fn old_mark(partition: u16) -> String {
    format!("{{{partition}}}:old")
}

/// A Lua script with the hash by which a server knows it.
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, hash: ::redis::Script::new(code).get_hash().to_owned() }
    }
}

/// What a script reports as its own failure although it passes: no memory or no disk left, a replica for the moment.
const PASSING: [&str; 3] = ["OOM ", "MISCONF ", "READONLY "];
/// What a server says instead of looking at a password, which the client takes for a refusal of it. All of these pass.
const NOT_NOW: [&str; 4] = ["max number of clients", "LOADING", "BUSY", "MASTERDOWN"];

/// Says what to do about an error: nearly everything may pass, a script's own failure does not.
fn error_of(doing: &str, error: &RedisError) -> ViewError {
    match error.kind() {
        ErrorKind::AuthenticationFailed if is_not_now(&error.to_string()) => ViewError::transient(doing, error),
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot) => {
            ViewError::Mismatch(format!("{doing}: {error}"))
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let text = error.to_string();
            if PASSING.iter().any(|passing| text.contains(passing)) {
                ViewError::transient(doing, text)
            } else {
                ViewError::corrupt(doing, text)
            }
        }
        _ => ViewError::transient(doing, error),
    }
}

fn is_not_now(text: &str) -> bool {
    NOT_NOW.iter().any(|passing| text.contains(passing))
}

/// A script's arguments, one after the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    pub(crate) fn push(&mut self, arg: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(arg.as_ref());
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn number(&mut self, number: impl fmt::Display) {
        use std::io::Write as _;
        write!(self.bytes, "{number}").expect("memory takes every byte");
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.iter().scan(0, |start, end| {
            let arg = &self.bytes[*start..*end];
            *start = *end;
            Some(arg)
        })
    }
}

/// What a server says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    version: String,
    policy: String,
    cluster: bool,
}

impl Info {
    fn of(answer: &Value) -> Self {
        let mut info = Self::default();
        for line in lines(answer) {
            match line.split_once(':') {
                // Of a cluster's nodes, the least suitable is remembered.
                Some(("redis_version", version))
                    if info.version.is_empty() || number(version) < number(&info.version) =>
                {
                    version.clone_into(&mut info.version);
                }
                Some(("maxmemory_policy", policy)) if info.policy.is_empty() || policy != "noeviction" => {
                    policy.clone_into(&mut info.policy);
                }
                Some(("redis_mode", mode)) => info.cluster = mode == "cluster",
                _ => {}
            }
        }
        info
    }

    fn check(&self) -> Result<(), ViewError> {
        let Self { version, policy, .. } = self;
        if number(version) < VERSION_MIN {
            let (major, minor) = VERSION_MIN;
            return Err(ViewError::Mismatch(format!(
                "redis is version `{version}`, at least {major}.{minor} is needed: install a newer one"
            )));
        }
        if policy != "noeviction" {
            return Err(ViewError::Mismatch(format!(
                "redis has maxmemory-policy `{policy}`: it would drop parts of the views unnoticed; run `redis-cli config set maxmemory-policy noeviction` and write it into its configuration"
            )));
        }
        Ok(())
    }
}

/// The lines of an `INFO`: one text, or (from a cluster) one per node.
fn lines(answer: &Value) -> Vec<String> {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.lines().map(str::to_owned).collect(),
        Value::Map(nodes) => nodes.iter().flat_map(|(_, info)| lines(info)).collect(),
        Value::Array(nodes) => nodes.iter().flat_map(lines).collect(),
        _ => Vec::new(),
    }
}

fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Info {
        Info::of(&Value::BulkString(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_server_that_is_full_is_no_refusal_of_the_user() {
        let refused = |text: &str| {
            let kind = ErrorKind::AuthenticationFailed;
            error_of("connecting", &RedisError::from((kind, "password authentication failed", text.to_owned())))
        };
        for text in ["ERR max number of clients reached", "LOADING Redis is loading the dataset in memory"] {
            assert!(refused(text).is_transient(), "{text}");
        }
        assert!(matches!(refused("WRONGPASS invalid username-password pair"), ViewError::Mismatch(_)));
    }

    #[test]
    fn unsuitable_servers_are_refused_with_what_to_do() {
        let good = info("# Server\r\nredis_version:6.2.5\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\n");
        assert_eq!(good.check(), Ok(()));
        assert!(!good.cluster);
        let old = info("redis_version:6.0.16\r\nmaxmemory_policy:noeviction\r\n").check().unwrap_err().to_string();
        assert!(old.contains("6.0.16") && old.contains("6.2"), "{old}");
        let evicting = info("redis_version:7.2.4\r\nmaxmemory_policy:allkeys-lru\r\n").check().unwrap_err().to_string();
        assert!(evicting.contains("allkeys-lru") && evicting.contains("config set"), "{evicting}");
    }

    #[test]
    fn the_least_suitable_node_of_a_cluster_counts() {
        let node = |text: &str| (Value::Nil, Value::BulkString(text.as_bytes().to_vec()));
        let answer = Value::Map(vec![
            node("redis_version:7.2.4\r\nmaxmemory_policy:volatile-lru\r\nredis_mode:cluster\r\n"),
            node("redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\nredis_mode:cluster\r\n"),
        ]);
        let info = Info::of(&answer);
        assert_eq!(info, Info { version: "6.2.0".into(), policy: "volatile-lru".into(), cluster: true });
    }

    #[test]
    fn args_come_out_as_they_went_in() {
        let mut args = Args::default();
        args.push("ab");
        args.push("");
        args.number(42);
        assert_eq!(args.iter().collect::<Vec<_>>(), [b"ab".as_slice(), b"", b"42"]);
    }
}
