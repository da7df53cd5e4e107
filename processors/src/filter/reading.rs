//! Atoms to readings: the few ways in which a text can be cut into words.
//!
//! A reading is a byte string for the automaton: skeletons in UTF-8 with repeated letters collapsed, words
//! separated by [`BOUNDARY`]. Each of its letters is a [`Unit`], which leads back to the text. [`Style::Plain`] is
//! made for every text; it notices whether one of the others could see more, so that ordinary texts are read once.
//! The number of readings is a constant (five), and each is linear in the text.

use super::fold::{Atom, Kind};
use super::lookalike::{Leet, Writing, leet, script};

/// Between two words, at the start and at the end.
pub(super) const BOUNDARY: char = ' ';
/// Around a run of single letters in the spelled reading.
pub(super) const EDGE: char = '\u{1}';
/// `i`, `l`, and what can be either, in a word that has such. (Nothing else in a reading is a capital.)
pub(super) const I_OR_L: char = 'I';

/// Most separators between two letters of a spelled-out word.
const SPELLED_GAP: usize = 8;
/// Most joiners in a row between two parts of a word.
const JOINERS: usize = 3;

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
    /// At least one is a letter or pictograph, not a digit or symbol.
    pub real: bool,
    /// Index in the reading's bytes after it.
    pub end: u32,
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    pub bytes: Vec<u8>,
    pub units: Vec<Unit>,
    open: bool,
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
enum Group {
    Word(Writing),
    Number,
    Pictograph,
}

impl Reading {
    fn start(capacity: usize) -> Self {
        let mut reading = Self { bytes: Vec::with_capacity(capacity), units: Vec::with_capacity(capacity), open: false };
        reading.separate(BOUNDARY);
        reading
    }

    fn separate(&mut self, by: char) {
        let by = u32::from(by) as u8;
        if self.bytes.last() != Some(&by) {
            self.bytes.push(by);
        }
        self.open = false;
    }

    /// Adds an atom that reads as `skeleton` and `letter`, to the last unit if it repeats it.
    #[inline]
    fn letter(&mut self, at: usize, atom: &Atom, skeleton: char, letter: char) {
        let at = at as u32;
        let real = matches!(atom.kind, Kind::Letter(_) | Kind::Pictograph);
        if self.open
            && let Some(unit) = self.units.last_mut().filter(|unit| unit.skeleton == skeleton)
        {
            unit.count += 1;
            unit.last = at;
            unit.script |= atom.script;
            unit.real |= real;
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
            end: self.bytes.len() as u32,
        });
    }
}

/// The plain reading, and what it saw that another reading might read differently.
pub(super) fn plain(atoms: &[Atom]) -> (Reading, Hints) {
    let mut reading = Reading::start(atoms.len() + 2);
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

fn group_of(kind: Kind) -> Option<Group> {
    match kind {
        Kind::Letter(writing) => Some(Group::Word(writing)),
        Kind::Digit => Some(Group::Number),
        Kind::Pictograph => Some(Group::Pictograph),
        _ => None,
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

/// One of the other readings of whole words. `merge` names, by number from the left, words in which `i` and `l` are
/// to be one letter although nothing in them is ambiguous; texts have none, words of a list need them.
pub(super) fn words(atoms: &[Atom], style: Style, merge: u32) -> Reading {
    let mut words = Words { atoms, style, merge, number: 0, reading: Reading::start(atoms.len() + 2), word: Vec::new() };
    words.read();
    words.reading
}

struct Words<'a> {
    atoms: &'a [Atom],
    style: Style,
    merge: u32,
    /// Number of words with a letter so far.
    number: u32,
    reading: Reading,
    /// Atoms of the word being read, reused.
    word: Vec<usize>,
}

impl Words<'_> {
    fn read(&mut self) {
        let mut group = None;
        let mut at = 0;
        while let Some(atom) = self.atoms.get(at) {
            let next = self.group(atom.kind);
            if next.is_none() && group.is_some() && self.style == Style::Joined {
                let skipped = self.joiners(at);
                if skipped > 0 {
                    at += skipped;
                    continue;
                }
            }
            if next != group {
                self.flush();
                group = next;
            }
            if next.is_some() {
                self.word.push(at);
            }
            at += 1;
        }
        self.flush();
    }

    fn group(&self, kind: Kind) -> Option<Group> {
        match (kind, self.style) {
            (Kind::Digit | Kind::Strong, Style::Leet | Style::Trimmed | Style::Joined) | (Kind::Weak, Style::Leet) => {
                Some(Group::Word(Writing::Spaced))
            }
            _ => group_of(kind),
        }
    }

    /// Number of joiners at `at` that are as good as absent: up to three, then a letter; stars, of which masks are
    /// made, only by ones.
    fn joiners(&self, at: usize) -> usize {
        let run = self.atoms[at..].iter().take(JOINERS + 1).take_while(|a| a.kind == Kind::Joiner).count();
        let stars = self.atoms[at..at + run].iter().filter(|a| a.skeleton == '*').count();
        let follows = self.atoms.get(at + run).is_some_and(|a| self.group(a.kind).is_some());
        if run <= JOINERS && follows && (stars == 0 || run == 1) { run } else { 0 }
    }

    fn flush(&mut self) {
        let word = std::mem::take(&mut self.word);
        self.write(trim(&word, self.atoms, self.style));
        self.word = word;
        self.word.clear();
    }

    fn write(&mut self, word: &[usize]) {
        self.reading.separate(BOUNDARY);
        if word.is_empty() {
            return;
        }
        let atoms = self.atoms;
        if word.iter().any(|&at| is_real(&atoms[at])) {
            let forced = 1_u32.checked_shl(self.number).is_some_and(|bit| self.merge & bit != 0);
            self.number += 1;
            let alphabet = Alphabet::of(word.iter().map(|&at| &atoms[at]), self.style, forced);
            for &at in word {
                let (skeleton, letter) = alphabet.read(&atoms[at]);
                self.reading.letter(at, &atoms[at], skeleton, letter);
            }
        } else {
            // A word of digits and symbols only is a number, not a word.
            for &at in word.iter().filter(|&&at| atoms[at].kind == Kind::Digit) {
                self.reading.letter(at, &atoms[at], atoms[at].skeleton, atoms[at].letter);
            }
        }
        self.reading.separate(BOUNDARY);
    }
}

fn is_real(atom: &Atom) -> bool {
    matches!(atom.kind, Kind::Letter(_) | Kind::Pictograph)
}

/// Cuts from both ends what cannot be a letter there. A word without letters is left alone.
fn trim<'a>(word: &'a [usize], atoms: &[Atom], style: Style) -> &'a [usize] {
    let keep = |&at: &usize| match style {
        Style::Plain | Style::Leet | Style::Joined => atoms[at].kind != Kind::Weak,
        Style::Trimmed => is_real(&atoms[at]),
    };
    match (word.iter().position(keep), word.iter().rposition(keep)) {
        (Some(first), Some(last)) => &word[first..=last],
        _ => word,
    }
}

