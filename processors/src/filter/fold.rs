//! Text to atoms: one pass that normalises and remembers where everything came from.
//!
//! Per scalar: compatibility decomposition, lower case, removal of what shows nothing, and the *skeleton*: the Latin
//! letter that it looks like. Combining marks are put in canonical order (UAX #15) before they are composed with their
//! letter, so that NFC, NFD, NFKC and NFKD forms all meet. The real letter, with the marks of its language, is kept
//! beside the skeleton for [`super::pattern`] to judge.

use std::mem::take;

use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible, is_combining_mark};

use super::lookalike::{self, Writing, script};

/// On an `i` this is no mark but the dot that it has anyway: Turkish `İ` is the capital of `i`.
const DOT_ABOVE: char = '\u{307}';
/// Combining class of strokes through a letter. Rings around it have class 0.
const OVERLAY: u8 = 1;
/// Bits of a scalar.
const SCALAR_BITS: u32 = 21;

/// The part that an atom plays in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter(Writing),
    /// A digit, which may stand for a letter.
    Digit,
    /// A symbol that stands for a letter more often than not: `@ $ €`.
    Strong,
    /// Punctuation that may stand for a letter inside a word: `! | +`.
    Weak,
    /// Punctuation that one finds inside words: `. - _ * ~`.
    Joiner,
    Pictograph,
    Space,
    /// All else; it ends a word.
    Stop,
}

impl Kind {
    /// Whether it is a letter, not something that may stand for one.
    pub(super) const fn is_real(self) -> bool {
        matches!(self, Self::Letter(_) | Self::Pictograph)
    }
}

/// One normalised scalar. Several atoms can share one scalar of the text (`ß` is `s` `s`), and one atom can cover
/// several (`u` and the marks on it).
#[expect(clippy::struct_excessive_bools, reason = "independent marks of one letter")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom {
    /// What it looks like, at its coarsest. For digits and symbols the character itself.
    pub skeleton: char,
    /// The letter, in lower case, composed with its marks.
    pub letter: char,
    /// Byte range in the original text.
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    /// One bit of [`script`], or none.
    pub script: u8,
    /// The letter has marks (or a stroke) that its skeleton has not.
    pub marked: bool,
    /// The last three accents on a Latin letter that no composed letter has, packed; 0: none.
    pub rest: u64,
    /// A capital `I` after a small letter: may be meant as `l`.
    pub i_or_l: bool,
    /// A capital `I` without marks: in Turkish the capital of `ı`.
    pub dotless: bool,
    greek_capital: bool,
}

/// The whole text, folded.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub atoms: Vec<Atom>,
    /// Scripts of which the text has a letter that looks like nothing else, so that it is surely written in them.
    pub evidence: u8,
    greek_capitals: bool,
    /// Marks on the last atom that are not in order yet.
    waiting: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    mark: char,
    /// Canonical combining class, never 0.
    class: u8,
    start: usize,
    end: usize,
}

/// Normalises `text`, in time linear in its length (but for the order of long runs of marks).
pub(super) fn fold(text: &str) -> Folded {
    let mut folded = Folded { atoms: Vec::with_capacity(text.len()), ..Folded::default() };
    let (mut before, mut end) = (0, 0);
    while let Some(c) = text[end..].chars().next() {
        let start = end;
        end += c.len_utf8();
        if c.is_ascii() {
            let byte = c as u8;
            folded.settle();
            folded.push_ascii(byte, before, start, end);
            before = byte;
        } else if lookalike::begins_flag(c) {
            end = folded.push_flag(text, start);
            before = 0;
        } else if !lookalike::invisible(c) {
            folded.push_wide(c, start, end);
            before = 0;
        }
    }
    folded.settle();
    if folded.greek_capitals {
        folded.reshape_greek_capitals();
    }
    folded
}

/// The part of an ASCII character.
pub(super) const fn ascii_kind(byte: u8) -> Kind {
    ASCII[(byte & 0x7f) as usize]
}

/// Whether a byte of a text, after the byte before it, may be meant as `l`: see [`Atom::i_or_l`].
pub(super) const fn is_i_or_l(before: u8, byte: u8) -> bool {
    byte == b'I' && before.is_ascii_lowercase()
}

static ASCII: [Kind; 128] = {
    let mut kinds = [Kind::Stop; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Kind::Letter(Writing::Spaced),
            b'0'..=b'9' => Kind::Digit,
            b' ' | b'\t' | b'\n' | b'\r' => Kind::Space,
            b'@' | b'$' => Kind::Strong,
            b'!' | b'|' | b'+' => Kind::Weak,
            b'.' | b'-' | b'_' | b'*' | b'~' => Kind::Joiner,
            _ => Kind::Stop,
        };
        byte += 1;
    }
    kinds
};

