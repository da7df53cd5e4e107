//! Atoms to readings: the few ways in which a text can be cut into words.
//!
//! A reading is a byte string for the automaton: skeletons in UTF-8 with repeated letters collapsed, words
//! separated by [`BOUNDARY`]. Each of its letters is a [`Unit`], which leads back to the text. [`Style::Plain`] is
//! made for every text; it notices whether one of the others could see more, so that ordinary texts are read once.
//! The number of readings is a constant (five), and each is linear in the text.

use super::fold::{Atom, Kind};
use super::lookalike::Writing;

/// Between two words, at the start and at the end.
pub(super) const BOUNDARY: char = ' ';
/// Around a run of single letters in the spelled reading.
pub(super) const EDGE: char = '\u{1}';
/// `i`, `l`, and what can be either, in a word that has such. (Nothing else in a reading is a capital.)
pub(super) const I_OR_L: char = 'I';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Letters are words; digits are other words; all else separates.
    Plain,
    /// Digits and symbols inside a word are letters: `h3ck`, `$hip`.
    Leet,
    /// Like leet, but a word begins and ends with a letter and has no punctuation in it: `h3ck1!frob`.
    Trimmed,
    /// Like leet, but `.`, `-`, `_`, `*` and `~` inside a word are not there: `he-ck`.
    Joined,
    /// Only runs of words that are one letter each, every letter between boundaries, every run between edges:
    /// `h e c k`, `h.3.c.k`, `h ee c k`, and `h e e c k`, where the two `e` become one unit.
    Spelled,
}

/// A run of equal skeletons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub skeleton: char,
    /// The first letter of the run.
    pub letter: char,
    pub count: u32,
    /// Index of the first and the last atom.
    pub first: u32,
    pub last: u32,
    /// Scripts of its letters; 0 if it stands for a letter without being one.
    pub script: u8,
    pub marked: bool,
    /// How many are letters or pictographs, and how many are digits; the rest are symbols.
    pub real: u32,
    pub digits: u32,
    /// Index in the reading's bytes after it.
    pub end: u32,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub style: Style,
    pub bytes: Vec<u8>,
    pub units: Vec<Unit>,
    /// The last unit can go on.
    pub open: bool,
}

/// What else is worth reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub leet: bool,
    pub joined: bool,
    pub spelled: bool,
}

/// A run of letters that belong together; two of different kinds never make one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Word(Writing),
    Number,
    Pictograph,
}

impl Reading {
    pub fn start(style: Style, capacity: usize) -> Self {
        let (bytes, units) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        let mut reading = Self { style, bytes, units, open: false };
        reading.separate(BOUNDARY);
        reading
    }

    pub fn separate(&mut self, by: char) {
        let by = u32::from(by) as u8;
        if self.bytes.last() != Some(&by) {
            self.bytes.push(by);
        }
        self.open = false;
    }

    /// Adds an atom that reads as `skeleton` and `letter`, to the last unit if it repeats it.
    #[inline]
    pub fn letter(&mut self, at: usize, atom: &Atom, skeleton: char, letter: char) {
        let at = at as u32;
        let (real, digits) = (u32::from(is_real(atom)), u32::from(atom.kind == Kind::Digit));
        if self.open
            && let Some(unit) = self.units.last_mut().filter(|unit| unit.skeleton == skeleton)
        {
            unit.count += 1;
            unit.last = at;
            unit.script |= atom.script;
            unit.real += real;
            unit.digits += digits;
            return;
        }
        if skeleton.is_ascii() {
            self.bytes.push(skeleton as u8);
        } else {
            self.bytes.extend_from_slice(skeleton.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.open = true;
        self.units.push(Unit {
            skeleton,
            letter,
            count: 1,
            first: at,
            last: at,
            script: atom.script,
            marked: atom.marked && skeleton != I_OR_L,
            real,
            digits,
            end: self.bytes.len() as u32,
        });
    }
}

/// The plain reading, and what it saw that another reading might read differently.
pub(super) fn plain(atoms: &[Atom]) -> (Reading, Hints) {
    let mut reading = Reading::start(Style::Plain, atoms.len() + 2);
    let mut hints = Hints::default();
    let mut group = None;
    let mut glue = Glue::default();
    let (mut word_units, mut singles) = (0, 0);
    for (at, atom) in atoms.iter().enumerate() {
        glue.step(atom, &mut hints);
        let next = group_of(atom.kind);
        if group.is_some() && next != group {
            let units = reading.units.len() - word_units;
            singles = if units == 1 { singles + 1 } else { 0 };
            hints.spelled |= singles > 1;
        }
        if next != group {
            reading.separate(BOUNDARY);
            word_units = reading.units.len();
            group = next;
        }
        if next.is_some() {
            reading.letter(at, atom, atom.skeleton, atom.letter);
        }
    }
    hints.spelled |= singles > 0 && group.is_some() && reading.units.len() - word_units == 1;
    reading.separate(BOUNDARY);
    (reading, hints)
}

pub(super) fn group_of(kind: Kind) -> Option<Group> {
    match kind {
        Kind::Letter(writing) => Some(Group::Word(writing)),
        Kind::Digit => Some(Group::Number),
        Kind::Pictograph => Some(Group::Pictograph),
        _ => None,
    }
}

/// Groups when digits and symbols are letters.
pub(super) fn leet_group_of(kind: Kind) -> Option<Group> {
    match kind {
        Kind::Digit | Kind::Strong => Some(Group::Word(Writing::Spaced)),
        _ => group_of(kind),
    }
}

/// Notices letters glued to digits, symbols and joiners, as the plain reading goes by.
#[derive(Default)]
enum Glue {
    #[default]
    Nothing,
    Letter,
    Digit,
    /// After a letter or digit and then punctuation that may be a letter.
    Weak,
    /// After a letter, digit or symbol and then a joiner.
    Joiner,
}

impl Glue {
    #[inline]
    fn step(&mut self, atom: &Atom, hints: &mut Hints) {
        *self = match (atom.kind, &self) {
            (Kind::Letter(_), before) => {
                hints.leet |= matches!(before, Self::Digit | Self::Weak) || atom.i_or_l;
                hints.joined |= matches!(before, Self::Joiner);
                Self::Letter
            }
            (Kind::Digit | Kind::Strong, before) => {
                hints.leet |= matches!(before, Self::Letter);
                hints.joined |= matches!(before, Self::Joiner);
                Self::Digit
            }
            (Kind::Weak, Self::Letter | Self::Digit | Self::Weak) => Self::Weak,
            (Kind::Joiner, Self::Letter | Self::Digit | Self::Joiner) => Self::Joiner,
            _ => Self::Nothing,
        };
    }
}

/// Whether the atom is a letter, not something that may stand for one.
pub(super) fn is_real(atom: &Atom) -> bool {
    matches!(atom.kind, Kind::Letter(_) | Kind::Pictograph)
}