/// How the atoms of one word are read.
#[derive(Clone, Copy)]
struct Alphabet {
    /// Digits and symbols are letters.
    leet: bool,
    /// `i` and `l` are one letter, because something in the word may be either.
    merged: bool,
    cyrillic: bool,
}

impl Alphabet {
    fn of<'a>(word: impl Iterator<Item = &'a Atom>, style: Style, forced: bool) -> Self {
        let leet_style = style != Style::Plain;
        let (mut merged, mut cyrillic) = (forced, false);
        for atom in word {
            // Only a letter that looks like no Latin one tells that the word is Cyrillic.
            cyrillic |= atom.script == script::CYRILLIC && !atom.skeleton.is_ascii();
            let ambiguous = atom.i_or_l || (!is_real(atom) && leet(atom.skeleton, false) == Leet::IOrL);
            merged |= leet_style && ambiguous;
        }
        Self { leet: leet_style, merged, cyrillic }
    }

    /// Skeleton and letter.
    fn read(self, atom: &Atom) -> (char, char) {
        if is_real(atom) {
            return if self.merged && matches!(atom.skeleton, 'i' | 'l') {
                (I_OR_L, I_OR_L)
            } else {
                (atom.skeleton, atom.letter)
            };
        }
        match leet(atom.skeleton, self.cyrillic) {
            Leet::Letter(c) if self.leet => (c, c),
            Leet::IOrL if self.merged => (I_OR_L, I_OR_L),
            _ => (atom.skeleton, atom.letter),
        }
    }
}

/// The spelled reading: only runs of words that are one letter each (`h e c k`), every letter between boundaries, every run
/// between edges. `h ee c k` is such a run too, and so is `h e e c k`, where the two `e` become one unit.
pub(super) fn spelled(atoms: &[Atom]) -> Reading {
    let mut reading = Reading::start(16);
    let mut run: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    while at < atoms.len() {
        let Some(group) = spelled_group(atoms[at].kind) else {
            at += 1;
            continue;
        };
        let length = atoms[at..].iter().take_while(|a| spelled_group(a.kind) == Some(group)).count();
        let word = at..at + length;
        at = word.end;
        let single = atoms[word.clone()].iter().all(|a| a.skeleton == atoms[word.start].skeleton);
        let near = run.last().is_some_and(|last| skippable(&atoms[last.end..word.start]));
        if !single || !near {
            write_run(&mut reading, atoms, &run);
            run.clear();
        }
        if single {
            run.push(word);
        }
    }
    write_run(&mut reading, atoms, &run);
    reading
}

fn spelled_group(kind: Kind) -> Option<Group> {
    match kind {
        Kind::Letter(writing) => Some(Group::Word(writing)),
        Kind::Digit | Kind::Strong => Some(Group::Word(Writing::Spaced)),
        _ => None,
    }
}

/// Whether what stands between two letters can be overlooked. More than one star is a mask.
fn skippable(gap: &[Atom]) -> bool {
    gap.len() <= SPELLED_GAP && gap.iter().filter(|a| a.skeleton == '*').count() <= 1
}

fn write_run(reading: &mut Reading, atoms: &[Atom], run: &[std::ops::Range<usize>]) {
    if run.len() < 2 {
        return;
    }
    let alphabet = Alphabet::of(run.iter().flat_map(|word| &atoms[word.clone()]), Style::Leet, false);
    reading.separate(EDGE);
    reading.separate(BOUNDARY);
    for at in run.iter().flat_map(Clone::clone) {
        let (skeleton, letter) = alphabet.read(&atoms[at]);
        // The boundary after the last unit is written already, yet a repeated letter still belongs to it.
        reading.open = reading.units.last().is_some_and(|unit| unit.first as usize >= run[0].start);
        reading.letter(at, &atoms[at], skeleton, letter);
        reading.separate(BOUNDARY);
    }
    reading.separate(EDGE);
}
