//! What the other tasks know of a session: whose it is, where its frames go, how much it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use natter_schemas::error::CloseCode;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::slot::user_hash;
use tokio::net::TcpStream;

use crate::auth::Identity;
use crate::commands::Pending;
use crate::evidence::lanes::Lanes;
use crate::load::Load;
use crate::outbox::Outbox;
use crate::rooms::Recipient;
use crate::telemetry::Meters;

/// One session, as seen from outside its task.
#[derive(Debug)]
pub struct SessionHandle {
    id: u64,
    identity: Identity,
    user_hash: u64,
    unanswered: AtomicUsize,
    counts: AtomicBool,
    /// Commands that wait for evidence, and what stands behind them.
    pub lanes: Lanes<Pending>,
    /// Its tenant's.
    pub load: Load,
    /// Where its frames go.
    pub outbox: Outbox,
}

impl SessionHandle {
    /// A session on `socket` that has not been opened.
    pub fn new(id: u64, identity: Identity, load: Load, socket: Arc<TcpStream>, meters: Arc<Meters>) -> Self {
        let user_hash = user_hash(&identity.tenant, &identity.user);
        // A service that was stopped is read from again when enough is answered.
        let counts = AtomicBool::new(identity.service);
        let outbox = Outbox::new(socket, meters);
        let (unanswered, lanes) = (AtomicUsize::new(0), Lanes::default());
        Self { id, identity, user_hash, unanswered, counts, lanes, load, outbox }
    }

    /// Whose it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Commands on their way.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    /// `count` commands are on their way.
    pub fn submitted(&self, count: usize) {
        self.unanswered.fetch_add(count, Ordering::SeqCst);
    }

    /// From here on the session's task is woken by every answer: it waits for them. Look at [`Self::unanswered`] after it.
    pub fn count_answers(&self) {
        self.counts.store(true, Ordering::SeqCst);
    }

    /// One command is answered with this frame, which is queued: `true` as in [`Outbox::queue`].
    pub fn answered(&self, reply: Bytes) -> bool {
        let first = self.outbox.queue(reply);
        self.unanswered.fetch_sub(1, Ordering::SeqCst);
        if self.counts.load(Ordering::SeqCst) {
            self.outbox.wake();
        }
        first
    }
}

impl Recipient for SessionHandle {
    fn id(&self) -> u64 {
        self.id
    }

    fn user_hash(&self) -> u64 {
        self.user_hash
    }

    fn belongs_to(&self, tenant: &Tenant, user: &UserId) -> bool {
        self.identity.tenant == *tenant && self.identity.user == *user
    }

    fn queue(&self, frames: Bytes) -> bool {
        self.outbox.queue(frames)
    }

    fn hand(&self, chunk: &Bytes, from: usize) {
        self.outbox.hand(chunk, from);
    }

    fn flush(&self) {
        self.outbox.flush();
    }

    fn close(&self, code: CloseCode) {
        self.outbox.close(code);
    }
}
