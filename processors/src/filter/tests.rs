//! What the filter must see and must not see. The listed words are mild or made up.

mod properties;
mod writing;

use super::*;

fn filter(words: &[&str]) -> Filter {
    filter_of(&[("list", Action::Mask, words)])
}

fn filter_of(lists: &[(&str, Action, &[&str])]) -> Filter {
    let list = |&(name, action, words): &(&str, Action, &[&str])| WordList {
        name: name.to_owned(),
        action,
        words: words.iter().map(|&word| word.to_owned()).collect(),
    };
    Filter::compile(&lists.iter().map(list).collect::<Vec<_>>()).unwrap()
}

/// The text as the filter lets it pass.
fn masked(filter: &Filter, text: &str) -> String {
    match filter.check(text) {
        Verdict::Clean => text.to_owned(),
        Verdict::Masked { text, .. } => text,
        other => panic!("{text:?}: {other:?}"),
    }
}

const STYLES: [Style; 5] = [Style::Plain, Style::Leet, Style::Trimmed, Style::Joined, Style::Spelled];

const MILD: &[&str] = &["darn", "heck", "frobber", "idiot", "silly", "noodle", "ass", "cum", "tit", "rape", "cock"];

#[test]
fn evasions_are_masked() {
    let filter = filter(MILD);
    for (given, then) in [
        ("darn", "****"),
        ("oh DaRn it", "oh **** it"),
        ("heck's bells", "****'s bells"),
        ("what the heck!", "what the ****!"),
        ("heck2you", "****2you"),
        ("file_heck.txt", "file_****.txt"),
        // repeated letters
        ("daaaaarn", "********"),
        ("ddaarrnn", "********"),
        ("hheck", "*****"),
        ("siiillllyyy", "***********"),
        // leet
        ("h3ck", "****"),
        ("d4rn!", "****!"),
        ("d@rn", "****"),
        ("$illy", "*****"),
        ("1d10t", "*****"),
        ("!d!ot", "!d!ot"), // punctuation before a word is punctuation
        ("id!ot", "*****"),
        ("s1lly si11y s||ly", "***** ***** *****"),
        ("fr0bb3r", "*******"),
        ("frob8er", "*******"),
        ("h3ck1 1h3ck", "****1 1****"),
        ("h3ck!h3ck", "****!****"),
        ("heIIo siIIy", "heIIo *****"), // capital I for small l
        // spelled out
        ("h e c k", "* * * *"),
        ("h.e.c.k", "*.*.*.*"),
        ("h-e-c-k you", "*-*-*-* you"),
        ("h_e c*k", "*_* ***"),
        ("what a h e c k", "what a * * * *"),
        ("h ee c kkk", "* ** * ***"),
        ("h e e c k", "* * * * *"),
        ("h 3 c k", "* * * *"),
        ("n o o d l e", "* * * * * *"),
        ("h\ne\nc\nk", "*\n*\n*\n*"),
        ("h, e, c, k", "*, *, *, *"),
        ("a a.s.s. x", "a *.*.*. x"),
        ("a s s", "* * *"),
        ("a a s s", "a a s s"), // a short one among other single letters is no word
        // punctuation inside
        ("he-ck", "**-**"),
        ("fro.bber", "***.****"),
        ("h.e.ck", "*.*.**"),
        ("he*ck", "*****"),
        // marks and invisible scalars
        ("dárn", "****"),
        ("d\u{336}a\u{336}r\u{336}n\u{336}", "****"),
        ("h\u{301}\u{302}\u{303}e\u{489}ck", "****"),
        ("h\u{200b}e\u{ad}c\u{2060}k", "****"),
        ("\u{202e}heck\u{202c}", "\u{202e}****\u{202c}"),
        // compatibility forms and look-alikes
        ("ｈｅｃｋ", "****"),
        ("𝖍𝖊𝖈𝖐 𝓭𝓪𝓻𝓷", "**** ****"),
        ("ⓗⓔⓒⓚ 🅷🅴🅲🅺", "**** ****"),
        ("ʜᴇᴄᴋ", "****"),
        ("hесk", "****"),       // Cyrillic е, с
        ("неск", "****"),       // Cyrillic all
        ("ΗΕCΚ", "****"),       // Greek capitals, one Latin C
        ("frοbber", "*******"), // Greek omicron
    ] {
        assert_eq!(masked(&filter, given), then, "{given:?}");
    }
}

