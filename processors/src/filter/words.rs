//! The readings that see through digits, symbols, joiners and spaces; see [`super::reading`].

use std::ops::Range;

use super::fold::Kind;
use super::lookalike::{Leet, Writing, leet, script};
use super::reading::{BOUNDARY, EDGE, Glimpse, Group, I_OR_L, STEP, Sink, Style, Text, group_of, leet_group_of};

/// Most separators between two letters of a spelled-out word.
const SPELLED_GAP: usize = 8;
/// Most joiners in a row between two parts of a word.
const JOINERS: usize = 2;

/// Reads whole words in a style. `merge` names, by number from the left, words in which `i` and `l` are to be one
/// letter although nothing in them is ambiguous; texts have none, words of a list need them. Says whether
/// [`Style::Trimmed`] would read anything that this style does not.
pub(super) fn words(text: impl Text, style: Style, merge: u32, sink: &mut impl Sink) -> bool {
    let mut words = Words { text, style, merge, number: 0, sink, trimmable: false };
    words.read();
    words.trimmable
}

struct Words<'a, T, S> {
    text: T,
    style: Style,
    merge: u32,
    /// Number of words with a letter so far.
    number: u32,
    sink: &'a mut S,
    trimmable: bool,
}

impl<T: Text, S: Sink> Words<'_, T, S> {
    fn read(&mut self) {
        let mut group = None;
        // From the first to the last atom of the word being read. Joiners in it are those that are skipped.
        let mut word = 0..0;
        let mut is_plain = true;
        let mut at = 0;
        while at < self.text.len() {
            let atom = self.text.at(at);
            let next = self.group(atom.kind);
            if next.is_none() && group.is_some() && self.style == Style::Joined {
                let skipped = self.joiners(at);
                if skipped > 0 {
                    at += skipped;
                    continue;
                }
            }
            if next != group {
                self.write(&word, is_plain);
                group = next;
                word = at..at;
                is_plain = true;
            }
            at += 1;
            if next.is_some() {
                word.end = at;
                is_plain &= atom.kind.is_real() && !atom.i_or_l;
            }
        }
        self.write(&word, is_plain);
    }

    #[inline]
    fn kind(&self, at: usize) -> Kind {
        self.text.at(at).kind
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
        let text = self.text;
        let run = (at..text.len()).take(JOINERS + 1).take_while(|&at| self.kind(at) == Kind::Joiner).count();
        let starred = (at..at + run).any(|at| text.at(at).skeleton == '*');
        let follows = at + run < text.len() && self.group(self.kind(at + run)).is_some();
        if run <= JOINERS && follows && (!starred || run == 1) { run } else { 0 }
    }

    /// Writes a word; `is_plain` if all of it are letters that can be read in one way only.
    fn write(&mut self, word: &Range<usize>, is_plain: bool) {
        self.sink.separate(BOUNDARY);
        if is_plain && self.merge == 0 {
            // The usual case, which needs no alphabet.
            for (at, atom) in atoms_of(self.text, word) {
                self.sink.letter(at, atom.skeleton);
            }
        } else {
            self.write_ambiguous(&self.trim(word));
        }
        self.sink.separate(BOUNDARY);
    }

    fn write_ambiguous(&mut self, word: &Range<usize>) {
        let text = self.text;
        let letters = atoms_of(text, word);
        let Some(core) = self.core(word) else {
            // A word of digits and symbols only is a number, not a word.
            for (at, atom) in letters.filter(|(_, atom)| atom.kind == Kind::Digit) {
                self.sink.letter(at, atom.skeleton);
            }
            return;
        };
        let mut inner = atoms_of(text, &core).filter(|(_, atom)| !atom.kind.is_real()).peekable();
        self.trimmable |= inner.peek().is_some() && core.len() < word.len();
        self.trimmable |= inner.any(|(_, atom)| atom.kind == Kind::Weak);
        let forced = 1_u32.checked_shl(self.number).is_some_and(|bit| self.merge & bit != 0);
        self.number += 1;
        let alphabet = Alphabet::of(letters.clone().map(|(_, atom)| atom), self.style, forced);
        for (at, atom) in letters {
            self.sink.letter(at, alphabet.read(atom));
        }
    }

    /// Cuts from both ends what cannot be a letter there. A word without letters is left alone.
    fn trim(&self, word: &Range<usize>) -> Range<usize> {
        let trimmed =
            if self.style == Style::Trimmed { self.core(word) } else { self.between(word, |kind| kind != Kind::Weak) };
        trimmed.unwrap_or_else(|| word.clone())
    }

    /// The word from its first to its last real letter.
    fn core(&self, word: &Range<usize>) -> Option<Range<usize>> {
        self.between(word, Kind::is_real)
    }

    fn between(&self, word: &Range<usize>, is_end: impl Fn(Kind) -> bool) -> Option<Range<usize>> {
        let first = word.clone().find(|&at| is_end(self.kind(at)))?;
        let last = word.clone().rfind(|&at| is_end(self.kind(at)))?;
        Some(first..last + 1)
    }
}

