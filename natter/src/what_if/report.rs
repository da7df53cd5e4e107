//! What other rules would have changed.

use std::collections::BTreeMap;
use std::fmt;

use natter_schemas::id::MessageId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::times::as_rfc3339;
use serde::Serialize;

use super::change::Change;
use super::judging::Judged;
use super::range::Span;

/// What is decided about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It passes, and touches no list.
    Accepted,
    /// It passes with words replaced.
    Masked,
    /// It passes, and the outcome says which lists it touches.
    Flagged,
    /// It does not pass.
    Rejected,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Masked, Self::Flagged, Self::Rejected];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Masked => "masked",
            Self::Flagged => "flagged",
            Self::Rejected => "rejected",
        }
    }
}

/// How many messages there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// [`Kind::Accepted`].
    pub accepted: u64,
    /// [`Kind::Masked`].
    pub masked: u64,
    /// [`Kind::Flagged`].
    pub flagged: u64,
    /// [`Kind::Rejected`].
    pub rejected: u64,
}

impl Counts {
    const fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Accepted => &mut self.accepted,
            Kind::Masked => &mut self.masked,
            Kind::Flagged => &mut self.flagged,
            Kind::Rejected => &mut self.rejected,
        }
    }

    pub(super) const fn add(&mut self, kind: Kind) {
        *self.of(kind) += 1;
    }

    fn take(&mut self, mut others: Self) {
        for kind in Kind::ALL {
            *self.of(kind) += *others.of(kind);
        }
    }
}

/// A decision that would be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Where the outcome stands.
    pub position: Position,
    /// The message; `None`: it was rejected, so it has no id.
    pub message: Option<MessageId>,
    /// The conversation: its id, or of a rejected one what its command called it.
    pub conversation: String,
    /// Who sent it.
    pub sender: UserId,
    /// When it was said, in Unix milliseconds.
    #[serde(rename = "at", with = "as_rfc3339")]
    pub at_ms: u64,
    /// What was decided.
    pub before: Kind,
    /// What would be.
    pub after: Kind,
    /// The word lists that the text touched, or `text_too_long`.
    pub lists_before: String,
    /// Those that it would touch.
    pub lists_after: String,
}

/// Decisions that change in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What was decided.
    pub before: Kind,
    /// What would be; the same where only the lists or the shown text are others.
    pub after: Kind,
    /// How many.
    pub messages: u64,
}

/// What other rules would have changed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whose messages.
    pub tenant: Tenant,
    /// What is otherwise, in words.
    pub change: String,
    /// Words of the new lists that have no letter, and so match nothing.
    pub inert_words: Vec<String>,
    /// What was looked at.
    pub spans: Vec<Span>,
    /// Messages judged: accepted ones, and those that were rejected for their text.
    pub messages: u64,
    /// What was decided.
    pub before: Counts,
    /// What would have been.
    pub after: Counts,
    /// Decisions that would be others.
    pub changed: u64,
    /// In which way.
    pub changes: Vec<Changed>,
    /// The first of them, by position.
    pub rows: Vec<Row>,
    /// How long it took.
    pub seconds: f64,
    #[serde(skip)]
    rows_max: usize,
    #[serde(skip)]
    ways: BTreeMap<(Kind, Kind), u64>,
}

impl Report {
    pub(super) fn new(tenant: &Tenant, change: &Change, rows_max: usize) -> Self {
        let (change, inert_words) = match change {
            Change::Policy(policy) => (format!("policy {}", policy.to_stored().1), Vec::new()),
            Change::Lists(lists) => {
                let named: Vec<_> =
                    lists.iter().map(|list| format!("list {} ({} words)", list.name, list.words.len())).collect();
                (named.join(", "), lists.iter().flat_map(|list| list.inert.clone()).collect())
            }
        };
        Self {
            tenant: tenant.clone(),
            change,
            inert_words,
            spans: Vec::new(),
            messages: 0,
            before: Counts::default(),
            after: Counts::default(),
            changed: 0,
            changes: Vec::new(),
            rows: Vec::new(),
            seconds: 0.0,
            rows_max,
            ways: BTreeMap::new(),
        }
    }

    /// Takes in what comes next in the order of the log.
    pub(super) fn take(&mut self, judged: Judged) {
        let Judged { messages, before, after, changes, rows } = judged;
        self.messages += messages;
        self.before.take(before);
        self.after.take(after);
        for (way, count) in changes {
            *self.ways.entry(way).or_default() += count;
            self.changed += count;
        }
        let ways = self.ways.iter();
        self.changes = ways.map(|(&(before, after), &messages)| Changed { before, after, messages }).collect();
        let room = self.rows_max - self.rows.len();
        self.rows.extend(rows.into_iter().take(room));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.messages as f64 / self.seconds;
        let Self { tenant, change, messages, seconds, changed, .. } = self;
        write!(f, "{tenant}, {change}: {messages} messages judged in {seconds:.2} s ({rate:.0}/s)")?;
        if *messages == 0 {
            write!(f, "\nthe range holds no message of this application that was accepted, or rejected for its text")?;
        }
        for word in &self.inert_words {
            write!(f, "\nthe word {word:?} has no letter and matches nothing")?;
        }
        write!(f, "\n\n{:<10} {:>12} {:>12}", "", "before", "after")?;
        let (mut before, mut after) = (self.before, self.after);
        for kind in Kind::ALL {
            write!(f, "\n{:<10} {:>12} {:>12}", kind.name(), before.of(kind), after.of(kind))?;
        }
        write!(f, "\n\n{changed} decisions would be others")?;
        for Changed { before, after, messages } in &self.changes {
            write!(f, "\n{messages:>12}  {} -> {}", before.name(), after.name())?;
        }
        if !self.rows.is_empty() {
            let [position, message, conversation] = ["position", "message", "conversation"];
            write!(f, "\n\n{position:<16} {message:<20} {conversation:<24} {:<21} lists", "decision")?;
        }
        for row in &self.rows {
            let message = row.message.map_or_else(|| "-".to_owned(), |id| id.to_string());
            let decision = format!("{} -> {}", row.before.name(), row.after.name());
            let lists = if row.lists_before.is_empty() || row.lists_after.is_empty() {
                format!("{}{}", row.lists_before, row.lists_after)
            } else {
                format!("{} -> {}", row.lists_before, row.lists_after)
            };
            let (position, conversation) = (row.position.to_string(), &row.conversation);
            write!(f, "\n{position:<16} {message:<20} {conversation:<24} {decision:<21} {lists}")?;
        }
        match self.changed - self.rows.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\nand {more} more (--csv FILE has all of them)"),
        }
    }
}
