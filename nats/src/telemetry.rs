//! Every metric of the log, by name. Labels are bounded: `partition`, and `stream` where a reader may read either.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Messages that the client library dropped because a subscription was full (or refused to take), each found and refilled by the gap check.
pub const SLOW_CONSUMER: &str = "natter_log_slow_consumer_total";
/// Connections to the broker, the first included.
pub const CONNECTS: &str = "natter_log_connects_total";
/// Commands that wait to be published.
pub const PUBLISHER_QUEUE: &str = "natter_publisher_queue_commands";
/// Commands that are published or wait to be, and have no outcome yet.
pub const PUBLISHER_UNANSWERED: &str = "natter_publisher_unanswered_commands";
/// Commands per published batch.
pub const PUBLISHER_BATCH: &str = "natter_publisher_batch_commands";
/// From publish to the broker's acknowledgement (or the batch's outcomes on `live`).
pub const PUBLISHER_ACK: &str = "natter_publisher_ack_seconds";
/// Publishes that failed and were tried again.
pub const PUBLISHER_RETRIES: &str = "natter_publisher_retries_total";
/// Commands answered `outcome_unknown` or given up before they were sent.
pub const PUBLISHER_UNKNOWN: &str = "natter_publisher_unknown_commands_total";
/// Commands refused because the queue or the log is full.
pub const PUBLISHER_OVERLOADED: &str = "natter_publisher_overloaded_commands_total";
/// Outcome batches that a live feed fetched because they had not arrived by themselves.
pub const LIVE_REFILLED: &str = "natter_live_refilled_batches_total";
/// Holes that were too large to refill.
pub const LIVE_HOLES: &str = "natter_live_holes_total";
/// How often a reader had to make its consumer again.
pub const READER_RECREATED: &str = "natter_reader_recreated_total";
/// Outcome batches whose acknowledgement was lost and that were found in their place.
pub const OUTCOME_ACKS_LOST: &str = "natter_outcome_acks_lost_total";
/// Leases held.
pub const LEASES_HELD: &str = "natter_lease_held_partitions";
/// Leases lost without being released.
pub const LEASES_LOST: &str = "natter_lease_lost_total";
/// Leases and presences of dead processes that the broker had forgotten to end.
pub const LEASES_BURIED: &str = "natter_lease_buried_total";
/// Signals dropped because the sender's queue was full.
pub const SIGNALS_DROPPED: &str = "natter_signal_dropped_total";
/// Free share of a partition's streams, by `stream` (`commands`, `outcomes`).
pub const FREE_SHARE: &str = "natter_log_free_share_ratio";
/// Share of the room for commands that is taken by undecided ones.
pub const UNDECIDED_SHARE: &str = "natter_log_undecided_share_ratio";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(SLOW_CONSUMER, "messages dropped by the client because a subscription was full");
    describe_counter!(CONNECTS, "connections to the broker, the first included");
    describe_gauge!(PUBLISHER_QUEUE, Unit::Count, "commands that wait to be published");
    describe_gauge!(PUBLISHER_UNANSWERED, Unit::Count, "commands without an outcome yet");
    describe_histogram!(PUBLISHER_BATCH, Unit::Count, "commands per published batch");
    describe_histogram!(PUBLISHER_ACK, Unit::Seconds, "from publish to acknowledgement of a command batch");
    describe_counter!(PUBLISHER_RETRIES, "publishes that failed and were tried again");
    describe_counter!(PUBLISHER_UNKNOWN, "commands whose outcome was not seen in time");
    describe_counter!(PUBLISHER_OVERLOADED, "commands refused because the queue or the log is full");
    describe_counter!(LIVE_REFILLED, "outcome batches that had to be fetched because they did not arrive");
    describe_counter!(LIVE_HOLES, "holes in the live feed that were too large to refill");
    describe_counter!(READER_RECREATED, "consumers made again after an error");
    describe_counter!(OUTCOME_ACKS_LOST, "outcome batches found in place after a lost acknowledgement");
    describe_gauge!(LEASES_HELD, Unit::Count, "leases held by this process");
    describe_counter!(LEASES_LOST, "leases lost without being released");
    describe_counter!(LEASES_BURIED, "leases and presences of the dead that the broker had forgotten to end");
    describe_counter!(SIGNALS_DROPPED, "signals dropped because the queue was full");
    describe_gauge!(FREE_SHARE, "free share of a partition's streams, 0 to 1");
    describe_gauge!(UNDECIDED_SHARE, "share of the room for commands that undecided ones take, 0 to 1");
}
