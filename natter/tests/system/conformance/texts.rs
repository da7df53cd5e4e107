//! Section 6: text is UTF-8, and what is not is refused at the byte that makes it so.

use super::case::{Case, End, Expected, echo, fragments};
use crate::raw_socket::{TEXT, frame, head, text};

const FIN: u8 = 0x80;
const WRONG: End = End::Closed(1007);
/// `κόσμε`, and a code point beyond the last in the middle of it.
const KOSME: &str = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}";
const BEYOND: &[u8] = &[0xf4, 0x90, 0x80, 0x80];

pub fn cases() -> Vec<Case> {
    [valid(), invalid(), fail_fast(), sequences()].concat()
}

/// 6.1, 6.2.
fn valid() -> Vec<Case> {
    let message = echo(KOSME);
    let start = message.find(KOSME).unwrap_or_default();
    let border = start + 'κ'.len_utf8();
    let bytes = message.as_bytes();
    let answered = || vec![Expected::Echo(KOSME.into())];
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    let bare: Vec<&[u8]> = KOSME.as_bytes().chunks(1).collect();
    vec![
        Case::frames("6.1.1", vec![text("")], vec![Expected::NoJson], End::Open),
        Case::frames("6.1.2", fragments(&[b"", b"", b""]), vec![Expected::NoJson], End::Open),
        Case::frames("6.1.3", fragments(&[b"", bytes, b""]), answered(), End::Open),
        Case::frames("6.2.1", vec![text(&message)], answered(), End::Open),
        Case::frames("6.2.2", fragments(&[&bytes[..border], &bytes[border..]]), answered(), End::Open),
        Case::frames("6.2.3", fragments(&octets), answered(), End::Open),
        Case::frames("6.2.4", fragments(&bare), vec![Expected::NoJson], End::Open),
    ]
}

/// 6.3.
fn invalid() -> Vec<Case> {
    let message = [KOSME.as_bytes(), BEYOND, b"edited"].concat();
    let octets: Vec<&[u8]> = message.chunks(1).collect();
    vec![
        Case::frames("6.3.1", vec![text(&message)], vec![], WRONG),
        Case::frames("6.3.2", fragments(&octets), vec![], WRONG),
    ]
}

/// 6.4: the third part is never sent, so the second has to be refused by itself.
fn fail_fast() -> Vec<Case> {
    let message = [KOSME.as_bytes(), BEYOND, b"edited"].concat();
    let fragments =
        |first: usize, second: usize| vec![frame(TEXT, &message[..first]), frame(0, &message[first..second])];
    let whole = text(&message);
    let start = head(FIN | TEXT, message.len()).len() + 4;
    let chops = |first: usize, second: usize| {
        vec![whole[..start + first].to_vec(), whole[start + first..start + second].to_vec()]
    };
    vec![
        Case::frames("6.4.1", fragments(11, 15), vec![], WRONG),
        Case::frames("6.4.2", fragments(12, 13), vec![], WRONG),
        Case::frames("6.4.3", chops(11, 15), vec![], WRONG),
        Case::frames("6.4.4", chops(12, 13), vec![], WRONG),
    ]
}

/// 6.5 to 6.23: the sequences of Markus Kuhn's UTF-8 decoder test, one a message. Hex, as the suite shows them.
fn sequences() -> Vec<Case> {
    let mut cases = Vec::new();
    for (section, group) in (5..).zip(groups()) {
        for (number, payload) in (1..).zip(group) {
            cases.push(sequence(format!("6.{section}.{number}"), &payload));
        }
    }
    cases
}

fn sequence(id: String, payload: &[u8]) -> Case {
    match std::str::from_utf8(payload) {
        Err(_) => Case::frames(id, vec![text(payload)], vec![], WRONG),
        // Control characters do not stand in JSON as they are.
        Ok(valid) if valid.contains(char::from(0)) => {
            Case::frames(id, vec![text(payload)], vec![Expected::NoJson], End::Open)
        }
        Ok(valid) => Case::frames(id, vec![text(echo(valid))], vec![Expected::Echo(valid.into())], End::Open),
    }
}

fn groups() -> Vec<Vec<Vec<u8>>> {
    let list = |items: &[&[u8]]| items.iter().map(|item| item.to_vec()).collect::<Vec<_>>();
    let lonely = |first: u8, end: u8| (first..end).flat_map(|byte| [byte, b' ']).collect::<Vec<u8>>();
    let cut: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    vec![
        list(&[
            b"hello\x24world",
            b"hello\xc2\xa2world",
            b"hello\xe2\x82\xacworld",
            b"hello\xf0\xa4\xad\xa2world",
            KOSME.as_bytes(),
        ]),
        (1..=KOSME.len()).map(|end| KOSME.as_bytes()[..end].to_vec()).collect(),
        list(&[b"\0", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        list(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        list(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        list(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        list(&[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", BEYOND]),
        list(&[
            b"\x80",
            b"\xbf",
            b"\x80\xbf",
            b"\x80\xbf\x80",
            b"\x80\xbf\x80\xbf",
            b"\x80\xbf\x80\xbf\x80",
            b"\x80\xbf\x80\xbf\x80\xbf",
            &(0x80..0xbf).collect::<Vec<u8>>(),
        ]),
        vec![lonely(0xc0, 0xdf), lonely(0xe0, 0xef), lonely(0xf0, 0xf7), lonely(0xf8, 0xfb), lonely(0xfc, 0xfd)],
        list(&cut),
        vec![cut.concat()],
        list(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        list(&[
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ]),
        list(&[
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ]),
        list(&[
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ]),
        list(&[
            b"\xed\xa0\x80",
            b"\xed\xad\xbf",
            b"\xed\xae\x80",
            b"\xed\xaf\xbf",
            b"\xed\xb0\x80",
            b"\xed\xbe\x80",
            b"\xed\xbf\xbf",
        ]),
        [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"]
            .iter()
            .flat_map(|high| [b"\xed\xb0\x80", b"\xed\xbf\xbf"].map(|low| [high.as_slice(), low].concat()))
            .collect(),
        noncharacters(),
        (0xb9..=0xbf).map(|last| vec![0xef, 0xbf, last]).collect(),
    ]
}

/// The last two code points of each plane, which are valid UTF-8.
fn noncharacters() -> Vec<Vec<u8>> {
    let planes = (0..=16).flat_map(|plane| [(plane << 16) | 0xfffe, (plane << 16) | 0xffff]);
    planes.filter_map(char::from_u32).map(|scalar| scalar.to_string().into_bytes()).collect()
}
