//! Word lists to one automaton, and the judgement of what it finds.
//!
//! The automaton works on skeletons with collapsed runs, the coarsest view of a word, and so finds candidates. Each
//! is then compared with the listed word, unit by unit: how often letters repeat, which marks they have, which
//! script they are from. All variants of a word (leet, spelled out, written together) are patterns of the one
//! automaton.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use super::fold::{Atom, Folded, Kind, fold};
use super::lookalike::Writing;
use super::reading::{self, BOUNDARY, EDGE, Reading, Style, Unit};

/// Most atoms in a listed word or phrase. It bounds the work per match.
pub(super) const WORD_ATOMS_MAX: usize = 64;
/// From this length on a word is the same word without its marks.
const BARE_LETTERS_MIN: u32 = 5;
/// From this length on a phrase is also found when written in one word.
const CONTRACTED_LETTERS_MIN: u32 = 4;
/// A longer word is found anywhere in a run of single letters; a shorter one must be the whole run.
const SHORT_LETTERS: u32 = 3;
/// Most words of a phrase whose `i`/`l` variants are enumerated one by one.
const MERGED_WORDS_MAX: usize = 4;

pub(super) struct Patterns {
    /// `None` without any word.
    automaton: Option<AhoCorasick>,
    /// What each pattern of the automaton may be.
    candidates: Vec<Vec<Candidate>>,
    /// Per list, the marked letters that its words use.
    alphabets: Vec<BTreeSet<char>>,
}

/// One listed word in one variant.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    list: usize,
    units: Vec<ListedUnit>,
    /// Number of letters in all.
    letters: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ListedUnit {
    letter: char,
    count: u32,
    script: u8,
    marked: bool,
}

/// A listed word in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub list: usize,
    /// Indices of the first and the last atom.
    pub first: u32,
    pub last: u32,
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
    alphabets: Vec<BTreeSet<char>>,
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
        self.alphabets.push(BTreeSet::new());
    }

    /// Adds all variants of a word or phrase.
    pub fn add(&mut self, word: &str) -> Result<(), Unusable> {
        let atoms = fold(word).atoms;
        if atoms.len() > WORD_ATOMS_MAX {
            return Err(Unusable::TooLong);
        }
        let is_letter = |a: &Atom| matches!(a.kind, Kind::Letter(_) | Kind::Pictograph);
        if !atoms.iter().any(is_letter) {
            return Err(Unusable::NoLetter);
        }
        if let Some(alphabet) = self.alphabets.last_mut() {
            alphabet.extend(atoms.iter().filter(|a| a.marked).map(|a| a.letter));
        }
        let solid: Vec<Atom> = atoms.iter().filter(|a| is_letter(a) || a.kind == Kind::Digit).copied().collect();
        self.add_words(&atoms);
        if solid.iter().all(|a| a.kind == Kind::Letter(Writing::Spaced)) {
            let contracted = reading::words(&solid, Style::Plain, 0);
            if letters(&contracted) >= CONTRACTED_LETTERS_MIN {
                self.add_words(&solid);
            }
        }
        self.add_spelled(&solid);
        Ok(())
    }

    /// The word as it is, with its digits as digits and as letters, with `i` and `l` apart and as one.
    fn add_words(&mut self, atoms: &[Atom]) {
        for style in [Style::Plain, Style::Leet] {
            for merge in merges(atoms, style) {
                let reading = reading::words(atoms, style, merge);
                let Some((first, last)) = reading.units.first().zip(reading.units.last()) else { continue };
                let mut key = reading.bytes.as_slice();
                if begins_anywhere(atoms[first.first as usize].kind) {
                    key = &key[1..];
                }
                if ends_anywhere(atoms[last.last as usize].kind) {
                    key = &key[..key.len() - 1];
                }
                self.insert(key.to_vec(), &reading);
            }
        }
    }

    /// The word letter by letter, for the spelled reading.
    fn add_spelled(&mut self, atoms: &[Atom]) {
        let spaced = atoms.iter().any(|a| a.kind == Kind::Letter(Writing::Spaced));
        let unspaced = atoms.iter().all(|a| a.kind == Kind::Letter(Writing::Unspaced));
        for merge in merges(atoms, Style::Leet) {
            let reading = reading::words(atoms, Style::Leet, merge);
            let letters = letters(&reading);
            if letters < if spaced { 3 } else { 2 } {
                continue;
            }
            let mut key = String::from(BOUNDARY);
            for unit in &reading.units {
                key.extend([unit.skeleton, BOUNDARY]);
            }
            if letters <= SHORT_LETTERS && !unspaced {
                key = format!("{EDGE}{key}{EDGE}");
            }
            self.insert(key.into_bytes(), &reading);
        }
    }

    fn insert(&mut self, key: Vec<u8>, reading: &Reading) {
        let units = reading.units.iter().map(|unit| ListedUnit {
            letter: unit.letter,
            count: unit.count,
            script: unit.script,
            marked: unit.marked,
        });
        let list = self.alphabets.len().saturating_sub(1);
        let candidate = Candidate { list, units: units.collect(), letters: letters(reading) };
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
            Some(AhoCorasick::builder().match_kind(MatchKind::Standard).prefilter(false).build(&keys)?)
        };
        Ok(Patterns { automaton, candidates, alphabets: self.alphabets })
    }
}

