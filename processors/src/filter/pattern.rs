//! Word lists to one automaton, and the search with it.
//!
//! The automaton works on skeletons with collapsed runs, the coarsest view of a word, and so finds candidates. Each
//! is then compared with the listed word, unit by unit (`candidate`): how often letters repeat, which marks they have,
//! which script they are from. All variants of a word (leet, spelled out, written together) are patterns of the one
//! automaton.

use std::collections::BTreeMap;

use aho_corasick::automaton::OverlappingState;
use aho_corasick::{AhoCorasick, Anchored, BuildError, Input, MatchKind, StartKind};

use super::candidate::{Candidate, ListedUnit, SHORT_LETTERS, Spelling, solid};
use super::clusters::Clusters;
use super::fold::{Atom, Folded, Kind, fold};
use super::lookalike::Writing;
use super::openings::Openings;
use super::reading::{BOUNDARY, EDGE, I_OR_L, Reading, STEP, Screen, Style};
use super::words::words;

/// Most atoms in a listed word or phrase. It bounds the work per match.
pub(super) const WORD_ATOMS_MAX: usize = 64;
/// From this length on a phrase is also found when written in one word.
const CONTRACTED_LETTERS_MIN: u32 = 4;
/// Most words of a phrase whose `i`/`l` variants are enumerated one by one.
const MERGED_WORDS_MAX: usize = 4;

pub(super) struct Patterns {
    /// `None` without any word.
    automaton: Option<AhoCorasick>,
    /// How its patterns begin.
    openings: Openings,
    /// What each pattern of the automaton may be.
    candidates: Vec<Vec<Candidate>>,
    spellings: Vec<Spelling>,
}

impl Spelling {
    fn learn(&mut self, word: &[Atom]) {
        self.marked.extend(word.iter().filter(|a| a.marked).map(|a| a.letter));
        for unit in read(word, Style::Plain, 0).units.iter().filter(|unit| unit.count == 2) {
            self.doubled.insert(unit.skeleton);
            if matches!(unit.skeleton, 'i' | 'l') {
                self.doubled.insert(I_OR_L);
            }
        }
    }
}

/// A listed word in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub list: usize,
    /// Indices of the first and the last atom.
    pub first: usize,
    pub last: usize,
    /// Found where digits and symbols are letters.
    pub leet: bool,
    /// Must be one cluster.
    pub picture: bool,
}

/// What a search found, and what it cost.
#[derive(Debug, Default)]
pub(super) struct Hits {
    pub hits: Vec<Hit>,
    /// Bytes read and units compared: the measure of work that the tests hold linear.
    pub work: usize,
}

/// Collects patterns while the lists are compiled.
#[derive(Default)]
pub(super) struct Compiler {
    patterns: BTreeMap<Vec<u8>, Vec<Candidate>>,
    spellings: Vec<Spelling>,
    /// Of the word being added: see [`Candidate`].
    picture: bool,
}

/// Why a word is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// More than [`WORD_ATOMS_MAX`] atoms.
    TooLong,
    /// Without a letter it could match only numbers or punctuation.
    NoLetter,
}

impl Compiler {
    /// Begins the next list; the words that follow belong to it.
    pub fn begin_list(&mut self) {
        self.spellings.push(Spelling::default());
    }

    /// Adds all variants of a word or phrase.
    pub fn add(&mut self, word: &str) -> Result<(), Unusable> {
        let atoms = fold(word).atoms;
        if atoms.len() > WORD_ATOMS_MAX {
            return Err(Unusable::TooLong);
        }
        if !atoms.iter().any(|a| a.kind.is_real()) {
            return Err(Unusable::NoLetter);
        }
        if let Some(spelling) = self.spellings.last_mut() {
            spelling.learn(&atoms);
        }
        self.picture = atoms.iter().all(|a| a.kind == Kind::Pictograph)
            && Clusters::of(word).around(&atoms[0]).1 >= atoms[atoms.len() - 1].end
            && atoms.len() > 1;
        let letters_only: Vec<Atom> =
            atoms.iter().filter(|a| a.kind.is_real() || a.kind == Kind::Digit).copied().collect();
        self.add_words(&atoms);
        if letters_only.iter().all(|a| a.kind == Kind::Letter(Writing::Spaced))
            && letters(&read(&letters_only, Style::Plain, 0)) >= CONTRACTED_LETTERS_MIN
        {
            self.add_words(&letters_only);
        }
        self.add_spelled(&letters_only);
        Ok(())
    }

