//! What holds of any text.

use std::collections::BTreeSet;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::*;
use crate::filter::lookalike::Writing;

/// Ways to write a letter that keep its reading. `shape` selects one.
fn disguise(letter: char, shape: u8) -> String {
    let upper = letter.to_ascii_uppercase();
    let offset = u32::from(letter) - u32::from('a');
    let from = |base: u32| char::from_u32(base + offset).unwrap().to_string();
    match shape {
        0 => letter.to_string(),
        1 => upper.to_string(),
        2 => from(0xff41),
        3 => from(0x1d41a),
        4 => format!("{letter}\u{336}"),
        5 => format!("{letter}\u{200d}"),
        6 => letter.to_string().repeat(3),
        7 => "а в с ԁ е f ց һ і ј к ӏ м ո о р ԛ г ѕ т ս ѵ ԝ х у z"
            .split(' ')
            .nth(offset as usize)
            .unwrap()
            .replace('г', "r"),
        _ => upper.to_string().repeat(4),
    }
}

fn leet_of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "4",
        'e' => "3",
        'i' | 'l' => "1",
        'o' => "0",
        's' => "$",
        't' => "7",
        'b' => "8",
        _ => return None,
    })
}

fn arbitrary_text() -> impl Strategy<Value = String> {
    let tricky = prop::sample::select(vec![
        "heck",
        "h",
        "e",
        "c",
        "k",
        "darn",
        "a",
        "s",
        "1",
        "4",
        "3",
        "!",
        "|",
        "$",
        "@",
        ".",
        "-",
        "*",
        "**",
        " ",
        "  ",
        "\n",
        "笨",
        "蛋",
        "バ",
        "ハ",
        "\u{3099}",
        "바",
        "보",
        "ㅂ",
        "ㅗ",
        "\u{301}",
        "\u{308}",
        "\u{200b}",
        "ß",
        "ﬁ",
        "ﷺ",
        "Η",
        "е",
        "д",
        "I",
        "l",
        "🦆",
        "🏿",
        "'",
        ",",
        "İ",
        "½",
        "Ⅳ",
        "\u{11a8}",
        "\u{93c}",
        "क",
        "â",
        "ậ",
        "\u{323}",
        "\u{302}",
        "\u{327}",
        "\u{307}",
        "\u{338}",
        "ı",
        "กู",
        "้",
        "ู",
        "\u{102c}",
        "ម",
        "្",
        "🇦",
        "🇹",
        "🇼",
        "\u{200d}",
        "🦺",
        "\u{fe0f}",
        "\u{600}",
        "\u{34f}",
        "http://",
        "https://x.org/",
        "x.com",
        "ann@",
        "www.",
        "/",
        "(",
        ")",
        "<",
        "\u{37e}",
        "\u{212a}",
        "\u{1f4}",
        "，",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(tricky, 0..40).prop_map(|parts| parts.concat())]
}

const WORDS: &[&str] = &[
    "heck", "darn", "a s s", "笨", "笨蛋", "バカ", "바보", "ss", "fi", "🦆", "h e", "กู", "ម", "hậck", "ı", "🇹🇼",
    "x com",
];

/// Whether `masked` is `text` with some clusters starred, and some that show nothing themselves dropped.
fn is_text_with_clusters_starred(text: &str, masked: &str) -> bool {
    let borders = Clusters::of(text).borders;
    // Bytes of `masked` that the clusters so far may have become.
    let mut reached = BTreeSet::from([0]);
    for pair in borders.windows(2) {
        let cluster = &text[pair[0]..pair[1]];
        // A mark or a Korean letter beyond a border may be of the atom before it.
        let is_korean = |c: char| c.nfkd().any(|part| lookalike::writing_of(part) == Writing::Jamo);
        let joins = |c: char| is_combining_mark(c) || lookalike::invisible(c) || is_korean(c);
        let drops = cluster.chars().all(joins) || fold(cluster).atoms.is_empty();
        let reach = |&at: &usize| {
            let rest = &masked[at..];
            let copied = rest.starts_with(cluster).then_some(at + cluster.len());
            let starred = rest.starts_with(MASK).then_some(at + MASK.len_utf8());
            [copied, starred, drops.then_some(at)].into_iter().flatten()
        };
        reached = reached.iter().flat_map(reach).collect();
    }
    reached.contains(&masked.len())
}

/// A verdict without the differences that canonically equal texts have.
fn composed(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Masked { text, lists } => Verdict::Masked { text: text.nfc().collect(), lists },
        other => other,
    }
}

