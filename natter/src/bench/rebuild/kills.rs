//! Rebuilds of a view that are killed and started again until one has switched, over and over.

use std::time::Duration;

use anyhow::{Context, bail};
use natter_projections::clickhouse::generations as history;
use natter_projections::redis::generations as views;
use natter_schemas::random::Random;
use tokio::time::Instant;

use super::child::{Child, Ended};
use super::run::Kills;
use crate::bench::args::Rebuild;
use crate::cli::Running;
use crate::config::Config;
use crate::rebuild::{View, drop_old};
use crate::{audit, connect};

/// The views have applied everything in this.
const CAUGHT_UP_MAX: Duration = Duration::from_mins(5);
/// Rebuilds one after the other that end by themselves without having switched, at most. One that gets no CPU for seconds loses
/// its lease and says that it is to be run again; one that fails for another reason fails again.
const GIVEN_UP_MAX: u32 = 3;

/// Kills the rebuilds of a view so many times, at moments all over the time that an undisturbed one takes (`whole`); lets the
/// last one end, and audits.
///
/// # Errors
/// A rebuild that was not killed fails.
pub async fn kill(view: View, args: &Rebuild, running: &Running, whole: Duration) -> anyhow::Result<Kills> {
    let config = running.config()?;
    let mut random = Random::seeded(args.seed ^ view as u64);
    let micros = u64::try_from(whole.as_micros())?.max(1);
    let (mut kills, mut given_up_in_turn) = (Kills::default(), 0);
    while kills.made() < args.kills && kills.differences == 0 {
        let mut child = Child::start(running, view, args.throttle)?;
        let after = Duration::from_micros(random.below(micros));
        let works = child.until_begun().await? && child.until(Instant::now() + after).await?;
        let killed = if works { child.kill().await? } else { (None, child.until_end().await?) };
        match killed {
            (Some(step), _) => {
                kills.add(step);
                // Perhaps it was the very last that it had to do.
                drop_if_switched(view, &config, &mut kills).await?;
            }
            (None, ended) => take(view, &config, &ended, &mut kills, &mut given_up_in_turn).await?,
        }
    }
    while kills.differences == 0 {
        let (rebuilds, ended) = (kills.rebuilds, Child::start(running, view, args.throttle)?.until_end().await?);
        take(view, &config, &ended, &mut kills, &mut given_up_in_turn).await?;
        if kills.rebuilds > rebuilds {
            break;
        }
    }
    let options = audit::Options { caught_up_within: Some(CAUGHT_UP_MAX), ..audit::Options::default() };
    let audited = audit::run(&running.auditors_config()?, &options).await.context("the audit cannot look")?;
    kills.audit_differences = audited.differences_total;
    Ok(kills)
}

/// One that nobody killed has switched, or ended the switch of one that was killed, or found differences, or gave up.
async fn take(
    view: View,
    config: &Config,
    ended: &Ended,
    kills: &mut Kills,
    given_up_in_turn: &mut u32,
) -> anyhow::Result<()> {
    kills.differences += ended.report.as_ref().map_or(0, |report| report.differences_total);
    if drop_if_switched(view, config, kills).await? || kills.differences > 0 {
        *given_up_in_turn = 0;
        return Ok(());
    }
    kills.given_up += 1;
    *given_up_in_turn += 1;
    if *given_up_in_turn >= GIVEN_UP_MAX {
        bail!("`natter rebuild {}`, started again, failed: {}", view.name(), ended.said);
    }
    Ok(())
}

/// Where the new generation has taken the place of the live one, drops the one before.
async fn drop_if_switched(view: View, config: &Config, kills: &mut Kills) -> anyhow::Result<bool> {
    let is_switched = is_switched(view, config).await.context("cannot see the view's generations")?;
    if is_switched {
        drop_old(config, view).await?;
        kills.rebuilds += 1;
    }
    Ok(is_switched)
}

/// Whether there is an old generation and everybody reads the new one.
async fn is_switched(view: View, config: &Config) -> anyhow::Result<bool> {
    if view == View::ClickHouse {
        let known = history::generations(&connect::clickhouse(config)?).await?;
        return Ok(known.next.is_none() && known.old.is_some() && known.shown == known.live.generation);
    }
    let redis = connect::redis(config).await?;
    let mut is_there = false;
    for partition in 0..config.log.partitions {
        let known = views::generations(&redis, partition).await?;
        if known.next.is_some() {
            return Ok(false);
        }
        is_there |= known.old.is_some();
    }
    Ok(is_there)
}
