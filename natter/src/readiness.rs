//! Whether everything that a process needs is there, by name.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use natter_gateway::{Dependency, Readiness};
use natter_nats::{Log, held, role};
use natter_projections::clickhouse::ClickHouse;
use natter_projections::objects::Objects;
use natter_projections::redis::Redis;
use tokio::time::timeout;

/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// What a process depends on. What it has no part in is absent.
#[derive(Clone, Default)]
pub struct Dependencies {
    /// NATS, and whether every partition has a processor.
    pub log: Option<Log>,
    /// The views.
    pub redis: Option<Redis>,
    /// The history; away is degraded.
    pub clickhouse: Option<ClickHouse>,
    /// Objects; away is degraded.
    pub objects: Option<Objects>,
    /// Whether this process needs processors to be of use.
    pub processors: bool,
}

impl Readiness for Dependencies {
    fn check(&self) -> BoxFuture<'_, Vec<Dependency>> {
        async {
            let mut checks: Vec<BoxFuture<'_, Dependency>> = Vec::new();
            if let Some(log) = &self.log {
                checks.push(dependency("nats", true, nats(log)).boxed());
                if self.processors {
                    checks.push(dependency("processors", true, processors(log)).boxed());
                }
            }
            if let Some(redis) = &self.redis {
                checks.push(dependency("redis", true, async { redis.ping().await.map_err(|e| e.to_string()) }).boxed());
            }
            if let Some(clickhouse) = &self.clickhouse {
                let ping = async { clickhouse.ping().await.map_err(|error| error.to_string()) };
                checks.push(dependency("clickhouse", false, ping).boxed());
            }
            if let Some(objects) = &self.objects {
                let check = async { objects.check().await.map_err(|error| error.to_string()) };
                checks.push(dependency("s3", false, check).boxed());
            }
            join_all(checks).await
        }
        .boxed()
    }
}

async fn dependency(name: &str, required: bool, check: impl Future<Output = Result<(), String>>) -> Dependency {
    let answered = timeout(ANSWER_WITHIN, check).await;
    let detail = match answered {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some("no answer in time".to_owned()),
    };
    Dependency { name: name.to_owned(), ready: detail.is_none(), required, detail }
}

async fn nats(log: &Log) -> Result<(), String> {
    log.client().flush().await.map_err(|error| error.to_string())?;
    if log.is_connected() { Ok(()) } else { Err("not connected".to_owned()) }
}

async fn processors(log: &Log) -> Result<(), String> {
    let held = held(log, role::PROCESSOR).await.map_err(|error| error.to_string())?;
    let missing: Vec<_> = (0..log.partitions()).filter(|p| !held.contains(p)).map(|p| p.to_string()).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no processor for partition(s) {}", missing.join(", "))) }
}
