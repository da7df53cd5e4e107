//! Every metric of the projectors, by name. Labels are bounded: `view` and `partition`.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use natter_nats::Stored;

const LAG_RECORDS: &str = "natter_projector_lag_records";
const LAG_SECONDS: &str = "natter_projector_lag_seconds";
const WATERMARK: &str = "natter_projector_watermark_sequence";
const STOPPED: &str = "natter_projector_stopped_partitions";
const BATCHES: &str = "natter_projector_batches_total";
/// Outcomes applied, by `view` and `partition`.
pub const RECORDS: &str = "natter_projector_records_total";
const MOVED: &str = "natter_projector_moved_total";
const RETRIES: &str = "natter_projector_retries_total";
const STEP: &str = "natter_projector_step_records";
const APPLY: &str = "natter_projector_apply_seconds";
const INSERT: &str = "natter_history_insert_seconds";
const INSERT_ROWS: &str = "natter_history_insert_records";
const GENERATION: &str = "natter_projector_generation_number";
const OUTDATED: &str = "natter_projector_outdated_views";
const INSERT_ERRORS: &str = "natter_history_insert_errors_total";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(
        LAG_RECORDS,
        Unit::Count,
        "outcomes in the log that the view has not applied, by the size of the batches read last"
    );
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "age of the oldest batch that waits, 0: none");
    describe_gauge!(WATERMARK, Unit::Count, "last sequence of EVT_p that the view has applied");
    describe_gauge!(STOPPED, Unit::Count, "1: the partition has stopped and somebody must mend it");
    describe_counter!(BATCHES, Unit::Count, "outcome batches applied");
    describe_counter!(RECORDS, Unit::Count, "outcomes applied");
    describe_counter!(MOVED, Unit::Count, "times that the watermark was not where this projector left it");
    describe_counter!(RETRIES, Unit::Count, "times that the log or the store was away and was tried again");
    describe_histogram!(STEP, Unit::Count, "outcomes per step");
    describe_histogram!(APPLY, Unit::Seconds, "time to apply one step");
    describe_histogram!(INSERT, Unit::Seconds, "time to insert one group of rows into ClickHouse, tries included");
    describe_histogram!(INSERT_ROWS, Unit::Count, "rows per group inserted into ClickHouse");
    describe_gauge!(GENERATION, Unit::Count, "generation of the view that this projector keeps");
    describe_gauge!(OUTDATED, Unit::Count, "1: that generation was filled by another version of the view's code");
    describe_counter!(INSERT_ERRORS, Unit::Count, "inserts into ClickHouse that failed and were tried again");
}

/// The metrics of one projector of one partition.
pub(crate) struct Telemetry {
    lag_records: Gauge,
    lag_seconds: Gauge,
    watermark: Gauge,
    stopped: Gauge,
    batches: Counter,
    records: Counter,
    moved: Counter,
    retries: Counter,
    step: Histogram,
    apply: Histogram,
}

impl Telemetry {
    pub(crate) fn new(view: &'static str, partition: u16) -> Self {
        let labels = [("view", view.to_owned()), ("partition", partition.to_string())];
        Self {
            lag_records: gauge!(LAG_RECORDS, &labels),
            lag_seconds: gauge!(LAG_SECONDS, &labels),
            watermark: gauge!(WATERMARK, &labels),
            stopped: gauge!(STOPPED, &labels),
            batches: counter!(BATCHES, &labels),
            records: counter!(RECORDS, &labels),
            moved: counter!(MOVED, &labels),
            retries: counter!(RETRIES, &labels),
            step: histogram!(STEP, &labels),
            apply: histogram!(APPLY, &labels),
        }
    }

    /// A step was applied.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(crate) fn applied(&self, batches: &[Stored], took: Duration, now_ms: u64) {
        let Some(last) = batches.last() else { return };
        let records: u64 = batches.iter().map(|batch| u64::from(batch.records.unwrap_or(0))).sum();
        self.batches.increment(batches.len() as u64);
        self.records.increment(records);
        self.step.record(records as f64);
        self.apply.record(took);
        self.watermark.set(last.sequence as f64);
        let age_ms = now_ms.saturating_sub(last.stored_ms);
        self.lag_seconds.set(if last.behind == 0 { 0.0 } else { age_ms as f64 / 1000.0 });
        self.lag_records.set(last.behind as f64 * records as f64 / batches.len() as f64);
    }

    /// So many batches wait, the first of them is `next`.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(crate) fn waiting(&self, batches: u64, next: &Stored, now_ms: u64) {
        self.lag_seconds.set(now_ms.saturating_sub(next.stored_ms) as f64 / 1000.0);
        self.lag_records.set(batches as f64 * f64::from(next.records.unwrap_or(1)));
    }

    pub(crate) fn moved(&self) {
        self.moved.increment(1);
    }

    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    pub(crate) fn stopped(&self, is_stopped: bool) {
        self.stopped.set(if is_stopped { 1.0 } else { 0.0 });
    }
}

/// The metrics of the history's inserter.
pub(crate) struct InsertTelemetry {
    insert: Histogram,
    rows: Histogram,
    errors: Counter,
}

impl InsertTelemetry {
    pub(crate) fn new() -> Self {
        Self { insert: histogram!(INSERT), rows: histogram!(INSERT_ROWS), errors: counter!(INSERT_ERRORS) }
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(crate) fn inserted(&self, rows: usize, took: Duration) {
        self.insert.record(took);
        self.rows.record(rows as f64);
    }

    pub(crate) fn failed(&self) {
        self.errors.increment(1);
    }
}

/// Which generation of a view a projector keeps.
pub(crate) struct GenerationTelemetry {
    generation: Gauge,
    outdated: Gauge,
}

impl GenerationTelemetry {
    pub(crate) fn new(view: &'static str) -> Self {
        Self { generation: gauge!(GENERATION, "view" => view), outdated: gauge!(OUTDATED, "view" => view) }
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(crate) fn meets(&self, generation: u64, is_outdated: bool) {
        self.generation.set(generation as f64);
        self.outdated.set(if is_outdated { 1.0 } else { 0.0 });
    }
}
