//! A server that stays away for a while, while clients chat on: what they notice of it, and how long the views need to catch
//! up when it is back.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum;
use natter_nats::Log;
use natter_projections::clickhouse::{ClickHouse, watermark as history_watermark};
use natter_projections::redis::{Redis, watermark as views_watermark};
use natter_schemas::position::Position;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::parts::Part;
use super::system::System;
use super::truth::ends;
use super::waits::{Percentiles, Waits};
use crate::backends::Backend;
use crate::connect;

/// Of the time that is left beside the outage, so much lies before it; the rest is for catching up.
const BEFORE_SHARE: u32 = 3;
/// At most so much.
const BEFORE_MAX: Duration = Duration::from_mins(1);
/// And at least so much: clients have made their rooms.
const BEFORE_MIN: Duration = Duration::from_secs(2);
/// A view that needs longer has not caught up.
const CAUGHT_UP_MAX: Duration = Duration::from_mins(5);
/// Who shows what the log had so short a time ago keeps up with it: the history takes what there is once a second.
const KEEPS_UP_WITHIN: Duration = Duration::from_secs(5);
/// Each look asks the server that has to catch up.
const LOOK: Duration = Duration::from_millis(250);

/// Which server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Away {
    /// The history: killed, and started again when the time is over.
    Clickhouse,
    /// The history: it takes connections and answers nothing (SIGSTOP) until the time is over.
    ClickhouseHangs,
    /// The hot views: all of Redis is lost at once (FLUSHALL), and it is there as before.
    Redis,
    /// The objects: as ClickHouse.
    S3,
}

/// An outage that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which server.
    pub server: Away,
    /// How long.
    pub lasts: Duration,
}

/// What happened, in milliseconds of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// It went away.
    pub away_ms: u32,
    /// It was started again.
    pub back_ms: u32,
    /// It answered, and every view that stands on it had caught up; `None`: not in time.
    pub caught_up_ms: Option<u32>,
}

/// What an outage came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noticed {
    /// As on the command line.
    pub server: &'static str,
    /// When it went away, from the start of the load.
    pub away_ms: u32,
    /// For how long.
    pub lasted_ms: u32,
    /// From its start until the views that stand on it had caught up with the log, under load; `None`: not within five
    /// minutes.
    pub caught_up_after_ms: Option<u32>,
    /// Waits of messages that were due before it.
    pub before: Span,
    /// While the server was away.
    pub away: Span,
    /// While the views caught up.
    pub catching_up: Span,
    /// After that.
    pub after: Span,
}

/// Messages that were due in a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// How many were answered, whenever.
    pub answered: u64,
    /// How long they waited for it.
    pub wait_ms: Percentiles,
}

impl Away {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clickhouse => "clickhouse",
            Self::ClickhouseHangs => "clickhouse-hangs",
            Self::Redis => "redis",
            Self::S3 => "s3",
        }
    }
}

impl Outage {
    /// When it begins, in a load that lasts so long.
    ///
    /// # Errors
    /// There is no time for it.
    pub fn begins(&self, load: Duration) -> anyhow::Result<Duration> {
        let before = (load.saturating_sub(self.lasts) / BEFORE_SHARE).min(BEFORE_MAX);
        let least = self.lasts + BEFORE_MIN * BEFORE_SHARE;
        ensure!(
            before >= BEFORE_MIN,
            "an outage of {} s needs a load of at least {} s: --seconds",
            self.lasts.as_secs(),
            least.as_secs()
        );
        Ok(before)
    }

    /// Makes it happen `after` the start of the load, and returns when the views have caught up.
    ///
    /// # Errors
    /// The server cannot be stopped or started, or the log is away.
    pub async fn happen(&self, system: &System, started: Instant, after: Duration) -> anyhow::Result<Times> {
        let ms = || u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        sleep_until(started + after).await;
        let away_ms = ms();
        match self.server {
            Away::Redis => connect::flush_redis(system.config()).await?,
            Away::Clickhouse => system.is_away_for(Backend::ClickHouse, self.lasts).await?,
            Away::ClickhouseHangs => system.hangs_for(Part::Backend(Backend::ClickHouse), self.lasts).await?,
            Away::S3 => system.is_away_for(Backend::S3, self.lasts).await?,
        }
        let back_ms = ms();
        let caught_up = timeout(CAUGHT_UP_MAX, self.caught_up(system)).await;
        let caught_up_ms = match caught_up {
            Ok(looked) => looked.map(|()| Some(ms()))?,
            Err(_) => None,
        };
        Ok(Times { away_ms, back_ms, caught_up_ms })
    }

    /// Returns as soon as the server answers and the views that stand on it show what the log had a moment ago.
    async fn caught_up(&self, system: &System) -> anyhow::Result<()> {
        let log = connect::log(system.config(), "soak").await?;
        match self.server {
            Away::Clickhouse | Away::ClickhouseHangs => system.is_back(Backend::ClickHouse).await?,
            Away::Redis => {}
            Away::S3 => system.is_back(Backend::S3).await?,
        }
        let views = Views::of(self.server, system, &log).await?;
        loop {
            let (looked, mut behind) = (Instant::now(), ends(&log).await?);
            loop {
                behind = views.behind(behind).await;
                if behind.is_empty() {
                    break;
                }
                sleep(LOOK).await;
            }
            if looked.elapsed() <= KEEPS_UP_WITHIN {
                return Ok(());
            }
        }
    }
}

