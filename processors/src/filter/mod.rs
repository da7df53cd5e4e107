//! The abuse filter: a pure function from a text and compiled word lists to a [`Verdict`].
//!
//! A text is folded once to atoms (`fold`), cut into words in at most five ways (`reading`, `words`), and each
//! reading that is worth it goes through one automaton over all lists (`pattern`), whose finds are compared with the
//! listed words (`candidate`). Every step is linear in the text's length, whatever the text; per match the work is
//! bounded by the longest listed word. What is found counts where it is whole `clusters`, and stars (`mask`) never go
//! into `links`. Texts in ASCII are first looked at as they are (`ascii`): words that begin like
//! no listed one (`openings`) are passed over, and hardly a text is left that has to be folded.
//!
//! What it sees through: case, compatibility forms, accents that are not the list's own, accents left off in longer
//! words, look-alikes of other alphabets, digits and symbols for letters, repeated letters, words spelled out with
//! separators, punctuation inside words, invisible characters. What it leaves alone: words that only contain a listed
//! one, words with another accent, flags, numbers, and words of a real alphabet that happen to look like a listed word
//! of another.

mod ascii;
mod candidate;
mod clusters;
mod fold;
mod links;
mod lookalike;
mod mask;
mod openings;
mod pattern;
mod reading;
mod words;

pub use natter_schemas::policy::{Action, WordList};
use thiserror::Error;

use ascii::Ascii;
use clusters::Clusters;
use fold::{Folded, fold};
use pattern::{Compiler, Hit, Hits, Patterns, Unusable, WORD_ATOMS_MAX};
use reading::{Hints, Reading, Screen, Sink, Style, Text};

/// What replaces each character (grapheme cluster) of a masked word.
pub const MASK: char = '*';
/// How often a text is masked again because masking let other words meet; then all of it but its links is masked.
const MASK_ROUNDS: usize = 4;

/// Compiled word lists. Compile once, share, check from any thread.
pub struct Filter {
    patterns: Patterns,
    lists: Vec<(String, Action)>,
    inert: Vec<String>,
}

/// Why lists do not compile.
#[derive(Debug, Error)]
pub enum FilterError {
    /// A word or phrase is longer than any that one means.
    #[error("word list {list:?}: word {index} has more than {WORD_ATOMS_MAX} characters")]
    WordTooLong {
        /// The list's name.
        list: String,
        /// The word's index, from 0.
        index: usize,
    },
    /// The automaton would have more than some 2³¹ states.
    #[error("the word lists are too large for one automaton")]
    TooLarge(#[from] aho_corasick::BuildError),
}

/// What a filter says about a text. `lists` names every list with a word in the text, in the order of the policy,
/// also those of weaker action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No listed word.
    Clean,
    /// It passes as it is: words of lists that flag, or words of lists that mask in nothing but links.
    Flagged {
        /// Lists hit.
        lists: Vec<String>,
    },
    /// It passes with the words of mask lists replaced.
    Masked {
        /// What to show, no longer than the original in scalars, and itself without a word to mask. Links are left.
        text: String,
        /// Lists hit.
        lists: Vec<String>,
    },
    /// It does not pass.
    Rejected {
        /// Lists hit.
        lists: Vec<String>,
    },
}

impl Filter {
    /// Compiles lists. Words without any letter can never match; see [`Filter::inert`].
    ///
    /// # Errors
    ///
    /// If a word is too long, or the lists are too large for an automaton (some 2³¹ states).
    pub fn compile(lists: &[WordList]) -> Result<Self, FilterError> {
        let mut compiler = Compiler::default();
        let mut inert = Vec::new();
        for list in lists {
            compiler.begin_list();
            for (index, word) in list.words.iter().enumerate() {
                match compiler.add(word) {
                    Ok(()) => {}
                    Err(Unusable::NoLetter) => inert.push(word.clone()),
                    Err(Unusable::TooLong) => {
                        return Err(FilterError::WordTooLong { list: list.name.clone(), index });
                    }
                }
            }
        }
        let lists = lists.iter().map(|list| (list.name.clone(), list.action)).collect();
        Ok(Self { patterns: compiler.finish()?, lists, inert })
    }

    /// Listed words that match nothing because they have no letter (`455`): worth a warning to whoever wrote the
    /// list.
    #[must_use]
    pub fn inert(&self) -> &[String] {
        &self.inert
    }

