//! Whether the views keep up while a load runs, by what the projectors say.

use std::time::Duration;

use natter_projections::telemetry::{LAG_RECORDS, LAG_SECONDS};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::bench::scrape::{Scrape, Source};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A view that shows what is this old or younger keeps up: the history takes what gathers in about a second at once.
const KEEPS_UP_SECONDS: f64 = 5.0;
/// A view that is behind is given so long at the end.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
const CATCH_UP_LOOK: Duration = Duration::from_millis(200);

/// How far a view was behind.
#[derive(Debug, Clone, Serialize)]
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
        let zero = 0.0;
        Self {
            view,
            records_max: zero,
            seconds_max: zero,
            records_at_end: zero,
            seconds_at_end: zero,
            caught_up_after_seconds: None,
        }
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

    fn look(&mut self, scrape: &Scrape) {
        let label = format!("view=\"{}\"", self.view);
        self.records_at_end = scrape.sum(LAG_RECORDS, &label);
        self.seconds_at_end = scrape.max(LAG_SECONDS, &label);
        self.records_max = self.records_max.max(self.records_at_end);
        self.seconds_max = self.seconds_max.max(self.seconds_at_end);
    }
}

/// Looks at the views now and then.
pub struct Watch {
    source: Source,
    stop: CancellationToken,
    looking: JoinHandle<anyhow::Result<[View; 2]>>,
}

impl Watch {
    /// Starts looking.
    pub fn start(source: Source) -> Self {
        let stop = CancellationToken::new();
        let (stopped, of) = (stop.clone(), source.clone());
        let looking = tokio::spawn(async move {
            let mut views = ["redis", "clickhouse"].map(View::new);
            while stopped.run_until_cancelled(sleep(LOOK)).await.is_some() {
                let scrape = of.now().await?;
                views.iter_mut().for_each(|view| view.look(&scrape));
            }
            let scrape = of.now().await?;
            views.iter_mut().for_each(|view| view.look(&scrape));
            Ok(views)
        });
        Self { source, stop, looking }
    }

    /// The load has ended: looks once more, and waits until the views lack nothing.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn end(self) -> anyhow::Result<Vec<View>> {
        self.stop.cancel();
        let mut views = self.looking.await??;
        if !self.source.tells() {
            return Ok(Vec::new());
        }
        let ended = Instant::now();
        while ended.elapsed() < CATCH_UP_MAX && views.iter().any(|view| view.caught_up_after_seconds.is_none()) {
            let scrape = self.source.now().await?;
            for view in &mut views {
                let behind = scrape.sum(LAG_RECORDS, &format!("view=\"{}\"", view.view));
                if behind == 0.0 {
                    view.caught_up_after_seconds.get_or_insert(ended.elapsed().as_secs_f64());
                }
            }
            sleep(CATCH_UP_LOOK).await;
        }
        Ok(views.into())
    }
}