/// The views that stand on a server.
struct Views<'a> {
    log: &'a Log,
    history: Option<ClickHouse>,
    hot: Option<Redis>,
}

impl<'a> Views<'a> {
    async fn of(server: Away, system: &System, log: &'a Log) -> anyhow::Result<Self> {
        let config = system.config();
        let history = if server == Away::Redis { None } else { Some(connect::clickhouse(config)?) };
        let hot = if matches!(server, Away::Clickhouse | Away::ClickhouseHangs) {
            None
        } else {
            Some(connect::redis(config).await?)
        };
        Ok(Self { log, history, hot })
    }

    /// Those of the positions that are not shown yet. A view that does not answer shows nothing.
    async fn behind(&self, ends: Vec<Position>) -> Vec<Position> {
        let mut behind = Vec::new();
        for end in ends {
            let shown = self.shows(&end).await.unwrap_or_else(|error| {
                tracing::debug!(error = format!("{error:#}"), "a view does not say how far it is");
                false
            });
            if !shown {
                behind.push(end);
            }
        }
        behind
    }

    async fn shows(&self, end: &Position) -> anyhow::Result<bool> {
        if end.sequence == 0 {
            return Ok(true);
        }
        let mut found = Vec::new();
        if let Some(history) = &self.history {
            found.push(history_watermark(&history.live().await?, end.partition, 0).await?);
        }
        if let Some(hot) = &self.hot {
            found.push(views_watermark(hot, end.partition).await?);
        }
        // One that was emptied is of no log.
        Ok(found.iter().all(|stands| stands.is_of(self.log.id()) && stands.sequence >= end.sequence))
    }
}

impl Noticed {
    /// What the clients noticed of an outage.
    pub fn of(server: Away, times: Times, waits: &Waits) -> Self {
        let Times { away_ms, back_ms, caught_up_ms } = times;
        let caught_up = caught_up_ms.unwrap_or(u32::MAX);
        let span = |from, to| {
            let (answered, wait_ms) = waits.due_within(from, to);
            Span { answered, wait_ms }
        };
        Self {
            server: server.name(),
            away_ms,
            lasted_ms: back_ms - away_ms,
            caught_up_after_ms: caught_up_ms.map(|caught_up| caught_up - back_ms),
            before: span(0, away_ms),
            away: span(away_ms, back_ms),
            catching_up: span(back_ms, caught_up),
            after: span(caught_up, u32::MAX),
        }
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, away_ms, lasted_ms, caught_up_after_ms, .. } = self;
        let seconds = |ms: u32| f64::from(ms) / 1000.0;
        write!(f, "{server} was away from {:.1} s on for {:.1} s; ", seconds(*away_ms), seconds(*lasted_ms))?;
        match caught_up_after_ms {
            Some(after) => write!(f, "what stands on it had caught up {:.1} s later", seconds(*after))?,
            None => write!(f, "what stands on it had NOT caught up {} s later", CAUGHT_UP_MAX.as_secs())?,
        }
        for (when, span) in
            [("before", &self.before), ("away", &self.away), ("catching up", &self.catching_up), ("after", &self.after)]
        {
            let Span { answered, wait_ms: Percentiles { p50, p99, max } } = span;
            write!(f, "\n    {when:<12} {answered:>8} messages answered; waits p50 {p50}, p99 {p99}, max {max} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lies_in_its_load() {
        let outage = |seconds| Outage { server: Away::Clickhouse, lasts: Duration::from_secs(seconds) };
        let load = Duration::from_secs;
        assert_eq!(outage(600).begins(load(700)).unwrap().as_secs(), 33);
        assert_eq!(outage(600).begins(load(3600)).unwrap(), BEFORE_MAX);
        assert_eq!(outage(5).begins(load(11)).unwrap(), BEFORE_MIN);
        let refused = outage(600).begins(load(600)).unwrap_err().to_string();
        assert!(refused.contains("at least 606 s"), "{refused}");
    }

    #[test]
    fn waits_are_told_by_when_the_message_was_due() {
        let waits =
            Waits { all: vec![(10, 1), (999, 3), (1000, 50), (2000, 7), (2999, 8), (3000, 2)], slowest: Vec::new() };
        let times = Times { away_ms: 1000, back_ms: 2000, caught_up_ms: Some(3000) };
        let found = Noticed::of(Away::S3, times, &waits);
        let told = [found.before, found.away, found.catching_up, found.after];
        assert_eq!(told.map(|span| (span.answered, span.wait_ms.max)), [(2, 3), (1, 50), (2, 8), (1, 2)]);
        assert_eq!((found.lasted_ms, found.caught_up_after_ms), (1000, Some(1000)));
        let never = Noticed::of(Away::S3, Times { caught_up_ms: None, ..times }, &waits);
        assert_eq!((never.catching_up.answered, never.after.answered, never.caught_up_after_ms), (3, 0, None));
    }
}