    /// The word as it is, with its digits as digits and as letters, with `i` and `l` apart and as one.
    fn add_words(&mut self, atoms: &[Atom]) {
        for style in [Style::Plain, Style::Leet] {
            for merge in merges(atoms, style) {
                let reading = read(atoms, style, merge);
                let Some((first, last)) = reading.units.first().zip(reading.units.last()) else { continue };
                let mut key = reading.bytes();
                if begins_anywhere(atoms[first.first].kind) {
                    key = &key[1..];
                }
                if ends_anywhere(atoms[last.last].kind) {
                    key = &key[..key.len() - 1];
                }
                self.insert(key.to_vec(), &reading, short_phrase(atoms, &reading));
            }
        }
    }

    /// The word letter by letter, for the spelled reading.
    fn add_spelled(&mut self, atoms: &[Atom]) {
        let spaced = atoms.iter().any(|a| a.kind == Kind::Letter(Writing::Spaced));
        let unspaced = atoms.iter().all(|a| a.kind == Kind::Letter(Writing::Unspaced));
        for merge in merges(atoms, Style::Leet) {
            let reading = read(atoms, Style::Leet, merge);
            let letters = letters(&reading);
            if letters < if spaced { 3 } else { 2 } {
                continue;
            }
            let mut key = String::from(STEP);
            for unit in &reading.units {
                key.extend([unit.skeleton, STEP]);
            }
            if letters <= SHORT_LETTERS && !unspaced {
                key = format!("{EDGE}{key}{EDGE}");
            }
            self.insert(key.into_bytes(), &reading, None);
        }
    }

    fn insert(&mut self, key: Vec<u8>, reading: &Reading, exact: Option<Vec<char>>) {
        let Some(list) = self.spellings.len().checked_sub(1) else { return };
        let candidate = Candidate {
            list,
            units: reading.units.iter().map(ListedUnit::from).collect(),
            letters: letters(reading),
            exact,
            picture: self.picture,
            begins_anywhere: key.first().is_some_and(|&byte| byte > b' '),
            ends_anywhere: key.last().is_some_and(|&byte| byte > b' '),
        };
        let candidates = self.patterns.entry(key).or_default();
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }

    pub fn finish(self) -> Result<Patterns, BuildError> {
        let (keys, candidates): (Vec<_>, Vec<_>) = self.patterns.into_iter().unzip();
        let automaton = if keys.is_empty() {
            None
        } else {
            let mut builder = AhoCorasick::builder();
            // Searched from anywhere, and from a word's beginning.
            builder.match_kind(MatchKind::Standard).start_kind(StartKind::Both).prefilter(false);
            Some(builder.build(&keys)?)
        };
        let openings = Openings::of(keys.iter().map(Vec::as_slice));
        Ok(Patterns { automaton, openings, candidates, spellings: self.spellings })
    }
}

fn read(atoms: &[Atom], style: Style, merge: u32) -> Reading<'_> {
    let mut reading = Reading::new(style, atoms);
    words(atoms, style, merge, &mut reading);
    reading
}

fn word_count(reading: &Reading) -> u32 {
    let words = reading.bytes().split(|&byte| byte == BOUNDARY as u8).filter(|word| !word.is_empty());
    words.map(|_| 1).sum()
}

