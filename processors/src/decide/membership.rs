//! Who is in a conversation, and its name.

use std::collections::HashSet;

use natter_schemas::command::{Address, Kind, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::CONVERSATION_MEMBERS_MAX;
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Rejection};

use super::case::Case;
use super::facts::Facts;

/// `conversation.add`.
pub(super) fn add<F: Facts>(case: &Case<'_, F>, address: &Address, users: &[UserId]) -> Result<Accepted, Rejection> {
    let conversation = case.entered(address)?.group("nobody can be added to a direct chat")?.id;
    let mut known = HashSet::new();
    let is_member = |user: &UserId| case.facts.is_member(case.tenant(), conversation, user);
    let newcomers = users.iter().filter(|user| known.insert(*user) && !is_member(user));
    let members: Vec<UserId> = newcomers.cloned().collect();
    if members.is_empty() {
        return Ok(unchanged(conversation));
    }
    let member_count = room_for(case, conversation, members.len())?;
    Ok(Accepted::Added { conversation, members, seq: case.facts.head(conversation), member_count })
}

/// `conversation.join`.
pub(super) fn join<F: Facts>(case: &Case<'_, F>, address: &Address) -> Result<Accepted, Rejection> {
    let seen = case.seen(address)?;
    if seen.member {
        return Ok(unchanged(seen.id));
    }
    debug_assert!(seen.fact.visibility == Visibility::Public && seen.fact.kind == Kind::Group);
    let member_count = room_for(case, seen.id, 1)?;
    Ok(Accepted::Joined { conversation: seen.id, seq: case.facts.head(seen.id), member_count })
}

/// `conversation.leave`. The last member may leave too.
pub(super) fn leave<F: Facts>(case: &Case<'_, F>, address: &Address) -> Result<Accepted, Rejection> {
    let seen = case.seen(address)?.group("nobody can leave a direct chat")?;
    if !seen.member {
        return Ok(unchanged(seen.id));
    }
    let member_count = case.facts.member_count(seen.id).saturating_sub(1);
    Ok(Accepted::Left { conversation: seen.id, member_count })
}

/// `conversation.rename`.
pub(super) fn rename<F: Facts>(case: &Case<'_, F>, address: &Address) -> Result<Accepted, Rejection> {
    let seen = case.entered(address)?.group("a direct chat has no name")?;
    Ok(Accepted::Renamed { conversation: seen.id })
}

const fn unchanged(conversation: ConversationId) -> Accepted {
    Accepted::Unchanged { conversation: Some(conversation), seq: None }
}

/// The number of members when `more` have come.
fn room_for<F: Facts>(case: &Case<'_, F>, conversation: ConversationId, more: usize) -> Result<u32, Rejection> {
    let count = case.facts.member_count(conversation);
    match u32::try_from(more).ok().and_then(|more| count.checked_add(more)) {
        Some(then) if then <= CONVERSATION_MEMBERS_MAX => Ok(then),
        _ => {
            let detail = format!("{count} members and {more} more, at most {CONVERSATION_MEMBERS_MAX} are allowed");
            Err(Rejection::new(ErrorCode::TooManyMembers, detail))
        }
    }
}
