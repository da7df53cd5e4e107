//! Links and mail addresses, which are never rewritten: what is left of one leads nowhere, or to somebody else.
//!
//! Found are what a client makes a link of: anything with `://`, names that begin with `www.` or end in a usual
//! top-level domain, other names if a path follows them (`bit.ly/x`), and mail addresses. Where a link begins and ends
//! follows from itself and from separators only, so that no mask beside it changes that.

use unicode_normalization::char::{canonical_combining_class, decompose_canonical};

use super::lookalike::{Writing, writing_of};

/// Top-level domains that make a link of a bare name. Those of countries, and the many that are words, do not.
const TOP_LEVEL: [&str; 12] = ["com", "net", "org", "edu", "gov", "mil", "info", "biz", "app", "dev", "xyz", "arpa"];
const SCHEME_LETTERS_MIN: usize = 2;

/// Byte range of a link in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub start: usize,
    pub end: usize,
    /// Byte index of a mail address's `@`.
    pub at: Option<usize>,
}

/// A scalar of the text without its marks, and its byte index.
type Base = (usize, char);

/// Everything in the text that is a link, in order, in time linear in its length.
pub(super) fn find(text: &str) -> Vec<Link> {
    let bases: Vec<Base> = bases(text).chain([(text.len(), ' ')]).collect();
    let mut links = Vec::new();
    let mut start = 0;
    for (end, &(_, c)) in bases.iter().enumerate() {
        if separates(c) {
            // The separator tells where the token ends.
            Token(&bases[start..=end]).find(&mut links);
            start = end + 1;
        }
    }
    links
}

/// Canonically equal texts have equal bases.
fn bases(text: &str) -> impl Iterator<Item = Base> {
    text.char_indices().filter(|&(_, c)| canonical_combining_class(c) == 0).map(|(at, c)| {
        let mut first = None;
        if !c.is_ascii() {
            decompose_canonical(c, |part| {
                first.get_or_insert(part);
            });
        }
        (at, first.unwrap_or(c))
    })
}

/// What no link has in it.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '<' | '>' | '"' | '`' | '|' | '{' | '}' | '\\' | '^' | '«' | '»'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2018}'..='\u{201f}' | '\u{202a}'..='\u{202e}'
            | '\u{2039}' | '\u{203a}' | '\u{2060}'..='\u{206f}' | '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{301f}'
            | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}')
}

/// A letter or digit that a host's name may have. In a script without spaces the text just goes on.
fn is_host_letter(c: char) -> bool {
    c.is_alphanumeric() && writing_of(c) == Writing::Spaced
}

fn is_name_part(c: char) -> bool {
    is_host_letter(c) || matches!(c, '.' | '-' | '_' | '%' | '+')
}

/// What stands between two separators, and the one after it.
struct Token<'a>(&'a [Base]);

impl Token<'_> {
    fn find(&self, links: &mut Vec<Link>) {
        let mut at = 0;
        while at < self.len() {
            let name = self.while_at(at, is_name_part);
            if name == at {
                at += 1;
                continue;
            }
            let found = self.with_scheme(at, name).or_else(|| self.mail(at, name)).or_else(|| self.bare(at, name));
            at = match found {
                Some((first, end, sign)) => {
                    links.push(Link { start: self.0[first].0, end: self.0[end].0, at: sign.map(|at| self.0[at].0) });
                    end
                }
                None => name,
            };
        }
    }

    fn len(&self) -> usize {
        self.0.len() - 1
    }

    fn char(&self, at: usize) -> char {
        self.0[at].1
    }

    fn while_at(&self, at: usize, is_part: impl Fn(char) -> bool) -> usize {
        (at..self.len()).find(|&at| !is_part(self.char(at))).unwrap_or(self.len())
    }

    fn string(&self, from: usize, to: usize) -> String {
        self.0[from..to].iter().map(|&(_, c)| c.to_ascii_lowercase()).collect()
    }

    /// `scheme://anything`; the name from `from` to `to` ends with the scheme.
    fn with_scheme(&self, from: usize, to: usize) -> Option<Found> {
        let is_link = to + 3 < self.len() && (0..3).all(|at| self.char(to + at) == [':', '/', '/'][at]);
        let may_be_in =
            |at: &usize| self.char(*at).is_ascii_alphanumeric() || matches!(self.char(*at), '.' | '-' | '+');
        let scheme = (from..to).rev().take_while(may_be_in).last().filter(|_| is_link)?;
        let first = (scheme..to).find(|&at| self.char(at).is_ascii_alphabetic())?;
        (to - first >= SCHEME_LETTERS_MIN).then(|| (first, self.url_end(to), None))
    }

    /// `somebody@host`.
    fn mail(&self, from: usize, to: usize) -> Option<Found> {
        if to >= self.len() || self.char(to) != '@' {
            return None;
        }
        let end = self.while_at(to + 1, |c| is_host_letter(c) || matches!(c, '.' | '-'));
        let end = self.without_ends(to + 1, end).1;
        top_level(&self.string(to + 1, end)).map(|_| (from, end, Some(to)))
    }

    /// A host's name without a scheme, and what follows it.
    fn bare(&self, from: usize, to: usize) -> Option<Found> {
        let (first, end) = self.without_ends(from, to);
        let name = self.string(first, end);
        let top = top_level(&name)?;
        let follows = |c| end == to && self.char(to) == c;
        let has_path = follows('/') && to + 1 < self.len();
        let is_known = name.starts_with("www.") && name.matches('.').count() > 1 || TOP_LEVEL.contains(&top);
        let is_short_with_path = top.len() == 2 && top.is_ascii() && has_path;
        if !is_known && !is_short_with_path {
            return None;
        }
        let has_port = follows(':') && self.char(to + 1).is_ascii_digit();
        let goes_on = has_port || has_path || follows('?') || follows('#');
        Some((first, if goes_on { self.url_end(to) } else { end }, None))
    }

    /// A name without what is punctuation at its ends.
    fn without_ends(&self, from: usize, to: usize) -> (usize, usize) {
        let is_part = |at: &usize| !matches!(self.char(*at), '.' | '-' | '_');
        let first = (from..to).find(is_part).unwrap_or(to);
        (first, (first..to).rfind(is_part).map_or(first, |last| last + 1))
    }

    /// A link goes on to a bracket that closes more than the link opened, or to the token's end.
    fn url_end(&self, from: usize) -> usize {
        let (mut round, mut square) = (0_i32, 0_i32);
        let is_end = |&at: &usize| {
            match self.char(at) {
                '(' => round += 1,
                ')' => round -= 1,
                '[' => square += 1,
                ']' => square -= 1,
                _ => {}
            }
            round < 0 || square < 0
        };
        (from..self.len()).find(is_end).unwrap_or(self.len())
    }
}

/// Indices of a link's first base, of that after its last, and of its `@`.
type Found = (usize, usize, Option<usize>);

/// The last label of a host's name, if it is one.
fn top_level(name: &str) -> Option<&str> {
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| is_host_letter(c) || c == '-');
    let (rest, top) = name.rsplit_once('.')?;
    let is_top = top.chars().count() > 1 && top.chars().all(char::is_alphabetic);
    (is_top && rest.split('.').all(is_label)).then_some(top)
}
