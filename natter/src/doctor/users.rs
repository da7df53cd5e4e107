//! Whether each role's user is held to its work: it tries what it must not be able to do, none of which would change anything.

use std::time::Duration;

use natter_nats::server::ServerRole;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::finding::{Finding, Report};
use crate::backends::{self, ClickHouse, Endpoints};
use crate::config::{Config, Secret};

/// Nobody but an administrator may ask this; the empty request of one who may is refused as malformed.
const NATS_FORBIDDEN: &str = "$JS.API.STREAM.CREATE.natter-doctor";
const CLICKHOUSE_FORBIDDEN: &str = "DROP DATABASE IF EXISTS natter_doctor_has_none";
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ROLES: [ServerRole; 4] = [ServerRole::Gateway, ServerRole::Processor, ServerRole::Projector, ServerRole::Auditor];

/// Every role's users, where natter made them.
pub async fn examine(users: &Endpoints, report: &mut Report) {
    let mend = "start the system again: it writes its users at each start";
    for (check, server) in
        [("nats users", Server::Nats), ("redis users", Server::Redis), ("clickhouse users", Server::ClickHouse)]
    {
        let mut faults = Vec::new();
        for role in ROLES {
            match server.holds(&users.of(role)).await {
                Ok(true) => {}
                Ok(false) => faults.push(format!("{} may do what only an administrator should", role.user())),
                Err(error) => faults.push(format!("{} cannot be tried: {error:#}", role.user())),
            }
        }
        let seen =
            if faults.is_empty() { "each role may do its work and no more".to_owned() } else { faults.join("; ") };
        report.add(Finding::expect(check, faults.is_empty(), seen, mend));
    }
}

/// The users that a configuration names: a role's should not be administrators.
pub async fn examine_own(config: &Config, report: &mut Report) {
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(Secret::expose).map(str::to_owned);
    let Some((nats_url, redis_url)) = exposed(&config.log.url).zip(exposed(&config.redis.url)) else { return };
    let Some(url) = config.clickhouse.url.clone() else { return };
    let password = exposed(&config.clickhouse.password).unwrap_or_default();
    let history = ClickHouse { url, user: config.clickhouse.user.clone(), password };
    let mend = "give each role its own user (nats/server.conf, deploy/redis.acl, deploy/clickhouse-users.xml): with this one, a gateway that is taken over has everything";
    for (check, holds) in [
        ("nats user", nats(&nats_url).await),
        ("redis user", redis(&redis_url).await),
        ("clickhouse user", clickhouse(&history).await),
    ] {
        match holds {
            Ok(true) => report.add(Finding::ok(check, "is no administrator")),
            Ok(false) => report.add(Finding::warning(check, "may do everything", mend)),
            // It was said already that it does not answer.
            Err(_) => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Server {
    Nats,
    Redis,
    ClickHouse,
}

impl Server {
    /// Whether the user is refused what it should be.
    async fn holds(self, users: &Endpoints) -> anyhow::Result<bool> {
        match self {
            Self::Nats => nats(&users.nats_url).await,
            Self::Redis => redis(&users.redis_url).await,
            Self::ClickHouse => clickhouse(&users.clickhouse).await,
        }
    }
}

async fn nats(url: &str) -> anyhow::Result<bool> {
    let (heard, mut refusals) = mpsc::channel(16);
    let options = backends::nats_connect_options(url)?.connection_timeout(ANSWER_WITHIN).event_callback(move |event| {
        let heard = heard.clone();
        async move { heard.try_send(event.to_string()).unwrap_or_default() }
    });
    let client = backends::nats_connect(url, options).await?;
    // Whoever may do that may also listen to the answer, which comes instead of a refusal.
    let mut answers = client.subscribe(format!("_INBOX_{}.doctor", user_of(url))).await?;
    client.publish_with_reply(NATS_FORBIDDEN, format!("_INBOX_{}.doctor", user_of(url)), "".into()).await?;
    client.flush().await?;
    let refused = async {
        loop {
            match refusals.recv().await {
                Some(event) if event.contains(NATS_FORBIDDEN) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    let held = async {
        tokio::select! {
            refused = refused => refused,
            _ = futures_util::StreamExt::next(&mut answers) => false,
        }
    };
    Ok(timeout(ANSWER_WITHIN, held).await?)
}

/// Of `nats://user:password@host`; empty where there is none.
fn user_of(url: &str) -> &str {
    let credentials =
        url.split_once("://").map_or(url, |(_, rest)| rest).split_once('@').map_or("", |(before, _)| before);
    credentials.split_once(':').map_or(credentials, |(user, _)| user)
}

async fn redis(url: &str) -> anyhow::Result<bool> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async::<()>(&mut connection).await?;
    Ok(redis::cmd("CONFIG").arg("GET").arg("maxmemory").query_async::<redis::Value>(&mut connection).await.is_err())
}

async fn clickhouse(history: &ClickHouse) -> anyhow::Result<bool> {
    let ClickHouse { url, user, password } = history;
    let client = clickhouse::Client::default().with_url(url).with_user(user).with_password(password);
    client.query("SELECT 1").execute().await?;
    Ok(client.query(CLICKHOUSE_FORBIDDEN).execute().await.is_err())
}