impl Folded {
    fn push(&mut self, kind: Kind, skeleton: char, letter: char, script: u8, (start, end): (usize, usize)) {
        self.atoms.push(Atom {
            skeleton,
            letter,
            start,
            end,
            kind,
            script,
            marked: false,
            rest: 0,
            i_or_l: false,
            dotless: false,
            greek_capital: false,
        });
    }

    fn push_ascii(&mut self, byte: u8, before: u8, start: usize, end: usize) {
        let kind = ascii_kind(byte);
        let skeleton = char::from(byte.to_ascii_lowercase());
        let script = if matches!(kind, Kind::Letter(_)) { script::LATIN } else { 0 };
        if script != 0 && !lookalike::has_twin(skeleton) {
            self.evidence |= script;
        }
        self.push(kind, skeleton, skeleton, script, (start, end));
        if byte == b'I'
            && let Some(atom) = self.atoms.last_mut()
        {
            atom.dotless = true;
            atom.i_or_l = is_i_or_l(before, byte);
        }
    }

    /// A real flag is a picture, of as many atoms as scalars; what is none shows its letters. Returns where it ends.
    fn push_flag(&mut self, text: &str, start: usize) -> usize {
        let flag = &text[start..start + lookalike::flag_length(&text[start..])];
        let is_flag = emojis::get(flag).is_some();
        self.settle();
        for (at, c) in flag.char_indices() {
            let range = (start + at, start + at + c.len_utf8());
            if is_flag {
                self.push(Kind::Pictograph, c, c, 0, range);
            } else if !lookalike::invisible(c) {
                self.push_wide(c, range.0, range.1);
            }
        }
        start + flag.len()
    }

