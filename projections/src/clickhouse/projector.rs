//! The projector of the history.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::connection::ClickHouse;
use super::inserter::InserterHandle;
use super::watermark::watermark;
use crate::error::ViewError;
use crate::runner::{Projector, StepSize, Steps};
use crate::watermark::Watermark;

/// Keeps `natter_store` up with the log.
pub struct HistoryProjector {
    clickhouse: ClickHouse,
    inserter: InserterHandle,
    /// How far each partition is known to be complete, so that its watermark is read upward from there.
    checked: Mutex<HashMap<u16, u64>>,
}

impl HistoryProjector {
    /// A projector that inserts through `inserter`.
    pub fn new(clickhouse: ClickHouse, inserter: InserterHandle) -> Self {
        Self { clickhouse, inserter, checked: Mutex::default() }
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<u16, u64>> {
        self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

    fn check_interval(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn mend(&self, _partition: u16) -> String {
        let (views, store) = (self.clickhouse.views(), self.clickhouse.table(""));
        let store = store.trim_end_matches('.');
        format!("drop the databases {views} and {store} in ClickHouse and start the projector again; it fills them from the log")
    }

    async fn watermark(&self, partition: u16) -> Result<Watermark, ViewError> {
        let checked = self.checked().get(&partition).copied().unwrap_or(0);
        let mut found = watermark(&self.clickhouse, partition, checked).await?;
        if found.log.is_none() && checked > 0 {
            // Nothing above what was complete: is that still there?
            found = watermark(&self.clickhouse, partition, 0).await?;
        }
        self.checked().insert(partition, found.sequence);
        Ok(found)
    }

    async fn apply(&self, steps: Steps<'_>) -> Result<Watermark, ViewError> {
        self.inserter.insert(steps.partition, steps.batches.to_vec()).await?;
        let reached = steps.batches.last().map_or(steps.after, |last| last.sequence);
        Ok(Watermark::new(steps.log.clone(), reached))
    }
}
