//! The abuse filter: any words, any text. What it masks is no longer than before and has nothing left to mask; words
//! in links are left.

use natter_schemas::limits::TEXT_SCALARS_MAX;

use crate::filter::{Action, Filter, Verdict, WordList};

/// Words that are compiled for each input.
const WORDS_MAX: usize = 8;

/// The first line has the words, the rest is the text.
pub fn run(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (words, text) = input.split_once('\n').unwrap_or((input, input));
    let words: Vec<String> = words.split(',').take(WORDS_MAX).map(str::to_owned).collect();
    let text: String = text.chars().take(TEXT_SCALARS_MAX).collect();
    let list = |name: &str, action| WordList { name: name.to_owned(), action, words: words.clone() };
    let Ok(masking) = Filter::compile(&[list("mask", Action::Mask)]) else { return };
    let verdict = masking.check(&text);
    if let Verdict::Masked { text: masked, .. } = &verdict {
        assert!(masked.chars().count() <= text.chars().count());
        let again = masking.check(masked);
        assert!(
            matches!(again, Verdict::Clean | Verdict::Flagged { .. }),
            "{text:?} became {masked:?}, then {again:?}"
        );
    }
    let rejecting = Filter::compile(&[list("flag", Action::Flag), list("reject", Action::Reject)]);
    let rejected = rejecting.expect("the same words").check(&text);
    // The strongest counts, and all lists with a word in the text are named.
    let both = Verdict::Rejected { lists: vec!["flag".to_owned(), "reject".to_owned()] };
    assert_eq!(rejected, if verdict == Verdict::Clean { Verdict::Clean } else { both });
}
