//! Judging batches again: what a core does all the time, and nothing else.

use std::collections::BTreeMap;

use anyhow::Context;
use natter_nats::Stored;
use natter_processors::decide::content::{Passed, Recorded, judge as judge_text, recorded, rejecting_lists};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::command::{Address, Body};
use natter_schemas::names::Tenant;
use natter_schemas::outcome::{Accepted, Decision, Outcome, Rejection};
use natter_schemas::position::Position;

use super::change::InPlaceOf;
use super::range::Span;
use super::report::{Counts, Kind, Row};

/// What came of some batches.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) messages: u64,
    pub(super) before: Counts,
    pub(super) after: Counts,
    pub(super) changes: BTreeMap<(Kind, Kind), u64>,
    /// The changed ones, in order.
    pub(super) rows: Vec<Row>,
}

/// What was, or would be, decided about a text.
type Decided = Result<Passed, Rejection>;

pub(super) fn judge(span: &Span, batches: &[Stored], tenant: &Tenant, rules: &InPlaceOf) -> anyhow::Result<Judged> {
    let mut judged = Judged::default();
    for stored in batches {
        let place = || format!("batch {}:{} cannot be read", span.partition, stored.sequence);
        let batch = OutcomeBatch::decode(&stored.payload).with_context(place)?;
        for raw in batch.records().with_context(place)? {
            if !span.holds(stored.sequence, &raw) {
                continue;
            }
            let outcome = raw.decode().with_context(place)?;
            let Some(recorded) = recorded(&outcome).filter(|recorded| recorded.command.tenant == *tenant) else {
                continue;
            };
            let policy = outcome.policy.and_then(|index| batch.header.policies.get(usize::from(index)).copied());
            let position = Position::outcome(span.partition, stored.sequence, raw.index);
            let rules = match rules.get(&policy) {
                Some(Ok(rules)) => rules,
                Some(Err(error)) => anyhow::bail!("{position} cannot be judged again: {error}"),
                None => anyhow::bail!("{position} cannot be judged again: its policy was not looked for"),
            };
            let after = judge_text(rules, recorded.text, &recorded.command.origin);
            judged.count(&recorded, &after, || row(position, raw.stored_ms, &outcome, &recorded, &after));
        }
    }
    Ok(judged)
}

impl Judged {
    fn count(&mut self, recorded: &Recorded<'_>, after: &Decided, row: impl FnOnce() -> Row) {
        let kinds = (kind(&recorded.decided), kind(after));
        self.messages += 1;
        self.before.add(kinds.0);
        self.after.add(kinds.1);
        if recorded.decided != *after {
            *self.changes.entry(kinds).or_default() += 1;
            self.rows.push(row());
        }
    }
}

fn row(position: Position, stored_ms: u64, outcome: &Outcome, recorded: &Recorded<'_>, after: &Decided) -> Row {
    let command = recorded.command;
    let (message, conversation) = match (&outcome.decision, &command.body) {
        (Decision::Accepted(Accepted::Sent { message, conversation, .. }), _) => {
            (Some(*message), conversation.to_string())
        }
        (_, Body::Send { conversation: Address::Id(id), .. }) => (None, id.to_string()),
        (_, Body::Send { conversation: Address::External(external), .. }) => (None, format!("ext:{external}")),
        _ => (None, String::new()),
    };
    Row {
        position,
        message,
        conversation,
        sender: command.sender.clone(),
        at_ms: command.at_ms(stored_ms),
        before: kind(&recorded.decided),
        after: kind(after),
        lists_before: lists(&recorded.decided),
        lists_after: lists(after),
    }
}

const fn kind(decided: &Decided) -> Kind {
    match decided {
        Err(_) => Kind::Rejected,
        Ok(Passed { replacement: Some(_), .. }) => Kind::Masked,
        Ok(Passed { lists, .. }) if lists.is_empty() => Kind::Accepted,
        Ok(_) => Kind::Flagged,
    }
}

/// The word lists that the text touches; of one that is too long, that.
fn lists(decided: &Decided) -> String {
    match decided {
        Ok(Passed { lists, .. }) => lists.join(", "),
        Err(rejection) => rejecting_lists(rejection).unwrap_or_else(|| rejection.error_code().name()).to_owned(),
    }
}
