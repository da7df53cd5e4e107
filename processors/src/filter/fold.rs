//! Text to atoms: one pass that normalises and remembers where everything came from.
//!
//! Per scalar: compatibility decomposition (with composition of what follows, so that NFC, NFD, NFKC and NFKD
//! forms all meet), lower case, removal of what shows nothing, and the *skeleton*: the Latin letter that it looks
//! like. The real letter, with the marks of its language, is kept beside the skeleton for
//! [`super::pattern`] to judge.

use unicode_normalization::char::{compose, decompose_compatible, is_combining_mark};

use super::lookalike::{self, Writing, script};

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

/// One normalised scalar. Several atoms can share one scalar of the text (`ß` is `s` `s`), and one atom can cover
/// several (`u` and the marks on it).
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom {
    /// What it looks like, at its coarsest. For digits and symbols the character itself.
    pub skeleton: char,
    /// The letter, in lower case, composed with its marks.
    pub letter: char,
    /// Byte range in the original text.
    pub start: u32,
    pub end: u32,
    pub kind: Kind,
    /// One bit of [`script`], or none.
    pub script: u8,
    /// The letter has marks (or a stroke) that its skeleton has not.
    pub marked: bool,
    /// A capital `I` after a small letter: may be meant as `l`.
    pub i_or_l: bool,
    greek_capital: bool,
}

/// The whole text, folded.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub atoms: Vec<Atom>,
    /// Scripts of which the text has a letter that looks like nothing else, so that it is surely written in them.
    pub evidence: u8,
    greek_capitals: bool,
}

/// Normalises `text`, in time linear in its length. `text` must be shorter than 4 GiB.
pub(super) fn fold(text: &str) -> Folded {
    let mut folded = Folded { atoms: Vec::with_capacity(text.len()), ..Folded::default() };
    let mut after_small = false;
    let mut position = 0_u32;
    for c in text.chars() {
        let start = position;
        position += u32::try_from(c.len_utf8()).expect("at most 4");
        if c.is_ascii() {
            folded.push_ascii(c, start, position);
            if c == 'I' && after_small {
                folded.mark_i_or_l();
            }
            after_small = c.is_ascii_lowercase();
        } else if !lookalike::invisible(c) {
            folded.push_wide(c, start, position);
            after_small = false;
        }
    }
    if folded.greek_capitals {
        folded.reshape_greek_capitals();
    }
    folded
}

impl Folded {
    fn push(&mut self, kind: Kind, skeleton: char, letter: char, script: u8, (start, end): (u32, u32)) {
        let atom = Atom { skeleton, letter, start, end, kind, script, marked: false, i_or_l: false, greek_capital: false };
        self.atoms.push(atom);
    }

    fn mark_i_or_l(&mut self) {
        if let Some(atom) = self.atoms.last_mut() {
            atom.i_or_l = true;
        }
    }

    fn push_ascii(&mut self, c: char, start: u32, end: u32) {
        let range = (start, end);
        let c = c.to_ascii_lowercase();
        match c {
            'a'..='z' => {
                if !lookalike::has_twin(c) {
                    self.evidence |= script::LATIN;
                }
                self.push(Kind::Letter(Writing::Spaced), c, c, script::LATIN, range);
            }
            '0'..='9' => self.push(Kind::Digit, c, c, 0, range),
            ' ' | '\t' | '\n' | '\r' => self.push(Kind::Space, ' ', ' ', 0, range),
            '@' | '$' => self.push(Kind::Strong, c, c, 0, range),
            '!' | '|' | '+' => self.push(Kind::Weak, c, c, 0, range),
            '.' | '-' | '_' | '*' | '~' => self.push(Kind::Joiner, c, c, 0, range),
            _ => self.push(Kind::Stop, c, c, 0, range),
        }
    }

    /// Anything beyond ASCII: decompose, then push the parts over the same range.
    fn push_wide(&mut self, c: char, start: u32, end: u32) {
        match c {
            // Most letters of these two decompose to themselves; the shortcut keeps Chinese and Korean fast.
            '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => self.push_letter(c, start, end),
            _ => decompose_compatible(c, |part| {
                for lower in part.to_lowercase() {
                    self.push_part(lower, lower != part, start, end);
                }
            }),
        }
    }

    fn push_part(&mut self, part: char, was_capital: bool, start: u32, end: u32) {
        let c = lookalike::same_letter(part);
        if c.is_ascii() {
            self.push_ascii(c, start, end);
        } else if lookalike::invisible(c) {
            // Some invisible scalars come out of a decomposition.
        } else if is_combining_mark(c) {
            self.push_mark(c, start, end);
        } else if c == 'ß' {
            self.push_ascii('s', start, end);
            self.push_ascii('s', start, end);
        } else if c.is_alphabetic() {
            self.push_letter(c, start, end);
            if was_capital && lookalike::greek_capital_shape(c).is_some() {
                self.greek_capitals = true;
                if let Some(atom) = self.atoms.last_mut() {
                    atom.greek_capital = true;
                }
            }
        } else {
            self.push(kind_beyond_ascii(c), c, c, 0, (start, end));
        }
    }

    fn push_letter(&mut self, c: char, start: u32, end: u32) {
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

    /// A combining mark: part of the letter before it, decoration of it, or a letter itself.
    fn push_mark(&mut self, mark: char, start: u32, end: u32) {
        if matches!(mark, '\u{3099}' | '\u{309a}') {
            self.compose_with_last(mark, end);
        } else if lookalike::decorates(mark) {
            self.decorate_last(mark, end);
        } else {
            self.push_letter(mark, start, end);
        }
    }

    /// Makes the last atom the composition of itself and `c`: kana with voice marks, Korean letters to syllables.
    fn compose_with_last(&mut self, c: char, end: u32) -> bool {
        let Some(last) = self.atoms.last_mut() else { return false };
        let Some(composed) = compose(last.letter, c) else { return false };
        (last.letter, last.skeleton, last.end) = (composed, composed, end);
        last.kind = Kind::Letter(lookalike::writing_of(composed));
        true
    }

    /// Accents stay on the letter in Latin and Cyrillic, where they make other letters; elsewhere, and where there is
    /// no such letter, they are dropped.
    fn decorate_last(&mut self, mark: char, end: u32) {
        let Some(last) = self.atoms.last_mut() else { return };
        if !matches!(last.kind, Kind::Letter(_)) {
            return;
        }
        last.end = end;
        if last.script & (script::LATIN | script::CYRILLIC) == 0 {
            return;
        }
        if let Some(composed) = compose(last.letter, mark) {
            let letter = lookalike::same_letter(composed);
            last.marked |= letter == composed;
            last.letter = letter;
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