/// The sets of words in which `i` and `l` are to be merged: every subset of the words that have one.
fn merges(atoms: &[Atom], style: Style) -> Vec<u32> {
    let apart = read(atoms, style, 0);
    let bits = (0..word_count(&apart).min(u32::BITS)).map(|word| 1 << word);
    let bits: Vec<u32> = bits.filter(|&bit| read(atoms, style, bit).bytes() != apart.bytes()).collect();
    if bits.len() > MERGED_WORDS_MAX {
        return vec![0, u32::MAX];
    }
    let subset = |n: usize| bits.iter().enumerate().filter(|(i, _)| n >> i & 1 == 1).map(|(_, bit)| bit).sum();
    (0..1_usize << bits.len()).map(subset).collect()
}

fn letters(reading: &Reading) -> u32 {
    reading.units.iter().map(|unit| unit.count).sum()
}

/// What a phrase of few letters must look like to the separator.
fn short_phrase(atoms: &[Atom], reading: &Reading) -> Option<Vec<char>> {
    let (first, last) = reading.units.first().zip(reading.units.last())?;
    let separated = atoms[first.first..=last.last].iter().any(|a| !a.kind.is_real() && a.kind != Kind::Digit);
    (separated && letters(reading) <= SHORT_LETTERS).then(|| solid(atoms).collect())
}

fn begins_anywhere(kind: Kind) -> bool {
    matches!(kind, Kind::Letter(Writing::Unspaced) | Kind::Pictograph)
}

fn ends_anywhere(kind: Kind) -> bool {
    begins_anywhere(kind) || kind == Kind::Letter(Writing::Syllables)
}

impl Patterns {
    /// Whether a reading has anything that is worth a [`Patterns::search`].
    pub fn suspects(&self, screen: &Screen, found: &mut Hits) -> bool {
        found.work += screen.bytes.len();
        self.suspects_in(&Input::new(&screen.bytes), screen, found)
    }

    /// The same of an ASCII text's words: only those that begin like a listed one are compared, each as far as it goes
    /// on like one, which the longest listed word bounds.
    pub fn suspects_words(&self, screen: &Screen, found: &mut Hits) -> bool {
        found.work += screen.bytes.len();
        let mut openings = self.openings.within(&screen.bytes);
        openings.any(|at| {
            let here = Input::new(&screen.bytes).range(at..).anchored(Anchored::Yes);
            self.suspects_in(&here, screen, found)
        })
    }

    fn suspects_in(&self, input: &Input<'_>, screen: &Screen, found: &mut Hits) -> bool {
        let Some(automaton) = &self.automaton else { return false };
        let mut state = OverlappingState::start();
        // The crate's own iterator searches from anywhere only.
        let mut hits = std::iter::from_fn(|| {
            automaton.find_overlapping(input.clone(), &mut state);
            state.get_match()
        });
        hits.any(|hit| {
            let candidates = &self.candidates[hit.pattern().as_usize()];
            candidates.iter().any(|candidate| {
                found.work += candidate.units.len();
                candidate.repeats_often_enough(&screen.runs[hit.range()])
            })
        })
    }

    /// Adds to `found` the listed words in one reading of `text`.
    pub fn search(&self, text: &Folded, reading: &Reading, found: &mut Hits) {
        let Some(automaton) = &self.automaton else { return };
        found.work += reading.bytes().len();
        let mut at = 0;
        // Matches come in the order of their ends, so the units are walked once.
        for hit in automaton.find_overlapping_iter(reading.bytes()) {
            while reading.units.get(at + 1).is_some_and(|next| next.end <= hit.end()) {
                at += 1;
            }
            for candidate in &self.candidates[hit.pattern().as_usize()] {
                let units = &reading.units[at + 1 - candidate.units.len()..=at];
                found.work += units.len();
                if candidate.is(units, &self.spellings[candidate.list], reading.style, text) {
                    let (first, last) = (units[0].first, units[units.len() - 1].last);
                    let leet = reading.style != Style::Plain;
                    found.hits.push(Hit { list: candidate.list, first, last, leet, picture: candidate.picture });
                }
            }
        }
    }
}
