//! The readings that see through digits, symbols, joiners and spaces; see [`super::reading`].

use std::ops::Range;

use super::fold::{Atom, Kind};
use super::lookalike::{Leet, Writing, leet, script};
use super::reading::{BOUNDARY, EDGE, Group, I_OR_L, Reading, Style, group_of, is_real, leet_group_of};

/// Most separators between two letters of a spelled-out word.
const SPELLED_GAP: usize = 8;
/// Most joiners in a row between two parts of a word.
const JOINERS: usize = 2;

/// One of the readings of whole words. `merge` names, by number from the left, words in which `i` and `l` are
/// to be one letter although nothing in them is ambiguous; texts have none, words of a list need them.
pub(super) fn words(atoms: &[Atom], style: Style, merge: u32) -> Reading {
    let reading = Reading::start(style, atoms.len() + 2);
    let mut words = Words { atoms, style, merge, number: 0, reading, word: Vec::new() };
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
            (Kind::Weak, Style::Leet) => Some(Group::Word(Writing::Spaced)),
            (_, Style::Plain) => group_of(kind),
            _ => leet_group_of(kind),
        }
    }

    /// Number of joiners at `at` that are as good as absent: at most two (three dots are an
    /// ellipsis), then a letter; stars, of which masks are made, only by ones.
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

/// Cuts from both ends what cannot be a letter there. A word without letters is left alone.
fn trim<'a>(word: &'a [usize], atoms: &[Atom], style: Style) -> &'a [usize] {
    let keep = |&at: &usize| match style {
        Style::Plain | Style::Leet | Style::Joined | Style::Spelled => atoms[at].kind != Kind::Weak,
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

/// The spelled reading.
pub(super) fn spelled(atoms: &[Atom]) -> Reading {
    let mut reading = Reading::start(Style::Spelled, 16);
    let mut run: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < atoms.len() {
        let Some(group) = leet_group_of(atoms[at].kind) else {
            at += 1;
            continue;
        };
        let length = atoms[at..].iter().take_while(|a| leet_group_of(a.kind) == Some(group)).count();
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

/// Whether what stands between two letters can be overlooked. More than one star is a mask.
fn skippable(gap: &[Atom]) -> bool {
    gap.len() <= SPELLED_GAP && gap.iter().filter(|a| a.skeleton == '*').count() <= 1
}

fn write_run(reading: &mut Reading, atoms: &[Atom], run: &[Range<usize>]) {
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
