//! Atoms to readings: the few ways in which a text can be cut into words.
//!
//! A reading is a byte string for the automaton: skeletons in UTF-8 with repeated letters collapsed, words
//! separated by [`BOUNDARY`]. Each of its letters is a [`Unit`], which leads back to the text. [`Style::Plain`] is
//! made for every text; it notices whether one of the others could see more, so that ordinary texts are read once.
//! The number of readings is a constant (five), and each is linear in the text; each is
//! first made as a mere [`Screen`].

use super::fold::{Atom, Kind};
use super::lookalike::Writing;

/// A text to be read: folded, or ASCII as it is ([`super::ascii`]).
pub(super) trait Text: Copy {
    fn len(self) -> usize;
    fn at(self, at: usize) -> Glimpse;
}

/// As much of an atom as a reading needs.
#[derive(Clone, Copy)]
pub(super) struct Glimpse {
    pub kind: Kind,
    pub skeleton: char,
    pub script: u8,
    pub i_or_l: bool,
}

impl Text for &[Atom] {
    #[inline]
    fn len(self) -> usize {
        <[Atom]>::len(self)
    }

    #[inline]
    fn at(self, at: usize) -> Glimpse {
        let Atom { kind, skeleton, script, i_or_l, .. } = self[at];
        Glimpse { kind, skeleton, script, i_or_l }
    }
}

/// Between two words, at the start and at the end.
pub(super) const BOUNDARY: char = ' ';
/// Around a run of single letters in the spelled reading, and between its letters: no whole word begins there.
pub(super) const EDGE: char = '\u{1}';
pub(super) const STEP: char = '\u{2}';
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
    /// Only runs of words that are one letter each, every letter between steps, every run between edges:
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
    pub first: usize,
    pub last: usize,
    /// Scripts of its letters; 0 if it stands for a letter without being one.
    pub script: u8,
    /// Of the first letter: see [`Atom`].
    pub marked: bool,
    pub rest: u64,
    pub dotless: bool,
    /// How many are letters or pictographs, and how many are digits; the rest are symbols.
    pub real: u32,
    pub digits: u32,
    /// Index in the reading's bytes after it.
    pub end: usize,
}

/// Takes a reading as it is made.
pub(super) trait Sink {
    /// Ends a word.
    fn separate(&mut self, by: char);
    /// Adds the atom at index `at`, read as `skeleton`. Says whether it begins a unit, that is, does not repeat.
    fn letter(&mut self, at: usize, skeleton: char) -> bool;
    /// Lets a letter repeat the last one, of this skeleton, although the words between them are separated.
    fn reopen(&mut self, skeleton: char);
}

/// A reading's bytes, and how often letters repeat: enough to see that there is nothing to find.
#[derive(Debug)]
pub(super) struct Screen {
    pub bytes: Vec<u8>,
    /// For each byte: how often the letter that begins there stands in a row (255: or more), 0 where none begins.
    pub runs: Vec<u8>,
    /// Index of the last letter.
    unit: usize,
    last: Option<char>,
}

/// A reading with the way back to the text.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub style: Style,
    pub atoms: &'a [Atom],
    pub units: Vec<Unit>,
    screen: Screen,
}

impl Screen {
    pub fn new(capacity: usize) -> Self {
        let buffer = || Vec::with_capacity(capacity + 2);
        let mut screen = Self { bytes: buffer(), runs: buffer(), unit: 0, last: None };
        screen.separate(BOUNDARY);
        screen
    }

    /// Makes room for another reading.
    pub fn restart(&mut self) {
        self.bytes.clear();
        self.runs.clear();
        self.separate(BOUNDARY);
    }

    /// Adds an ASCII letter, a digit or [`BOUNDARY`] to a reading in which one that repeats is always one unit.
    #[inline]
    pub fn put(&mut self, byte: u8) {
        let run = u8::from(byte != BOUNDARY as u8);
        match (self.bytes.last(), self.runs.last_mut()) {
            (Some(&last), Some(repeated)) if last == byte => *repeated = repeated.saturating_add(run),
            _ => {
                self.bytes.push(byte);
                self.runs.push(run);
            }
        }
    }
}

impl Sink for Screen {
    #[inline]
    fn separate(&mut self, by: char) {
        let by = by as u8;
        if self.bytes.last() != Some(&by) {
            self.bytes.push(by);
            self.runs.push(0);
        }
        self.last = None;
    }

