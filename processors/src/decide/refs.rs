//! Idempotency (invariant 12): the same ref gets the first accepted outcome again.

use natter_projections::facts::FactKey;
use natter_schemas::command::Origin;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{content_hash, remembers_ref};
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::limits::{EVIDENCE_AGE_MS_MAX, REF_LIFE_MS, REFS_RECENT_MAX};
use natter_schemas::outcome::{Accepted, Rejection};

use super::case::{Case, scope};
use super::facts::Facts;

/// The first accepted outcome of this command's ref, where there was one.
///
/// A command that was rejected leaves no ref, so it is decided afresh. One that names a conversation which its tenant does not
/// have has no scope, and will be `not_found`.
pub(super) fn repeated<F: Facts>(case: &Case<'_, F>) -> Result<Option<Accepted>, Rejection> {
    let command = case.command;
    if !remembers_ref(command) {
        return Ok(None);
    }
    let Some(scope) = scope(command, case.facts) else { return Ok(None) };
    let key = FactKey::Refs(command.tenant.clone(), command.sender.clone(), scope);
    let remembered = case.facts.remembered(&key, &command.reference, case.context.before_ms);
    let first = match remembered.answered {
        Some(answered) => Some(answered),
        // The facts know what is recent. An older ref is looked for only if the client says that it sends it again.
        None if command.origin == Origin::Resend => of_history(case)?,
        None => None,
    };
    match first {
        Some(first) if first.content == content_hash(&command.body) => {
            return Ok(Some(Accepted::Repeated(first.clone())));
        }
        Some(_) => {
            let detail = format!("ref `{}` was used before with other content", command.reference);
            return Err(Rejection::new(ErrorCode::Conflict, detail));
        }
        None => {}
    }
    if remembered.full {
        let detail = format!("{REFS_RECENT_MAX} commands within two minutes, and no more are allowed");
        return Err(Rejection::new(ErrorCode::RefsFull, detail));
    }
    Ok(None)
}

/// What the gateway found about the ref of a resend, if it still counts (invariant 14): whatever was accepted after it is among
/// the facts.
fn of_history<'a, F>(case: &Case<'a, F>) -> Result<Option<&'a Answered>, Rejection> {
    let found = case.command.evidence.first().map(|Evidence::Ref { first, complete }| (first.as_ref(), complete));
    let Some((first, complete)) = found else {
        return Err(Rejection::new(ErrorCode::Unavailable, "the history that knows older refs is away"));
    };
    in_force(case, *complete)?;
    let lives = |answered: &&Answered| case.context.before_ms.saturating_sub(answered.log_ms) <= REF_LIFE_MS;
    Ok(first.filter(lives))
}

/// Whether evidence that is complete up to there counts for this command.
fn in_force<F>(case: &Case<'_, F>, complete: Complete) -> Result<(), Rejection> {
    let age_ms = case.context.before_ms.saturating_sub(complete.log_ms);
    if age_ms <= EVIDENCE_AGE_MS_MAX {
        return Ok(());
    }
    let detail = format!("looked up {age_ms} ms of log time ago, at most {EVIDENCE_AGE_MS_MAX} are allowed");
    Err(Rejection::new(ErrorCode::StaleEvidence, detail))
}