    /// Anything beyond ASCII: decompose, then push the parts over the same range.
    fn push_wide(&mut self, c: char, start: usize, end: usize) {
        match c {
            // Most letters of these two decompose to themselves; the shortcut keeps Chinese and Korean fast.
            '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => {
                self.settle();
                self.push_letter(c, start, end);
            }
            _ => decompose_compatible(c, |part| {
                for lower in part.to_lowercase() {
                    self.push_part(lower, part, start, end);
                }
            }),
        }
    }

    /// A part in lower case, and as it was.
    fn push_part(&mut self, part: char, original: char, start: usize, end: usize) {
        let c = lookalike::same_letter(part);
        if lookalike::invisible(c) {
            return; // Some come out of a decomposition.
        }
        if !c.is_ascii() && is_combining_mark(c) {
            self.push_mark(Mark { mark: c, class: canonical_combining_class(c), start, end });
            return;
        }
        self.settle();
        if c.is_ascii() {
            self.push_ascii(c as u8, 0, start, end);
            // Small capitals and letters in boxes have the shape of the capital.
            if let Some(atom) = self.atoms.last_mut() {
                atom.dotless = original == 'I' || c == 'i' && part != c;
            }
        } else if c == 'ß' {
            self.push_ascii(b's', 0, start, end);
            self.push_ascii(b's', 0, start, end);
        } else if c.is_alphabetic() {
            self.push_letter(c, start, end);
            if part != original && lookalike::greek_capital_shape(c).is_some() {
                self.greek_capitals = true;
                if let Some(atom) = self.atoms.last_mut() {
                    atom.greek_capital = true;
                }
            }
        } else {
            self.push(kind_beyond_ascii(c), c, c, 0, (start, end));
        }
    }

    fn push_letter(&mut self, c: char, start: usize, end: usize) {
        let writing = lookalike::writing_of(c);
        if writing == Writing::Jamo && self.compose_with_last(c, end) {
            return;
        }
        let script = lookalike::script_of(c);
        let shape = lookalike::latin_shape(c);
        let stroke = lookalike::stroke_base(c);
        if shape.is_none() && stroke.is_none() {
            self.evidence |= script;
        }
        self.push(Kind::Letter(writing), shape.or(stroke).unwrap_or(c), c, script, (start, end));
        if let (Some(atom), true) = (self.atoms.last_mut(), stroke.is_some()) {
            atom.marked = true;
        }
    }

    /// A combining mark waits for those of lower class that may follow it.
    fn push_mark(&mut self, mark: Mark) {
        if mark.class == 0 {
            self.settle();
            self.set_mark(mark);
        } else {
            self.waiting.push(mark);
        }
    }

    /// Sets the marks that wait, in canonical order. Those that were out of order cover the run of them all, so that
    /// atoms stay in the order of the text.
    #[inline]
    fn settle(&mut self) {
        if !self.waiting.is_empty() {
            self.settle_marks();
        }
    }

    fn settle_marks(&mut self) {
        let mut marks = take(&mut self.waiting);
        if !marks.is_sorted_by_key(|mark| mark.class) {
            let (start, end) = (marks[0].start, marks[marks.len() - 1].end);
            marks.sort_by_key(|mark| mark.class);
            for mark in &mut marks {
                (mark.start, mark.end) = (start, end);
            }
        }
        for mark in marks.drain(..) {
            self.set_mark(mark);
        }
        self.waiting = marks;
    }

    /// A combining mark in its place: part of the letter before it, decoration of it, or a letter itself.
    fn set_mark(&mut self, Mark { mark, start, end, .. }: Mark) {
        let is_voice = matches!(mark, '\u{3099}' | '\u{309a}');
        if is_voice && self.compose_with_last(mark, end) {
            return;
        }
        if is_voice || lookalike::decorates(mark) {
            self.decorate_last(mark, end);
        } else if self.is_foreign_to_last(mark) {
            self.extend_last(end);
        } else {
            self.push_letter(mark, start, end);
        }
    }

    /// Whether no word has this mark after what it stands on, so that it is but decoration.
    fn is_foreign_to_last(&self, mark: char) -> bool {
        self.atoms.last().is_some_and(|last| match last.kind {
            Kind::Letter(_) => !lookalike::shares_script(last.letter, mark),
            Kind::Digit | Kind::Strong | Kind::Weak | Kind::Pictograph => true,
            Kind::Joiner | Kind::Space | Kind::Stop => false,
        })
    }

    fn extend_last(&mut self, end: usize) {
        if let Some(last) = self.atoms.last_mut() {
            last.end = last.end.max(end);
        }
    }

    /// Makes the last atom the composition of itself and `c`: kana with voice marks, Korean letters to syllables.
    fn compose_with_last(&mut self, c: char, end: usize) -> bool {
        let Some(last) = self.atoms.last_mut() else { return false };
        let Some(composed) = compose(last.letter, c) else { return false };
        (last.letter, last.skeleton, last.end) = (composed, composed, last.end.max(end));
        last.kind = Kind::Letter(lookalike::writing_of(composed));
        true
    }

    /// Accents stay on the letter in Latin and Cyrillic, where they make other letters; elsewhere they are dropped.
    fn decorate_last(&mut self, mark: char, end: usize) {
        let Some(last) = self.atoms.last_mut() else { return };
        if !matches!(last.kind, Kind::Letter(_)) {
            return;
        }
        last.end = last.end.max(end);
        if last.script & (script::LATIN | script::CYRILLIC) == 0 {
            return;
        }
        if last.letter == 'i' && mark == DOT_ABOVE {
            (last.dotless, last.i_or_l) = (false, false);
        } else if let Some(composed) = compose(last.letter, mark) {
            let letter = lookalike::same_letter(composed);
            last.marked |= letter == composed;
            (last.letter, last.dotless, last.i_or_l) = (letter, false, false);
        } else if last.script == script::LATIN && canonical_combining_class(mark) > OVERLAY {
            // In Cyrillic these are stress marks, which belong to no word; what is drawn over or around a letter nowhere.
            last.rest = last.rest << SCALAR_BITS | u64::from(mark);
        }
    }

    /// Greek capitals among Latin letters take the shape of the capital: in `SΗIP` the `Η` is an `h`.
    fn reshape_greek_capitals(&mut self) {
        let in_word = |a: &Atom| matches!(a.kind, Kind::Letter(_) | Kind::Digit | Kind::Strong | Kind::Weak);
        for word in self.atoms.chunk_by_mut(|a, b| in_word(a) && in_word(b)) {
            if !word.iter().any(|a| a.script == script::LATIN) {
                continue;
            }
            for atom in word.iter_mut().filter(|a| a.greek_capital) {
                atom.skeleton = lookalike::greek_capital_shape(atom.letter).unwrap_or(atom.skeleton);
            }
        }
    }
}

fn kind_beyond_ascii(c: char) -> Kind {
    match c {
        '€' | '£' | '¥' | '¢' => Kind::Strong,
        '·' | '•' | '\u{2010}'..='\u{2014}' | '・' => Kind::Joiner,
        '\u{2800}' => Kind::Space,
        _ if c.is_whitespace() => Kind::Space,
        _ if c.is_numeric() => Kind::Digit,
        _ if lookalike::pictograph(c) => Kind::Pictograph,
        _ => Kind::Stop,
    }
}
