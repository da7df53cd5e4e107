//! One command with all that is known about it, and the conversation that it is about.

use natter_projections::facts::ConversationFact;
use natter_schemas::command::{Address, Body, Command, Kind, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::RefScope;
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::outcome::Rejection;

use super::Context;
use super::facts::Facts;

/// A command with all that is known about it.
pub(super) struct Case<'a, F> {
    pub(super) command: &'a Command,
    pub(super) context: Context<'a>,
    pub(super) facts: &'a F,
}

/// A conversation that the sender may know of.
pub(super) struct Seen<'a> {
    pub(super) id: ConversationId,
    pub(super) fact: &'a ConversationFact,
    /// Whether the sender is in it.
    pub(super) member: bool,
}

impl<'a, F: Facts> Case<'a, F> {
    pub(super) const fn tenant(&self) -> &'a Tenant {
        &self.command.tenant
    }

    pub(super) const fn sender(&self) -> &'a UserId {
        &self.command.sender
    }

    /// The conversation that is meant.
    ///
    /// Nobody learns of a private conversation that it exists: not from another tenant, nor a stranger.
    pub(super) fn seen(&self, address: &Address) -> Result<Seen<'a>, Rejection> {
        let seen = resolve(self.facts, self.tenant(), address).and_then(|id| {
            let fact = self.facts.conversation(id).filter(|fact| fact.tenant == *self.tenant())?;
            let member = self.facts.is_member(id, self.sender());
            (member || fact.visibility == Visibility::Public).then_some(Seen { id, fact, member })
        });
        seen.ok_or_else(|| Rejection::new(ErrorCode::NotFound, "no such conversation"))
    }

    /// The conversation that is meant, with the sender in it.
    pub(super) fn entered(&self, address: &Address) -> Result<Seen<'a>, Rejection> {
        let seen = self.seen(address)?;
        if seen.member {
            Ok(seen)
        } else {
            Err(Rejection::new(ErrorCode::NotMember, "not a member of this conversation"))
        }
    }
}

impl Seen<'_> {
    /// A direct chat is of two people for ever.
    pub(super) fn group(self, otherwise: &str) -> Result<Self, Rejection> {
        match self.fact.kind {
            Kind::Group => Ok(self),
            Kind::Direct => Err(Rejection::new(ErrorCode::WrongKind, otherwise)),
        }
    }
}

/// The id that an address stands for; whether there is such a conversation is another question.
pub(super) fn resolve(facts: &impl Facts, tenant: &Tenant, address: &Address) -> Option<ConversationId> {
    match address {
        Address::Id(id) => Some(*id),
        Address::External(external) => facts.external(tenant, external),
    }
}

/// In which scope the command's `ref` is unique; `None` while the conversation that it names is unknown.
pub fn scope(command: &Command, facts: &impl Facts) -> Option<RefScope> {
    match (&command.body, command.body.conversation()) {
        (Body::CreateDirect { .. } | Body::CreateGroup { .. }, _) => Some(RefScope::Create),
        (_, Some(address)) => resolve(facts, &command.tenant, address).map(RefScope::Conversation),
        (_, None) => Some(RefScope::User),
    }
}
