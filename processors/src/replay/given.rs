//! Answers that were given again: each must be what the same sender's same command was answered with.
//!
//! Deciding again believes what the outcome says that was known of a ref, so a foreign answer would be right for ever. Here
//! the outcome that it names is looked at itself.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use natter_nats::Stored;
use natter_schemas::command::Command;
use natter_schemas::event::{Placed, placed, remembers_ref};
use natter_schemas::evidence::Answered;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::outcome::{Accepted, Decision, Received};
use natter_schemas::position::{Position, version};

use crate::error::Halt;
use crate::ports::OutcomeLog;

/// The newest so many answers are known without a look at the log: 4 MiB a partition.
const NEWEST_MAX: usize = 1 << 18;

/// The newest answers, as (version, mark), rising.
#[derive(Debug, Default)]
pub(super) struct Given(VecDeque<(u64, u64)>);

impl Given {
    /// Takes in an outcome that may be given as an answer again.
    pub(super) fn note(&mut self, position: Position, command: &Command, accepted: &Accepted) {
        if let Some(mark) = mark(command, accepted) {
            if self.0.len() == NEWEST_MAX {
                self.0.pop_front();
            }
            self.0.push_back((position.version(), mark));
        }
    }

    /// What is wrong about an answer that was given again, where something is.
    pub(super) async fn check(
        &self,
        position: Position,
        command: &Command,
        accepted: &Accepted,
        log: &impl OutcomeLog,
    ) -> Result<Option<String>, Halt> {
        let Accepted::Repeated(answered) = accepted else { return Ok(None) };
        let first = Position::outcome(position.partition, answered.sequence, answered.index);
        let mark = match self.newest(answered) {
            Known::Mark(mark) => Some(mark),
            Known::Older if first.version() < position.version() => older(first, log).await?,
            Known::Nothing | Known::Older => None,
        };
        let due = mark_of(command, answered.conversation, answered.message);
        let (sender, reference) = (&command.sender, &command.reference);
        Ok((mark != Some(due)).then(|| format!("nothing that {sender} got for `{reference}` at {first}")))
    }

    fn newest(&self, answered: &Answered) -> Known {
        let version = version(answered.sequence, answered.index);
        match self.0.binary_search_by_key(&version, |(version, _)| *version) {
            Ok(at) => Known::Mark(self.0[at].1),
            Err(0) => Known::Older,
            Err(_) => Known::Nothing,
        }
    }
}

/// What is known of an outcome.
enum Known {
    Mark(u64),
    Nothing,
    Older,
}

/// The mark of an outcome, out of the log.
async fn older(first: Position, log: &impl OutcomeLog) -> Result<Option<u64>, Halt> {
    let mut found = None;
    let look = |stored: &Stored| {
        let outcomes = placed(first.partition, stored.sequence, &stored.payload)?;
        found = outcomes.iter().find(|placed| placed.position == first).and_then(mark_of_placed);
        Ok(())
    };
    if first.sequence > 0 {
        log.read_outcomes(first.sequence - 1, first.sequence, look).await?;
    }
    Ok(found)
}

fn mark_of_placed(placed: &Placed) -> Option<u64> {
    match (&placed.outcome.received, &placed.outcome.decision) {
        (Received::Command(command), Decision::Accepted(accepted)) => mark(command, accepted),
        _ => None,
    }
}

/// Who was answered what; `None`: it is no answer that is ever given again.
fn mark(command: &Command, accepted: &Accepted) -> Option<u64> {
    let message = match accepted {
        Accepted::Repeated(_) | Accepted::ImportedBefore { .. } => return None,
        Accepted::Sent { message, .. } => Some(*message),
        Accepted::Created { .. }
        | Accepted::Existing { .. }
        | Accepted::Added { .. }
        | Accepted::Joined { .. }
        | Accepted::Left { .. }
        | Accepted::Renamed { .. }
        | Accepted::Read { .. }
        | Accepted::UserUpdated
        | Accepted::NameKept
        | Accepted::PolicySet { .. }
        | Accepted::Unchanged { .. } => None,
    };
    remembers_ref(command).then(|| mark_of(command, accepted.conversation(), message))
}

fn mark_of(command: &Command, conversation: Option<ConversationId>, message: Option<MessageId>) -> u64 {
    let Command { tenant, sender, reference, .. } = command;
    FixedState::default().hash_one((tenant, sender, reference, conversation, message))
}

#[cfg(test)]
mod tests {
    use natter_schemas::command::{Address, Body, Origin};
    use natter_schemas::names::{MessageText, Ref, Tenant, UserId};

    use super::*;

    /// Nobody has to look.
    struct NoLog;

    impl OutcomeLog for NoLog {
        async fn last_outcomes(&self) -> Result<Option<Stored>, Halt> {
            Ok(None)
        }

        async fn read_outcomes(
            &self,
            after: u64,
            _through: u64,
            _each: impl FnMut(&Stored) -> Result<(), Halt> + Send,
        ) -> Result<(), Halt> {
            Err(Halt::Corrupt(format!("nothing stands behind {after}")))
        }

        async fn append(&self, _: bytes::Bytes, sequence: u64, _: u64, _: u32) -> Result<(), Halt> {
            Err(Halt::Corrupt(format!("nothing is written at {sequence}")))
        }
    }

    fn send(tenant: &str, sender: &str, reference: &str) -> Command {
        let conversation = Address::Id(ConversationId::from_raw(7));
        Command {
            tenant: Tenant::trusted(tenant),
            sender: UserId::trusted(sender),
            session: 1,
            received_ms: 0,
            reference: Ref::trusted(reference),
            origin: Origin::Resend,
            body: Body::Send { conversation, text: MessageText::trusted("hi") },
            evidence: Vec::new(),
        }
    }

    fn answered(conversation: u64, message: u64) -> Answered {
        Answered {
            content: 0,
            sequence: 3,
            index: 1,
            at_ms: 0,
            log_ms: 0,
            conversation: Some(ConversationId::from_raw(conversation)),
            message: Some(MessageId::from_raw(message)),
            seq: Some(1),
        }
    }

    /// However an answer came into the outcome: it is its own sender's, of the same tenant, or it is named.
    #[tokio::test]
    async fn a_foreign_answer_is_named() {
        let mut given = Given::default();
        let sent = Accepted::Sent {
            conversation: ConversationId::from_raw(7),
            message: MessageId::from_raw(9),
            seq: 1,
            replacement: None,
            lists: Vec::new(),
            run: None,
        };
        given.note(Position::outcome(0, 3, 0), &send("demo", "ada", "a"), &sent);
        given.note(Position::outcome(0, 3, 1), &send("demo", "ada", "b"), &sent);
        let here = Position::outcome(0, 5, 0);
        let cases = [
            (send("demo", "ada", "b"), answered(7, 9), true),
            (send("evil", "ada", "b"), answered(7, 9), false),
            (send("demo", "eve", "b"), answered(7, 9), false),
            (send("demo", "ada", "a"), answered(7, 9), false),
            (send("demo", "ada", "b"), answered(8, 9), false),
            (send("demo", "ada", "b"), answered(7, 10), false),
            (send("demo", "ada", "b"), Answered { index: 2, ..answered(7, 9) }, false),
            (send("demo", "ada", "b"), Answered { sequence: 8, ..answered(7, 9) }, false),
        ];
        for (command, answered, is_own) in cases {
            let wrong = given.check(here, &command, &Accepted::Repeated(answered.clone()), &NoLog).await.unwrap();
            assert_eq!(wrong.is_none(), is_own, "{command:?} {answered:?}: {wrong:?}");
        }
    }
}
