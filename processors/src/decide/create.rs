//! `conversation.create`.

use std::collections::HashSet;

use natter_schemas::command::{Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::{ConversationId, IdState};
use natter_schemas::names::{ExternalId, UserId};
use natter_schemas::outcome::{Accepted, Rejection};
use natter_schemas::slot::Slot;

use super::case::Case;
use super::facts::Facts;

/// A direct chat: one per pair.
pub(super) fn direct<F: Facts>(case: &Case<'_, F>, peer: &UserId, ids: &mut IdState) -> Result<Accepted, Rejection> {
    let (tenant, sender) = (case.tenant(), case.sender());
    if peer == sender {
        return Err(Rejection::new(ErrorCode::WrongKind, "a direct chat is with somebody else"));
    }
    if let Some(conversation) = case.facts.direct(tenant, sender, peer) {
        return Ok(Accepted::Existing { conversation });
    }
    let conversation = ConversationId::from_raw(ids.next(Slot::of_direct(tenant, sender, peer)));
    Ok(Accepted::Created { conversation, members: vec![peer.clone()] })
}

/// A group.
pub(super) fn group<F: Facts>(
    case: &Case<'_, F>,
    members: &[UserId],
    external: Option<&ExternalId>,
    ids: &mut IdState,
) -> Result<Accepted, Rejection> {
    let (tenant, sender) = (case.tenant(), case.sender());
    let slot = match external {
        Some(external) => match case.facts.external(tenant, external) {
            Some(conversation) => return existing(case, external, conversation),
            None => Slot::of_external(tenant, external),
        },
        None => Slot::of_create(tenant, sender, &case.command.reference),
    };
    let mut known = HashSet::from([sender]);
    let members = members.iter().filter(|user| known.insert(user)).cloned().collect();
    Ok(Accepted::Created { conversation: ConversationId::from_raw(ids.next(slot)), members })
}

/// An import goes on with the room that is there; anybody else learns its id only if they may know of it.
fn existing<F: Facts>(
    case: &Case<'_, F>,
    external: &ExternalId,
    conversation: ConversationId,
) -> Result<Accepted, Rejection> {
    if matches!(case.command.origin, Origin::Import(_)) {
        return Ok(Accepted::Existing { conversation });
    }
    let public = case.facts.conversation(conversation).is_some_and(|fact| fact.visibility == Visibility::Public);
    let detail = if public || case.facts.is_member(case.tenant(), conversation, case.sender()) {
        format!("external id `{external}` is conversation {conversation}")
    } else {
        format!("external id `{external}` is taken")
    };
    Err(Rejection::new(ErrorCode::AlreadyExists, detail))
}
