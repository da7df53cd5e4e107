//! Which of a conversation's messages are imported lines, as far back as unread messages are counted exactly.
//!
//! ```text
//! q:<conversation>   hash   number of the run, modulo RUNS_KEPT: the run. A later one takes the place of the oldest
//! ```

use std::collections::HashMap;

use natter_schemas::codec;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::RUNS_KEPT;

use super::operation::Operation;
use super::query::{Answers, Query};
use crate::error::ViewError;
use crate::facts::RunFact;

/// The conversation's runs.
pub(crate) fn key(conversation: ConversationId) -> String {
    format!("q:{conversation}")
}

/// The runs that a step extends.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<ConversationId, HashMap<u64, RunFact>>);

impl Fold {
    pub(crate) fn run(&mut self, conversation: ConversationId, run: RunFact) {
        self.0.entry(conversation).or_default().insert(run.run.number % RUNS_KEPT, run);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        operations.extend(self.0.into_iter().map(|(conversation, runs)| {
            let fields = runs.into_iter().map(|(place, run)| (place.to_string().into_bytes(), codec::encode(&run)));
            Operation::Set { key: key(conversation), fields: fields.collect() }
        }));
    }
}

/// Asks for a conversation's [`Runs`].
pub(crate) fn ask(query: &mut Query, conversation: ConversationId) {
    query.values(&key(conversation));
}

/// The newest runs of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<RunFact>);

impl Runs {
    /// Those that were asked for.
    pub(crate) fn read(answers: &mut Answers) -> Result<Self, ViewError> {
        let mut found = answers.many()?;
        let mut runs = Vec::with_capacity(found.len());
        while let Some(bytes) = if found.len() > 0 { found.bytes()? } else { None } {
            runs.push(codec::decode("a run in redis", &bytes)?);
        }
        Ok(Self(runs))
    }

    /// Messages above `cursor` up to `head` that are no imported lines.
    pub(crate) fn unread(&self, cursor: u64, head: u64) -> u64 {
        head.saturating_sub(cursor).saturating_sub(self.imported_above(cursor))
    }

    /// Imported lines above `cursor`. Those of runs that are not kept are taken to be above it, as far as there is room for
    /// them, which they are for whoever has read nothing since the import began.
    fn imported_above(&self, cursor: u64) -> u64 {
        let above = |run: &RunFact| (run.to + 1).saturating_sub(run.run.from.max(cursor + 1));
        let kept: u64 = self.0.iter().map(above).sum();
        let oldest = self.0.iter().map(|run| run.run).min_by_key(|run| run.number);
        kept + oldest.map_or(0, |oldest| oldest.before.min(oldest.from.saturating_sub(cursor + 1)))
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::outcome::Run;
    use proptest::prelude::*;

    use super::*;

    /// A conversation of live messages and imported lines (`true`), and what is kept of it.
    fn folded(messages: &[bool]) -> Runs {
        let mut kept: HashMap<u64, RunFact> = HashMap::new();
        let mut last: Option<RunFact> = None;
        for (seq, _) in (1..).zip(messages).filter(|(_, imported)| **imported) {
            let run = match last {
                Some(last) if last.to + 1 == seq => last.run,
                Some(RunFact { run, to }) => {
                    Run { number: run.number + 1, from: seq, before: run.before + to + 1 - run.from }
                }
                None => Run { number: 1, from: seq, before: 0 },
            };
            last = Some(RunFact { run, to: seq });
            kept.insert(run.number % RUNS_KEPT, RunFact { run, to: seq });
        }
        Runs(kept.into_values().collect())
    }

    fn live_after(messages: &[bool], cursor: usize) -> u64 {
        messages[cursor..].iter().filter(|imported| !**imported).count() as u64
    }

    proptest! {
        #[test]
        fn unread_is_the_number_of_live_messages(messages in prop::collection::vec(any::<bool>(), 0..120)) {
            let (runs, head) = (folded(&messages), messages.len() as u64);
            for cursor in 0..=messages.len() {
                prop_assert_eq!(runs.unread(cursor as u64, head), live_after(&messages, cursor));
            }
        }
    }

    #[test]
    fn runs_that_are_forgotten_raise_nothing() {
        // Five live messages, then an import among as many others: ten times more runs than are kept.
        let mut messages = vec![false; 5];
        messages.extend((0..640).flat_map(|_| [true, true, false]));
        let (runs, head) = (folded(&messages), messages.len() as u64);
        assert_eq!(runs.0.len() as u64, RUNS_KEPT);
        for cursor in 0..=messages.len() {
            let (shown, live) = (runs.unread(cursor as u64, head), live_after(&messages, cursor));
            assert!(shown <= live, "{shown} of {live} behind {cursor}");
            if cursor <= 5 || cursor + 192 >= messages.len() {
                assert_eq!(shown, live, "behind {cursor}");
            }
        }
    }
}
