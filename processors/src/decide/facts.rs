//! What a decision may ask about its partition.

use natter_projections::facts::{ConversationFact, Fact, FactKey, Refs, RunFact};
use natter_schemas::evidence::Answered;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::REFS_RECENT_MAX;
use natter_schemas::names::{ExternalId, Ref, Tenant, UserId};
use natter_schemas::policy::PolicyHash;

/// The facts of a partition, as they are before the command.
pub trait Facts {
    /// The fact under `key`; `None`: there is none.
    fn fact(&self, key: &FactKey) -> Option<&Fact>;

    /// What is remembered of `reference` under `key`, for a command before whose batch it was `before_ms`.
    fn remembered(&self, key: &FactKey, reference: &Ref, before_ms: u64) -> Remembered<'_> {
        match self.fact(key) {
            Some(Fact::Refs(refs)) => Remembered::among(refs, reference, before_ms),
            _ => Remembered::default(),
        }
    }

    /// What never changes about a conversation.
    fn conversation(&self, id: ConversationId) -> Option<&ConversationFact> {
        match self.fact(&FactKey::Conversation(id)) {
            Some(Fact::Conversation(fact)) => Some(fact),
            _ => None,
        }
    }

    /// Seq of a conversation's last message; 0: none yet.
    fn head(&self, id: ConversationId) -> u64 {
        match self.fact(&FactKey::Head(id)) {
            Some(Fact::Head(seq)) => *seq,
            _ => 0,
        }
    }

    /// The last run of imported lines in a conversation.
    fn run(&self, id: ConversationId) -> Option<&RunFact> {
        match self.fact(&FactKey::Run(id)) {
            Some(Fact::Run(run)) => Some(run),
            _ => None,
        }
    }

    /// From when on a user's display name counts, in Unix milliseconds; `None`: there is none.
    fn named_at(&self, tenant: &Tenant, user: &UserId) -> Option<u64> {
        match self.fact(&FactKey::NamedAt(tenant.clone(), user.clone())) {
            Some(Fact::NamedAt(at_ms)) => Some(*at_ms),
            _ => None,
        }
    }

    /// Members of a conversation.
    fn member_count(&self, id: ConversationId) -> u32 {
        match self.fact(&FactKey::MemberCount(id)) {
            Some(Fact::MemberCount(count)) => *count,
            _ => 0,
        }
    }

    /// Whether a user is in a conversation.
    fn is_member(&self, tenant: &Tenant, id: ConversationId, user: &UserId) -> bool {
        self.fact(&FactKey::Member(tenant.clone(), id, user.clone())).is_some()
    }

    /// How far a user has read.
    fn cursor(&self, tenant: &Tenant, id: ConversationId, user: &UserId) -> u64 {
        match self.fact(&FactKey::Cursor(tenant.clone(), id, user.clone())) {
            Some(Fact::Cursor(seq)) => *seq,
            _ => 0,
        }
    }

    /// The conversation with an external id.
    fn external(&self, tenant: &Tenant, external: &ExternalId) -> Option<ConversationId> {
        address(self.fact(&FactKey::External(tenant.clone(), external.clone())))
    }

    /// The direct chat of a pair.
    fn direct(&self, tenant: &Tenant, one: &UserId, other: &UserId) -> Option<ConversationId> {
        address(self.fact(&FactKey::direct(tenant, one, other)))
    }

    /// The highest line taken under a line key; 0: none.
    fn line(&self, key: &FactKey) -> u64 {
        match self.fact(key) {
            Some(Fact::Line(line)) => *line,
            _ => 0,
        }
    }

    /// The policy in force; `None`: the default.
    fn policy(&self, tenant: &Tenant) -> Option<PolicyHash> {
        match self.fact(&FactKey::Policy(tenant.clone())) {
            Some(Fact::Policy(hash)) => Some(*hash),
            _ => None,
        }
    }
}

/// What is remembered of a ref.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remembered<'a> {
    /// What it was answered with, where it is visible.
    pub answered: Option<&'a Answered>,
    /// The sender has as many recent refs in this scope as are remembered.
    pub full: bool,
}

impl<'a> Remembered<'a> {
    /// What `refs` say about `reference`.
    pub fn among(refs: &'a Refs, reference: &Ref, before_ms: u64) -> Self {
        Self { answered: refs.find(reference, before_ms), full: is_full(refs, before_ms) }
    }

    /// What `refs` say about a ref that is not among them.
    pub fn unknown(refs: &Refs, before_ms: u64) -> Self {
        Self { answered: None, full: is_full(refs, before_ms) }
    }
}

fn is_full(refs: &Refs, before_ms: u64) -> bool {
    // Nearly every list is short, and counting touches memory that is far away.
    refs.len() >= REFS_RECENT_MAX && refs.recent(before_ms) >= REFS_RECENT_MAX
}

/// The conversation in an address fact.
pub(crate) fn address(fact: Option<&Fact>) -> Option<ConversationId> {
    match fact {
        Some(Fact::Address(id)) => Some(*id),
        _ => None,
    }
}
