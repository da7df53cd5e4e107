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
    let Some(key) = source_key(case.command, line.source, conversation) else { return Ok(None) };
    let highest = case.facts.line(&key);
    if line.line <= highest {
        return Ok(Some(Accepted::ImportedBefore { conversation }));
    }
    if is_principal(case.command) && line.previous != highest {
        let detail = format!("line {} follows {}, but the last line taken here is {highest}", line.line, line.previous);
        return Err(Rejection::new(ErrorCode::ImportGap, detail));
    }
    if let Some(follows) = line.follows.as_deref().filter(|_| is_principal(case.command))
        && let Some(key) = source_key(case.command, follows.source, conversation)
        && case.facts.line(&key) < follows.line
    {
        let detail = format!("line {} of {} is not taken here", follows.line, Hex(&follows.source));
        return Err(Rejection::new(ErrorCode::ImportGap, detail));
    }
    Ok(None)
}

/// The facts that hold the highest lines of this line's source, and of the source that it follows, for this command's aggregate.
pub(super) fn line_keys(
    command: &Command,
    line: &ImportLine,
    conversation: Option<ConversationId>,
) -> impl Iterator<Item = FactKey> {
    let follows = line.follows.as_deref().filter(|_| is_principal(command)).map(|follows| follows.source);
    [Some(line.source), follows]
        .into_iter()
        .flatten()
        .filter_map(move |source| source_key(command, source, conversation))
}

fn source_key(command: &Command, source: [u8; 16], conversation: Option<ConversationId>) -> Option<FactKey> {
    match &command.body {
        Body::UpdateUser { .. } => Some(FactKey::UserLine(command.tenant.clone(), command.sender.clone(), source)),
        Body::SetPolicy { .. } => None,
        _ => conversation.map(|id| FactKey::ConversationLine(command.tenant.clone(), id, source)),
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

/// A source as it stands on the wire.
struct Hex<'a>(&'a [u8; 16]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
