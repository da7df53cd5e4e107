//! Every metric of the archive, by name.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::segment::Manifest;

const LAG_BATCHES: &str = "natter_archive_lag_batches";
const LAG_SECONDS: &str = "natter_archive_lag_seconds";
const END: &str = "natter_archive_end_sequence";
const STOPPED: &str = "natter_archive_stopped_partitions";
const SEGMENTS: &str = "natter_archive_segments_total";
const LOG_BYTES: &str = "natter_archive_log_bytes_total";
const OBJECT_BYTES: &str = "natter_archive_object_bytes_total";
const TRIMMED: &str = "natter_archive_trimmed_batches_total";
const ERRORS: &str = "natter_archive_errors_total";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(LAG_BATCHES, Unit::Count, "batches of EVT_p that are not in the archive");
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "age of the oldest batch that is not in the archive, 0: none");
    describe_gauge!(END, Unit::Count, "last sequence of EVT_p that is in the archive");
    describe_gauge!(STOPPED, Unit::Count, "1: the partition is not archived any more and somebody must mend it");
    describe_counter!(SEGMENTS, Unit::Count, "segments uploaded and read back");
    describe_counter!(LOG_BYTES, Unit::Bytes, "bytes of the batches in them, as the log has them");
    describe_counter!(OBJECT_BYTES, Unit::Bytes, "bytes of their objects");
    describe_counter!(TRIMMED, Unit::Count, "batches of EVT_p that were trimmed");
    describe_counter!(ERRORS, Unit::Count, "times that the bucket, the log or a view was away and was tried again");
}

/// The metrics of one partition.
pub(super) struct Telemetry {
    lag_batches: Gauge,
    lag_seconds: Gauge,
    end: Gauge,
    stopped: Gauge,
    segments: Counter,
    log_bytes: Counter,
    object_bytes: Counter,
    trimmed: Counter,
    errors: Counter,
}

impl Telemetry {
    pub(super) fn new(partition: u16) -> Self {
        let labels = [("partition", partition.to_string())];
        Self {
            lag_batches: gauge!(LAG_BATCHES, &labels),
            lag_seconds: gauge!(LAG_SECONDS, &labels),
            end: gauge!(END, &labels),
            stopped: gauge!(STOPPED, &labels),
            segments: counter!(SEGMENTS, &labels),
            log_bytes: counter!(LOG_BYTES, &labels),
            object_bytes: counter!(OBJECT_BYTES, &labels),
            trimmed: counter!(TRIMMED, &labels),
            errors: counter!(ERRORS, &labels),
        }
    }

    /// The archive ends at `end`; so many batches are not in it, the oldest so many milliseconds old.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(super) fn stands(&self, end: u64, batches: u64, oldest_ms: u64) {
        self.end.set(end as f64);
        self.lag_batches.set(batches as f64);
        self.lag_seconds.set(oldest_ms as f64 / 1000.0);
    }

    pub(super) fn put(&self, segment: &Manifest) {
        self.segments.increment(1);
        self.log_bytes.increment(segment.log_bytes);
        self.object_bytes.increment(segment.object_bytes);
    }

    pub(super) fn trimmed(&self, batches: u64) {
        self.trimmed.increment(batches);
    }

    pub(super) fn failed(&self) {
        self.errors.increment(1);
    }

    pub(super) fn stopped(&self, is_stopped: bool) {
        self.stopped.set(if is_stopped { 1.0 } else { 0.0 });
    }
}
