//! Every subject, stream, bucket and header name of the log, in one place.

/// Where the command batches of a partition are published.
pub fn command_subject(partition: u16) -> String {
    format!("cmd.{partition}")
}

/// Where the outcome batches of a partition are published.
pub fn outcome_subject(partition: u16) -> String {
    format!("evt.{partition}")
}

/// Where the broker republishes what it has stored in `EVT_p`.
pub fn live_subject(partition: u16) -> String {
    format!("live.{partition}")
}

/// Where signals (no stream, at most once) of a partition are published.
pub fn signal_subject(partition: u16) -> String {
    format!("signal.{partition}")
}

/// The stream of command batches.
pub fn command_stream(partition: u16) -> String {
    format!("CMD_{partition}")
}

/// The stream of outcome batches.
pub fn outcome_stream(partition: u16) -> String {
    format!("EVT_{partition}")
}

/// The partition of a stream of outcome batches; `None`: it is another stream.
pub fn outcome_partition(stream: &str) -> Option<u16> {
    stream.strip_prefix("EVT_")?.parse().ok()
}

/// The KV bucket of leases: one key per (role, partition).
pub const LEASES_BUCKET: &str = "leases";
/// The KV bucket of policies, by hash.
pub const POLICIES_BUCKET: &str = "policies";

/// A lease's key, such as `processor.3`.
pub fn lease_key(role: &str, partition: u16) -> String {
    format!("{role}.{partition}")
}

/// Header: how many records a batch holds.
pub const RECORDS_HEADER: &str = "Natter-Records";
/// Header: nothing, at some length. It makes a batch of short commands take the room that their outcomes are reckoned by.
pub const FILLING_HEADER: &str = "Natter-Filling";
/// Header: the revision of the lease under which an outcome batch was written.
pub const LEASE_HEADER: &str = "Natter-Lease";

/// Stream metadata: the log id, 32 hex digits.
pub const LOG_ID_METADATA: &str = "natter.log";
/// Stream metadata: how many partitions the log has.
pub const PARTITIONS_METADATA: &str = "natter.partitions";
