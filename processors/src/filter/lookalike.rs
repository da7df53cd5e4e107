//! What scalars look like: the tables behind [`super::fold`].
//!
//! They follow the shapes in Unicode's `confusables.txt` (UTS #39), cut down to what a reader takes for the
//! Latin letter at a glance. Real Cyrillic and Greek suffer from a wide table (`сим` is no English word), so
//! `и`, `п`, `г`, `ь` and their like are left out.

use unicode_script::UnicodeScript;

const BLACK_FLAG: char = '\u{1f3f4}';

/// How a letter's script separates words, and so where a match may begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Words stand between spaces: a match is a whole word.
    Spaced,
    /// Korean syllables: particles follow a word without a space, so a match begins a word and may end inside.
    Syllables,
    /// Lone Korean letters, a shorthand that is written against the words beside it.
    Jamo,
    /// Chinese, Japanese, Thai, …: a match may be anywhere.
    Unspaced,
}

/// Bits that say which script a letter is from.
pub(super) mod script {
    pub const LATIN: u8 = 1;
    pub const CYRILLIC: u8 = 2;
    pub const GREEK: u8 = 4;
    /// Armenian and Cherokee: alphabets that matter here only for their look-alikes.
    pub const LESSER: u8 = 8;
    /// All scripts in which nothing looks Latin.
    pub const OTHER: u8 = 16;
}

/// The script bit of a letter.
pub(super) fn script_of(c: char) -> u8 {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{aa}'..='\u{2af}' | '\u{1d00}'..='\u{1dbf}' | '\u{1e00}'..='\u{1eff}' => {
            script::LATIN
        }
        '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{a640}'..='\u{a69f}' => script::CYRILLIC,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => script::GREEK,
        '\u{530}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => script::LESSER,
        _ => script::OTHER,
    }
}

/// How the letter's script separates words.
pub(super) fn writing_of(c: char) -> Writing {
    match c {
        '\u{e00}'..='\u{109f}' // Thai, Lao, Tibetan, Myanmar
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}' // Tai Le, New Tai Lue, Tai Tham
        | '\u{1b00}'..='\u{1b7f}' | '\u{a980}'..='\u{a9df}' // Balinese, Javanese
        | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aadf}' // more Myanmar, Tai Viet
        | '\u{2e80}'..='\u{312f}' // radicals, kana, Bopomofo
        | '\u{31a0}'..='\u{9fff}' // more kana, Han
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}' => Writing::Unspaced,
        '\u{ac00}'..='\u{d7a3}' => Writing::Syllables,
        '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}' => Writing::Jamo,
        _ => Writing::Spaced,
    }
}

/// Letters of other alphabets (in lower case) that look like a Latin letter.
pub(super) fn latin_shape(c: char) -> Option<char> {
    Some(match c {
        'а' | 'α' | 'ꭺ' => 'a',
        'в' | 'β' | 'ꮟ' | 'ᏼ' => 'b',
        'с' | 'ꮯ' => 'c',
        'ԁ' | 'ꭰ' => 'd',
        'е' | 'є' | 'ε' | 'ꭼ' => 'e',
        'ց' | 'ꮐ' => 'g',
        'һ' | 'н' | 'հ' | 'ꮋ' => 'h',
        'і' | 'ι' | 'ꭵ' => 'i',
        'ј' | 'ϳ' | 'յ' | 'ꭻ' => 'j',
        'к' | 'κ' | 'ꮶ' => 'k',
        'ӏ' | 'ꮮ' => 'l',
        'м' | 'ꮇ' => 'm',
        'η' | 'ո' => 'n',
        'о' | 'ο' | 'օ' => 'o',
        'р' | 'ρ' | 'ꮲ' => 'p',
        'ԛ' => 'q',
        'ꭱ' | 'ꮢ' => 'r',
        'ѕ' | 'ꮥ' | 'ꮪ' => 's',
        'т' | 'τ' | 'ꭲ' => 't',
        'υ' | 'ս' => 'u',
        'ѵ' | 'ν' | 'ꮩ' => 'v',
        'ԝ' | 'ω' | 'ꮃ' | 'ꮤ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'ү' | 'γ' | 'ꭹ' => 'y',
        'ꮓ' => 'z',
        _ => return None,
    })
}

/// Whether some letter of another alphabet looks like this Latin one. A text with a Latin letter that nothing
/// looks like is certainly written in Latin letters.
pub(super) fn has_twin(c: char) -> bool {
    !matches!(c, 'f' | 'd' | 'g' | 'l' | 'q' | 'r' | 'z')
}

/// The shape of a Greek capital where it differs from that of its small letter: `Η` is no `n`.
pub(super) fn greek_capital_shape(lower: char) -> Option<char> {
    match lower {
        'η' => Some('h'),
        'ν' => Some('n'),
        'υ' => Some('y'),
        'μ' => Some('m'),
        'ζ' => Some('z'),
        _ => None,
    }
}

