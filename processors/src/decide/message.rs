//! `message.send`.

use natter_schemas::command::{Address, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::{IdState, MessageId};
use natter_schemas::limits::OUTCOME_LISTS_MAX;
use natter_schemas::names::MessageText;
use natter_schemas::outcome::{Accepted, Rejection};

use super::case::Case;
use super::facts::Facts;
use crate::filter::Verdict;

/// A message: the next seq of its conversation, and an id.
pub(super) fn send<F: Facts>(
    case: &Case<'_, F>,
    address: &Address,
    text: &MessageText,
    ids: &mut IdState,
) -> Result<Accepted, Rejection> {
    let conversation = case.entered(address)?.id;
    within_limit(case, text)?;
    let (replacement, lists) = filtered(case, text)?;
    let seq = case.facts.head(conversation) + 1;
    let message = MessageId::from_raw(ids.next(conversation.slot()));
    Ok(Accepted::Sent { conversation, message, seq, replacement, lists })
}

fn within_limit<F>(case: &Case<'_, F>, text: &MessageText) -> Result<(), Rejection> {
    let limit = case.context.rules.text_scalars_max;
    // Bytes bound scalars, so most texts are not counted.
    if text.as_str().len() <= limit {
        return Ok(());
    }
    match text.as_str().chars().count() {
        count if count <= limit => Ok(()),
        count => {
            let detail = format!("the text has {count} characters, at most {limit} are allowed");
            Err(Rejection::new(ErrorCode::TextTooLong, detail))
        }
    }
}

/// What everybody sees instead, and the lists that were touched. History that is imported was said already: it is at
/// most flagged.
fn filtered<F>(case: &Case<'_, F>, text: &MessageText) -> Result<(Option<String>, Vec<String>), Rejection> {
    let imported = matches!(case.command.origin, Origin::Import(_));
    match case.context.rules.check(text.as_str()) {
        Verdict::Clean => Ok((None, Vec::new())),
        Verdict::Masked { text, lists } if !imported => Ok((Some(text), named(lists))),
        Verdict::Rejected { lists } if !imported => {
            let detail = format!("the text touches the word lists {}", named(lists).join(", "));
            Err(Rejection::new(ErrorCode::Rejected, detail))
        }
        Verdict::Flagged { lists } | Verdict::Masked { lists, .. } | Verdict::Rejected { lists } => {
            Ok((None, named(lists)))
        }
    }
}

/// An outcome is not made long by a policy of many lists.
fn named(mut lists: Vec<String>) -> Vec<String> {
    lists.truncate(OUTCOME_LISTS_MAX);
    lists
}
