//! Where the log and its repetition part.

use std::fmt;

use natter_schemas::outcome::{Accepted, Decision};
use natter_schemas::position::Position;

/// Where the log and its repetition part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub position: Position,
    /// What differs.
    pub what: &'static str,
    /// What stands in the log.
    pub found: String,
    /// What was decided now.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, what, found, expected } = self;
        write!(formatter, "at {position} the {what} is {found}, but deciding again gives {expected}")
    }
}

/// A difference in these words follows from the one before: within a batch, ids go on from the one that is wrong.
const ID: &str = "id";
/// What stands there is shown up to here.
const SHOWN_CHARS_MAX: usize = 400;

/// The differences of one batch.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Difference>);

impl Found {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_differences(self) -> Vec<Difference> {
        self.0
    }

    pub(super) fn add(
        &mut self,
        position: Position,
        what: &'static str,
        found: &impl fmt::Debug,
        expected: &impl fmt::Debug,
    ) {
        let (found, expected) = (shown(found), shown(expected));
        self.0.push(Difference { position, what, found, expected });
    }

    /// Whether both are the same; notes it where not.
    pub(super) fn compare<T: PartialEq + fmt::Debug>(
        &mut self,
        position: Position,
        what: &'static str,
        found: &T,
        expected: &T,
    ) -> bool {
        if found != expected {
            self.add(position, what, found, expected);
        }
        found == expected
    }

    /// Two decisions that differ.
    pub(super) fn decision(&mut self, position: Position, found: &Decision, expected: &Decision) {
        let what = part(found, expected);
        if what != ID || self.0.iter().all(|known| known.what != ID) {
            self.add(position, what, found, expected);
        }
    }

    /// The whole batch: there are ways to write one wrongly that no outcome shows.
    pub(super) fn bytes(&mut self, position: Position, found: &[u8], expected: &[u8]) {
        if found == expected || !self.is_empty() {
            return;
        }
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        let shown = |bytes: &[u8]| format!("{} bytes, other ones from byte {same} on", bytes.len());
        let (found, expected) = (shown(found), shown(expected));
        self.0.push(Difference { position, what: "batch", found, expected });
    }
}

/// Which part of a decision differs.
fn part(found: &Decision, expected: &Decision) -> &'static str {
    match (found, expected) {
        (Decision::Rejected(found), Decision::Rejected(expected)) if found.code == expected.code => {
            "rejection's wording"
        }
        (Decision::Accepted(found), Decision::Accepted(expected)) if is_same_but_id(found, expected) => ID,
        _ => "outcome",
    }
}

fn is_same_but_id(found: &Accepted, expected: &Accepted) -> bool {
    let mut found = found.clone();
    match (&mut found, expected) {
        (Accepted::Sent { message, .. }, Accepted::Sent { message: due, .. }) => *message = *due,
        (Accepted::Created { conversation, .. }, Accepted::Created { conversation: due, .. }) => *conversation = *due,
        _ => return false,
    }
    found == *expected
}

fn shown(value: &impl fmt::Debug) -> String {
    let whole = format!("{value:?}");
    match whole.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}