/// The atoms of a word, with their indices.
fn atoms_of<T: Text>(text: T, word: &Range<usize>) -> impl Iterator<Item = (usize, Glimpse)> + Clone + use<T> {
    word.clone().map(move |at| (at, text.at(at))).filter(|(_, atom)| atom.kind != Kind::Joiner)
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
    fn of(word: impl Iterator<Item = Glimpse>, style: Style, forced: bool) -> Self {
        let leet_style = style != Style::Plain;
        let (mut merged, mut cyrillic) = (forced, false);
        for atom in word {
            // Only a letter that looks like no Latin one tells that the word is Cyrillic.
            cyrillic |= atom.script == script::CYRILLIC && !atom.skeleton.is_ascii();
            let ambiguous = atom.i_or_l || (!atom.kind.is_real() && leet(atom.skeleton, false) == Leet::IOrL);
            merged |= leet_style && ambiguous;
        }
        Self { leet: leet_style, merged, cyrillic }
    }

    /// The skeleton.
    fn read(self, atom: Glimpse) -> char {
        if atom.kind.is_real() {
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
pub(super) fn spelled(text: impl Text, sink: &mut impl Sink) {
    let mut run: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let Some(group) = leet_group_of(text.at(at).kind) else {
            at += 1;
            continue;
        };
        let length = (at..text.len()).take_while(|&at| leet_group_of(text.at(at).kind) == Some(group)).count();
        let word = at..at + length;
        at = word.end;
        let single = word.clone().all(|at| text.at(at).skeleton == text.at(word.start).skeleton);
        let near = run.last().is_some_and(|last| skippable(text, last.end..word.start));
        if !single || !near {
            write_runs(sink, text, &run);
            run.clear();
        }
        if single {
            run.push(word);
        }
    }
    write_runs(sink, text, &run);
}

/// Whether what stands between two letters can be overlooked. More than one star is a mask.
fn skippable(text: impl Text, gap: Range<usize>) -> bool {
    gap.len() <= SPELLED_GAP && gap.filter(|&at| text.at(at).skeleton == '*').count() <= 1
}

/// Writes a run as a whole and, if only some of its letters are between spaces, also the parts that are not: in
/// `a d.a.r` the word is the whole of its part.
fn write_runs(sink: &mut impl Sink, text: impl Text, run: &[Range<usize>]) {
    write_run(sink, text, run);
    let spaced = |a: &Range<usize>, b: &Range<usize>| (a.end..b.start).any(|at| text.at(at).kind == Kind::Space);
    for part in run.chunk_by(|a, b| !spaced(a, b)).filter(|part| part.len() < run.len()) {
        write_run(sink, text, part);
    }
}

fn write_run(sink: &mut impl Sink, text: impl Text, run: &[Range<usize>]) {
    if run.len() < 2 {
        return;
    }
    let letters = run.iter().flat_map(Clone::clone).map(|at| (at, text.at(at)));
    let alphabet = Alphabet::of(letters.clone().map(|(_, atom)| atom), Style::Leet, false);
    let mut last = None;
    sink.separate(EDGE);
    sink.separate(STEP);
    for (at, atom) in letters {
        let skeleton = alphabet.read(atom);
        if last == Some(skeleton) {
            sink.reopen(skeleton);
        }
        sink.letter(at, skeleton);
        sink.separate(STEP);
        last = Some(skeleton);
    }
    sink.separate(EDGE);
}