/// Latin letters that are their base with a stroke or without a dot, which Unicode does not decompose. They are
/// treated as letters with a mark: real letters in some languages, disguise elsewhere.
pub(super) fn stroke_base(c: char) -> Option<char> {
    Some(match c {
        'ø' => 'o',
        'đ' | 'ɖ' => 'd',
        'ł' | 'ƚ' => 'l',
        'ħ' => 'h',
        'ŧ' => 't',
        'ı' | 'ɨ' => 'i',
        'ȷ' => 'j',
        'ƀ' => 'b',
        'ʉ' => 'u',
        'ŋ' => 'n',
        _ => return None,
    })
}

/// Letters that are but another way to write a letter of the same script: small capitals and IPA forms, boxed
/// letters, regional indicators that are no flag, Greek final sigma, the Arabic and Persian forms of one letter.
pub(super) fn same_letter(c: char) -> char {
    match c {
        'ᴀ' | 'ɑ' | 'ɐ' => 'a',
        'ʙ' => 'b',
        'ᴄ' => 'c',
        'ᴅ' => 'd',
        'ᴇ' | 'ɛ' | '℮' => 'e',
        'ꜰ' | 'ƒ' => 'f',
        'ɢ' | 'ɡ' => 'g',
        'ʜ' | 'ɦ' => 'h',
        'ɪ' | 'ɩ' => 'i',
        'ᴊ' => 'j',
        'ᴋ' => 'k',
        'ʟ' => 'l',
        'ᴍ' => 'm',
        'ɴ' => 'n',
        'ᴏ' => 'o',
        'ᴘ' => 'p',
        'ʀ' | 'ɾ' => 'r',
        'ꜱ' => 's',
        'ᴛ' => 't',
        'ᴜ' => 'u',
        'ᴠ' | 'ʋ' => 'v',
        'ᴡ' => 'w',
        'ʏ' => 'y',
        'ᴢ' => 'z',
        'ς' => 'σ',
        'ё' => 'е',
        'ى' | 'ی' => 'ي',
        'ک' => 'ك',
        'ة' => 'ه',
        'ٱ' => 'ا',
        '\u{1f150}'..='\u{1f169}' => boxed(c, 0x1f150),
        '\u{1f170}'..='\u{1f189}' => boxed(c, 0x1f170),
        '\u{1f1e6}'..='\u{1f1ff}' => boxed(c, 0x1f1e6),
        _ => c,
    }
}

fn boxed(c: char, first: u32) -> char {
    char::from(b'a' + u8::try_from(u32::from(c) - first).expect("each range has 26 letters"))
}

/// What a digit or symbol stands for inside a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leet {
    Letter(char),
    /// `1`, `!` and `|`: `i` or `l`.
    IOrL,
    None,
}

/// The letter that a digit or symbol stands for: the Cyrillic one in a word of Cyrillic letters.
pub(super) fn leet(c: char, cyrillic: bool) -> Leet {
    Leet::Letter(match c {
        '3' if cyrillic => 'з',
        '4' if cyrillic => 'ч',
        '6' if cyrillic => 'б',
        '0' => 'o',
        '1' | '!' | '|' => return Leet::IOrL,
        '2' => 'z',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '6' | '9' => 'g',
        '7' | '+' => 't',
        '8' => 'b',
        '¢' => 'c',
        '£' => 'l',
        '¥' => 'y',
        _ => return Leet::None,
    })
}

/// Scalars that show nothing: zero-width, bidi controls, soft hyphens, variation selectors, Hangul fillers, skin
/// tones, tags, and the Arabic stretch. (`Default_Ignorable_Code_Point` and a few more.)
pub(super) fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{640}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{1f3fb}'..='\u{1f3ff}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Combining marks that decorate: accents, enclosures, Hebrew points, Arabic vowels, nuktas. All others (the vowel
/// signs of India, Thai tones) are letters like any other where [`shares_script`] holds.
pub(super) fn decorates(mark: char) -> bool {
    matches!(mark,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}' | '\u{93c}' | '\u{9bc}' | '\u{a3c}' | '\u{abc}'
        | '\u{8ca}'..='\u{8e1}' | '\u{8e3}'..='\u{8ff}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{2de0}'..='\u{2dff}' | '\u{302a}'..='\u{302f}' | '\u{a66f}'..='\u{a67d}'
        | '\u{a69e}' | '\u{a69f}' | '\u{fe20}'..='\u{fe2f}')
}

/// Whether a combining mark is of the letter's script, and so may be part of a word with it. A Thai tone on a Latin
/// letter is decoration.
pub(super) fn shares_script(letter: char, mark: char) -> bool {
    mark.script_extension().contains_script(letter.script())
}

/// Whether a flag may begin with this.
pub(super) fn begins_flag(c: char) -> bool {
    is_indicator(c) || c == BLACK_FLAG
}

/// Bytes of what may be a flag at the text's beginning: two regional indicators if there are two, or a black flag with
/// the invisible tags that name a region (`gbeng`).
pub(super) fn flag_length(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let rest: usize = if first == BLACK_FLAG {
        chars.take_while(|c| matches!(c, '\u{e0020}'..='\u{e007f}')).map(char::len_utf8).sum()
    } else {
        chars.take(1).filter(|&c| is_indicator(c)).map(char::len_utf8).sum()
    };
    first.len_utf8() + rest
}

fn is_indicator(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Pictographs: each is a word of its own.
pub(super) fn pictograph(c: char) -> bool {
    matches!(c, '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}
