//! Every metric of `natter audit --follow`, by name. Labels are bounded.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::report::{Report, View};

const ROUNDS: &str = "natter_audit_rounds_total";
const FAILED: &str = "natter_audit_failed_rounds_total";
const SECONDS: &str = "natter_audit_round_seconds";
const DIFFERENCES: &str = "natter_audit_differences_total";
const LAST: &str = "natter_audit_last_round_differences";
const SEQUENCE: &str = "natter_audit_position_sequence";
const BEHIND: &str = "natter_audit_behind_batches";
const DECIDED: &str = "natter_audit_decided_outcomes";
const MODELLED: &str = "natter_audit_modelled_conversations";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub(crate) fn describe() {
    describe_counter!(ROUNDS, Unit::Count, "rounds that looked, by what they looked at: new or everything");
    describe_counter!(FAILED, Unit::Count, "rounds that could not look because a broker or store was away");
    describe_histogram!(SECONDS, Unit::Seconds, "time of a round");
    describe_counter!(
        DIFFERENCES,
        Unit::Count,
        "differences found, by store; a look at everything finds the old ones again"
    );
    describe_gauge!(LAST, Unit::Count, "differences that the last round found: 0, or somebody must look");
    describe_gauge!(SEQUENCE, Unit::Count, "last sequence of EVT_p that was checked");
    describe_gauge!(BEHIND, Unit::Count, "batches of the log that the view did not show when it was looked at");
    describe_gauge!(DECIDED, Unit::Count, "outcomes that the last look at everything decided again (--decide)");
    describe_gauge!(
        MODELLED,
        Unit::Count,
        "conversations that the last look at everything folded a second way (--model)"
    );
}

/// What a round found.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) fn round(report: &Report, full: bool) {
    counter!(ROUNDS, "look" => if full { "everything" } else { "new" }).increment(1);
    histogram!(SECONDS).record(report.seconds);
    gauge!(LAST).set(report.differences_total as f64);
    for difference in &report.differences {
        counter!(DIFFERENCES, "store" => difference.store.name()).increment(1);
    }
    for one in &report.partitions {
        let partition = one.partition.to_string();
        gauge!(SEQUENCE, "partition" => partition.clone()).set(one.batches as f64);
        if let Some(decided) = one.decided {
            gauge!(DECIDED, "partition" => partition.clone()).set(decided as f64);
        }
        if let Some(model) = one.model {
            gauge!(MODELLED, "partition" => partition.clone()).set(model.conversations as f64);
        }
        for (view, stands) in [("redis", &one.redis), ("clickhouse", &one.clickhouse)] {
            if let Some(View { behind, .. }) = stands {
                gauge!(BEHIND, "view" => view, "partition" => partition.clone()).set(*behind as f64);
            }
        }
    }
}

/// A round could not look.
pub(super) fn failed() {
    counter!(FAILED).increment(1);
}
