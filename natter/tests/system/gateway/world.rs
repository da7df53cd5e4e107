//! A whole system of one test: the test's own NATS and Redis, a database of its own, and all roles in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use natter::backends::Backend;
use natter_gateway::auth::{Claims, TenantKeys, mint};
use natter_gateway::{Dependency, GatewayConfig, Rate, Readiness};
use natter_nats::backoff::Backoff;
use natter_nats::clock::{Clock as _, SystemClock};
use natter_nats::{LeaseOptions, Log, LogConfig, LogError, StreamBytes};
use natter_processors::role;
use natter_processors::shell::Backends;
use natter_projections::clickhouse::{ClickHouse, ClickHouseConfig, HistoryProjector, migrate, run_inserter};
use natter_projections::reads::Reads;
use natter_projections::redis::{Redis, RedisProjector, Waiting};
use natter_projections::runner::Runner;
use natter_schemas::event::placed;
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::outcome::Outcome;
use natter_schemas::subjects::outcome_stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::{Client, DEADLINE, Http};
use crate::servers::{self, Servers};

const PARTITIONS: u16 = 4;
const SMALL: StreamBytes = StreamBytes { commands: 32 << 20, outcomes: 256 << 20 };
const TENANT: &str = "demo";

pub struct World {
    pub servers: Servers,
    pub address: SocketAddr,
    log: Log,
    keys: TenantKeys,
    shutdown: CancellationToken,
    gateway: JoinHandle<Result<(), LogError>>,
    // The other roles end with the test.
    _roles: JoinSet<()>,
}

struct AllThere;

impl Readiness for AllThere {
    fn check(&self) -> BoxFuture<'_, Vec<Dependency>> {
        let dependency = |name: &str, ready, required| Dependency { name: name.into(), ready, required, detail: None };
        std::future::ready(vec![dependency("nats", true, true), dependency("s3", false, false)]).boxed()
    }
}

fn keys() -> TenantKeys {
    TenantKeys::new([], Some(vec![7; 32])).unwrap()
}

/// Limits that no test meets by accident, and a short drain.
pub fn config() -> GatewayConfig {
    GatewayConfig {
        session_rate: Rate::new(100_000, 100_000),
        user_rate: Rate::new(100_000, 100_000),
        read_rate: Rate::new(100_000, 100_000),
        user_sessions_max: usize::MAX,
        drain_spread: Duration::from_millis(200),
        ..GatewayConfig::new(keys())
    }
}

impl World {
    pub async fn start() -> World {
        Self::with(config()).await
    }

    /// One whose broker goes away just before the gateway opens its feeds.
    pub async fn without_broker() -> World {
        Self::begun(config(), false, None).await
    }

    /// One whose gateway reads from another history than is written.
    pub async fn reading_from(history: ClickHouse) -> World {
        Self::begun(config(), true, Some(history)).await
    }

    pub async fn with(config: GatewayConfig) -> World {
        Self::begun(config, true, None).await
    }

    async fn begun(config: GatewayConfig, has_broker: bool, read: Option<ClickHouse>) -> World {
        let servers = Servers::start().await;
        let history = servers::clickhouse().await;
        let history = ClickHouse::new(&ClickHouseConfig {
            url: history.url,
            user: history.user,
            password: history.password,
            database: history.database,
        });
        migrate(&history).await.unwrap();
        let log = LogConfig { bytes: SMALL, ..LogConfig::new(servers.nats_url(), PARTITIONS) };
        let log = create(&log).await;
        let redis = Redis::connect(servers.redis_url()).await.unwrap();
        let roles = roles(&log, &redis, &history);

        if !has_broker {
            servers.take_away(Backend::Nats).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let reads = Reads::new(log.clone(), Waiting::new(redis, PARTITIONS), read.unwrap_or(history));
        let running = natter_gateway::run(config, log.clone(), reads, Arc::new(AllThere), listener, shutdown.clone());
        World { servers, address, log, keys: keys(), shutdown, gateway: tokio::spawn(running), _roles: roles }
    }

    pub fn token(&self, user: &str) -> String {
        self.token_with(user, Duration::from_mins(10), false)
    }

    pub fn token_with(&self, user: &str, ttl: Duration, service: bool) -> String {
        let exp = SystemClock.now_ms().div_ceil(1000) + ttl.as_secs();
        let tenant = Tenant::try_from(TENANT).unwrap();
        let key = self.keys.key(&tenant).unwrap();
        let sub = UserId::try_from(user).unwrap();
        mint(&Claims { sub, tenant, name: None, exp, nbf: None, aud: None, service }, &key).unwrap()
    }

    /// A session of `user`, opened.
    pub async fn session(&self, user: &str) -> Client {
        Client::open(self.address, &self.token(user)).await
    }

    pub fn http(&self, user: &str) -> Http {
        Http { address: self.address, token: Some(self.token(user)) }
    }

    pub fn anonymous(&self) -> Http {
        Http { address: self.address, token: None }
    }

    /// A group made by `client` with `members`; its id.
    pub async fn group(&self, client: &mut Client, members: &[&str]) -> String {
        let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": format!("make-{}", members.join("-")), "members": members });
        let made = client.ok(create).await;
        text(&made["conversation"])
    }

    /// The newest outcome in the partition of a conversation.
    pub async fn last_outcome(&self, conversation: ConversationId) -> Outcome {
        let partition = conversation.slot().partition(PARTITIONS);
        let last = self.log.last_from_leader(&outcome_stream(partition)).await.unwrap().unwrap();
        placed(partition, last.sequence, &last.payload).unwrap().pop().unwrap().outcome
    }

    /// Takes batches out of the log that nobody has seen, of the partition of this conversation.
    pub async fn lose_batches(&self, conversation: &str) {
        let conversation: ConversationId = conversation.parse().unwrap();
        let name = outcome_stream(conversation.slot().partition(PARTITIONS));
        let stream = async_nats::jetstream::new(self.servers.nats().await).get_stream(name).await.unwrap();
        let last = stream.get_info().await.unwrap().state.last_sequence;
        // Everything before this sequence is gone, and the next batch is to have it.
        stream.purge().sequence(last + 5).await.unwrap();
    }

    /// Begins the drain; what the gateway ended with.
    pub async fn drain(self) -> Result<(), LogError> {
        self.shutdown.cancel();
        self.gateway.await.unwrap()
    }
}

/// A machine that is busy with other tests may not answer the first time.
async fn create(config: &LogConfig) -> Log {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let created = async {
        loop {
            match Log::create(config).await {
                Err(LogError::Transient(_)) => backoff.wait().await,
                created => return created.unwrap(),
            }
        }
    };
    timeout(3 * DEADLINE, created).await.expect("a log in time")
}

fn roles(log: &Log, redis: &Redis, history: &ClickHouse) -> JoinSet<()> {
    let (forever, clock) = (CancellationToken::new(), SystemClock::shared());
    let mut roles = JoinSet::new();
    let views = Runner::new(log.clone(), RedisProjector::new(redis.clone()), clock.clone());
    roles.spawn(run_forever(views.run(forever.clone())));
    let (inserter, inserting) = run_inserter(log.id().clone());
    roles.spawn(run_forever(inserting));
    let store = Runner::new(log.clone(), HistoryProjector::new(history.clone(), inserter), clock.clone());
    roles.spawn(run_forever(store.run(forever.clone())));
    let backends = Backends { log: log.clone(), redis: redis.clone(), clock };
    roles.spawn(async move { role::run(backends, "test", LeaseOptions::default(), forever).await.unwrap() });
    roles
}

async fn run_forever<T>(role: impl Future<Output = T>) {
    role.await;
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
