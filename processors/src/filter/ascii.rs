//! ASCII texts, which most are, read as they are.
//!
//! The plain reading, which every text gets, looks once into a table for each byte of the text, with no branch that
//! the ends of words decide. It makes what `reading::plain` makes of the folded text, and the tests compare them.

use super::fold::{Kind, ascii_kind, is_i_or_l};
use super::lookalike::script;
use super::reading::{BOUNDARY, Glimpse, Glue, Hints, Screen, Text};

/// A text of ASCII only.
#[derive(Clone, Copy)]
pub(super) struct Ascii<'a>(pub &'a [u8]);

impl Text for Ascii<'_> {
    #[inline]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline]
    fn at(self, at: usize) -> Glimpse {
        let byte = self.0[at];
        let kind = ascii_kind(byte);
        Glimpse {
            kind,
            skeleton: char::from(byte.to_ascii_lowercase()),
            script: if kind.is_real() { script::LATIN } else { 0 },
            i_or_l: at > 0 && is_i_or_l(self.0[at - 1], byte),
        }
    }
}

/// The plain reading, and what it saw that another reading might read differently.
pub(super) fn plain(text: Ascii<'_>, screen: &mut Screen) -> Hints {
    let mut seen = 0;
    let mut state = 0;
    for &byte in text.0 {
        let step = STEPS[place(state, byte)];
        if step.seen & CUT != 0 {
            screen.put(BOUNDARY as u8);
        }
        screen.put(step.reads);
        seen |= step.seen;
        state = step.next;
    }
    screen.put(BOUNDARY as u8);
    Hints { leet: seen & LEET != 0, trimmed: false, joined: seen & JOINED != 0, spelled: is_spelled(screen) }
}

/// What a byte does in a state. Of a size that makes finding one in the table a shift.
#[derive(Clone, Copy)]
#[repr(align(4))]
struct Step {
    /// A letter in lower case, a digit, or [`BOUNDARY`].
    reads: u8,
    /// [`CUT`], [`LEET`], [`JOINED`].
    seen: u8,
    next: u8,
}

/// A letter after a digit, or a digit after a letter: another word.
const CUT: u8 = 1;
/// Bits that become [`Hints`].
const LEET: u8 = 2;
const JOINED: u8 = 4;

const GLUES: [Glue; 5] = [Glue::Nothing, Glue::Letter, Glue::Digit, Glue::Weak, Glue::Joiner];
/// A state is what is glued, and whether the byte before is a small letter. So many that no index needs a check.
const STATES: usize = (2 * GLUES.len()).next_power_of_two();

static STEPS: [Step; STATES * 128] = {
    let mut steps = [Step { reads: BOUNDARY as u8, seen: 0, next: 0 }; STATES * 128];
    let mut state = 0;
    while (state as usize) < 2 * GLUES.len() {
        let mut byte = 0;
        while byte < 128 {
            steps[place(state, byte)] = step(GLUES[state as usize / 2], state % 2 == 1, byte);
            byte += 1;
        }
        state += 1;
    }
    steps
};

/// Index of a step.
#[inline]
const fn place(state: u8, byte: u8) -> usize {
    ((state as usize) << 7 | byte as usize & 0x7f) % (STATES * 128)
}

const fn step(glue: Glue, after_small: bool, byte: u8) -> Step {
    let kind = ascii_kind(byte);
    let reads = match kind {
        Kind::Letter(_) | Kind::Digit => byte.to_ascii_lowercase(),
        _ => BOUNDARY as u8,
    };
    let before = if after_small { b'a' } else { 0 };
    let mut hints = Hints { leet: false, trimmed: false, joined: false, spelled: false };
    let next = glue.step(kind, is_i_or_l(before, byte), &mut hints);
    let mut seen = 0;
    if matches!((glue, kind), (Glue::Letter, Kind::Digit) | (Glue::Digit, Kind::Letter(_))) {
        seen |= CUT;
    }
    if hints.leet {
        seen |= LEET;
    }
    if hints.joined {
        seen |= JOINED;
    }
    Step { reads, seen, next: 2 * next as u8 + byte.is_ascii_lowercase() as u8 }
}

/// Whether words of one letter (however often it is there) follow each other, with three letters in all.
fn is_spelled(screen: &Screen) -> bool {
    let parts = |byte: u8| byte == BOUNDARY as u8;
    let in_a_row = |five: &[u8]| parts(five[0]) & parts(five[2]) & parts(five[4]);
    // Without a way out, so that the compiler looks at many at a time.
    if !screen.bytes.windows(5).fold(false, |found, five| found | in_a_row(five)) {
        return false;
    }
    let (mut words, mut letters) = (0, 0);
    for (word, &letter_count) in screen.bytes.windows(3).zip(&screen.runs[1..]).filter(|(word, _)| parts(word[0])) {
        (words, letters) = if parts(word[2]) { (words + 1, letters + u32::from(letter_count)) } else { (0, 0) };
        if words > 1 && letters > 2 {
            return true;
        }
    }
    false
}
