//! What an operator decides about a gateway.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::clock::{SharedClock, SystemClock};

use crate::auth::{Origin, TenantKeys};
use crate::stopped::StoppedPartitions;

/// Connections at a time where nothing else is said.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Sessions of one user at a time where nothing else is said.
pub const USER_SESSIONS_MAX: usize = 100;
/// How long a request may take to arrive where nothing else is said.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// How a gateway behaves.
#[derive(Clone)]
pub struct GatewayConfig {
    /// The keys of the tenants' tokens.
    pub keys: Arc<TenantKeys>,
    /// Origins of pages that may connect beside the gateway's own, and that HTTP answers (CORS).
    pub origins: Vec<Origin>,
    /// Commands of one session; not of a service's.
    pub session_rate: Rate,
    /// Commands of one user over all sessions and HTTP; not of a service's.
    pub user_rate: Rate,
    /// Reads of one user; not of a service's.
    pub read_rate: Rate,
    /// Connections at a time, sessions included; who comes beyond is told to try again.
    pub connections_max: usize,
    /// Sessions of one user at a time; not of a service.
    pub user_sessions_max: usize,
    /// How long a request's head may take to arrive, and again its body; and how long a client may take nothing of its answer.
    pub request_patience: Duration,
    /// How often the server pings; a session that is silent for two intervals is closed.
    pub ping_interval: Duration,
    /// How long the drain may take in all.
    pub drain_deadline: Duration,
    /// Over how long the sessions are closed when the server drains, so that they do not all come back at once.
    pub drain_spread: Duration,
    /// Says what time it is.
    pub clock: SharedClock,
    /// Where the gateway says which partitions it had to stop.
    pub stopped: StoppedPartitions,
}

/// So many a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Refilled every second.
    pub per_second: NonZeroU32,
    /// Saved up at most.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `per_second` and `burst`; 0 counts as 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self { per_second: at_least_one(per_second), burst: at_least_one(burst) }
    }
}

impl GatewayConfig {
    /// The defaults, with these keys.
    pub fn new(keys: TenantKeys) -> Self {
        Self {
            keys: Arc::new(keys),
            origins: Vec::new(),
            session_rate: Rate::new(50, 200),
            user_rate: Rate::new(100, 400),
            read_rate: Rate::new(100, 400),
            connections_max: CONNECTIONS_MAX,
            user_sessions_max: USER_SESSIONS_MAX,
            request_patience: REQUEST_PATIENCE,
            ping_interval: Duration::from_secs(25),
            drain_deadline: Duration::from_secs(8),
            drain_spread: Duration::from_secs(1),
            clock: SystemClock::shared(),
            stopped: StoppedPartitions::default(),
        }
    }
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GatewayConfig")
            .field("keys", &self.keys)
            .field("origins", &self.origins)
            .field("session_rate", &self.session_rate)
            .field("user_rate", &self.user_rate)
            .field("read_rate", &self.read_rate)
            .field("connections_max", &self.connections_max)
            .field("user_sessions_max", &self.user_sessions_max)
            .field("request_patience", &self.request_patience)
            .field("ping_interval", &self.ping_interval)
            .field("drain_deadline", &self.drain_deadline)
            .field("drain_spread", &self.drain_spread)
            .finish_non_exhaustive()
    }
}
