//! Imported lines: a line that was taken once is a duplicate for ever, and none is passed over.

use natter_projections::facts::FactKey;
use natter_schemas::command::{Body, Command, ImportLine, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::outcome::{Accepted, Rejection};

use super::case::{Case, existing};
use super::facts::Facts;

/// The outcome of a line that its aggregate has taken already.
///
/// Making and entering a room belong to a line without being it: they are passed over with it, but their order is free.
pub(super) fn taken_before<F: Facts>(case: &Case<'_, F>) -> Result<Option<Accepted>, Rejection> {
    let Origin::Import(line) = &case.command.origin else { return Ok(None) };
    let conversation = conversation(case.command, case.facts);
    let Some(key) = line_key(case.command, line, conversation) else { return Ok(None) };
    let highest = case.facts.line(&key);
    if line.line <= highest {
        return Ok(Some(Accepted::ImportedBefore { conversation }));
    }
    if is_principal(case.command) && line.previous != highest {
        let detail = format!("line {} follows {}, but the last line taken here is {highest}", line.line, line.previous);
        return Err(Rejection::new(ErrorCode::ImportGap, detail));
    }
    Ok(None)
}

/// The fact that holds the highest line of this line's source for this command's aggregate.
pub(super) fn line_key(command: &Command, line: &ImportLine, conversation: Option<ConversationId>) -> Option<FactKey> {
    match &command.body {
        Body::UpdateUser { .. } => Some(FactKey::UserLine(command.tenant.clone(), command.sender.clone(), line.source)),
        Body::SetPolicy { .. } => None,
        _ => conversation.map(|id| FactKey::ConversationLine(id, line.source)),
    }
}

/// The conversation that an imported command is about, where it exists.
fn conversation(command: &Command, facts: &impl Facts) -> Option<ConversationId> {
    match &command.body {
        Body::CreateDirect { peer } => facts.direct(&command.tenant, &command.sender, peer),
        Body::CreateGroup { external: Some(external), .. } => facts.external(&command.tenant, external),
        body => existing(facts, &command.tenant, body.conversation()?).map(|(id, _)| id),
    }
}

const fn is_principal(command: &Command) -> bool {
    matches!(command.body, Body::Send { .. } | Body::UpdateUser { .. })
}
