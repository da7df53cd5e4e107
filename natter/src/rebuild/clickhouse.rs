//! The next generation of the history: built, compared, and put in the place of the live one.

use std::time::Duration;

use anyhow::{Context, bail};
use natter_nats::Log;
use natter_projections::clickhouse::generations::generations;
use natter_projections::clickhouse::{ClickHouse, HistoryProjector, POINTER_SERVES, rebuild, run_inserter, watermark};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Options;
use super::compare::compare;
use super::following::{Following, Progress, Step};
use super::report::{Differences, Report, rate};
use crate::config::Config;
use crate::connect;

/// Both generations are fed by the log; one that does not come to the other's position within this is not fed any more.
const MEETS_WITHIN: Duration = Duration::from_mins(2);
/// Parts of a table that wait to be merged, at most: with 1,000 ClickHouse begins to delay inserts.
const PARTS_MAX: u64 = 800;
/// Looks at the old generation that find it where it was: then nobody writes it any more.
const RESTS: u32 = 3;

pub(super) async fn rebuild(
    config: &Config,
    log: &Log,
    options: &Options,
    mut tell: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let began = Instant::now();
    tell(&Progress::default());
    let clickhouse = connect::clickhouse(config)?;
    end_switch(&clickhouse, log.partitions()).await?;
    let live = rebuild::live(&clickhouse).await.context("cannot see the history")?;
    let next = rebuild::begin(&clickhouse).await.context("cannot begin the next generation")?;
    let merging = MergesLater::begin(&next).await;
    // It ends when the projector, which is the runner's, has gone.
    let (handle, inserter) = run_inserter(log.id().clone());
    let inserter = tokio::spawn(inserter);
    let projector = HistoryProjector::new(next.clone(), handle);
    let partitions: Vec<u16> = (0..log.partitions()).collect();
    let mut following = Following::start(log, &partitions, projector, options.throttle);
    following.keep_up(&mut tell).await?;
    let build_seconds = began.elapsed().as_secs_f64();
    let records = following.records();
    merging.end(&next).await?;

    tell(&following.built(Step::Compare));
    let (mut found, mut compared) = (Differences::new(options.differences_max), Vec::new());
    for partition in partitions {
        compared.push(compare(log, &live, &next, partition, &mut found).await?);
    }
    let switched = found.total == 0 || options.accept;
    if switched {
        tell(&following.built(Step::Switch));
        switch(&clickhouse, log.partitions(), &live, &next, following).await?;
    } else {
        following.stop().await;
    }
    inserter.await.context("the inserter broke")?;
    Ok(Report {
        view: "clickhouse",
        switched,
        generation: next.generation().number().into(),
        live: live.generation().number().into(),
        records,
        build_seconds,
        records_per_second: rate(records, build_seconds),
        seconds: began.elapsed().as_secs_f64(),
        partitions: compared,
        differences_total: found.total,
        differences: found.kept,
    })
}

/// Parts are merged when there are many of them or the generation is built. Merged as they come, as it is elsewhere, a row is merged
/// two or three times, which takes the server as much as inserting it.
struct MergesLater(Option<JoinSet<()>>);

impl MergesLater {
    async fn begin(next: &ClickHouse) -> Self {
        if let Err(error) = rebuild::merge_parts(next, false).await {
            // It is slower, that is all.
            tracing::warn!(%error, "parts are merged while the history is built");
            return Self(None);
        }
        let mut watching = JoinSet::new();
        watching.spawn(merge_when_many(next.clone()));
        Self(Some(watching))
    }

    async fn end(self, next: &ClickHouse) -> anyhow::Result<()> {
        let Self(Some(watching)) = self else { return Ok(()) };
        drop(watching);
        rebuild::merge_parts(next, true)
            .await
            .context("the new generation's parts are not merged: run it again, it goes on")
    }
}

async fn merge_when_many(next: ClickHouse) {
    let mut looks = looks();
    loop {
        looks.tick().await;
        if rebuild::parts_max(&next).await.is_ok_and(|parts| parts >= PARTS_MAX)
            && rebuild::merge_parts(&next, true).await.is_ok()
        {
            return;
        }
    }
}

