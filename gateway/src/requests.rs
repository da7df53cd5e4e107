//! The requests of a session that one outcome answers: one, or those of several cursors, of which only the highest goes to the
//! log. Each is answered for itself: what is wrong with one cursor is not told to the others. Pure.

use natter_schemas::command::Command;
use natter_schemas::error::ErrorCode;

/// A cursor that goes to the log, or is superseded by a higher one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request.
    pub id: String,
    /// The cursor.
    pub seq: u64,
    /// What goes to the log for this one alone.
    pub command: Command,
}

/// Requests that wait for one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    ids: Vec<String>,
    /// Lower cursors, highest first: answered by the same outcome, unless that is about the higher one alone.
    lower: Vec<Asked>,
}

impl From<String> for Requests {
    fn from(id: String) -> Self {
        Self { ids: vec![id], lower: Vec::new() }
    }
}

impl Requests {
    /// Cursors of one user in one conversation, highest first, and the command that goes for all of them. `None`: there are
    /// none.
    pub fn of_cursors(cursors: Vec<Asked>) -> Option<(Self, Command)> {
        let mut cursors = cursors.into_iter();
        let Asked { id, seq, command } = cursors.next()?;
        let mut requests = Self::from(id);
        for asked in cursors {
            if asked.seq == seq {
                requests.ids.push(asked.id);
            } else {
                requests.lower.push(asked);
            }
        }
        Some((requests, command))
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.ids.len() + self.lower.len()
    }

    /// All of them.
    pub fn into_ids(self) -> impl Iterator<Item = String> {
        self.ids.into_iter().chain(self.lower.into_iter().map(|asked| asked.id))
    }

    /// Those that the outcome answers, and what is to be tried for the others: an accepted cursor answers all lower ones, and
    /// so does a rejection that would meet them too.
    pub fn answered_by(self, rejected: Option<ErrorCode>) -> (Vec<String>, Option<(Self, Command)>) {
        match rejected {
            Some(code) if is_of_one(code) => (self.ids, Self::of_cursors(self.lower)),
            Some(_) | None => (self.into_ids().collect(), None),
        }
    }
}

/// Whether a rejection is about this cursor's own seq or ref.
const fn is_of_one(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::SeqBeyondEnd | ErrorCode::Conflict)
}

#[cfg(test)]
mod tests {
    use natter_schemas::command::{Address, Body, Origin};
    use natter_schemas::id::ConversationId;
    use natter_schemas::names::{Ref, Tenant, UserId};

    use super::*;

    fn asked(id: &str, seq: u64) -> Asked {
        let command = Command {
            tenant: Tenant::trusted("demo"),
            sender: UserId::trusted("ada"),
            session: 1,
            received_ms: 0,
            reference: Ref::trusted(id),
            origin: Origin::Client,
            body: Body::Read { conversation: Address::Id(ConversationId::from_raw(5)), seq },
            evidence: Vec::new(),
        };
        Asked { id: id.to_owned(), seq, command }
    }

    /// What is answered to whom until nobody waits, in a conversation whose last message has the seq `head`.
    fn answers(cursors: &[(&str, u64)], head: u64, otherwise: Option<ErrorCode>) -> Vec<(String, Option<ErrorCode>)> {
        let mut next = Requests::of_cursors(cursors.iter().map(|(id, seq)| asked(id, *seq)).collect());
        let mut answers = Vec::new();
        while let Some((requests, command)) = next {
            let left = requests.count();
            let Body::Read { seq, .. } = command.body else { panic!("{command:?}") };
            let rejected = otherwise.or((seq > head).then_some(ErrorCode::SeqBeyondEnd));
            let (ids, after) = requests.answered_by(rejected);
            assert_eq!(ids.len() + after.as_ref().map_or(0, |(requests, _)| requests.count()), left);
            answers.extend(ids.into_iter().map(|id| (id, rejected)));
            next = after;
        }
        answers
    }

    fn told(answers: &[(&str, Option<ErrorCode>)]) -> Vec<(String, Option<ErrorCode>)> {
        answers.iter().map(|(id, code)| ((*id).to_owned(), *code)).collect()
    }

    #[test]
    fn a_cursor_beyond_the_end_fails_alone() {
        let beyond = Some(ErrorCode::SeqBeyondEnd);
        let cursors = [("c", 99), ("d", 99), ("e", 7), ("b", 4), ("a", 1)];
        let expected = told(&[("c", beyond), ("d", beyond), ("e", beyond), ("b", None), ("a", None)]);
        assert_eq!(answers(&cursors, 5, None), expected);
        assert_eq!(answers(&[("a", 99)], 5, None), told(&[("a", beyond)]));
    }

    #[test]
    fn an_accepted_cursor_answers_all_lower_ones() {
        assert_eq!(answers(&[("b", 4), ("a", 1)], 5, None), told(&[("b", None), ("a", None)]));
    }

    #[test]
    fn what_would_meet_all_is_told_to_all() {
        for code in [ErrorCode::NotMember, ErrorCode::NotFound, ErrorCode::Expired, ErrorCode::RefsFull] {
            let next = Requests::of_cursors(vec![asked("b", 4), asked("a", 1)]).unwrap().0.answered_by(Some(code));
            assert_eq!(next, (vec!["b".to_owned(), "a".to_owned()], None), "{code}");
        }
        let conflict = Some(ErrorCode::Conflict);
        assert_eq!(answers(&[("b", 4), ("a", 1)], 5, conflict), told(&[("b", conflict), ("a", conflict)]));
    }

    #[test]
    fn each_goes_as_it_was_asked_for() {
        let (requests, first) = Requests::of_cursors(vec![asked("b", 99), asked("a", 4)]).unwrap();
        assert_eq!(first, asked("b", 99).command);
        let (_, next) = requests.answered_by(Some(ErrorCode::SeqBeyondEnd));
        assert_eq!(next.unwrap().1, asked("a", 4).command);
    }
}
