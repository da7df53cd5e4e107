//! One step of all views: outcomes in, operations out. Pure.

use natter_schemas::event::Placed;

use super::members::Membership;
use super::operation::Operation;
use super::{addresses, conversations, inbox, lines, members, messages, policies, refs, users};
use crate::facts::{Change, Fact, FactKey, changes};

/// What some successive outcomes of one partition change, folded: one operation per key, however many they are.
/// Folding an outcome twice is folding it once.
#[derive(Debug, Default)]
pub(crate) struct Step {
    conversations: conversations::Fold,
    messages: messages::Fold,
    members: members::Fold,
    inbox: inbox::Fold,
    users: users::Fold,
    refs: refs::Fold,
    addresses: addresses::Fold,
    lines: lines::Fold,
    policies: policies::Fold,
}

impl Step {
    /// Takes in the next outcome.
    pub(crate) fn outcome(&mut self, placed: &Placed) {
        let Some(event) = placed.event() else { return };
        self.conversations.event(&event);
        self.messages.event(&event);
        self.users.event(&event);
        for change in changes(&event) {
            match change {
                Change::Set(key, fact) => self.set(&event.command.tenant, event.at_ms(), key, fact),
                Change::PushRef(FactKey::Refs(tenant, sender, scope), entry) => {
                    self.refs.push(&tenant, &sender, &scope, &entry);
                }
                Change::PushRef(..) => unreachable!("only a list of refs takes refs"),
            }
        }
    }

    fn set(&mut self, tenant: &natter_schemas::names::Tenant, at_ms: u64, key: FactKey, fact: Option<Fact>) {
        match (key, fact) {
            (FactKey::Conversation(id), Some(Fact::Conversation(fact))) => self.conversations.fact(id, &fact),
            (FactKey::Head(id), Some(Fact::Head(seq))) => self.conversations.head(id, seq),
            (FactKey::MemberCount(id), Some(Fact::MemberCount(count))) => self.conversations.member_count(id, count),
            (FactKey::Member(id, user), fact) => {
                let membership = match fact {
                    Some(Fact::Member(role)) => Some(Membership { role, joined_at_ms: at_ms }),
                    _ => None,
                };
                self.members.member(id, &user, membership);
                self.inbox.member(tenant, &user, id, membership.is_some());
            }
            (FactKey::Cursor(id, user), Some(Fact::Cursor(seq))) => self.members.cursor(id, &user, seq),
            (FactKey::External(tenant, external), Some(Fact::Address(id))) => {
                self.addresses.external(&tenant, &external, id);
            }
            (FactKey::Direct(tenant, low, high), Some(Fact::Address(id))) => {
                self.addresses.direct(&tenant, &low, &high, id);
            }
            (FactKey::ConversationLine(id, source), Some(Fact::Line(line))) => {
                self.lines.conversation(id, source, line);
            }
            (FactKey::UserLine(tenant, user, source), Some(Fact::Line(line))) => {
                self.lines.user(&tenant, &user, source, line);
            }
            (FactKey::Policy(tenant), Some(Fact::Policy(hash))) => self.policies.policy(&tenant, Some(hash)),
            (FactKey::Policy(tenant), None) => self.policies.policy(&tenant, None),
            (key, fact) => unreachable!("no event sets {key:?} to {fact:?}"),
        }
    }

    /// What is to be written.
    pub(crate) fn operations(self) -> Vec<Operation> {
        let mut operations = Vec::new();
        self.conversations.operations(&mut operations);
        self.messages.operations(&mut operations);
        self.members.operations(&mut operations);
        self.inbox.operations(&mut operations);
        self.users.operations(&mut operations);
        self.refs.operations(&mut operations);
        self.addresses.operations(&mut operations);
        self.lines.operations(&mut operations);
        self.policies.operations(&mut operations);
        operations
    }
}
