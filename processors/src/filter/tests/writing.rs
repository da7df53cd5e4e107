//! Letters, accents, clusters and links, of whatever script.

use super::*;

/// (list, text, as the filter lets it pass).
fn check(cases: &[(&str, &str, &str)]) {
    for (word, given, then) in cases {
        assert_eq!(masked(&filter(&[word]), given), *then, "{word:?} in {given:?} ({})", given.escape_unicode());
    }
}

#[test]
fn canonically_equal_texts_and_lists_match() {
    let vietnamese = ["mập", "ma\u{323}\u{302}p", "m\u{e2}\u{323}p", "m\u{1ea1}\u{302}p", "ma\u{302}\u{323}p"];
    // A tone (class 107) before and after its vowel (class 103).
    let thai = ["ป\u{e39}\u{e48}", "ป\u{e48}\u{e39}"];
    // What shows nothing is between the marks.
    let hidden = ["mập", "m\u{e2}\u{34f}\u{323}p", "m\u{e2}\u{200d}\u{323}p"];
    let korean = ["바보", "\u{1107}\u{1161}\u{1107}\u{1169}"];
    for (forms, then) in [(&vietnamese[..], "***"), (&thai[..], "*"), (&hidden[..], "***"), (&korean[..], "**")] {
        for list in forms {
            for text in forms {
                assert_eq!(masked(&filter(&[list]), text), then, "{list:?} in {text:?}");
            }
        }
    }
}

#[test]
fn capitals_with_accents_are_never_l() {
    let filter = filter(&["alba"]);
    assert_eq!(masked(&filter, "aIba"), "****");
    for text in ["aÍba", "aI\u{301}ba", "aİba", "aI\u{307}ba"] {
        assert_eq!(masked(&filter, text), text);
    }
}

#[test]
fn flags_stay_and_separated_indicators_are_letters() {
    check(&[
        ("twat", "🇹🇼🇦🇹", "🇹🇼🇦🇹"),
        ("twat", "go 🇹🇼 🇦🇹!", "go 🇹🇼 🇦🇹!"),
        ("tw", "🇹🇼", "🇹🇼"),
        ("twat", "🇹 🇼 🇦 🇹", "* * * *"),
        ("twat", "🇹\u{200b}🇼\u{200b}🇦\u{200b}🇹", "****"),
        ("twat", "🇹-🇼-🇦-🇹", "*-*-*-*"),
        ("twat", "🇹\u{fe0f}🇼\u{fe0f}🇦\u{fe0f}🇹", "****"),
        // no flags of any region, so letters are what one sees
        ("darn", "🇩🇦🇷🇳", "**"),
        ("da", "🇩🇦", "*"),
        // flags can be listed
        ("🇹🇼", "go 🇹🇼🇦🇹", "go *🇦🇹"),
        ("🇹🇼", "tw 🇦🇹🇼🇸 🇹 🇼", "tw 🇦🇹🇼🇸 🇹 🇼"),
        (
            "🏴",
            "🏴 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "* 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        ),
        (
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 🏴",
            "* 🏴",
        ),
    ]);
}

