//! One command with all that is known about it, and the conversation that it is about.

use natter_projections::facts::ConversationFact;
use natter_schemas::command::{Address, Command, Kind, Visibility};
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
        let seen = existing(self.facts, self.tenant(), address).and_then(|(id, fact)| {
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

/// The conversation that an address stands for, where `tenant` has it. Everything that a command says about a conversation comes
/// through here first: one of another tenant is none (invariant 15).
pub(super) fn existing<'a>(
    facts: &'a impl Facts,
    tenant: &Tenant,
    address: &Address,
) -> Option<(ConversationId, &'a ConversationFact)> {
    let id = match address {
        Address::Id(id) => *id,
        Address::External(external) => facts.external(tenant, external)?,
    };
    facts.conversation(id).filter(|fact| fact.tenant == *tenant).map(|fact| (id, fact))
}

/// In which scope the command's `ref` is unique; `None`: the tenant has no such conversation, or the ref is not remembered.
pub(super) fn scope(command: &Command, facts: &impl Facts) -> Option<RefScope> {
    let conversation = command.body.conversation().and_then(|address| existing(facts, &command.tenant, address));
    RefScope::of(&command.body, conversation.map(|(id, _)| id))
}
