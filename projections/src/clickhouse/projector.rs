//! The projector of the history.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::ClickHouse;
use super::fold::FOLD_VERSION;
use super::generations::Generation;
use super::inserter::InserterHandle;
use super::rows::WatermarkRow;
use super::watermark::watermark;
use crate::error::ViewError;
use crate::runner::{Projector, StepSize, Steps};
use crate::telemetry::GenerationTelemetry;
use crate::watermark::Watermark;

/// Between two looks at whether the history holds what was inserted; a note in `watermarks` is at most so old.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// So that all partitions have read on when the inserter's interval ends.
const PACE: Duration = Duration::from_millis(250);

/// Keeps the tables of one generation up with the log, or of whichever is live.
pub struct HistoryProjector {
    clickhouse: ClickHouse,
    inserter: InserterHandle,
    checked: Mutex<HashMap<u16, Checked>>,
    telemetry: GenerationTelemetry,
}

/// How far a partition was complete when it was looked at, and where the log ends as far as is known.
#[derive(Clone, Copy)]
struct Checked {
    generation: Generation,
    sequence: u64,
    log_last: u64,
    at: Instant,
}

impl HistoryProjector {
    /// A projector that inserts through `inserter`.
    pub fn new(clickhouse: ClickHouse, inserter: InserterHandle) -> Self {
        Self { clickhouse, inserter, checked: Mutex::default(), telemetry: GenerationTelemetry::new("clickhouse") }
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<u16, Checked>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_check(&self, partition: u16) -> Option<Checked> {
        self.checked().get(&partition).copied()
    }

    /// Says so where a generation that this projector comes to was filled by another fold than its own.
    fn meet(&self, history: &ClickHouse) {
        let (generation, fold) = (history.generation(), history.filled_by().unwrap_or(FOLD_VERSION));
        self.telemetry.meets(u64::from(generation.number()), fold != FOLD_VERSION);
        if fold != FOLD_VERSION {
            tracing::error!(
                %generation,
                "the history was filled by version {fold} of its code, this binary has {FOLD_VERSION}: build it anew with `natter rebuild clickhouse`"
            );
        }
    }
}

impl Projector for HistoryProjector {
    fn role(&self) -> &'static str {
        "projector-clickhouse"
    }

    fn view(&self) -> &'static str {
        "clickhouse"
    }

    fn step_size(&self) -> StepSize {
        StepSize { records_max: 50_000, bytes_max: 16 << 20 }
    }

    fn pace(&self) -> Duration {
        PACE
    }

    fn check_interval(&self) -> Duration {
        CHECK_INTERVAL
    }

    fn mend(&self, _partition: u16) -> String {
        self.clickhouse.mend()
    }

    async fn watermark(&self, partition: u16) -> Result<Watermark, ViewError> {
        let history = self.clickhouse.live().await?;
        let generation = history.generation();
        let last_check = self.last_check(partition).filter(|check| check.generation == generation);
        if last_check.is_none() {
            self.meet(&history);
        }
        let (checked, log_last) = last_check.map_or((0, 0), |found| (found.sequence, found.log_last));
        let found = watermark(&history, partition, checked).await?;
        let (sequence, log_last) = (found.sequence, log_last.max(found.sequence));
        if let Some(log) = &found.log {
            let note = WatermarkRow { partition, log_last, applied: sequence, checked: sequence, log: log.to_string() };
            self.inserter.insert(history, &[], note).await?;
        }
        self.checked().insert(partition, Checked { generation, sequence, log_last, at: Instant::now() });
        Ok(found)
    }

    async fn apply(&self, steps: Steps<'_>) -> Result<Watermark, ViewError> {
        let Steps { log, partition, after, batches } = steps;
        let Some(last) = batches.last() else { return Ok(Watermark::new(log.clone(), after)) };
        let (applied, log_last) = (last.sequence, last.sequence + last.behind);
        let (history, check) = (self.clickhouse.live().await?, self.last_check(partition));
        if check.is_some_and(|check| check.generation != history.generation()) {
            // Another generation took the place of the one that stands at `after`.
            return self.watermark(partition).await;
        }
        let checked = check.map_or(0, |check| check.sequence);
        let note = WatermarkRow { partition, log_last, applied, checked, log: log.to_string() };
        self.inserter.insert(history, batches, note).await?;
        self.checked().entry(partition).and_modify(|check| check.log_last = log_last);
        if check.is_none_or(|check| check.at.elapsed() >= CHECK_INTERVAL) {
            // Else a busy projector would never see that its store was emptied or put back, and leave a hole.
            return self.watermark(partition).await;
        }
        Ok(Watermark::new(log.clone(), applied))
    }
}