#[test]
fn innocent_texts_are_clean() {
    let filter = filter(MILD);
    for text in [
        "",
        " \t\n",
        "Scunthorpe assassin class cocktail grape analysis document title",
        "SCUNTHORPE, peacock and circumstance",
        "as if the hecks came", // not inflected by itself
        "dar not",
        "he ck",
        "the cker",
        "455 1337 4 5 5 0x455",
        "a55 on the A55, 455",
        "10.0.4.55 4-5-5",
        "o u t",
        "c+u",
        "he'll check the deck",
        "check.it and he...ck",
        "http://example.org/class/documents?a=55",
        "a s",
        "!!! ??? *** ****",
    ] {
        assert_eq!(filter.check(text), Verdict::Clean, "{text:?}");
    }
    assert_eq!(
        self::filter(&["shin"]).check("push in, pu shin-g"),
        Verdict::Masked { text: "push in, pu ****-g".to_owned(), lists: vec!["list".to_owned()] }
    );
    assert_eq!(self::filter(&["ship"]).check("push ip, rush-ip"), Verdict::Clean);
}

#[test]
fn double_letters_are_spelling_where_the_list_has_them() {
    let short = filter(&["god", "but"]);
    assert_eq!(masked(&short, "good butt, gooood buttt god"), "good butt, ****** ***** ***");
    let doubles = filter(&["bite", "butter"]);
    assert_eq!(masked(&doubles, "bitte, biite, buter, butttter"), "bitte, *****, buter, ********");
}

#[test]
fn marks_are_letters_where_the_list_has_them() {
    let german = filter(&["schon", "müll", "blöd"]);
    assert_eq!(masked(&german, "schön schon schón Müll MU\u{308}LL mull"), "schön ***** ***** **** **** mull");
    let spanish = filter(&["bribón", "ñoño"]);
    assert_eq!(masked(&spanish, "bribon bribón nono ñoño"), "****** ****** nono ****");
    let polish = filter(&["głupek"]);
    assert_eq!(masked(&polish, "głupek glupek GŁUPEK"), "****** ****** ******");
}

#[test]
fn i_and_l_stay_apart_without_something_ambiguous() {
    let filter = filter(&["fall", "ball game"]);
    assert_eq!(masked(&filter, "fail fa1l fall bail game"), "fail **** **** bail game");
    assert_eq!(masked(&filter, "ba1l game, ball g4me, b@11.game"), "**** ****, **** ****, ****.****");
}

#[test]
fn phrases_match_however_they_are_joined() {
    let filter = filter(&["Frob Head", "s&m", "quux-foo"]);
    for (given, then) in [
        ("you frob head!", "you **** ****!"),
        ("frob\n  head", "****\n  ****"),
        ("Frobhead", "********"),
        ("FR0B-HEAD", "****-****"),
        ("f r o b h e a d", "* * * * * * * *"),
        ("f.r.o.b head", "*.*.*.* ****"),
        ("quux foo, quuxfoo", "**** ***, *******"),
        ("S & M", "* & *"),
        ("frob a head", "frob a head"),
        ("s, m", "s, m"),
        ("it's M", "it's M"),
    ] {
        assert_eq!(masked(&filter, given), then, "{given:?}");
    }
}

#[test]
fn every_language_of_the_lists_is_seen() {
    for (language, word, given, then) in [
        ("ar", "أحمق", "يا احمق أنت", "يا **** أنت"),
        ("cs", "ťulpas", "ty ŤULPASE ťulpas", "ty ŤULPASE ******"),
        ("da", "tåbe", "din TÅBE!", "din ****!"),
        ("de", "müllkopf", "du Müll-Kopf", "du ****-****"),
        ("en", "darn", "D4RN", "****"),
        ("eo", "ŝafkapo", "vi ŝafkapo", "vi *******"),
        ("es", "caramba", "¡Caramba!", "¡*******!"),
        ("fa", "دیوانه", "تو ديوانه ای", "تو ****** ای"),
        ("fi", "hölmö", "senkin HÖLMÖ", "senkin *****"),
        ("fil", "loko-loko", "loko loko ka", "**** **** ka"),
        ("fr", "zut", "ZUT alors", "*** alors"),
        ("fr-CA", "tabarnouche", "tabarnouuuche", "*************"),
        ("hi", "मूर्ख", "तुम मूर्ख हो", "तुम ** हो"),
        ("hu", "tökfej", "te tökfej", "te ******"),
        ("it", "scemo", "sei sc3mo", "sei *****"),
        ("ja", "バカ", "あいつはﾊﾞｶだ", "あいつは**だ"),
        ("kab", "aɣyul", "d AƔYUL", "d *****"),
        ("ko", "바보", "너는 바보야", "너는 **야"),
        ("nl", "sukkel", "wat een s.u.k.k.e.l", "wat een *.*.*.*.*.*"),
        ("no", "tosk", "din τοsk", "din ****"),
        ("pl", "żłób", "ty ŻŁÓB", "ty ****"),
        ("pt", "bobão", "seu bobao", "seu *****"),
        ("ru", "дурак", "ты дуpaк, Д У Р А К", "ты *****, * * * * *"),
        ("sv", "dumbom", "din dumbom", "din ******"),
        ("th", "โง่", "คุณโง่มาก", "คุณ**มาก"),
        ("tlh", "Qu'vat", "QU'VAT!", "**'***!"),
        ("tr", "şapşal", "ne ŞAPŞAL", "ne ******"),
        ("zh", "笨蛋", "你是笨蛋吗，笨*蛋", "你是**吗，***"),
    ] {
        assert_eq!(masked(&filter(&[word]), given), then, "{language}");
    }
}