    #[inline]
    fn letter(&mut self, _at: usize, skeleton: char) -> bool {
        if self.last == Some(skeleton) {
            self.runs[self.unit] = self.runs[self.unit].saturating_add(1);
            return false;
        }
        self.unit = self.bytes.len();
        self.runs.push(1);
        if skeleton.is_ascii() {
            self.bytes.push(skeleton as u8);
        } else {
            self.bytes.extend_from_slice(skeleton.encode_utf8(&mut [0; 4]).as_bytes());
            self.runs.resize(self.bytes.len(), 0);
        }
        self.last = Some(skeleton);
        true
    }

    fn reopen(&mut self, skeleton: char) {
        self.last = Some(skeleton);
    }
}

impl<'a> Reading<'a> {
    pub fn new(style: Style, atoms: &'a [Atom]) -> Self {
        Self { style, atoms, units: Vec::with_capacity(atoms.len()), screen: Screen::new(atoms.len()) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.screen.bytes
    }
}

impl Sink for Reading<'_> {
    fn separate(&mut self, by: char) {
        self.screen.separate(by);
    }

    fn letter(&mut self, at: usize, skeleton: char) -> bool {
        let begins = self.screen.letter(at, skeleton);
        let atom = &self.atoms[at];
        let same = atom.skeleton == skeleton;
        if begins {
            self.units.push(Unit {
                skeleton,
                letter: if same { atom.letter } else { skeleton },
                count: 0,
                first: at,
                last: at,
                script: 0,
                marked: atom.marked && same,
                rest: if same { atom.rest } else { 0 },
                dotless: atom.dotless && same,
                real: 0,
                digits: 0,
                end: self.screen.bytes.len(),
            });
        }
        if let Some(unit) = self.units.last_mut() {
            unit.count += 1;
            unit.last = at;
            unit.script |= atom.script;
            unit.real += u32::from(atom.kind.is_real());
            unit.digits += u32::from(atom.kind == Kind::Digit);
        }
        begins
    }

    fn reopen(&mut self, skeleton: char) {
        self.screen.reopen(skeleton);
    }
}

/// What else is worth reading.
#[expect(clippy::struct_excessive_bools, reason = "a set of styles")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub leet: bool,
    /// Only the leet reading tells.
    pub trimmed: bool,
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

/// The plain reading, and what it saw that another reading might read differently.
pub(super) fn plain(text: impl Text, sink: &mut impl Sink) -> Hints {
    let mut hints = Hints::default();
    let mut group = None;
    let mut glue = Glue::default();
    let mut singles = Singles::default();
    for at in 0..text.len() {
        let atom = text.at(at);
        glue = glue.step(atom.kind, atom.i_or_l, &mut hints);
        let next = group_of(atom.kind);
        if next != group {
            hints.spelled |= singles.end_of_word(group);
            sink.separate(BOUNDARY);
            group = next;
        }
        if next.is_some() {
            singles.letter(sink.letter(at, atom.skeleton));
        }
    }
    hints.spelled |= singles.end_of_word(group);
    sink.separate(BOUNDARY);
    hints
}

/// Notices words of one letter that follow each other, as the plain reading goes by.
#[derive(Default)]
struct Singles {
    /// Of the word being read.
    units: usize,
    letters: usize,
    /// Of the words of one letter before it.
    words_before: usize,
    letters_before: usize,
}

impl Singles {
    #[inline]
    fn letter(&mut self, begins: bool) {
        self.units += usize::from(begins);
        self.letters += 1;
    }

    /// Whether a spelled-out word may end with the word that ends here: two letters suffice in Chinese and Korean.
    fn end_of_word(&mut self, group: Option<Group>) -> bool {
        let Some(group) = group else { return false };
        let single = self.units == 1;
        (self.words_before, self.letters_before) =
            if single { (self.words_before + 1, self.letters_before + self.letters) } else { (0, 0) };
        (self.units, self.letters) = (0, 0);
        let letters_min = if matches!(group, Group::Word(Writing::Spaced) | Group::Number) { 3 } else { 2 };
        self.words_before > 1 && self.letters_before >= letters_min
    }
}

/// Groups when digits are numbers and symbols separate.
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
#[derive(Clone, Copy, Default)]
pub(super) enum Glue {
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
    pub const fn step(self, kind: Kind, i_or_l: bool, hints: &mut Hints) -> Self {
        match (kind, self) {
            (Kind::Letter(_), before) => {
                hints.leet |= matches!(before, Self::Digit | Self::Weak) || i_or_l;
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
        }
    }
}
