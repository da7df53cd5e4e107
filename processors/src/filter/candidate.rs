//! Whether what looks like a listed word is that word.

use std::collections::BTreeSet;

use super::fold::{Atom, Folded, Kind};
use super::reading::{Style, Unit};

/// From this length on a word is the same word without its marks.
const BARE_LETTERS_MIN: u32 = 5;
/// Shorter words are not looked for across joiners: `x_x` is a face.
const JOINED_LETTERS_MIN: u32 = 4;
const DOTLESS_I: char = 'ı';
/// A word up to this length is found in a run of single letters only if it is the whole run, and it is judged more
/// strictly in other ways.
pub(super) const SHORT_LETTERS: u32 = 3;

/// What distinguishes words in a list's language, as far as the list itself shows it.
#[derive(Debug, Default)]
pub(super) struct Spelling {
    /// Letters with marks: where there is a `ö` in the list, `schön` is not `schon`.
    pub marked: BTreeSet<char>,
    /// Skeletons that are doubled: where there is a `tt` in the list, `bitte` is not `bite`.
    pub doubled: BTreeSet<char>,
}

/// One listed word in one variant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub list: usize,
    pub units: Vec<ListedUnit>,
    /// Number of letters in all.
    pub letters: u32,
    /// All but the spaces of a short phrase, where punctuation is all that makes it one: `s&m` is not `s, m`.
    pub exact: Option<Vec<char>>,
    /// One picture of several pictographs, which they are not beside each other.
    pub picture: bool,
    /// May begin (end) inside a word, and so inside a run of one letter.
    pub begins_anywhere: bool,
    pub ends_anywhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ListedUnit {
    pub letter: char,
    pub count: u32,
    pub script: u8,
    /// Has marks of any kind.
    pub marked: bool,
    pub rest: u64,
    pub dotless: bool,
    pub digits: u32,
}

impl From<&Unit> for ListedUnit {
    fn from(unit: &Unit) -> Self {
        let &Unit { letter, count, script, rest, dotless, digits, .. } = unit;
        Self { letter, count, script, marked: unit.marked || rest != 0, rest, dotless, digits }
    }
}

impl Candidate {
    /// Whether a screen's letters with the word's skeletons repeat as often as the word's: `as` is not `ass`.
    pub fn repeats_often_enough(&self, runs: &[u8]) -> bool {
        let letters = runs.iter().filter(|&&run| run > 0);
        letters.zip(&self.units).all(|(&run, listed)| u32::from(run) >= listed.count)
    }

    /// Whether units with the word's skeletons are the word.
    pub fn is(&self, units: &[Unit], spelling: &Spelling, style: Style, text: &Folded) -> bool {
        if style == Style::Joined && self.letters < JOINED_LETTERS_MIN {
            return false;
        }
        repeats_agree(self, units, spelling)
            && letters_agree(self, units, spelling, text.evidence)
            && is_lettered(self, units, style)
            && self.exact.as_ref().is_none_or(|exact| is_exactly(exact, units, text))
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

/// Whether two letters that look alike but for their marks are the same for this list. A bare letter stands for a
/// marked one where the word is long enough: many have no such key (`maricón`, not `coño`). One mark never stands for
/// another. On a letter that is bare in the list a mark is disguise, unless the list's own words use that letter.
fn marks_agree(listed: &ListedUnit, found: &Unit, letters: u32, spelling: &Spelling) -> bool {
    // Accents above those of the list are disguise.
    if is_same_letter(listed, found) && (listed.rest == 0 || listed.rest == found.rest) {
        return true;
    }
    if listed.marked {
        return !found.marked && found.rest == 0 && letters >= BARE_LETTERS_MIN;
    }
    !(found.marked && spelling.marked.contains(&found.letter))
}

/// Whether they are one letter; the capital `I` is also that of `ı`.
fn is_same_letter(listed: &ListedUnit, found: &Unit) -> bool {
    listed.letter == found.letter
        || found.dotless && listed.letter == DOTLESS_I
        || listed.dotless && found.letter == DOTLESS_I
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

/// What a phrase of few letters must look like.
pub(super) fn solid(atoms: &[Atom]) -> impl Iterator<Item = char> {
    atoms.iter().filter(|a| a.kind != Kind::Space).map(|a| a.skeleton)
}
