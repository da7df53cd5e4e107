//! Every metric of the processors, by name. Labels are bounded: `partition`, and `outcome` (`accepted` or an error code).

use std::collections::BTreeMap;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Commands decided, by outcome.
pub const COMMANDS: &str = "natter_processor_commands_total";
/// Commands per outcome batch.
pub const BATCH: &str = "natter_processor_batch_commands";
/// Time to decide a batch, the loading of its facts included.
pub const DECIDE: &str = "natter_processor_decide_seconds";
/// Time of one load of facts from the Redis view.
pub const FACTS_LOAD: &str = "natter_processor_facts_load_seconds";
/// Facts loaded from the Redis view.
pub const FACTS_LOADED: &str = "natter_processor_facts_loaded_total";
/// Facts and refs kept in memory.
pub const OVERLAY: &str = "natter_processor_overlay_facts";
/// Command batches read and not yet decided.
pub const QUEUE: &str = "natter_processor_queue_batches";
/// Command batches in the stream behind the one at hand.
pub const LAG: &str = "natter_processor_lag_batches";
/// The broker's stored time less the worker's clock; beyond a minute one of both is wrong.
pub const CLOCK_SKEW: &str = "natter_processor_clock_skew_seconds";
/// Batches whose stored time is more than a minute from the worker's clock.
pub const CLOCK_WRONG: &str = "natter_processor_clock_wrong_batches_total";
/// Looks for a policy in force that found nothing usable: that tenant's texts are refused.
pub const POLICIES_UNUSABLE: &str = "natter_processor_policies_unusable_total";
/// 1 while the partition pauses because the Redis view is too far behind.
pub const PAUSED: &str = "natter_processor_paused_partitions";
/// Ticks published, by which log time moves on.
pub const TICKS: &str = "natter_processor_ticks_total";
/// Workers that stopped, by reason.
pub const HALTS: &str = "natter_processor_halts_total";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(COMMANDS, "commands decided, by outcome");
    describe_histogram!(BATCH, Unit::Count, "commands per outcome batch");
    describe_histogram!(DECIDE, Unit::Seconds, "time to decide a batch, its facts' loading included");
    describe_histogram!(FACTS_LOAD, Unit::Seconds, "time of one load of facts from redis");
    describe_counter!(FACTS_LOADED, "facts loaded from redis");
    describe_gauge!(OVERLAY, Unit::Count, "facts and refs kept in memory");
    describe_gauge!(QUEUE, Unit::Count, "command batches read and not yet decided");
    describe_gauge!(LAG, Unit::Count, "command batches in the stream behind the one at hand");
    describe_gauge!(CLOCK_SKEW, Unit::Seconds, "stored time less the worker's clock");
    describe_counter!(CLOCK_WRONG, "batches stored more than a minute from the worker's clock");
    describe_counter!(POLICIES_UNUSABLE, "looks for a policy in force that found nothing usable");
    describe_counter!(TICKS, "ticks published, by which log time moves on");
    describe_gauge!(PAUSED, Unit::Count, "1 while the partition pauses because redis is too far behind");
    describe_counter!(HALTS, "workers that stopped, by reason");
}

/// How many commands of a batch came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// Counts one outcome.
    pub fn count(&mut self, outcome: &'static str) {
        *self.0.entry(outcome).or_default() += 1;
    }

    /// Adds the counts to the metrics.
    pub fn record(&self) {
        for (outcome, count) in &self.0 {
            metrics::counter!(COMMANDS, "outcome" => *outcome).increment(*count);
        }
    }
}
