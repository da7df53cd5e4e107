//! The next generation of the Redis views: built, compared, and put in the place of the live one, partition by partition.
//!
//! Lists are trimmed late and not always at the same length, so two generations that show the same need not lie there the
//! same. Each is therefore compared with the log, key by key, at the very position that it was read at: the audit does it.

use std::time::Duration;

use anyhow::{Context, bail};
use natter_nats::Log;
use natter_nats::backoff::Backoff;
use natter_projections::redis::generations::{self, Filled, Generations, generations};
use natter_projections::redis::{FOLD_VERSION, Redis, RedisProjector};
use natter_schemas::subjects::outcome_stream;
use tokio::time::Instant;

use super::Options;
use super::following::{Following, Progress, Step};
use super::report::{Compared, Differences, Report, rate};
use crate::audit::redis::RedisSide;
use crate::audit::report::Differences as Found;
use crate::config::Config;
use crate::connect;

/// Both generations follow the log some milliseconds behind it, so one of them is soon not behind the other.
const MEETS_WITHIN: Duration = Duration::from_mins(1);

pub(super) async fn rebuild(
    config: &Config,
    log: &Log,
    options: &Options,
    mut tell: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let began = Instant::now();
    tell(&Progress::default());
    let redis = connect::redis(config).await?;
    let begun = begin(&redis, log.partitions()).await?;
    let partitions: Vec<u16> = begun.iter().map(|one| one.partition).collect();
    let projector = RedisProjector::new(redis.next());
    let mut following = Following::start(log, &partitions, projector, options.throttle);
    following.keep_up(&mut tell).await?;
    let build_seconds = began.elapsed().as_secs_f64();

    tell(&following.built(Step::Compare));
    let (mut found, mut compared) = (Differences::new(options.differences_max), Vec::new());
    for partition in &partitions {
        compared.push(compare(log, &redis, *partition, &mut found).await?);
    }
    let records = following.records();
    let switched = found.total == 0 || options.accept;
    if switched {
        tell(&following.built(Step::Switch));
        for one in &begun {
            switch(&redis, one, &following).await?;
        }
    }
    following.stop().await;
    let highest = |of: fn(&Begun) -> u64| begun.iter().map(of).max().unwrap_or(0);
    Ok(Report {
        view: "redis",
        switched,
        generation: highest(|one| one.next),
        live: highest(|one| one.live),
        records,
        build_seconds,
        records_per_second: rate(records, build_seconds),
        seconds: began.elapsed().as_secs_f64(),
        partitions: compared,
        differences_total: found.total,
        differences: found.kept,
    })
}

pub(super) async fn drop_old(config: &Config, partitions: u16) -> anyhow::Result<Option<u64>> {
    let redis = connect::redis(config).await?;
    let mut dropped = None;
    for partition in 0..partitions {
        let one = generations::drop_old(&redis, partition).await.context("cannot drop the old generation")?;
        dropped = dropped.max(one);
    }
    Ok(dropped)
}

pub(super) async fn discard(config: &Config, partitions: u16) -> anyhow::Result<Option<u64>> {
    let redis = connect::redis(config).await?;
    let mut dropped = None;
    for partition in 0..partitions {
        let one = generations::discard(&redis, partition).await.context("cannot drop the new generation")?;
        dropped = dropped.max(one);
    }
    Ok(dropped)
}

/// Whether every partition was switched, and its old generation is still there.
pub(super) async fn is_switched(config: &Config) -> anyhow::Result<bool> {
    let redis = connect::redis(config).await?;
    for partition in 0..config.log.partitions {
        let Generations { next, old, .. } = look(&redis, partition).await?;
        if next.is_some() || old.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A partition whose next generation is built; each counts its own.
struct Begun {
    partition: u16,
    live: u64,
    next: u64,
}

/// Begins, or goes on with, the next generation of every partition that has not been switched.
async fn begin(redis: &Redis, partitions: u16) -> anyhow::Result<Vec<Begun>> {
    let mut known = Vec::new();
    for partition in 0..partitions {
        known.push((partition, look(redis, partition).await?));
    }
    // Old ones beside next ones: a switch ended in the middle, and those that have an old one are done.
    if !known.iter().any(|(_, one)| one.next.is_some())
        && let Some((partition, Generations { old: Some(old), .. })) = known.iter().find(|(_, one)| one.old.is_some())
    {
        bail!(
            "generation {old} of partition {partition} is still kept beside the live one: drop it first with `natter rebuild --drop-old redis`"
        );
    }
    known.retain(|(_, one)| one.old.is_none());
    let mut begun = Vec::new();
    for (partition, _) in known {
        generations::begin(redis, partition).await.context("cannot begin the next generation")?;
        let Generations { live, next, .. } = look(redis, partition).await?;
        let Some(Filled { generation: next, fold }) = next else {
            bail!("redis was emptied meanwhile: run this again")
        };
        if fold != FOLD_VERSION {
            bail!(
                "generation {next} of partition {partition} was begun by version {fold} of the views' code, this binary has {FOLD_VERSION}: drop it with `natter rebuild --discard redis`"
            );
        }
        begun.push(Begun { partition, live: live.generation, next });
    }
    Ok(begun)
}

async fn look(redis: &Redis, partition: u16) -> anyhow::Result<Generations> {
    generations(redis, partition).await.context("cannot see the generations of the redis views")
}

/// Compares both generations of a partition with the log.
async fn compare(log: &Log, redis: &Redis, partition: u16, found: &mut Differences) -> anyhow::Result<Compared> {
    let mut compared = Compared { partition, position: 0, compared: 0, live: None, next: None };
    for (which, handle) in [("the live generation", redis.clone()), ("the new generation", redis.next())] {
        let mut side = RedisSide::new(log, partition, handle, found.kept_max);
        let claimed = side.watermark().await?;
        // After the watermark: no view can be further than a log that was looked at later.
        let last = log.bounds(&outcome_stream(partition)).await.context("cannot see the log's end")?.last;
        let mut differing = Found::of(Some(partition), found.kept_max);
        let view = side.compare(&claimed, last, true, &mut differing).await?.unwrap_or_default();
        (compared.position, compared.compared) = (view.watermark, view.compared);
        found.total += differing.total - differing.kept.len() as u64;
        for one in differing.kept {
            found.add(partition, one.place, &format!("{which}: {}", one.detail));
        }
    }
    Ok(compared)
}

/// One script: it checks that the new one is not behind.
async fn switch(redis: &Redis, one: &Begun, following: &Following) -> anyhow::Result<()> {
    let (deadline, mut backoff) =
        (Instant::now() + MEETS_WITHIN, Backoff::new(Duration::from_millis(1), Duration::from_millis(20)));
    while !generations::switch(redis, one.partition, one.next).await.context("cannot switch")? {
        if Instant::now() >= deadline {
            bail!("the new generation of partition {} does not come to where the live one stands", one.partition);
        }
        backoff.wait().await;
    }
    following.end(one.partition);
    Ok(())
}
