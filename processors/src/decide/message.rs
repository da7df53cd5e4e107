//! `message.send`.

use natter_projections::facts::RunFact;
use natter_schemas::command::{Address, Origin};
use natter_schemas::id::{IdState, MessageId};
use natter_schemas::names::MessageText;
use natter_schemas::outcome::{Accepted, Rejection, Run};

use super::case::Case;
use super::content::{Passed, judge_by};
use super::facts::Facts;

/// A message: the next seq of its conversation, and an id.
///
/// The text is judged when nothing else is against it, so an outcome that is about the text would be the same but for the text.
pub(super) fn send<F: Facts>(
    case: &Case<'_, F>,
    address: &Address,
    text: &MessageText,
    ids: &mut IdState,
) -> Result<Accepted, Rejection> {
    let conversation = case.entered(address)?.id;
    let Passed { replacement, lists } = judge_by(case.context.rules, text, &case.command.origin)?;
    let seq = case.facts.head(conversation) + 1;
    let message = MessageId::from_raw(ids.next(conversation.slot()));
    let imported = matches!(case.command.origin, Origin::Import(_));
    let run = imported.then(|| extended(case.facts.run(conversation), seq));
    Ok(Accepted::Sent { conversation, message, seq, replacement, lists, run })
}

/// The run that an imported line extends to `seq`: the last one, or a new one behind live messages.
fn extended(last: Option<&RunFact>, seq: u64) -> Run {
    match last {
        None => Run { number: 1, from: seq, before: 0 },
        Some(last) if last.to + 1 == seq => last.run,
        Some(last) => Run { number: last.run.number + 1, from: seq, before: last.run.before + last.lines() },
    }
}
