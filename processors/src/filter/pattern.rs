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
use super::reading::{BOUNDARY, EDGE, I_OR_L, Reading, STEP, Screen, Style, Unit, is_real};
use super::words::words;

/// Most atoms in a listed word or phrase. It bounds the work per match.
pub(super) const WORD_ATOMS_MAX: usize = 64;
/// From this length on a word is the same word without its marks.
const BARE_LETTERS_MIN: u32 = 5;
/// Shorter words are not looked for across joiners: `x_x` is a face.
const JOINED_LETTERS_MIN: u32 = 4;
/// From this length on a phrase is also found when written in one word.
const CONTRACTED_LETTERS_MIN: u32 = 4;
/// A word up to this length is found in a run of single letters only if it is the whole run, and it is judged more
/// strictly in other ways.
const SHORT_LETTERS: u32 = 3;
/// Most words of a phrase whose `i`/`l` variants are enumerated one by one.
const MERGED_WORDS_MAX: usize = 4;

pub(super) struct Patterns {
    /// `None` without any word.
    automaton: Option<AhoCorasick>,
    /// What each pattern of the automaton may be.
    candidates: Vec<Vec<Candidate>>,
    spellings: Vec<Spelling>,
}

/// What distinguishes words in a list's language, as far as the list itself shows it.
#[derive(Debug, Default)]
struct Spelling {
    /// Letters with marks: where there is a `ö` in the list, `schön` is not `schon`.
    marked: BTreeSet<char>,
    /// Skeletons that are doubled: where there is a `tt` in the list, `bitte` is not `bite`.
    doubled: BTreeSet<char>,
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

/// One listed word in one variant.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    list: usize,
    units: Vec<ListedUnit>,
    /// Number of letters in all.
    letters: u32,
    /// All but the spaces of a short phrase, where punctuation is all that makes it one: `s&m` is not `s, m`.
    exact: Option<Vec<char>>,
    /// May begin (end) inside a word, and so inside a run of one letter.
    begins_anywhere: bool,
    ends_anywhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ListedUnit {
    letter: char,
    count: u32,
    script: u8,
    marked: bool,
    digits: u32,
}

/// A listed word in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub list: usize,
    /// Indices of the first and the last atom.
    pub first: usize,
    pub last: usize,
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
        if !atoms.iter().any(is_real) {
            return Err(Unusable::NoLetter);
        }
        if let Some(spelling) = self.spellings.last_mut() {
            spelling.learn(&atoms);
        }
        let letters_only: Vec<Atom> = atoms.iter().filter(|a| is_real(a) || a.kind == Kind::Digit).copied().collect();
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
        let listed = |unit: &Unit| ListedUnit {
            letter: unit.letter,
            count: unit.count,
            script: unit.script,
            marked: unit.marked,
            digits: unit.digits,
        };
        let candidate = Candidate {
            list,
            units: reading.units.iter().map(listed).collect(),
            letters: letters(reading),
            exact,
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
            Some(AhoCorasick::builder().match_kind(MatchKind::Standard).prefilter(false).build(&keys)?)
        };
        Ok(Patterns { automaton, candidates, spellings: self.spellings })
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

fn solid(atoms: &[Atom]) -> impl Iterator<Item = char> {
    atoms.iter().filter(|a| a.kind != Kind::Space).map(|a| a.skeleton)
}

/// What a phrase of few letters must look like to the separator.
fn short_phrase(atoms: &[Atom], reading: &Reading) -> Option<Vec<char>> {
    let (first, last) = reading.units.first().zip(reading.units.last())?;
    let separated = atoms[first.first..=last.last].iter().any(|a| !is_real(a) && a.kind != Kind::Digit);
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
        self.automaton.as_ref().is_some_and(|automaton| automaton.is_match(&screen.bytes))
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
                if self.agrees(candidate, units, reading.style, text) {
                    let (first, last) = (units[0].first, units[units.len() - 1].last);
                    found.hits.push(Hit { list: candidate.list, first, last });
                }
            }
        }
    }

    /// Whether units with the skeletons of a listed word are that word.
    fn agrees(&self, candidate: &Candidate, units: &[Unit], style: Style, text: &Folded) -> bool {
        let spelling = &self.spellings[candidate.list];
        if style == Style::Joined && candidate.letters < JOINED_LETTERS_MIN {
            return false;
        }
        repeats_agree(candidate, units, spelling)
            && letters_agree(candidate, units, spelling, text.evidence)
            && is_lettered(candidate, units, style)
            && candidate.exact.as_ref().is_none_or(|exact| is_exactly(exact, units, text))
    }
}