#[test]
fn bare_letters_stand_for_accents_never_other_accents() {
    check(&[
        ("khùng", "khủng long", "khủng long"),
        ("khùng", "khùng khung KHÙNG khu\u{300}ng khúng", "***** ***** ***** ***** khúng"),
        ("mập", "mấp mâp mạp map", "mấp mâp mạp map"), // too short to be known without marks
        ("őrült", "örült órült ŐRÜLT orult", "örült órült ***** *****"),
        ("pêcheur", "pécheur pêcheur pecheur pécher", "pécheur ******* ******* pécher"),
        ("köter", "køter kõter kötér koter KO\u{308}TER", "køter kõter ***** ***** *****"),
        ("żłopać", "źłopać żłopac żlopać zlopac", "źłopać ****** ****** ******"),
        // marks that no composed letter has
        ("ọ̀lẹ̀kẹ̀", "ọ̀lẹ̀kẹ̀ ọ́lẹ́kẹ́ ọlẹkẹ oleke", "***** ọ́lẹ́kẹ́ ọlẹkẹ *****"),
        ("ḿbeki", "m\u{304}beki ḿbeki mbeki", "m\u{304}beki ***** *****"),
        ("m\u{304}beki", "m\u{301}beki m\u{304}beki mbeki", "m\u{301}beki ***** *****"),
        // where the list is bare, a mark is disguise, and so is a stroke through all
        ("darn", "dárn dàrn d\u{336}a\u{336}r\u{336}n\u{336}", "**** **** ****"),
        (
            "khùng",
            "k\u{336}h\u{336}u\u{336}\u{300}n\u{336}g\u{336} k\u{336}h\u{336}u\u{336}n\u{336}g\u{336}",
            "***** *****",
        ),
        // stress marks are in dictionaries only
        ("дура\u{301}к", "дурак ду\u{301}рак", "***** *****"),
        ("ух\u{301}", "ух", "**"),
    ]);
}

#[test]
fn matches_are_whole_clusters_or_nothing() {
    check(&[
        ("กู", "กู้ภัย", "กู้ภัย"),
        ("กู", "กูไป กู", "*ไป *"),
        ("ก", "กำ กี ก", "กำ กี *"),
        ("ម", "មី មិន ម", "មី មិន *"),
        ("មែ", "ខ្មែរ មែ", "ខ្មែរ *"), // below the letter before it
        ("ខ", "ខ្មែរ", "ខ្មែរ"),
        ("မ", "မိ မာ မး မ", "မိ မာ မး *"),
        ("ခွေ", "ခွေး ခွေ", "ခွေး *"),
        ("က", "က္က", "က္က"), // stacked
        ("ཀ", "ཀི ཀྱ ཀ", "ཀི ཀྱ *"),
        ("ຫມ", "ຫມີ ຫມ", "ຫມີ **"),
        ("会社", "㍿ 会社", "㍿ **"),
        // pictures
        ("🖕", "🖕🏽 you", "* you"),
        ("🖕🏽", "🖕🏿🖕", "**"),
        ("❤", "I ❤️ you", "I * you"),
        ("❤️", "I ❤ you, ❤️‍🔥", "I * you, ❤️‍🔥"),
        ("🐕", "🐕‍🦺 🐕", "🐕‍🦺 *"),
        ("🐕‍🦺", "🐕‍🦺 🐕 🦺 🐕🦺", "* 🐕 🦺 🐕🦺"),
        ("👩", "👩🏽‍🚒 👨‍👩‍👧 👩🏽", "👩🏽‍🚒 👨‍👩‍👧 *"),
        ("🖕", "🖕‍🦺 🦺‍🖕", "*🦺 🦺‍*"), // no such pictures: two stand beside each other
        ("heck", "h3\u{fe0f}\u{20e3}ck", "****"),
        // what belongs to a cluster without being a letter of it goes with the star
        ("heck", "heck\u{200d} heck\u{fe0f} heck\u{20dd} \u{600}heck", "**** **** **** ****"),
        ("笨", "笨\u{302a} 笨\u{fe00}", "* *"),
        // marks of another script are decoration
        ("heck", "heck\u{e31} hec\u{e34}k h\u{e31}eck", "**** **** ****"),
        ("笨蛋", "笨\u{e31}蛋\u{e48} 笨\u{3099}蛋", "** **"),
        ("heck", "h3\u{e31}ck h\u{94d}eck", "**** ****"),
    ]);
}

