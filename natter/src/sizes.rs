//! `natter sizes`: what a message costs in each store, as the stores themselves tell.

use std::fmt;

use anyhow::Context;
use natter_nats::StreamLook;
use serde::Serialize;

use crate::config::{Config, Secret};
use crate::connect;

/// What lies where.
#[derive(Debug, Clone, Serialize)]
pub struct Sizes {
    /// Messages in the history, each once.
    pub messages: u64,
    /// The stores.
    pub stores: Vec<Store>,
}

/// A store's bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Store {
    /// What it is.
    pub name: String,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes for each message.
    pub bytes_per_message: f64,
}

/// Asks every store of a running system. Figures of a system that is at rest are the exact ones: what is written now is counted in one store and not yet in
/// another.
///
/// # Errors
/// A store does not answer.
pub async fn sizes(config: &Config) -> anyhow::Result<Sizes> {
    let clickhouse = connect::clickhouse(config)?.live().await.context("cannot see the history")?;
    let count = format!("SELECT count() FROM {} FINAL", clickhouse.table("messages"));
    let messages: u64 = clickhouse.client().query(&count).fetch_one().await.context("cannot count messages")?;

    let mut bytes = log(config).await?;
    bytes.extend(views(config).await?);
    let parts = "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = ? GROUP BY table ORDER BY table";
    let tables: Vec<(String, u64)> = clickhouse
        .client()
        .query(parts)
        .bind(clickhouse.store())
        .fetch_all()
        .await
        .context("cannot see the tables' sizes")?;
    bytes.extend(tables.into_iter().map(|(table, bytes)| (format!("clickhouse {table}"), bytes)));
    Ok(Sizes { messages, stores: bytes.into_iter().map(|(name, bytes)| Store::new(name, bytes, messages)).collect() })
}

/// All `CMD_p` together, all `EVT_p`, each bucket.
async fn log(config: &Config) -> anyhow::Result<Vec<(String, u64)>> {
    let log = connect::log(config, "sizes").await?;
    let streams = log.streams(&connect::log_config(config, "sizes")?).await.context("cannot see the streams' sizes")?;
    let sum = |prefix: &str| {
        let bytes =
            streams.iter().filter(|one| one.name.starts_with(prefix)).map(|StreamLook { bytes, .. }| bytes).sum();
        (format!("nats {prefix}*"), bytes)
    };
    Ok(["CMD", "EVT", "KV"].map(sum).into())
}

/// In memory without what an empty server takes, and in its file.
async fn views(config: &Config) -> anyhow::Result<Vec<(String, u64)>> {
    let url = config.redis.url.as_ref().map(Secret::expose).context("redis.url is not configured")?;
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await.context("redis is away")?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await.context("redis refuses INFO")?;
    let number = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Ok(vec![
        ("redis memory".to_owned(), number("used_memory_dataset")),
        ("redis file".to_owned(), number("aof_current_size")),
    ])
}

impl Store {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn new(name: String, bytes: u64, messages: u64) -> Self {
        Self { name, bytes, bytes_per_message: bytes as f64 / messages.max(1) as f64 }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} messages", self.messages)?;
        for Store { name, bytes, bytes_per_message } in &self.stores {
            write!(formatter, "\n{name:24} {bytes:>14} bytes  {bytes_per_message:>9.1} a message")?;
        }
        Ok(())
    }
}
