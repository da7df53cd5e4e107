//! Grapheme clusters (UAX #29): what a reader takes for one character. A listed word is in a text only as whole
//! clusters, since a letter with another vowel sign or tone is another letter, and a dog in a vest another picture.

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use super::fold::Atom;
use super::lookalike;
use super::pattern::Hit;

/// Joins pictographs to one.
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// A text's clusters.
pub(super) struct Clusters {
    /// Byte indices at which they begin, and the text's end.
    pub borders: Vec<usize>,
}

impl Clusters {
    pub fn of(text: &str) -> Self {
        let mut borders = Vec::with_capacity(text.len() + 1);
        for (start, cluster) in text.grapheme_indices(true) {
            if !begins_with_vowel(cluster, &text[..start]) {
                borders.push(start);
            }
            if cluster.contains(ZERO_WIDTH_JOINER) && emojis::get(cluster).is_none() {
                // Pictographs that no font joins stand beside each other.
                let parts = cluster.match_indices(ZERO_WIDTH_JOINER).map(|(at, joiner)| at + joiner.len());
                let is_border = |at: &usize| cluster[*at..].starts_with(lookalike::pictograph);
                borders.extend(parts.filter(is_border).map(|at| start + at));
            }
        }
        borders.push(text.len());
        Self { borders }
    }

    /// The clusters, as one range, that an atom is in or spans.
    pub fn around(&self, atom: &Atom) -> (usize, usize) {
        let first = self.borders.partition_point(|&border| border <= atom.start);
        let last = self.borders.partition_point(|&border| border < atom.end);
        (self.borders[first.saturating_sub(1)], self.borders[last.min(self.borders.len() - 1)])
    }

    /// Whether a hit leaves no letter of its first and its last cluster over, and is one where the word is one.
    pub fn are_whole(&self, atoms: &[Atom], hit: &Hit) -> bool {
        let (start, first_end) = self.around(&atoms[hit.first]);
        let (_, end) = self.around(&atoms[hit.last]);
        if hit.picture && first_end < end {
            return false;
        }
        let is_letter = |atom: &Atom| atom.kind.is_real();
        let mut before = atoms[..hit.first].iter().rev().take_while(|atom| atom.end > start);
        let mut after = atoms[hit.last + 1..].iter().take_while(|atom| atom.start < end);
        !before.any(is_letter) && !after.any(is_letter)
    }
}

/// UAX #29 leaves some vowel signs and tones of Burmese alone, which stand beside their letter and belong to it.
fn begins_with_vowel(cluster: &str, before: &str) -> bool {
    let is_letter = |c: char| c.is_alphabetic() || is_combining_mark(c);
    cluster.starts_with(is_combining_mark) && before.ends_with(is_letter)
}
