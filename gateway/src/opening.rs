//! How sessions open without a gap: first their users' changes are noted in every partition, then the view is asked for
//! the conversations as of at least that, then both are put together and events flow.
//!
//! Sessions that wait at a moment open together, by one question to each partition: when thousands come back at once,
//! neither Redis nor the partitions' tasks have more to do than for some of them.

use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_projections::reads::{Memberships, Reads};
use natter_schemas::error::CloseCode;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::server::{Limits, SessionOpened};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::dispatch::Routing;
use crate::frames::write;
use crate::handle::SessionHandle;
use crate::rooms::Recipient as _;

/// A session that cannot be opened in this time is closed as `unavailable`, and tries again.
const DEADLINE: Duration = Duration::from_secs(8);
/// Sessions that wait to be opened; further ones wait in their own tasks.
const QUEUE_MAX: usize = 1024;
/// Sessions that open together.
const TOGETHER_MAX: usize = 64;

/// The way to the task that opens sessions.
#[derive(Debug)]
pub struct Opener {
    queue: mpsc::Sender<Opening>,
}

/// A session that waits.
#[derive(Debug)]
struct Opening {
    session: Arc<SessionHandle>,
    opened: oneshot::Sender<Arc<[Position]>>,
}

impl Opener {
    /// Starts the task; it ends with the opener.
    pub fn start(routing: Routing, reads: Reads) -> Self {
        let (queue, openings) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(open_all(openings, routing, reads));
        Self { queue }
    }

    /// Opens a session: from here on it sees its user's events, after a first frame that says from where on.
    ///
    /// # Errors
    /// Why it has to be closed instead.
    pub async fn open(&self, session: &Arc<SessionHandle>, ping_interval: Duration) -> Result<(), CloseCode> {
        let positions = timeout(DEADLINE, self.positions(Arc::clone(session))).await.ok().flatten();
        let positions = positions.ok_or_else(|| session.outbox.closing().unwrap_or(CloseCode::Unavailable))?;
        let identity = session.identity();
        session.outbox.open(write::json(&SessionOpened {
            event: "session.opened".to_owned(),
            session: session.id().to_string(),
            tenant: identity.tenant.clone(),
            user: identity.user.clone(),
            ping_interval_ms: u64::try_from(ping_interval.as_millis()).unwrap_or(u64::MAX),
            expires: identity.expires_ms,
            limits: Limits::default(),
            positions: positions.iter().map(|position| (position.partition, *position)).collect(),
        }));
        Ok(())
    }

    async fn positions(&self, session: Arc<SessionHandle>) -> Option<Arc<[Position]>> {
        let (opened, positions) = oneshot::channel();
        self.queue.send(Opening { session, opened }).await.ok()?;
        positions.await.ok()
    }
}

async fn open_all(mut openings: mpsc::Receiver<Opening>, routing: Routing, reads: Reads) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while openings.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let positions = open_together(&together, &routing, &reads).await;
        for Opening { session, opened } in together.drain(..) {
            let told = positions.as_ref().is_some_and(|positions| opened.send(Arc::clone(positions)).is_ok());
            if !told {
                // It did not wait any longer, and may have closed before it was registered.
                routing.close(session.id()).await;
            }
        }
    }
}

/// `None`: nobody waits any longer, or the gateway is stopping.
async fn open_together(openings: &[Opening], routing: &Routing, reads: &Reads) -> Option<Arc<[Position]>> {
    let sessions: Arc<[_]> = openings.iter().map(|opening| Arc::clone(&opening.session)).collect();
    let registered = routing.register(&sessions).await?;
    let memberships = memberships(openings, reads, &registered).await?;
    Some(routing.open(&sessions, memberships).await?.into())
}

/// Asks until the view answers, or nobody waits any longer.
async fn memberships(openings: &[Opening], reads: &Reads, registered: &[Position]) -> Option<Vec<Memberships>> {
    let identities = openings.iter().map(|opening| opening.session.identity());
    let users: Vec<(Tenant, UserId)> =
        identities.map(|identity| (identity.tenant.clone(), identity.user.clone())).collect();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    while openings.iter().any(|opening| !opening.opened.is_closed()) {
        match reads.memberships(&users, registered).await {
            Ok(memberships) => return Some(memberships),
            Err(error) => tracing::debug!(code = %error.code, error.message, "sessions have to wait for the view"),
        }
        backoff.wait().await;
    }
    None
}