    /// Judges a text. The strongest action of all lists with a word in it wins: reject, then mask, then flag.
    #[must_use]
    pub fn check(&self, text: &str) -> Verdict {
        let (folded, found) = self.scan(text);
        let Some(action) = found.hits.iter().map(|hit| self.lists[hit.list].1).max_by_key(|&action| strength(action))
        else {
            return Verdict::Clean;
        };
        let lists = self.names(&found.hits);
        match action {
            Action::Reject => Verdict::Rejected { lists },
            Action::Mask => match self.mask(text, folded, found) {
                Some(text) => Verdict::Masked { text, lists },
                None => Verdict::Flagged { lists },
            },
            Action::Flag => Verdict::Flagged { lists },
        }
    }

    /// Everything in the text that is listed. Most texts are ASCII and have nothing that looks like a listed word in
    /// any reading: these are not folded.
    fn scan(&self, text: &str) -> (Folded, Hits) {
        let mut found = Hits::default();
        if text.is_ascii() && !self.suspects(Ascii(text.as_bytes()), &mut found) {
            return (Folded::default(), found);
        }
        let folded = fold(text);
        for_each_style(|style| self.look(&folded, style, &mut found));
        // In ASCII each letter is a cluster.
        if !found.hits.is_empty() && !text.is_ascii() {
            let clusters = Clusters::of(text);
            found.work += text.len();
            found.hits.retain(|hit| clusters.are_whole(&folded.atoms, hit));
        }
        (folded, found)
    }

    /// Whether an ASCII text has anything that is worth a search.
    fn suspects(&self, text: Ascii<'_>, found: &mut Hits) -> bool {
        let mut screen = Screen::new(text.len());
        let mut suspected = false;
        for_each_style(|style| {
            screen.restart();
            let hints = match style {
                Style::Plain => ascii::plain(text, &mut screen),
                _ => read(text, style, &mut screen),
            };
            suspected |= match style {
                Style::Spelled => self.patterns.suspects(&screen, found),
                _ => self.patterns.suspects_words(&screen, found),
            };
            // Then the others need no look.
            if suspected { Hints::default() } else { hints }
        });
        suspected
    }

    /// Searches one reading, and says which others may have more.
    fn look(&self, folded: &Folded, style: Style, found: &mut Hits) -> Hints {
        let mut screen = Screen::new(folded.atoms.len());
        let hints = read(folded.atoms.as_slice(), style, &mut screen);
        if self.patterns.suspects(&screen, found) {
            let mut reading = Reading::new(style, &folded.atoms);
            read(folded.atoms.as_slice(), style, &mut reading);
            self.patterns.search(folded, &reading, found);
        }
        hints
    }

    fn names(&self, hits: &[Hit]) -> Vec<String> {
        let mut hit = vec![false; self.lists.len()];
        for one in hits {
            hit[one.list] = true;
        }
        self.lists.iter().zip(hit).filter(|(_, hit)| *hit).map(|((name, _), _)| name.clone()).collect()
    }

    /// The text with the words of mask lists replaced; `None` if all of them are in links. What is left may read
    /// differently without them, so it is searched again.
    fn mask(&self, original: &str, mut folded: Folded, mut found: Hits) -> Option<String> {
        let mut text = None;
        for round in 0..=MASK_ROUNDS {
            let current = text.as_deref().unwrap_or(original);
            let atoms = &folded.atoms;
            found.hits.retain(|hit| self.lists[hit.list].1 == Action::Mask);
            let mut wanted = mask::covered(atoms.len(), found.hits.iter());
            if round == MASK_ROUNDS && wanted.contains(&true) {
                wanted.fill(true);
            }
            let covered = mask::rewritable(current, atoms, &found.hits, wanted);
            if !atoms.iter().zip(&covered).any(|(atom, &covered)| covered && mask::is_starred(atom)) {
                break;
            }
            let masked = mask::replace(current, atoms, &covered);
            (folded, found) = self.scan(&masked);
            text = Some(masked);
        }
        text
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("lists", &self.lists).finish_non_exhaustive()
    }
}

/// Calls `look` for every reading that is worth it: what it says of one shows which others may have more.
fn for_each_style(mut look: impl FnMut(Style) -> Hints) {
    let hints = look(Style::Plain);
    if hints.leet && look(Style::Leet).trimmed {
        look(Style::Trimmed);
    }
    if hints.joined {
        look(Style::Joined);
    }
    if hints.spelled {
        look(Style::Spelled);
    }
}

fn read(text: impl Text, style: Style, sink: &mut impl Sink) -> Hints {
    match style {
        Style::Plain => reading::plain(text, sink),
        Style::Leet | Style::Trimmed | Style::Joined => {
            Hints { trimmed: words::words(text, style, 0, sink), ..Hints::default() }
        }
        Style::Spelled => {
            words::spelled(text, sink);
            Hints::default()
        }
    }
}

fn strength(action: Action) -> u8 {
    match action {
        Action::Flag => 0,
        Action::Mask => 1,
        Action::Reject => 2,
    }
}

#[cfg(test)]
mod tests;