proptest! {
    #[test]
    fn masking_is_final_and_never_longer(text in arbitrary_text()) {
        let filter = filter(WORDS);
        if let Verdict::Masked { text: masked, .. } = filter.check(&text) {
            let again = filter.check(&masked);
            prop_assert!(matches!(again, Verdict::Clean | Verdict::Flagged { .. }), "{:?}: {:?}", masked, again);
            prop_assert!(masked.chars().count() <= text.chars().count());
            prop_assert!(!masked.is_empty());
        }
    }

    #[test]
    fn masks_are_whole_clusters(text in arbitrary_text()) {
        if let Verdict::Masked { text: masked, .. } = filter(WORDS).check(&text) {
            prop_assert!(is_text_with_clusters_starred(&text, &masked), "{:?}", masked);
        }
    }

    #[test]
    fn links_outlive_masking(text in arbitrary_text()) {
        // Without `@`, which may be a letter.
        let text = text.replace('@', "");
        if let Verdict::Masked { text: masked, .. } = filter(WORDS).check(&text) {
            let mut rest = masked.as_str();
            for link in links::find(&text) {
                let link = &text[link.start..link.end];
                let found = rest.find(link);
                prop_assert!(found.is_some(), "{:?} of {:?} is not in {:?}", link, text, masked);
                rest = &rest[found.unwrap() + link.len()..];
            }
        }
    }

    #[test]
    fn canonically_equal_texts_are_judged_equally(text in arbitrary_text()) {
        let filter = filter(WORDS);
        let verdict = composed(filter.check(&text));
        for equal in [text.nfc().collect::<String>(), text.nfd().collect()] {
            prop_assert_eq!(composed(filter.check(&equal)), verdict.clone(), "{:?}", equal);
        }
    }

    #[test]
    fn canonically_equal_lists_judge_equally(
        word in "[abmr]{0,2}[aeou][\u{302}\u{323}\u{301}\u{328}\u{336}]{0,3}[nkp]",
        text in "[abmr]{0,2}[aeou][\u{302}\u{323}\u{301}\u{328}\u{336}]{0,3}[nkp]",
    ) {
        let decomposed: String = word.nfd().collect();
        let composed: String = word.nfc().collect();
        let verdict = filter(&[&word]).check(&text);
        prop_assert_eq!(filter(&[&composed]).check(&text), verdict.clone());
        prop_assert_eq!(filter(&[&decomposed]).check(&text), verdict);
        // Whatever is listed is found.
        prop_assert_ne!(filter(&[&word]).check(&decomposed), Verdict::Clean);
    }

    #[test]
    fn ascii_is_read_as_if_it_were_folded(text in "([a-cIil1-3 .,@$!*'-]|[a-cI] ){0,40}") {
        let (ascii, folded) = (Ascii(text.as_bytes()), fold(&text));
        for style in STYLES {
            let (mut fast, mut slow) = (Screen::new(0), Screen::new(0));
            let slow_hints = read(folded.atoms.as_slice(), style, &mut slow);
            prop_assert_eq!(read(ascii, style, &mut fast), slow_hints);
            prop_assert_eq!((&fast.bytes, &fast.runs), (&slow.bytes, &slow.runs));
            if style == Style::Plain {
                fast.restart();
                prop_assert_eq!(ascii::plain(ascii, &mut fast), slow_hints);
                prop_assert_eq!((fast.bytes, fast.runs), (slow.bytes, slow.runs));
            }
        }
    }

    #[test]
    fn screens_pass_over_nothing_that_a_search_finds(
        words in prop::collection::vec("[abci]{1,6}|[ab] ?[ab]{1,3}[-1]?[ab]?|[ab]\u{7b28}", 1..8),
        text in "([a-cIil1 .@!*'-]|[ab] |\u{e4}){0,60}",
        ascii in any::<bool>(),
    ) {
        let filter = filter(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let text = if ascii { text.replace('\u{e4}', "a") } else { text };
        let folded = fold(&text);
        let mut searched = Hits::default();
        for_each_style(|style| {
            let mut reading = Reading::new(style, &folded.atoms);
            let hints = read(folded.atoms.as_slice(), style, &mut reading);
            filter.patterns.search(&folded, &reading, &mut searched);
            hints
        });
        prop_assert_eq!(filter.scan(&text).1.hits, searched.hits);
    }

    #[test]
    fn ranges_are_in_the_text_and_in_order(text in arbitrary_text()) {
        let folded = fold(&text);
        for atom in &folded.atoms {
            prop_assert!(text.get(atom.start..atom.end).is_some_and(|part| !part.is_empty()));
        }
        prop_assert!(folded.atoms.is_sorted_by_key(|atom| atom.start));
    }

    #[test]
    fn disguised_words_are_caught(
        word in prop::sample::select(vec!["darn", "heck", "frobber", "idiot", "silly", "noodle", "blasted"]),
        shapes in prop::collection::vec(0..9_u8, 7),
        leet_at in 0..7_usize,
        separator in prop::sample::select(vec!["", " ", ".", "-", "_", "*", ", ", "\u{200b}", "\n"]),
    ) {
        let letters = word.chars().enumerate().map(|(at, letter)| match leet_of(letter) {
            Some(leet) if at == leet_at => leet.to_owned(),
            _ => disguise(letter, shapes[at]),
        });
        let text = format!("you {} there", letters.collect::<Vec<_>>().join(separator));
        let verdict = filter(&["darn", "heck", "frobber", "idiot", "silly", "noodle", "blasted"]).check(&text);
        let Verdict::Masked { text: masked, .. } = verdict else {
            return Err(TestCaseError::fail(format!("{text:?} is {verdict:?}")));
        };
        prop_assert!(masked.starts_with("you ") && masked.ends_with(" there"), "{masked:?}");
        prop_assert!(!masked[4..masked.len() - 6].contains(char::is_alphabetic), "{masked:?}");
    }

    #[test]
    fn texts_of_other_letters_are_clean(text in "[bdfgjmnpqvwxyz ]{0,60}") {
        prop_assert_eq!(filter(&["heck", "silly", "idiot", "soot"]).check(&text), Verdict::Clean);
    }
}
