//! What all requests and sessions of a gateway share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use natter_projections::reads::{Asking, Reads};
use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::client::Signal;
use natter_schemas::wire::server::ErrorBody;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{self, Identity};
use crate::commands::Commands;
use crate::config::GatewayConfig;
use crate::dispatch::Routing;
use crate::handle::SessionHandle;
use crate::http::ready::Readiness;
use crate::load::Loads;
use crate::opening::Opener;
use crate::rate::Rates;
use crate::session::Moment;
use crate::telemetry::{self, Meters};
use crate::users::UserSessions;

/// Conversations of signals that are looked up by their external id at a time; signals beyond it are dropped.
const LOOKUPS_MAX: usize = 64;

/// A gateway.
pub struct Gateway {
    /// What the operator decided.
    pub config: GatewayConfig,
    /// Partitions of the log.
    pub partitions: u16,
    /// The way to the log.
    pub commands: Commands,
    /// The views.
    pub reads: Reads,
    /// The way to each partition's task.
    pub routing: Routing,
    /// Opens sessions.
    pub opener: Opener,
    /// Rate limits.
    pub rates: Rates,
    /// Sessions of each user.
    pub users: Arc<UserSessions>,
    /// Commands on their way.
    pub loads: Loads,
    /// Counters.
    pub meters: Arc<Meters>,
    /// Whether what the gateway needs is there.
    pub readiness: Arc<dyn Readiness>,
    /// Cancelled when the drain begins.
    pub drain: CancellationToken,
    /// Sockets after the upgrade: axum does not wait for them.
    pub sockets: TaskTracker,
    started: Instant,
    lookups: Arc<Semaphore>,
}

/// The parts of a gateway that are made by [`crate::run`].
pub struct Parts {
    /// Partitions of the log.
    pub partitions: u16,
    /// The way to the log.
    pub commands: Commands,
    /// The views.
    pub reads: Reads,
    /// The way to each partition's task.
    pub routing: Routing,
    /// Counters.
    pub meters: Arc<Meters>,
    /// Whether what the gateway needs is there.
    pub readiness: Arc<dyn Readiness>,
}

impl Gateway {
    /// A gateway of these parts.
    pub fn new(config: GatewayConfig, parts: Parts) -> Self {
        let Parts { partitions, commands, reads, routing, meters, readiness } = parts;
        let rates = Rates::new(config.session_rate, config.user_rate, config.read_rate);
        let users = UserSessions::new(config.user_sessions_max);
        let opener = Opener::start(routing.clone(), reads.clone());
        Self {
            config,
            partitions,
            commands,
            reads,
            routing,
            opener,
            rates,
            users,
            loads: Loads::default(),
            meters,
            readiness,
            drain: CancellationToken::new(),
            sockets: TaskTracker::new(),
            started: Instant::now(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Now, by the calendar and by a clock that no one sets.
    pub fn now(&self) -> Moment {
        Moment { unix_ms: self.config.clock.now_ms(), uptime_ms: millis(self.started.elapsed()) }
    }

    /// Who a request comes from.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`].
    pub fn authenticate(&self, headers: &hyper::HeaderMap) -> Result<Identity, ErrorBody> {
        let missing =
            || ErrorBody::new(ErrorCode::Unauthenticated, "a token is needed: `Authorization: Bearer <token>`");
        let token = auth::token_of(headers).ok_or_else(missing)?;
        auth::authenticate(token, &self.config.keys, self.config.clock.now_ms())
    }

    /// Who asks to read, within the rate that is allowed.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`], [`ErrorCode::RateLimited`].
    pub fn reader(&self, headers: &hyper::HeaderMap) -> Result<Identity, ErrorBody> {
        let identity = self.authenticate(headers)?;
        match self.rates.admit_read(&identity) {
            Ok(()) => Ok(identity),
            Err(retry_ms) => Err(ErrorBody::of(ErrorCode::RateLimited).retry_after(retry_ms)),
        }
    }

    /// Passes a member's signal on; at most once, so it is dropped wherever it would have to wait.
    pub fn signal(self: &Arc<Self>, session: &Arc<SessionHandle>, conversation: Address, signal: Signal) {
        match conversation {
            Address::Id(conversation) => self.routing.signal(session, conversation, signal),
            Address::External(_) => {
                let Ok(permit) = Arc::clone(&self.lookups).try_acquire_owned() else {
                    return telemetry::count_crowded_signal();
                };
                let (gateway, session) = (Arc::clone(self), Arc::clone(session));
                tokio::spawn(async move {
                    let Identity { tenant, user, .. } = session.identity();
                    if let Ok(found) =
                        gateway.reads.conversation(Asking { tenant, user, min: &[] }, &conversation).await
                    {
                        gateway.routing.signal(&session, found.conversation.conversation, signal);
                    }
                    drop(permit);
                });
            }
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