/// The sets of words in which `i` and `l` are to be merged: every subset of the words that have one.
fn merges(atoms: &[Atom], style: Style) -> Vec<u32> {
    let apart = reading::words(atoms, style, 0).bytes;
    let words = (0..u32::BITS).filter(|word| reading::words(atoms, style, 1 << word).bytes != apart);
    let words: Vec<u32> = words.map(|word| 1 << word).collect();
    if words.len() > MERGED_WORDS_MAX {
        return vec![0, u32::MAX];
    }
    let subset = |n: usize| words.iter().enumerate().filter(|(i, _)| n >> i & 1 == 1).map(|(_, bit)| bit).sum();
    (0..1_usize << words.len()).map(subset).collect()
}

fn letters(reading: &Reading) -> u32 {
    reading.units.iter().map(|unit| unit.count).sum()
}

fn begins_anywhere(kind: Kind) -> bool {
    matches!(kind, Kind::Letter(Writing::Unspaced) | Kind::Pictograph)
}

fn ends_anywhere(kind: Kind) -> bool {
    begins_anywhere(kind) || kind == Kind::Letter(Writing::Syllables)
}

impl Patterns {
    /// Adds to `found` what is listed in one reading of `text`.
    pub fn search(&self, text: &Folded, reading: &Reading, found: &mut Hits) {
        let Some(automaton) = &self.automaton else { return };
        found.work += reading.bytes.len();
        let mut at = 0;
        // Matches come in the order of their ends, so the units are walked once.
        for hit in automaton.find_overlapping_iter(&reading.bytes) {
            while reading.units.get(at + 1).is_some_and(|next| next.end as usize <= hit.end()) {
                at += 1;
            }
            for candidate in &self.candidates[hit.pattern().as_usize()] {
                let units = &reading.units[at + 1 - candidate.units.len()..=at];
                found.work += units.len();
                if self.agrees(candidate, units, text.evidence) {
                    let (first, last) = (units[0].first, units[units.len() - 1].last);
                    found.hits.push(Hit { list: candidate.list, first, last });
                }
            }
        }
    }

    /// Whether units with the skeletons of a listed word are that word.
    fn agrees(&self, candidate: &Candidate, units: &[Unit], evidence: u8) -> bool {
        let alphabet = &self.alphabets[candidate.list];
        let (mut real, mut native, mut foreign) = (false, false, 0);
        for (listed, unit) in candidate.units.iter().zip(units) {
            if !repeats_agree(listed.count, unit.count) {
                return false;
            }
            real |= unit.real;
            if unit.script == 0 || listed.script == 0 {
                continue;
            }
            if unit.script & listed.script == 0 {
                foreign |= unit.script;
                continue;
            }
            native = true;
            if !marks_agree(listed, unit, candidate.letters, alphabet) {
                return false;
            }
        }
        // A word all in another script's look-alikes may be a word of that script, if the text is written in it.
        real && (native || evidence & foreign == 0)
    }
}

/// Whether `found` letters in a row can stand for `listed` ones: any stretching counts, shortening does not.
fn repeats_agree(listed: u32, found: u32) -> bool {
    found >= listed
}

/// Whether two letters that look alike but for their marks are the same for this list. A marked letter that the
/// list's own words use is another letter than its base (`schön`, `schon`); any other mark is disguise. Who has
/// no such key leaves the mark off, which is taken for the same word when it is long enough (`maricón`, not `coño`).
fn marks_agree(listed: &ListedUnit, found: &Unit, letters: u32, alphabet: &BTreeSet<char>) -> bool {
    if listed.letter == found.letter {
        return true;
    }
    if found.marked && alphabet.contains(&found.letter) {
        return false;
    }
    !listed.marked || letters >= BARE_LETTERS_MIN
}
