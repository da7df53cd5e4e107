//! The connection to one Redis or a Redis Cluster, behind one small type.

use std::fmt;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind, Value, cmd,
};

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
    client: Client,
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
        // The URL itself is left out of every message: it holds a password.
        let client = Client::open(url).map_err(|error| ViewError::Mismatch(format!("not a redis url: {error}")))?;
        let single = connect_single(&client).await?;
        let redis = Self { link: Link::Single(single), of: Of::Live, client };
        let info = redis.info().await?;
        info.check()?;
        if !info.cluster {
            return Ok(redis);
        }
        let cluster = Self { link: Link::Cluster(connect_cluster(url).await?), ..redis };
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
        match self.send(&cmd("PING")).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error_of("redis refuses PING", &error).await),
        }
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
        match answer {
            Ok(value) => Ok(value),
            Err(error) => Err(self.error_of("redis", &error).await),
        }
    }

    async fn error_of(&self, doing: &str, error: &RedisError) -> ViewError {
        error_of(doing, error, &self.client).await
    }

    async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        match &self.link {
            Link::Single(connection) => command.query_async(&mut connection.clone()).await,
            Link::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    async fn info(&self) -> Result<Info, ViewError> {
        match self.send(&cmd("INFO")).await {
            Ok(answer) => Ok(Info::of(&answer)),
            Err(error) => Err(self.error_of("redis refuses INFO", &error).await),
        }
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

async fn connect_single(client: &Client) -> Result<ConnectionManager, ViewError> {
    // Who calls has a backoff of its own; here only the first moment is bridged.
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_number_of_retries(1);
    match ConnectionManager::new_with_config(client.clone(), config).await {
        Ok(manager) => Ok(manager),
        Err(error) => Err(error_of("cannot connect to redis", &error, client).await),
    }
}

async fn connect_cluster(url: &str) -> Result<ClusterConnection, ViewError> {
    let client = ClusterClient::builder([url])
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .retries(2)
        .build()
        .map_err(|error| what_to_do("cannot use the redis cluster", &error))?;
    client.get_async_connection().await.map_err(|error| what_to_do("cannot connect to the redis cluster", &error))
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

/// Says what to do about an error. The client says of every refused `AUTH` that the password is wrong, also where the server has
/// no room for another client: the server is asked once more, for its own words.
async fn error_of(doing: &str, error: &RedisError, client: &Client) -> ViewError {
    if error.kind() != ErrorKind::AuthenticationFailed {
        return what_to_do(doing, error);
    }
    match log_in(client).await {
        Ok(()) => ViewError::transient(doing, error),
        Err(reason) => what_to_do(doing, &reason),
    }
}

async fn log_in(client: &Client) -> Result<(), RedisError> {
    let info = client.get_connection_info();
    let (user, password) = (info.redis_settings().username(), info.redis_settings().password());
    let mut auth = cmd("AUTH");
    auth.arg(user).arg(password.unwrap_or_default());
    let nobody = Client::open(info.clone().set_redis_settings(RedisConnectionInfo::default()))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let mut connection = nobody.get_multiplexed_async_connection_with_config(&config).await?;
    auth.query_async(&mut connection).await
}

/// What a server says, also out of a script or at a login, when it will do later: no memory or no disk, a replica, too few replicas,
/// a cluster that changes, data that is loaded, another script, no room for a client.
const PASSING: [&str; 12] = [
    "OOM ",
    "MISCONF ",
    "READONLY ",
    "NOREPLICAS ",
    "MASTERDOWN ",
    "CLUSTERDOWN ",
    "TRYAGAIN ",
    "LOADING ",
    "BUSY ",
    "max number of clients",
    "Script killed",
    "script was killed",
];
/// What it says, of 6.2 and 7, when it refuses the user or what the user does.
const REFUSED: [&str; 6] =
    ["WRONGPASS", "NOAUTH", "NOPERM", "AUTH <password>", "can't run this command", "can't access"];
/// What it says when something else lies there than the views know.
const FOREIGN: &str = "WRONGTYPE";

/// Says what to do about an error: nearly everything may pass, a refusal and a script's own failure do not.
fn what_to_do(doing: &str, error: &RedisError) -> ViewError {
    let text = error.to_string();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    match error.kind() {
        ErrorKind::InvalidClientConfig | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot) => {
            ViewError::Mismatch(format!("{doing}: {text}"))
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension if says(&REFUSED) => {
            ViewError::Mismatch(format!("{doing}: {text}"))
        }
        ErrorKind::Extension if says(&[FOREIGN]) => ViewError::corrupt(doing, text),
        ErrorKind::Server(ServerErrorKind::ResponseError) if !says(&PASSING) => ViewError::corrupt(doing, text),
        _ => ViewError::transient(doing, text),
    }
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

    /// Those behind the first `count`.
    pub(crate) fn after(&self, count: usize) -> Self {
        let start = count.checked_sub(1).map_or(0, |last| self.ends[last]);
        let ends = self.ends[count..].iter().map(|end| end - start).collect();
        Self { bytes: self.bytes[start..].to_vec(), ends }
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

    const SCRIPT: &str = "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: ";

    /// As 6.2 and 7 word them, alone and out of scripts.
    #[test]
    fn errors_that_pass_are_told_from_those_that_stay() {
        let said = |line: &str| {
            let parsed = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            let Value::ServerError(error) = parsed else { panic!("{parsed:?} is no error") };
            let error = RedisError::from(error);
            what_to_do("redis", &error)
        };
        for text in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "ERR Error running script (call to f_1): @user_script:9: Script killed by user with SCRIPT KILL...",
        ] {
            for text in [text.to_owned(), format!("{SCRIPT}-{text}"), format!("{text} script: f1, on @user_script:9.")]
            {
                assert!(said(&text).is_transient(), "{text}: {:?}", said(&text));
            }
        }
        for text in [
            "WRONGPASS invalid username-password pair or user is disabled.".to_owned(),
            "NOAUTH Authentication required.".to_owned(),
            "ERR AUTH <password> called without any password configured for the default user.".to_owned(),
            "NOPERM this user has no permissions to run the 'hset' command".to_owned(),
            format!("{SCRIPT}The user executing the script can't run this command or subcommand"),
            format!("{SCRIPT}The user executing the script can't access at least one of the keys mentioned"),
        ] {
            assert!(matches!(said(&text), ViewError::Mismatch(_)), "{text}: {:?}", said(&text));
        }
        let foreign = "WRONGTYPE Operation against a key holding the wrong kind of value";
        for text in [foreign.to_owned(), format!("{SCRIPT}{foreign}"), format!("{SCRIPT}attempt to index a nil value")]
        {
            assert!(matches!(said(&text), ViewError::Corrupt(_)), "{text}: {:?}", said(&text));
        }
    }

    #[test]
    fn args_come_out_as_they_went_in() {
        let mut args = Args::default();
        args.push("ab");
        args.push("");
        args.number(42);
        let all = [b"ab".as_slice(), b"", b"42"];
        for from in 0..=all.len() {
            assert_eq!(args.after(from).iter().collect::<Vec<_>>(), all[from..]);
        }
    }
}
