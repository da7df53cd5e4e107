//! What is decided about a command: a pure function of the command with its evidence, the facts of its partition and the
//! tenant's policy. No clock, no randomness, no I/O: the same log gives the same decisions for ever
//! (invariant 5).

mod case;
pub mod content;
mod create;
mod cursor;
pub mod facts;
mod import;
mod membership;
mod message;
mod name;
pub mod needs;
mod refs;
#[cfg(test)]
mod tests;

use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::IdState;
use natter_schemas::limits::COMMAND_AGE_MS_MAX;
use natter_schemas::outcome::{Accepted, Decision, Learnt, Rejection};
use natter_schemas::policy::PolicyHash;

pub use facts::Facts;
pub use needs::needs;

use crate::policy::ContentRules;
use case::Case;

/// What surrounds a command.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// When its batch was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Log time of its batch ([`natter_schemas::codec::Source::log_ms`]).
    pub log_ms: u64,
    /// Log time before its batch ([`natter_schemas::codec::Source::before_ms`]).
    pub before_ms: u64,
    /// What the policy in force says about texts; `None`: it is lost, or this binary cannot use it.
    pub rules: Option<&'a ContentRules>,
    /// What was learnt beside the facts.
    pub learnt: Learnt,
}

/// Decides `command`. `ids` moves only when something is made.
pub fn decide(command: &Command, context: Context<'_>, facts: &impl Facts, ids: &mut IdState) -> Decision {
    match accept(&Case { command, context, facts }, ids) {
        Ok(accepted) => Decision::Accepted(accepted),
        Err(rejection) => Decision::Rejected(rejection),
    }
}

/// The log time of a batch stored at `stored_ms` after one of `previous_ms` (0: none): it never goes back, and one wrong
/// clock cannot make everything expire at once (invariant 2).
pub fn log_time(previous_ms: u64, stored_ms: u64) -> u64 {
    match previous_ms {
        0 => stored_ms,
        _ => stored_ms.min(previous_ms + natter_schemas::limits::LOG_TIME_STEP_MS_MAX).max(previous_ms),
    }
}

/// The sender's own ref comes before every other question but whose the conversation is (invariant 15): what was accepted once is
/// answered again however late it comes and whatever has happened since.
fn accept<F: Facts>(case: &Case<'_, F>, ids: &mut IdState) -> Result<Accepted, Rejection> {
    if let Some(repeated) = refs::repeated(case)? {
        return Ok(repeated);
    }
    in_time(case)?;
    if let Some(before) = import::taken_before(case)? {
        return Ok(before);
    }
    match &case.command.body {
        Body::CreateDirect { peer } => create::direct(case, peer, ids),
        Body::CreateGroup { members, external, .. } => create::group(case, members, external.as_ref(), ids),
        Body::Add { conversation, members } => membership::add(case, conversation, members),
        Body::Join { conversation } => membership::join(case, conversation),
        Body::Leave { conversation } => membership::leave(case, conversation),
        Body::Rename { conversation, .. } => membership::rename(case, conversation),
        Body::Read { conversation, seq } => cursor::read(case, conversation, *seq),
        Body::Send { conversation, text } => message::send(case, conversation, text, ids),
        Body::UpdateUser { .. } => Ok(name::update(case)),
        Body::SetPolicy { hash } => set_policy(case, *hash),
    }
}

/// A command that waited too long has been answered `outcome_unknown`, and its refs may be forgotten. A gateway's clock
/// that is ahead makes a command younger, never older.
fn in_time<F>(case: &Case<'_, F>) -> Result<(), Rejection> {
    if !matches!(case.command.origin, Origin::Client | Origin::Resend) {
        return Ok(());
    }
    let age_ms = case.context.stored_ms.saturating_sub(case.command.received_ms);
    if age_ms <= COMMAND_AGE_MS_MAX {
        return Ok(());
    }
    let detail = format!("stored {age_ms} ms after it was received, at most {COMMAND_AGE_MS_MAX} are allowed");
    Err(Rejection::new(ErrorCode::Expired, detail))
}

fn set_policy<F>(case: &Case<'_, F>, hash: Option<PolicyHash>) -> Result<Accepted, Rejection> {
    if case.command.origin != Origin::Operator {
        return Err(Rejection::new(ErrorCode::Forbidden, "only an operator sets the policy"));
    }
    match hash {
        Some(hash) if case.context.learnt == Learnt::PolicyUnknown => {
            Err(Rejection::new(ErrorCode::UnknownPolicy, format!("no usable policy is stored under {hash}")))
        }
        hash => Ok(Accepted::PolicySet { hash }),
    }
}