#[test]
fn real_letters_of_other_alphabets_are_not_taken_for_latin_ones() {
    let filter = filter(&["pot", "cop"]);
    for text in ["открой рот пошире", "сор из избы", "το χορτο"] {
        assert_eq!(filter.check(text), Verdict::Clean, "{text}");
    }
    assert_eq!(masked(&filter, "smoke рот"), "smoke ***");
    assert_eq!(masked(&filter, "открой pот"), "открой ***");
    assert_eq!(masked(&self::filter(&["дурак", "ух"]), "дyрaк у yx"), "***** у **");
}

#[test]
fn words_of_unspaced_scripts_match_anywhere_and_korean_at_a_beginning() {
    assert_eq!(masked(&filter(&["バカ"]), "大バカ野郎、ハカ"), "大**野郎、ハカ");
    assert_eq!(masked(&filter(&["笨蛋"]), "笨笨蛋 笨 蛋 a笨蛋b"), "*** * * a**b");
    assert_eq!(masked(&filter(&["바보"]), "산바보 바보는 바.보"), "산바보 **는 *.*");
    assert_eq!(masked(&filter(&["ㅅㅂ"]), "아ㅅㅂ!"), "아**!");
    assert_eq!(masked(&filter(&["heck"]), "我heck你"), "我****你");
    assert_eq!(masked(&filter(&["蛋8", "8b"]), "你是蛋8吗 蛋蛋8 8b 88 蛋"), "你是**吗 *** ** 88 蛋");
    assert_eq!(masked(&filter(&["ซื่อบื้อ"]), "คนซ.ื.่.อ.บ.ื.้.อ"), "คน***.*.***.*");
    assert_eq!(masked(&filter(&["🦆"]), "you🦆🏿🦆a"), "you**a");
}

#[test]
fn the_strongest_action_wins_and_all_lists_are_named() {
    let lists: &[(&str, Action, &[&str])] = &[
        ("flags", Action::Flag, &["heck", "meh"]),
        ("masks", Action::Mask, &["darn", "heck"]),
        ("rejects", Action::Reject, &["frob"]),
    ];
    let filter = filter_of(lists);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(filter.check("fine"), Verdict::Clean);
    assert_eq!(filter.check("meh"), Verdict::Flagged { lists: names(&["flags"]) });
    let masked = Verdict::Masked { text: "meh ****".to_owned(), lists: names(&["flags", "masks"]) };
    assert_eq!(filter.check("meh darn"), masked);
    assert_eq!(filter.check("frob heck"), Verdict::Rejected { lists: names(&["flags", "masks", "rejects"]) });
}

#[test]
fn lists_that_cannot_match_compile_and_tell() {
    let filter = filter(&["13.", "", "—", "darn"]);
    assert_eq!(filter.inert(), ["13.", "", "—"]);
    assert_eq!(filter.check("13. —"), Verdict::Clean);
    assert_eq!(Filter::compile(&[]).unwrap().check("darn"), Verdict::Clean);
    let long = WordList { name: "long".to_owned(), action: Action::Flag, words: vec!["ok".to_owned(), "x".repeat(65)] };
    let error = Filter::compile(&[long]).unwrap_err();
    assert_eq!(error.to_string(), "word list \"long\": word 1 has more than 64 characters");
}

#[test]
fn masking_that_lets_words_meet_masks_them_too() {
    let filter = filter(&["笨", "大蛋"]);
    assert_eq!(masked(&filter, "大笨蛋"), "***");
}

#[test]
fn work_is_linear_in_the_text_whatever_the_text() {
    let filter =
        filter(&["aa", "ab", "a b", "a b a b", "aba", "abab", "aaaa", "heck", "i i", "il", "笨", "笨笨", "笨蛋笨"]);
    for piece in
        ["a", "ab", "a ", "a b ", "a-b-", "i1", "1i!|", "a.1 ", "u\u{308}", "笨", "笨蛋", "笨.", "ﷺ", "Ηa", "\u{200b}a"]
    {
        let text = |scalars: usize| piece.chars().cycle().take(scalars).collect::<String>();
        let cost = |scalars| filter.scan(&text(scalars)).1.work;
        let (short, long) = (cost(1_024), cost(4_096));
        assert!(long <= 4 * short + 512, "{piece:?}: {short} then {long}");
        assert!(long <= 4_096 * 100, "{piece:?}: {long}");
    }
}
