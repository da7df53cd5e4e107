//! Whether the views keep up while a load runs: what the processors have decided, less what the projectors have applied.
//!
//! The projectors' own gauges say how much they left when they read last, which may be a whole step ago; the counters of both
//! sides of the log are of this moment.

use std::time::Duration;

use natter_processors::telemetry::COMMANDS;
use natter_projections::telemetry::RECORDS;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::bench::scrape::{Scrape, Source};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A view that shows what is this old or younger keeps up: it takes at once what gathers in some seconds.
const KEEPS_UP_SECONDS: f64 = 10.0;
/// A view that is behind is given so long at the end.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
const CATCH_UP_LOOK: Duration = Duration::from_millis(100);

/// How far a view was behind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct View {
    /// `redis` or `clickhouse`.
    pub view: &'static str,
    /// Outcomes that it lacked at the worst of the looks, over all partitions.
    pub records_max: f64,
    /// Age of what it lacked, at the worst of the looks, in seconds.
    pub seconds_max: f64,
    /// The same as the load ended.
    pub records_at_end: f64,
    /// The same as the load ended.
    pub seconds_at_end: f64,
    /// From the load's end until it lacked nothing, in seconds; `None`: it did not come to that.
    pub caught_up_after_seconds: Option<f64>,
}

impl View {
    fn new(view: &'static str) -> Self {
        Self { view, ..Self::default() }
    }

    /// Whether it kept up.
    pub fn kept_up(&self) -> bool {
        self.seconds_at_end <= KEEPS_UP_SECONDS && self.caught_up_after_seconds.is_some()
    }

    /// The head of a table of views.
    pub const HEAD: [&str; 6] = ["view", "lag max", "s max", "lag at end", "s at end", "caught up after s"];

    /// A row of such a table.
    pub fn row(&self) -> Vec<String> {
        let after = self.caught_up_after_seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1}"));
        vec![
            self.view.to_owned(),
            format!("{:.0}", self.records_max),
            format!("{:.1}", self.seconds_max),
            format!("{:.0}", self.records_at_end),
            format!("{:.1}", self.seconds_at_end),
            after,
        ]
    }

    fn look(&mut self, records: f64, seconds: f64) {
        (self.records_at_end, self.seconds_at_end) = (records, seconds);
        self.records_max = self.records_max.max(records);
        self.seconds_max = self.seconds_max.max(seconds);
    }
}

/// What has gone through the log since the load began.
struct Progress {
    first: Scrape,
    /// When how many outcomes had been decided.
    decided: Vec<(Instant, f64)>,
}

impl Progress {
    fn from(first: Scrape) -> Self {
        Self { first, decided: vec![(Instant::now(), 0.0)] }
    }

    /// Outcomes that each view lacks, and the age of the oldest of them in seconds, as finely as the looks were.
    fn look(&mut self, scrape: &Scrape, views: &mut [View]) {
        let now = Instant::now();
        let decided = scrape.grown(&self.first, COMMANDS, &[]);
        self.decided.push((now, decided));
        for view in views {
            let applied = scrape.grown(&self.first, RECORDS, &[&format!("view=\"{}\"", view.view)]);
            let shown = self.decided.iter().rev().find(|(_, decided)| *decided <= applied).map_or(now, |(at, _)| *at);
            view.look((decided - applied).max(0.0), (now - shown).as_secs_f64());
        }
    }

    fn is_known(&self) -> bool {
        self.decided.last().is_some_and(|(_, decided)| *decided > 0.0)
    }
}

/// Looks at the views now and then.
pub struct Watch {
    source: Source,
    stop: CancellationToken,
    looking: JoinHandle<anyhow::Result<(Progress, [View; 2])>>,
}

impl Watch {
    /// Starts looking. The views should have what the log has.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn start(source: Source) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (stopped, of) = (stop.clone(), source.clone());
        let mut progress = Progress::from(source.now().await?);
        let looking = tokio::spawn(async move {
            let mut views = ["redis", "clickhouse"].map(View::new);
            while stopped.run_until_cancelled(sleep(LOOK)).await.is_some() {
                progress.look(&of.now().await?, &mut views);
            }
            progress.look(&of.now().await?, &mut views);
            Ok((progress, views))
        });
        Ok(Self { source, stop, looking })
    }

    /// The load has ended: looks once more, and waits until the views lack nothing. Empty: nobody says what was decided.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn end(self) -> anyhow::Result<Vec<View>> {
        self.stop.cancel();
        let (mut progress, mut views) = self.looking.await??;
        if !progress.is_known() {
            return Ok(Vec::new());
        }
        let ended = Instant::now();
        while ended.elapsed() < CATCH_UP_MAX && views.iter().any(|view| view.caught_up_after_seconds.is_none()) {
            let mut later = ["redis", "clickhouse"].map(View::new);
            progress.look(&self.source.now().await?, &mut later);
            for (view, later) in views.iter_mut().zip(later) {
                if later.records_at_end < 1.0 {
                    view.caught_up_after_seconds.get_or_insert(ended.elapsed().as_secs_f64());
                }
            }
            sleep(CATCH_UP_LOOK).await;
        }
        Ok(views.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(decided: u64, redis: u64, clickhouse: u64) -> Scrape {
        Scrape::rendered(format!(
            "{COMMANDS}{{outcome=\"accepted\"}} {decided}\n{RECORDS}{{view=\"redis\"}} {redis}\n{RECORDS}{{view=\"clickhouse\"}} {clickhouse}\n"
        ))
    }

    #[test]
    fn a_view_is_behind_by_what_was_decided_and_not_applied() {
        let mut progress = Progress::from(scrape(100, 100, 100));
        let mut views = ["redis", "clickhouse"].map(View::new);
        progress.look(&scrape(300, 300, 100), &mut views);
        progress.look(&scrape(300, 310, 250), &mut views);
        let [redis, clickhouse] =
            views.map(|view| [view.records_max, view.records_at_end].map(|records| records.to_string()));
        assert_eq!((redis, clickhouse), (["0", "0"].map(str::to_owned), ["200", "50"].map(str::to_owned)));
    }
}
