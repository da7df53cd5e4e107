//! `conversation.read`.

use natter_projections::facts::ConversationFact;
use natter_schemas::command::{Address, Kind};
use natter_schemas::error::ErrorCode;
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Rejection};

use super::case::Case;
use super::facts::Facts;

/// Moves the sender's cursor: it only rises, and never past the end.
pub(super) fn read<F: Facts>(case: &Case<'_, F>, address: &Address, seq: u64) -> Result<Accepted, Rejection> {
    let seen = case.entered(address)?;
    let head = case.facts.head(seen.id);
    if seq > head {
        let detail = format!("seq {seq} is beyond the last message, which has {head}");
        return Err(Rejection::new(ErrorCode::SeqBeyondEnd, detail));
    }
    let cursor = case.facts.cursor(case.tenant(), seen.id, case.sender());
    if seq <= cursor {
        return Ok(Accepted::Unchanged { conversation: Some(seen.id), seq: Some(cursor) });
    }
    Ok(Accepted::Read { conversation: seen.id, seq, peer: other_of_pair(seen.fact, case.sender()) })
}

/// The other user of a direct chat.
fn other_of_pair(fact: &ConversationFact, one: &UserId) -> Option<UserId> {
    match fact.kind {
        Kind::Direct if fact.creator == *one => fact.peer.clone(),
        Kind::Direct => Some(fact.creator.clone()),
        Kind::Group => None,
    }
}