/// Whether there is a next generation, or one whose switch did not come to its end.
pub(super) async fn is_begun(config: &Config) -> anyhow::Result<bool> {
    let clickhouse = connect::clickhouse(config)?;
    let known = generations(&clickhouse).await.context("cannot see the history's generations")?;
    Ok(known.next.is_some() || known.shown != known.live.generation)
}

pub(super) async fn drop_old(config: &Config) -> anyhow::Result<Option<u64>> {
    let dropped = rebuild::drop_old(&connect::clickhouse(config)?).await.context("cannot drop the old generation")?;
    Ok(dropped.map(|generation| generation.number().into()))
}

pub(super) async fn discard(config: &Config) -> anyhow::Result<Option<u64>> {
    let dropped = rebuild::discard(&connect::clickhouse(config)?).await.context("cannot drop the new generation")?;
    Ok(dropped.map(|generation| generation.number().into()))
}

/// Ends the switch of a rebuild that was killed in the middle of it: its generation is live, and the views read the other.
async fn end_switch(clickhouse: &ClickHouse, partitions: u16) -> anyhow::Result<()> {
    let known = generations(clickhouse).await.context("cannot see the history's generations")?;
    if known.shown == known.live.generation {
        return Ok(());
    }
    let shown = rebuild::shown(clickhouse).await.context("cannot see the history's generations")?;
    let live = rebuild::live(clickhouse).await.context("cannot see the history's generations")?;
    show(clickhouse, partitions, &shown, &live).await
}

/// Roles first, the analysts' views when nobody writes the old generation any more: neither ever shows less than before.
/// A read of a role is of one generation from begin to end and has the rest from the log, so it is whole with either.
async fn switch(
    clickhouse: &ClickHouse,
    partitions: u16,
    live: &ClickHouse,
    next: &ClickHouse,
    following: Following,
) -> anyhow::Result<()> {
    let (mut looks, deadline) = (looks(), Instant::now() + MEETS_WITHIN);
    loop {
        looks.tick().await;
        if !is_behind(partitions, live, next).await? {
            break;
        }
        if Instant::now() >= deadline {
            bail!("the new generation does not come to where the live one stands; nothing was switched");
        }
    }
    // Before the projectors come: of two who write, the later note may be the lower one.
    following.stop().await;
    rebuild::go_live(next).await.context("cannot switch")?;
    show(clickhouse, partitions, live, next).await
}

/// Lets the analysts' views read `next`, which roles read already, as soon as `old` rests and `next` has all of it. Every
/// projector notices a switch within a second, and may then end one insert.
async fn show(clickhouse: &ClickHouse, partitions: u16, old: &ClickHouse, next: &ClickHouse) -> anyhow::Result<()> {
    let (mut looks, deadline) = (looks(), Instant::now() + MEETS_WITHIN);
    let (mut rested, mut stood) = (0, marks(partitions, old).await?);
    while rested < RESTS || is_behind(partitions, old, next).await? {
        looks.tick().await;
        let stands = marks(partitions, old).await?;
        rested = if stands == stood { rested + 1 } else { 0 };
        stood = stands;
        if Instant::now() >= deadline {
            bail!(
                "generation {} is live, but does not come to where {} stands, so the analysts' views still read that: see that every projector runs and is of this binary, then run this again",
                next.generation(),
                old.generation()
            );
        }
    }
    rebuild::show_live(clickhouse).await.context("the analysts' views still read the old generation; run this again")
}

fn looks() -> Interval {
    let mut looks = interval(POINTER_SERVES);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Whether `next` has not yet all that `live` has.
async fn is_behind(partitions: u16, live: &ClickHouse, next: &ClickHouse) -> anyhow::Result<bool> {
    let live = marks(partitions, live).await?;
    let next = marks(partitions, next).await?;
    Ok(next.iter().zip(&live).any(|(next, live)| next < live))
}

async fn marks(partitions: u16, of: &ClickHouse) -> anyhow::Result<Vec<u64>> {
    let mut marks = Vec::new();
    for partition in 0..partitions {
        marks.push(watermark(of, partition, 0).await.context("cannot see how far a generation is")?.sequence);
    }
    Ok(marks)
}
