//! Which backends `up` starts, and which it is given.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use natter_nats::server::Fsync;

use super::{Options, say};
use crate::backends::{self, Backend, ClickHouse, Given, Notice, S3};
use crate::config::{Config, Secret};

/// How the backends are to start.
///
/// # Errors
/// This program's own file cannot be found, from which the children are started.
pub fn backends(options: &Options) -> anyhow::Result<backends::Options> {
    let is_for_people = !options.json && std::io::stderr().is_terminal();
    Ok(backends::Options {
        data: options.data.clone(),
        shim: std::env::current_exe().context("cannot find this program's own file")?,
        which: Backend::ALL.to_vec(),
        given: given(&options.config),
        partitions: options.config.log.partitions,
        fsync: Fsync::Always,
        database: options.config.clickhouse.database.clone(),
        bucket: options.config.s3.bucket.clone(),
        notify: Arc::new(move |notice| tell(&notice, is_for_people)),
    })
}

/// What the configuration says runs elsewhere.
pub fn given(config: &Config) -> Given {
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    // The configuration was checked: an endpoint comes with its keys.
    let s3 = config.s3.endpoint.as_ref().map(|endpoint| S3 {
        endpoint: endpoint.clone(),
        region: config.s3.region.clone(),
        access_key: config.s3.access_key.clone().unwrap_or_default(),
        secret_key: exposed(&config.s3.secret_key).unwrap_or_default(),
    });
    let clickhouse = config.clickhouse.url.as_ref().map(|url| ClickHouse {
        url: url.clone(),
        user: config.clickhouse.user.clone(),
        password: exposed(&config.clickhouse.password).unwrap_or_default(),
    });
    Given { nats_url: exposed(&config.log.url), redis_url: exposed(&config.redis.url), clickhouse, s3 }
}

/// The section of the configuration that is about this backend.
pub fn section(backend: Backend) -> &'static str {
    match backend {
        Backend::Nats => "log",
        Backend::Redis => "redis",
        Backend::S3 => "s3",
        Backend::ClickHouse => "clickhouse",
    }
}

/// Deaths and failures are in the logs already; what is fetched is not.
fn tell(notice: &Notice, is_for_people: bool) {
    match notice {
        Notice::Fetching { .. } | Notice::Fetched { .. } if is_for_people => say(&notice.to_string()),
        Notice::Fetching { backend, .. } | Notice::Fetched { backend, .. } => tracing::info!(%backend, "{notice}"),
        Notice::Slow { .. } | Notice::Unwell { .. } | Notice::Restarting { .. } | Notice::Failed { .. } => {}
    }
}
