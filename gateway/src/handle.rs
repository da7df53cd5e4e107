//! What the other tasks know of a session: whose it is, where its frames go, how much it waits for.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use natter_schemas::error::CloseCode;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::slot::user_hash;

use crate::auth::Identity;
use crate::load::Load;
use crate::outbox::Outbox;
use crate::rooms::Recipient;

/// One session, as seen from outside its task.
#[derive(Debug)]
pub struct SessionHandle {
    id: u64,
    identity: Identity,
    user_hash: u64,
    unanswered: AtomicUsize,
    /// Its tenant's.
    pub load: Load,
    /// What waits to be written.
    pub outbox: Outbox,
}

impl SessionHandle {
    /// A session that has not been opened.
    pub fn new(id: u64, identity: Identity, load: Load) -> Self {
        let user_hash = user_hash(&identity.tenant, &identity.user);
        Self { id, identity, user_hash, unanswered: AtomicUsize::new(0), load, outbox: Outbox::default() }
    }

    /// Whose it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Commands on their way.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Acquire)
    }

    /// `count` commands are on their way.
    pub fn submitted(&self, count: usize) {
        self.unanswered.fetch_add(count, Ordering::AcqRel);
    }

    /// One of them is answered with this frame. Who wakes up for the frame sees the count.
    pub fn answered(&self, reply: Bytes) {
        self.unanswered.fetch_sub(1, Ordering::AcqRel);
        self.outbox.push(reply);
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

    fn deliver(&self, frame: Bytes) {
        self.outbox.push(frame);
    }

    fn close(&self, code: CloseCode) {
        self.outbox.close(code);
    }
}
