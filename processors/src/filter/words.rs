//! The readings that see through digits, symbols, joiners and spaces; see [`super::reading`].

use std::ops::Range;

use super::fold::{Atom, Kind};
use super::lookalike::{Leet, Writing, leet, script};
use super::reading::{BOUNDARY, EDGE, Group, I_OR_L, STEP, Sink, Style, group_of, is_real, leet_group_of};

/// Most separators between two letters of a spelled-out word.
const SPELLED_GAP: usize = 8;
/// Most joiners in a row between two parts of a word.
const JOINERS: usize = 2;

/// Reads whole words in a style. `merge` names, by number from the left, words in which `i` and `l` are to be one
/// letter although nothing in them is ambiguous; texts have none, words of a list need them. Says whether
/// [`Style::Trimmed`] would read anything that this style does not.
pub(super) fn words(atoms: &[Atom], style: Style, merge: u32, sink: &mut impl Sink) -> bool {
    let mut words = Words { atoms, style, merge, number: 0, sink, word: Vec::new(), trimmable: false };
    words.read();
    words.trimmable
}

struct Words<'a, S> {
    atoms: &'a [Atom],
    style: Style,
    merge: u32,
    /// Number of words with a letter so far.
    number: u32,
    sink: &'a mut S,
    /// Atoms of the word being read, reused.
    word: Vec<usize>,
    trimmable: bool,
}

impl<S: Sink> Words<'_, S> {
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

    /// Number of joiners at `at` that are as good as absent: at most two (three dots are an ellipsis), then a letter;
    /// stars, of which masks are made, only by ones.
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
        self.sink.separate(BOUNDARY);
        let atoms = self.atoms;
        if self.merge == 0 && word.iter().all(|&at| is_real(&atoms[at]) && !atoms[at].i_or_l) {
            // The usual case, which needs no alphabet.
            for &at in word {
                self.sink.letter(at, atoms[at].skeleton);
            }
            self.sink.separate(BOUNDARY);
            return;
        }
        let Some(core) = core(word, atoms) else {
            // A word of digits and symbols only is a number, not a word.
            for &at in word.iter().filter(|&&at| atoms[at].kind == Kind::Digit) {
                self.sink.letter(at, atoms[at].skeleton);
            }
            self.sink.separate(BOUNDARY);
            return;
        };
        let inner = core.iter().filter(|&&at| !is_real(&atoms[at])).count();
        let weak = core.iter().any(|&at| atoms[at].kind == Kind::Weak);
        self.trimmable |= weak || (inner > 0 && core.len() < word.len());
        let forced = 1_u32.checked_shl(self.number).is_some_and(|bit| self.merge & bit != 0);
        self.number += 1;
        let alphabet = Alphabet::of(word.iter().map(|&at| &atoms[at]), self.style, forced);
        for &at in word {
            self.sink.letter(at, alphabet.read(&atoms[at]));
        }
        self.sink.separate(BOUNDARY);
    }
}

/// The word from its first to its last real letter.
fn core<'a>(word: &'a [usize], atoms: &[Atom]) -> Option<&'a [usize]> {
    let real = |&at: &usize| is_real(&atoms[at]);
    Some(&word[word.iter().position(real)?..=word.iter().rposition(real)?])
}

/// Cuts from both ends what cannot be a letter there. A word without letters is left alone.
fn trim<'a>(word: &'a [usize], atoms: &[Atom], style: Style) -> &'a [usize] {
    if style == Style::Trimmed {
        return core(word, atoms).unwrap_or(word);
    }
    let keep = |&at: &usize| atoms[at].kind != Kind::Weak;
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

    /// The skeleton.
    fn read(self, atom: &Atom) -> char {
        if is_real(atom) {
            let either = self.merged && matches!(atom.skeleton, 'i' | 'l');
            return if either { I_OR_L } else { atom.skeleton };
        }
        match leet(atom.skeleton, self.cyrillic) {
            Leet::Letter(c) if self.leet => c,
            Leet::IOrL if self.merged => I_OR_L,
            _ => atom.skeleton,
        }
    }
}

/// The spelled reading.
pub(super) fn spelled(atoms: &[Atom], sink: &mut impl Sink) {
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
            write_runs(sink, atoms, &run);
            run.clear();
        }
        if single {
            run.push(word);
        }
    }
    write_runs(sink, atoms, &run);
}

/// Whether what stands between two letters can be overlooked. More than one star is a mask.
fn skippable(gap: &[Atom]) -> bool {
    gap.len() <= SPELLED_GAP && gap.iter().filter(|a| a.skeleton == '*').count() <= 1
}

/// Writes a run as a whole and, if only some of its letters are between spaces, also the parts that are not: in
/// `a d.a.r` the word is the whole of its part.
fn write_runs(sink: &mut impl Sink, atoms: &[Atom], run: &[Range<usize>]) {
    write_run(sink, atoms, run);
    let spaced = |a: &Range<usize>, b: &Range<usize>| atoms[a.end..b.start].iter().any(|a| a.kind == Kind::Space);
    for part in run.chunk_by(|a, b| !spaced(a, b)).filter(|part| part.len() < run.len()) {
        write_run(sink, atoms, part);
    }
}

fn write_run(sink: &mut impl Sink, atoms: &[Atom], run: &[Range<usize>]) {
    if run.len() < 2 {
        return;
    }
    let alphabet = Alphabet::of(run.iter().flat_map(|word| &atoms[word.clone()]), Style::Leet, false);
    let mut last = None;
    sink.separate(EDGE);
    sink.separate(STEP);
    for at in run.iter().flat_map(Clone::clone) {
        let skeleton = alphabet.read(&atoms[at]);
        if last == Some(skeleton) {
            sink.reopen(skeleton);
        }
        sink.letter(at, skeleton);
        sink.separate(STEP);
        last = Some(skeleton);
    }
    sink.separate(EDGE);
}
