//! One copy of each name.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use natter_projections::facts::FactKey;
use natter_schemas::names::{Tenant, UserId};

/// The names in an overlay's keys, each in memory once: every command brings its own copies, and comparing keys would
/// touch as many places far away.
#[derive(Debug, Default)]
pub(super) struct Names {
    tenants: HashSet<Tenant, RandomState>,
    users: HashSet<UserId, RandomState>,
}

impl Names {
    /// The same key, of names that others have too.
    pub(super) fn shared(&mut self, key: FactKey) -> FactKey {
        match key {
            FactKey::Member(tenant, id, user) => FactKey::Member(self.tenant(tenant), id, self.user(user)),
            FactKey::Cursor(tenant, id, user) => FactKey::Cursor(self.tenant(tenant), id, self.user(user)),
            FactKey::Refs(tenant, user, scope) => FactKey::Refs(self.tenant(tenant), self.user(user), scope),
            FactKey::External(tenant, external) => FactKey::External(self.tenant(tenant), external),
            FactKey::Direct(tenant, low, high) => FactKey::Direct(self.tenant(tenant), self.user(low), self.user(high)),
            FactKey::UserLine(tenant, user, source) => FactKey::UserLine(self.tenant(tenant), self.user(user), source),
            FactKey::NamedAt(tenant, user) => FactKey::NamedAt(self.tenant(tenant), self.user(user)),
            FactKey::Policy(tenant) => FactKey::Policy(self.tenant(tenant)),
            FactKey::ConversationLine(tenant, id, source) => FactKey::ConversationLine(self.tenant(tenant), id, source),
            FactKey::Conversation(_) | FactKey::Head(_) | FactKey::Run(_) | FactKey::MemberCount(_) => key,
        }
    }

    fn tenant(&mut self, name: Tenant) -> Tenant {
        if let Some(known) = self.tenants.get(&name) {
            return known.clone();
        }
        self.tenants.insert(name.clone());
        name
    }

    fn user(&mut self, name: UserId) -> UserId {
        if let Some(known) = self.users.get(&name) {
            return known.clone();
        }
        self.users.insert(name.clone());
        name
    }
}
