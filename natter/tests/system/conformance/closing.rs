//! Section 7: how connections end.

use super::case::{Case, End, Expected, echo, echo_of_length};
use crate::raw_socket::{CLOSE, PING, TEXT, close, frame, text};

const FIN: u8 = 0x80;
const CLEAN: End = End::Closed(1000);
const BROKEN: End = End::Closed(1002);
/// Codes that an endpoint may send.
const VALID: [u16; 13] = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
const INVALID: [u16; 9] = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];

pub fn cases() -> Vec<Case> {
    let normal = || close(1000, b"");
    let answered = || vec![Expected::Echo("hello".into())];
    let bare = |payload: &[u8]| vec![frame(FIN | CLOSE, payload)];
    let mut cases = vec![
        Case::frames("7.1.1", vec![text(echo("hello")), normal()], answered(), CLEAN),
        Case::frames("7.1.2", vec![normal(), normal()], vec![], CLEAN),
        Case::frames("7.1.3", vec![normal(), frame(FIN | PING, b"")], vec![], CLEAN),
        Case::frames("7.1.4", vec![normal(), text(echo("hello"))], vec![], CLEAN),
        Case::frames("7.1.5", vec![frame(TEXT, b"fragment1"), normal(), frame(FIN, b"fragment2")], vec![], CLEAN),
        Case::frames(
            "7.1.6",
            vec![text(echo_of_length("hello", 60 << 10)), normal(), frame(FIN | PING, b"")],
            answered(),
            CLEAN,
        ),
        Case::frames("7.3.1", bare(b""), vec![], CLEAN),
        Case::frames("7.3.2", bare(b"a"), vec![], BROKEN),
        Case::frames("7.3.3", bare(&1000_u16.to_be_bytes()), vec![], CLEAN),
        Case::frames("7.3.4", vec![close(1000, "Hello World!".as_bytes())], vec![], CLEAN),
        Case::frames("7.3.5", vec![close(1000, &[b'*'; 123])], vec![], CLEAN),
        Case::frames("7.3.6", vec![close(1000, &[b'*'; 124])], vec![], BROKEN),
        Case::frames(
            "7.5.1",
            vec![close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")],
            vec![],
            End::Closed(1007),
        ),
    ];
    cases.extend(numbered("7.7", &VALID, CLEAN));
    cases.extend(numbered("7.9", &INVALID, BROKEN));
    cases.extend(numbered("7.13", &[5000, 65_535], BROKEN));
    cases
}

fn numbered(section: &str, codes: &[u16], end: End) -> Vec<Case> {
    (1..)
        .zip(codes)
        .map(|(number, code)| Case::frames(format!("{section}.{number}"), vec![close(*code, b"")], vec![], end))
        .collect()
}
