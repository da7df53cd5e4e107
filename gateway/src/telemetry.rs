//! Every metric of the gateway, by name. Labels are bounded: error and close codes, reasons, HTTP routes and statuses.

use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

/// Commands with an accepted outcome.
pub const COMMANDS_ACCEPTED: &str = "natter_gateway_commands_accepted_total";
/// Commands refused by the gateway or rejected by an outcome, by `code`.
pub const COMMANDS_REJECTED: &str = "natter_gateway_commands_rejected_total";
/// From a command's receipt to its answer.
pub const COMMAND_ANSWER: &str = "natter_gateway_command_answer_seconds";
/// Open connections, sessions and HTTP.
pub const CONNECTIONS: &str = "natter_gateway_connections";
/// Connections that ended before a handler could answer, by `reason`.
pub const CONNECTIONS_REFUSED: &str = "natter_gateway_connections_refused_total";
/// Open sockets.
pub const SESSIONS: &str = "natter_gateway_sessions";
/// Sessions opened.
pub const SESSIONS_OPENED: &str = "natter_gateway_sessions_opened_total";
/// Sessions that the server closed, by `code`.
pub const SESSIONS_CLOSED: &str = "natter_gateway_sessions_closed_total";
/// From a socket's upgrade to its first frame.
pub const SESSION_OPENING: &str = "natter_gateway_session_opening_seconds";
/// Bytes that wait for a session when its socket takes no more.
pub const OUTBOX_BLOCKED: &str = "natter_gateway_outbox_blocked_bytes";
/// Messages that clients sent.
pub const FRAMES_RECEIVED: &str = "natter_gateway_frames_received_total";
/// Writes to sockets.
pub const WRITES: &str = "natter_gateway_writes_total";
/// Events handed to sessions.
pub const DELIVERIES: &str = "natter_gateway_deliveries_total";
/// Outcome batches of the live feed.
pub const BATCHES: &str = "natter_gateway_live_batches_total";
/// Outcome batches that concern nobody here and were not decoded.
pub const BATCHES_SKIPPED: &str = "natter_gateway_live_batches_skipped_total";
/// Signals handed on for sessions of this gateway.
pub const SIGNALS: &str = "natter_gateway_signals_total";
/// 1 while this gateway has stopped the partition, because it cannot read its log on.
pub const STOPPED: &str = "natter_gateway_partition_stopped";
/// Time to look up what commands need beyond their partition's facts, a batch of them.
pub const EVIDENCE: &str = "natter_gateway_evidence_seconds";
/// Commands that went without evidence, by `reason`: `away` or `queue`.
pub const EVIDENCE_MISSING: &str = "natter_gateway_evidence_missing_total";
/// HTTP requests, by `route` and `status`.
pub const HTTP_REQUESTS: &str = "natter_gateway_http_requests_total";

/// Tells the metrics recorder what the names mean. Call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(COMMANDS_ACCEPTED, "commands with an accepted outcome");
    describe_counter!(COMMANDS_REJECTED, "commands refused by the gateway or rejected by an outcome, by code");
    describe_histogram!(COMMAND_ANSWER, Unit::Seconds, "from a command's receipt to its answer");
    describe_gauge!(CONNECTIONS, Unit::Count, "open connections, sessions and HTTP");
    describe_counter!(CONNECTIONS_REFUSED, "connections that ended before a handler could answer, by reason");
    describe_gauge!(SESSIONS, Unit::Count, "open sockets");
    describe_counter!(SESSIONS_OPENED, "sessions opened");
    describe_counter!(SESSIONS_CLOSED, "sessions that the server closed, by code");
    describe_histogram!(SESSION_OPENING, Unit::Seconds, "from a socket's upgrade to its first frame");
    describe_histogram!(OUTBOX_BLOCKED, Unit::Bytes, "bytes that wait for a session whose socket takes no more");
    describe_counter!(FRAMES_RECEIVED, "messages that clients sent");
    describe_counter!(WRITES, "writes to sockets; deliveries for each of them say how well events coalesce");
    describe_counter!(DELIVERIES, "events handed to sessions");
    describe_counter!(BATCHES, "outcome batches of the live feed");
    describe_counter!(BATCHES_SKIPPED, "outcome batches that concern nobody here and were not decoded");
    describe_counter!(SIGNALS, "signals handed on for sessions of this gateway");
    describe_gauge!(STOPPED, Unit::Count, "1 while this gateway has stopped the partition");
    describe_histogram!(EVIDENCE, Unit::Seconds, "time to look up what commands need beyond their facts");
    describe_counter!(EVIDENCE_MISSING, "commands that went without evidence, by reason");
    describe_counter!(HTTP_REQUESTS, "HTTP requests, by route and status");
}

/// Handles of the metrics that are touched per command, frame or batch: looked up once.
#[derive(Clone)]
pub struct Meters {
    /// [`COMMANDS_ACCEPTED`]
    pub accepted: Counter,
    /// [`COMMAND_ANSWER`]
    pub answer: Histogram,
    /// [`CONNECTIONS`]
    pub connections: Gauge,
    /// [`SESSIONS`]
    pub sessions: Gauge,
    /// [`SESSIONS_OPENED`]
    pub opened: Counter,
    /// [`SESSION_OPENING`]
    pub opening: Histogram,
    /// [`OUTBOX_BLOCKED`]
    pub blocked: Histogram,
    /// [`FRAMES_RECEIVED`]
    pub frames: Counter,
    /// [`WRITES`]
    pub writes: Counter,
    /// [`DELIVERIES`]
    pub deliveries: Counter,
    /// [`BATCHES`]
    pub batches: Counter,
    /// [`BATCHES_SKIPPED`]
    pub skipped: Counter,
    /// [`SIGNALS`]
    pub signals: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            accepted: metrics::counter!(COMMANDS_ACCEPTED),
            answer: metrics::histogram!(COMMAND_ANSWER),
            connections: metrics::gauge!(CONNECTIONS),
            sessions: metrics::gauge!(SESSIONS),
            opened: metrics::counter!(SESSIONS_OPENED),
            opening: metrics::histogram!(SESSION_OPENING),
            blocked: metrics::histogram!(OUTBOX_BLOCKED),
            frames: metrics::counter!(FRAMES_RECEIVED),
            writes: metrics::counter!(WRITES),
            deliveries: metrics::counter!(DELIVERIES),
            batches: metrics::counter!(BATCHES),
            skipped: metrics::counter!(BATCHES_SKIPPED),
            signals: metrics::counter!(SIGNALS),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Meters").finish_non_exhaustive()
    }
}