#[test]
fn dotless_i_has_the_capital_i() {
    check(&[
        ("kız", "KIZ Kız kız kIz", "*** *** *** ***"),
        ("kız", "kiz KİZ KI\u{307}Z kíz", "kiz KİZ KI\u{307}Z kíz"),
        ("kız", "K I Z ＫＩＺ 𝐊𝐈𝐙 🅺🅸🆉", "* * * *** *** ***"),
        ("KIZ", "kız KIZ kiz", "*** *** ***"),
        ("piç", "PİÇ PIÇ Pİ\u{327}C piç", "*** *** Pİ\u{327}C ***"),
        ("PİÇ", "piç PİÇ Piç", "*** *** ***"),
        ("salın", "SALIN salin", "***** *****"),
        ("idiot", "IDIOT İDİOT ıdıot", "***** ***** *****"),
    ]);
    // Where a list has both letters they are two.
    let both = filter(&["kız", "din"]);
    assert_eq!(masked(&both, "KIZ DIN DİN dın kiz"), "*** *** *** dın kiz");
}

const LINKS: [&str; 21] = [
    "http://example.org/heck",
    "https://heck.example/",
    "HTTPS://EXAMPLE.ORG/HECK",
    "http://user:heck@example.org:8080/",
    "ftp://example.org/a?heck#heck",
    "http://example.org/h.e.c.k",
    "http://example.org/h3ck",
    "https://example.org/héck/heck_(heck)",
    "https://example.org/(heck)",
    "https://example.org/a,heck;heck!",
    "http://example.org#heck",
    "http://müller.de/heck",
    "steam://run/heck",
    "www.heck.de",
    "heck.com",
    "example.com:80/heck",
    "example.com?heck",
    "bit.ly/heck",
    "heck@example.org",
    "jo.heck+heck@mail.example.co.uk",
    "ann@heck.museum",
];

#[test]
fn links_are_flagged_and_never_rewritten() {
    let filter = filter(&["heck"]);
    let flagged = Verdict::Flagged { lists: vec!["list".to_owned()] };
    for link in LINKS {
        assert_eq!(filter.check(link), flagged, "{link:?}");
        for (before, after) in [("", ""), ("see ", " there"), ("(", ")"), ("<", ">"), ("看「", "」吧"), ("mailto:", "")]
        {
            let text = format!("heck {before}{link}{after} heck");
            let then = format!("**** {before}{link}{after} ****");
            assert_eq!(masked(&filter, &text), then);
        }
    }
}

#[test]
fn what_is_no_link_is_masked() {
    check(&[
        ("heck", "file_heck.txt heck.txt", "file_****.txt ****.txt"),
        ("heck", "what.the.heck what.the.heck/", "what.the.**** what.the.****/"),
        ("heck", "heck.it heck.me", "****.it ****.me"),
        ("heck", "heck: //heck @heck heck@ heck@home", "****: //**** @**** ****@ ****@home"),
        ("heck", "http:// heck ://heck", "http:// **** ://****"),
        ("heck", "http://example.org/，heck", "http://example.org/，****"),
        ("heck", "[http://example.org/](heck)", "[http://example.org/](****)"),
        ("heck", "example.org, heck", "example.org, ****"),
        ("笨", "笨http://example.org/笨 笨", "*http://example.org/笨 *"),
        ("笨", "笨ann@example.org笨 example.com笨", "*ann@example.org* example.com*"),
        // the `@` is a letter of the word
        ("hack", "h@ck.it h@ck.com", "****.it ****.com"),
        ("frob head", "frob@head.com frob head", "frob@head.com **** ****"),
    ]);
}

#[test]
fn words_in_links_still_reject() {
    let lists: &[(&str, Action, &[&str])] =
        &[("masks", Action::Mask, &["darn"]), ("rejects", Action::Reject, &["heck"])];
    let filter = filter_of(lists);
    for link in LINKS {
        assert_eq!(filter.check(link), Verdict::Rejected { lists: vec!["rejects".to_owned()] }, "{link:?}");
    }
    let both = Verdict::Rejected { lists: vec!["masks".to_owned(), "rejects".to_owned()] };
    assert_eq!(filter.check("darn.com/heck"), both);
}
