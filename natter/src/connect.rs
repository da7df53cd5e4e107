//! From a configuration to connections.

use std::sync::Arc;

use anyhow::Context;
use natter_gateway::auth::TenantKeys;
use natter_nats::backoff::until_there;
use natter_nats::{Log, LogConfig, LogError, StreamBytes};
use natter_projections::clickhouse::{ClickHouse, ClickHouseConfig};
use natter_projections::error::ViewError;
use natter_projections::objects::{Objects, ObjectsConfig};
use natter_projections::redis::Redis;
use natter_schemas::names::Tenant;

use crate::archive;
use crate::config::{Config, Need, Secret, TenantsSection};

fn given<'c>(value: Option<&'c str>, key: &str) -> anyhow::Result<&'c str> {
    value.with_context(|| format!("{key} is not configured"))
}

/// How this process reaches the log as `role`.
///
/// # Errors
/// The address is not configured.
pub fn log_config(config: &Config, role: &str) -> anyhow::Result<LogConfig> {
    let section = &config.log;
    let url = given(section.url.as_ref().map(Secret::expose), "log.url")?;
    let bytes = StreamBytes::given(section.command_bytes_max, section.outcome_bytes_max);
    let name = format!("natter {role}");
    Ok(LogConfig { url: url.to_owned(), name, partitions: section.partitions, replicas: section.replicas, bytes })
}

/// The log, which must be there.
///
/// # Errors
/// The broker is away, or it has another log than is configured.
pub async fn log(config: &Config, role: &str) -> anyhow::Result<Log> {
    let log = Log::connect(&log_config(config, role)?).await.context("cannot open the log")?;
    with_archive(config, log)
}

/// The log with its archive, where S3 is configured.
///
/// # Errors
/// A part of what S3 needs is not configured.
pub fn with_archive(config: &Config, log: Log) -> anyhow::Result<Log> {
    if config.require(&[Need::S3]).is_err() {
        return Ok(log);
    }
    let segments = archive::segments(config, &log)?;
    Ok(log.with_archive(Arc::new(segments)))
}

/// The log, for a process that may have been started before its broker: what is away is waited for.
///
/// # Errors
/// The broker refuses, or it has another log than is configured.
pub async fn log_when_there(config: &Config, role: &str) -> anyhow::Result<Log> {
    let log_config = log_config(config, role)?;
    let reached = until_there("the log", LogError::is_transient, || Log::connect(&log_config)).await;
    with_archive(config, reached.context("cannot open the log")?)
}

/// The Redis views, for such a process.
///
/// # Errors
/// Redis refuses, or is not fit.
pub async fn redis_when_there(config: &Config) -> anyhow::Result<Redis> {
    let url = redis_url(config)?;
    let reached = until_there("redis", ViewError::is_transient, || Redis::connect(url)).await;
    reached.context("cannot use redis")
}

/// The Redis views.
///
/// # Errors
/// Redis is away or not fit.
pub async fn redis(config: &Config) -> anyhow::Result<Redis> {
    Redis::connect(redis_url(config)?).await.context("cannot use redis")
}

fn redis_url(config: &Config) -> anyhow::Result<&str> {
    given(config.redis.url.as_ref().map(Secret::expose), "redis.url")
}

/// Deletes every key of Redis: for those who prove that the views come back.
///
/// # Errors
/// Redis is away, or its user may not.
pub async fn flush_redis(config: &Config) -> anyhow::Result<()> {
    let url = given(config.redis.url.as_ref().map(Secret::expose), "redis.url")?;
    let client = redis::Client::open(url).context("not a redis url")?;
    let mut connection = client.get_multiplexed_async_connection().await.context("redis does not answer")?;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.context("redis refuses")
}

/// The history. Nothing is asked yet.
///
/// # Errors
/// The address is not configured.
pub fn clickhouse(config: &Config) -> anyhow::Result<ClickHouse> {
    let section = &config.clickhouse;
    Ok(ClickHouse::new(&ClickHouseConfig {
        url: given(section.url.as_deref(), "clickhouse.url")?.to_owned(),
        user: section.user.clone(),
        password: section.password.as_ref().map_or(String::new(), |password| password.expose().to_owned()),
        database: section.database.clone(),
    }))
}

/// The bucket. Nothing is asked yet.
///
/// # Errors
/// The address is not configured.
pub fn objects(config: &Config) -> anyhow::Result<Objects> {
    let section = &config.s3;
    Ok(Objects::new(&ObjectsConfig {
        endpoint: given(section.endpoint.as_deref(), "s3.endpoint")?.to_owned(),
        region: section.region.clone(),
        bucket: section.bucket.clone(),
        access_key: given(section.access_key.as_deref(), "s3.access_key")?.to_owned(),
        secret_key: given(section.secret_key.as_ref().map(Secret::expose), "s3.secret_key")?.to_owned(),
    }))
}

/// The keys of the tenants' tokens, and whom these have to be for.
///
/// # Errors
/// A key is too short.
pub fn tenant_keys(section: &TenantsSection) -> anyhow::Result<TenantKeys> {
    let tenant = |name: &String| Tenant::try_from(name.as_str()).context("a tenant's name");
    let mut keys = Vec::with_capacity(section.keys.len());
    for (name, key) in &section.keys {
        keys.push((tenant(name)?, key.expose().as_bytes().to_vec()));
    }
    let mut audiences = Vec::with_capacity(section.audiences.len());
    for (name, audience) in &section.audiences {
        audiences.push((tenant(name)?, audience.clone()));
    }
    let master = section.master.as_ref().map(|master| master.expose().as_bytes().to_vec());
    Ok(TenantKeys::new(keys, master)?.with_audiences(audiences, section.audience.clone()))
}
