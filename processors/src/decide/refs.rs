//! Idempotency (invariant 12): the same ref gets the first accepted outcome again.

use natter_projections::facts::FactKey;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{content_hash, remembers_ref};
use natter_schemas::limits::{REF_LIFE_MS, REFS_RECENT_MAX};
use natter_schemas::outcome::{Accepted, Answered, Learnt, Rejection};

use super::case::{Case, scope};
use super::facts::Facts;

/// The first accepted outcome of this command's ref, where there was one.
///
/// A command that was rejected leaves no ref, so it is decided afresh. One that names a conversation which does not exist
/// has no scope, and will be `not_found`.
pub(super) fn repeated<F: Facts>(case: &Case<'_, F>) -> Result<Option<Accepted>, Rejection> {
    let command = case.command;
    if !remembers_ref(command) {
        return Ok(None);
    }
    let Some(scope) = scope(command, case.facts) else { return Ok(None) };
    let key = FactKey::Refs(command.tenant.clone(), command.sender.clone(), scope);
    let log_ms = case.context.log_ms;
    let remembered = case.facts.remembered(&key, &command.reference, log_ms);
    let lives = |answered: &&Answered| log_ms.saturating_sub(answered.log_ms) <= REF_LIFE_MS;
    match remembered.answered.filter(lives).or_else(|| learnt(case).filter(lives)) {
        Some(first) if first.content == content_hash(&command.body) => {
            return Ok(Some(Accepted::Repeated(first.clone())));
        }
        Some(_) => {
            let detail = format!("ref `{}` was used before with other content", command.reference);
            return Err(Rejection::new(ErrorCode::Conflict, detail));
        }
        None => {}
    }
    if *case.context.learnt == Learnt::HistoryUnavailable {
        return Err(Rejection::new(ErrorCode::Unavailable, "the history that knows older refs is away"));
    }
    if remembered.full {
        let detail = format!("{REFS_RECENT_MAX} commands within two minutes, and no more are allowed");
        return Err(Rejection::new(ErrorCode::RefsFull, detail));
    }
    Ok(None)
}

fn learnt<'a, F>(case: &Case<'a, F>) -> Option<&'a Answered> {
    match case.context.learnt {
        Learnt::RefKnown(answered) => Some(answered),
        _ => None,
    }
}