/// Whether letters repeat often enough, and not so that it makes another word. A letter three times is stretched;
/// twice, it may be the spelling of another word (`god`, `good`), if the word is short or other words of the list
/// have such doubles; but hardly at a word's beginning, and two of them are no accident.
fn repeats_agree(candidate: &Candidate, units: &[Unit], spelling: &Spelling) -> bool {
    let last = units.len() - 1;
    let (mut doubles, mut doubtful) = (0, false);
    for (at, (listed, unit)) in candidate.units.iter().zip(units).enumerate() {
        if unit.count < listed.count {
            return false;
        }
        let inside = !(at == 0 && candidate.begins_anywhere || at == last && candidate.ends_anywhere);
        if inside && (listed.count, unit.count) == (1, 2) {
            doubles += 1;
            let usual = at > 0 && spelling.doubled.contains(&unit.skeleton);
            doubtful |= usual || candidate.letters <= SHORT_LETTERS;
        }
    }
    doubles > 1 || !doubtful
}

/// Whether the letters are those of the word, not just alike.
fn letters_agree(candidate: &Candidate, units: &[Unit], spelling: &Spelling, evidence: u8) -> bool {
    let (mut native, mut foreign) = (false, 0);
    for (listed, unit) in candidate.units.iter().zip(units) {
        if unit.script == 0 || listed.script == 0 {
            continue;
        }
        if unit.script & listed.script == 0 {
            foreign |= unit.script;
            continue;
        }
        native = true;
        if !marks_agree(listed, unit, candidate.letters, spelling) {
            return false;
        }
    }
    // A word all in another script's look-alikes may be a word of that script, if the text is written in it.
    native || evidence & foreign == 0
}

/// Whether two letters that look alike but for their marks are the same for this list. A marked letter that the
/// list's own words use is another letter than its base; any other mark is disguise. Who has no such key leaves the
/// mark off, which is taken for the same word when it is long enough (`maricón`, not `coño`).
fn marks_agree(listed: &ListedUnit, found: &Unit, letters: u32, spelling: &Spelling) -> bool {
    if listed.letter == found.letter {
        return true;
    }
    if found.marked && spelling.marked.contains(&found.letter) {
        return false;
    }
    !listed.marked || letters >= BARE_LETTERS_MIN
}

/// Numbers are no words: one letter at least, and more letters than digits for letters in a short word (`A55` is a
/// road) and where the text had to be put together.
fn is_lettered(candidate: &Candidate, units: &[Unit], style: Style) -> bool {
    let real: u32 = units.iter().map(|unit| unit.real).sum();
    let disguises = candidate.units.iter().zip(units).map(|(listed, unit)| unit.digits.saturating_sub(listed.digits));
    let digits: u32 = disguises.sum();
    let strict = candidate.letters <= SHORT_LETTERS || matches!(style, Style::Joined | Style::Spelled);
    real > if strict { digits } else { 0 }
}

fn is_exactly(exact: &[char], units: &[Unit], text: &Folded) -> bool {
    let (Some(first), Some(last)) = (units.first(), units.last()) else { return false };
    solid(&text.atoms[first.first..=last.last]).eq(exact.iter().copied())
}
