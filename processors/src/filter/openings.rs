//! How the listed words begin: enough to see that a word is none of them, and cheaper than the automaton.

use super::reading::{BOUNDARY, EDGE, STEP};

/// Letters of a word that count.
const LETTERS: usize = 4;
/// Binary logarithm of the number of bits: 8 KiB stay in the first cache, and thousands of words set few of them.
const BITS_LOG: u32 = 16;

/// A Bloom filter of the first letters of every pattern that an ASCII reading may have.
pub(super) struct Openings {
    bits: Box<[u64]>,
}

impl Openings {
    /// Of the automaton's patterns.
    pub fn of<'a>(patterns: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut openings = Self { bits: vec![0; (1 << BITS_LOG) / 64].into() };
        let is_spelled =
            |pattern: &[u8]| pattern.first().is_some_and(|&first| [EDGE, STEP].contains(&char::from(first)));
        for pattern in patterns.filter(|pattern| pattern.is_ascii() && !is_spelled(pattern)) {
            match pattern {
                [first, word @ .., last] if is_boundary(*first) && is_boundary(*last) => {
                    let at = place(opening(&pattern[1..=word.len() + 1]));
                    openings.bits[at / 64] |= 1 << (at % 64);
                }
                // Matches that may begin inside a word are of alphabets beyond ASCII.
                _ => openings.bits.fill(u64::MAX),
            }
        }
        openings
    }

    /// Indices of the boundaries before those words of an ASCII reading that begin like a listed one.
    pub fn within(&self, reading: &[u8]) -> impl Iterator<Item = usize> {
        let begins = |&at: &usize| {
            let place = place(opening(&reading[at + 1..]));
            self.bits[place / 64] >> (place % 64) & 1 == 1
        };
        (0..reading.len()).filter(|&at| is_boundary(reading[at])).filter(begins)
    }
}

fn is_boundary(byte: u8) -> bool {
    byte == BOUNDARY as u8
}

/// The first letters of a word, up to and with the boundary after it.
#[inline]
fn opening(word: &[u8]) -> u32 {
    const ONES: u32 = u32::from_le_bytes([1; LETTERS]);
    let mut letters = [BOUNDARY as u8; LETTERS];
    match word.first_chunk() {
        Some(first) => letters = *first,
        None => letters[..word.len()].copy_from_slice(word),
    }
    let letters = u32::from_le_bytes(letters);
    // The highest bit of each byte that is a boundary, and perhaps of others above the lowest such.
    let zero_at = letters ^ (ONES * BOUNDARY as u32);
    let boundaries = zero_at.wrapping_sub(ONES) & !zero_at & (ONES << 7);
    // All bits up to the lowest of these; all bits if there is none.
    letters & (boundaries ^ boundaries.wrapping_sub(1))
}

/// The bit of an opening.
#[inline]
fn place(opening: u32) -> usize {
    // Fibonacci hashing: the highest bits of the product depend on all of the opening.
    (opening.wrapping_mul(0x9e37_79b1) >> (u32::BITS - BITS_LOG)) as usize
}
