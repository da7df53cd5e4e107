//! Pages read at fixed times, until the reading is ended: how long it takes is somebody else's matter.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::run::Pages as Figures;
use crate::bench::pages::{Answers, Pages};

/// A page that is asked for later than this after it was due was late at the source.
const LATE: Duration = Duration::from_millis(5);
/// Pages may come this long after the last was asked for.
const SETTLE: Duration = Duration::from_secs(10);

/// Reads that go on.
pub struct Reading {
    end: CancellationToken,
    reading: JoinHandle<Figures>,
}

impl Reading {
    /// So many pages a second, newest and deep ones in turn.
    pub fn start(pages: &Arc<Pages>, per_second: u64) -> Self {
        let end = CancellationToken::new();
        let reading = tokio::spawn(read(Arc::clone(pages), per_second, end.clone()));
        Self { end, reading }
    }

    /// Asks for no more, and waits for those that were asked for.
    pub async fn end(self) -> Figures {
        self.end.cancel();
        self.reading.await.unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
async fn read(pages: Arc<Pages>, per_second: u64, end: CancellationToken) -> Figures {
    let mut dues = interval(Duration::from_secs_f64(1.0 / per_second.max(1) as f64));
    // What could not be asked for in time is asked for at once, and counts from when it was due.
    dues.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (answers, mut asked) = (Arc::new(Answers::default()), JoinSet::new());
    let (mut number, mut late_at_source) = (0, 0);
    while let Some(due) = end.run_until_cancelled(dues.tick()).await {
        late_at_source += u64::from(due.elapsed() > LATE);
        let (pages, answers) = (Arc::clone(&pages), Arc::clone(&answers));
        asked.spawn(async move { answers.take(&pages, pages.of(number), Some(due)).await });
        number += 1;
        while asked.try_join_next().is_some() {}
    }
    let settled = timeout(SETTLE, async { while asked.join_next().await.is_some() {} }).await;
    // Those that have not come are counted as missing.
    settled.map_or_else(|_| asked.abort_all(), |()| {});
    Figures {
        newest: answers.newest.percentiles(),
        deep: answers.deep.percentiles(),
        wrong: answers.wrong(),
        missing: number - answers.answered(),
        late_at_source,
    }
}
