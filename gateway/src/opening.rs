//! How a session opens without a gap: first its user's changes are noted in every partition, then the view is asked for
//! the conversations as of at least that, then both are put together and events flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_projections::reads::{Asking, Memberships, Reads};
use natter_schemas::error::CloseCode;
use natter_schemas::position::Position;
use natter_schemas::wire::server::{Limits, SessionOpened};
use tokio::time::timeout;

use crate::auth::Identity;
use crate::dispatch::Routing;
use crate::frames::write;
use crate::handle::SessionHandle;
use crate::rooms::Recipient as _;

/// A session that cannot be opened in this time is closed as `unavailable`, and tries again.
const DEADLINE: Duration = Duration::from_secs(8);

/// Opens a session: from here on it sees its user's events, after a first frame that says from where on.
///
/// # Errors
/// Why it has to be closed instead.
pub async fn open(
    session: &Arc<SessionHandle>,
    routing: &Routing,
    reads: &Reads,
    ping_interval: Duration,
) -> Result<(), CloseCode> {
    let positions = timeout(DEADLINE, positions(session, routing, reads)).await.ok().flatten();
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
        positions,
    }));
    Ok(())
}

async fn positions(session: &Arc<SessionHandle>, routing: &Routing, reads: &Reads) -> Option<BTreeMap<u16, Position>> {
    let registered = routing.register(session).await?;
    let memberships = memberships(session, reads, &registered).await;
    let shown: Vec<Position> = registered
        .iter()
        .map(|at| memberships.positions.iter().find(|shown| shown.partition == at.partition).unwrap_or(at))
        .copied()
        .collect();
    routing.open(session.id(), &memberships.conversations, &shown).await
}

/// Asks until the view answers; the caller's deadline ends it.
async fn memberships(session: &SessionHandle, reads: &Reads, registered: &[Position]) -> Memberships {
    let Identity { tenant, user, .. } = session.identity();
    let asking = Asking { tenant, user, min: registered };
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    loop {
        match reads.memberships(asking).await {
            Ok(memberships) => return memberships,
            Err(error) => tracing::debug!(code = %error.code, error.message, "a session has to wait for the view"),
        }
        backoff.wait().await;
    }
}
