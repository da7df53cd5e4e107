//! `natter archive`: what of the log lies in the bucket, whether it is what was put there, and filling it at once.

mod report;
mod verify;

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use natter_nats::Log;
use natter_nats::clock::SystemClock;
use natter_projections::archive::{Archiver, Closing, Segments};
use natter_schemas::subjects::outcome_stream;

pub use self::report::{Done, Status, Verified};
use self::report::{Put, Standing};
pub use self::verify::verify;
use crate::cli::{Running, parse_duration};
use crate::config::{ArchiveSection, Config};
use crate::connect;

/// `natter archive`.
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Show which batches of each partition are in the bucket, and which NATS still has.
    Status(Asked),
    /// Read every segment back and compare it with its manifest, with its neighbours, and with NATS where that still has it; exit
    /// code 1 on any difference.
    Verify(Asked),
    /// Archive everything that was stored so far at once, instead of when a segment is full or old, and trim what is older than --keep.
    ///
    /// The projectors do so by themselves; this is for who needs room now, or stops a system for long.
    Now(Now),
}

/// Which system, and how it is shown.
#[derive(Debug, Args)]
pub struct Asked {
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// Print the answer as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// `natter archive now`.
#[derive(Debug, Args)]
pub struct Now {
    /// Which system, and how the answer is shown.
    #[command(flatten)]
    pub asked: Asked,
    /// Trim what was stored longer ago, such as 0s, 15m or 7d; without it, as archive.keep_seconds says. What a view has not got yet is never trimmed.
    #[arg(long, value_parser = parse_duration)]
    pub keep: Option<Duration>,
}

/// When segments are closed, by the configuration.
pub fn closing(section: &ArchiveSection) -> Closing {
    Closing {
        bytes: section.segment_bytes,
        age: Duration::from_secs(section.segment_seconds),
        keep: Duration::from_secs(section.keep_seconds),
    }
}

/// The archive of this log.
///
/// # Errors
/// S3 is not configured.
pub fn segments(config: &Config, log: &Log) -> anyhow::Result<Segments> {
    Ok(Segments::new(connect::objects(config)?, log.id().clone()))
}

/// What lies where.
///
/// # Errors
/// NATS or S3 is away, or a manifest is none.
pub async fn status(config: &Config) -> anyhow::Result<Status> {
    let log = connect::log(config, "archive").await?;
    let segments = segments(config, &log)?;
    let mut partitions = Vec::new();
    for partition in 0..log.partitions() {
        let bounds = log.bounds(&outcome_stream(partition)).await.context("cannot see the log")?;
        let spans = segments.spans(partition).await.context("cannot see the archive")?;
        let mut standing = Standing::new(partition, &bounds, segments.end(partition).await?);
        for span in spans {
            standing.add(&segments.manifest(partition, span).await.context("cannot read a manifest")?);
        }
        partitions.push(standing);
    }
    Ok(Status { log: log.id().to_string(), partitions })
}

/// Archives and trims at once.
///
/// # Errors
/// NATS, S3 or a view is away, or the archive and the log do not fit together.
pub async fn now(config: &Config, keep: Option<Duration>) -> anyhow::Result<Done> {
    let log = connect::log(config, "archive").await?;
    let configured = closing(&config.archive);
    let closing = Closing { age: Duration::ZERO, keep: keep.unwrap_or(configured.keep), ..configured };
    let (redis, clickhouse) = (connect::redis(config).await?, connect::clickhouse(config)?);
    let segments = segments(config, &log)?;
    let archiver = Archiver::new(log.clone(), segments, redis, clickhouse, closing, SystemClock::shared());
    let mut partitions = Vec::new();
    for partition in 0..log.partitions() {
        partitions.push(Put::of(partition, archiver.catch_up(partition).await.context("cannot archive")?));
    }
    Ok(Done { partitions })
}
