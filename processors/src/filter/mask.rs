//! Stars for listed words.

use super::MASK;
use super::clusters::Clusters;
use super::fold::{Atom, Kind};
use super::links;
use super::pattern::Hit;

/// Which atoms are to be masked: those that are `wanted` and in no link.
pub(super) fn rewritable(text: &str, atoms: &[Atom], hits: &[Hit], wanted: Vec<bool>) -> Vec<bool> {
    let disguised = covered(atoms.len(), hits.iter().filter(|hit| hit.leet));
    let mut rewritable = wanted;
    let mut at = 0;
    for link in links::find(text) {
        at += atoms[at..].partition_point(|atom| atom.start < link.start);
        let end = at + atoms[at..].partition_point(|atom| atom.start < link.end);
        // Where the `@` is a letter of a listed word (`h@ck.it`), it makes no address.
        let is_at = |atom: &Atom| link.at == Some(atom.start);
        let is_disguise = (at..end).any(|at| disguised[at] && is_at(&atoms[at]));
        if !is_disguise {
            rewritable[at..end].fill(false);
        }
        at = end;
    }
    rewritable
}

/// Which atoms are in a hit, in time linear in both.
pub(super) fn covered<'a>(atoms: usize, hits: impl Iterator<Item = &'a Hit>) -> Vec<bool> {
    let mut opened = vec![0_i32; atoms + 1];
    for hit in hits {
        opened[hit.first] += 1;
        opened[hit.last + 1] -= 1;
    }
    let mut depth = 0;
    let inside = opened[..atoms].iter().map(|step| {
        depth += step;
        depth > 0
    });
    inside.collect()
}

/// Whether an atom is shown as a star where it is masked; separators stay.
pub(super) fn is_starred(atom: &Atom) -> bool {
    match atom.kind {
        Kind::Space | Kind::Joiner | Kind::Stop => false,
        Kind::Letter(_) | Kind::Digit | Kind::Strong | Kind::Weak | Kind::Pictograph => true,
    }
}

/// Writes a star for each cluster with a covered letter, digit or symbol, keeps separators, drops the invisible between
/// covered clusters, and copies all else byte for byte.
pub(super) fn replace(text: &str, atoms: &[Atom], covered: &[bool]) -> String {
    let clusters = Clusters::of(text);
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut after_covered) = (0, false);
    let mut at = 0;
    while at < atoms.len() {
        // The atoms of one cluster (`ß` has two), or of all that one atom spans.
        let first = at;
        let (start, mut end) = clusters.around(&atoms[first]);
        while at < atoms.len() && atoms[at].start < end {
            end = end.max(clusters.around(&atoms[at]).1);
            at += 1;
        }
        let mut masked = (first..at).filter(|&at| covered[at]).peekable();
        let is_covered = masked.peek().is_some();
        if is_covered {
            if !after_covered {
                out.push_str(&text[copied..start]);
            }
            if masked.any(|at| is_starred(&atoms[at])) {
                out.push(MASK);
            } else {
                out.push_str(&text[start..end]);
            }
            copied = end;
        }
        after_covered = is_covered;
    }
    out.push_str(&text[copied..]);
    out
}
