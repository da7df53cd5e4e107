//! Sections 1 to 5 and 10: framing, pings, reserved bits, opcodes, fragments.

use super::case::{Case, End, Expected, echo, echo_of_length, fragments};
use crate::raw_socket::{BINARY, CLOSE, PING, PONG, TEXT, frame, text};

const FIN: u8 = 0x80;
const HELLO: &[u8] = b"Hello, world!";
const ODD: &[u8] = &[0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
const BROKEN: End = End::Closed(1002);

pub fn cases() -> Vec<Case> {
    [messages(), pings(), reserved_bits(), opcodes(), broken_fragments(), joined_fragments(), out_of_turn()].concat()
}

fn hello() -> Vec<u8> {
    text(echo("hello"))
}

fn answered() -> Expected {
    Expected::Echo("hello".into())
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

fn pong(payload: &[u8]) -> Expected {
    Expected::Pong(payload.to_vec())
}

/// 1 and 10.
fn messages() -> Vec<Case> {
    let sizes = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    let mut cases = Vec::new();
    for (number, size) in (1..).zip(sizes) {
        let (message, answer) = match size {
            0 => (String::new(), Expected::NoJson),
            _ => (echo_of_length("hello", size), answered()),
        };
        let piece = if number == 8 { 997 } else { usize::MAX };
        cases.push(Case::chopped(format!("1.1.{number}"), vec![text(message)], piece, vec![answer], End::Open));
        let binary = frame(FIN | BINARY, &vec![0xfe; size]);
        cases.push(Case::chopped(format!("1.2.{number}"), vec![binary], piece, vec![], End::Closed(1003)));
    }
    let whole = echo_of_length("hello", 65_536);
    let pieces: Vec<&[u8]> = whole.as_bytes().chunks(1300).collect();
    cases.push(Case::frames("10.1.1", fragments(&pieces), vec![answered()], End::Open));
    cases
}

/// 2.
fn pings() -> Vec<Case> {
    let largest = [0xfe; 125];
    let many: Vec<String> = (0..10).map(|count| format!("payload-{count}")).collect();
    let (pings, pongs): (Vec<_>, Vec<_>) =
        many.iter().map(|each| (ping(each.as_bytes()), pong(each.as_bytes()))).unzip();
    let unasked = |payload| frame(FIN | PONG, payload);
    vec![
        Case::frames("2.1", vec![ping(b"")], vec![pong(b"")], End::Open),
        Case::frames("2.2", vec![ping(HELLO)], vec![pong(HELLO)], End::Open),
        Case::frames("2.3", vec![ping(ODD)], vec![pong(ODD)], End::Open),
        Case::frames("2.4", vec![ping(&largest)], vec![pong(&largest)], End::Open),
        Case::frames("2.5", vec![ping(&[0xfe; 126])], vec![], BROKEN),
        Case::chopped("2.6", vec![ping(&largest)], 1, vec![pong(&largest)], End::Open),
        Case::frames("2.7", vec![unasked(b"")], vec![], End::Open),
        Case::frames("2.8", vec![unasked(b"unsolicited pong payload")], vec![], End::Open),
        Case::frames("2.9", vec![unasked(HELLO), ping(b"asked")], vec![pong(b"asked")], End::Open),
        Case::at_once("2.10", pings.clone(), pongs.clone(), End::Open),
        Case::chopped("2.11", pings, 1, pongs, End::Open),
    ]
}

/// 3.
fn reserved_bits() -> Vec<Case> {
    let with = |bits: u8, opcode| frame(FIN | bits << 4 | opcode, echo("hello").as_bytes());
    let amid = |bits| vec![hello(), with(bits, TEXT), ping(b"")];
    vec![
        Case::frames("3.1", vec![with(1, TEXT)], vec![], BROKEN),
        Case::at_once("3.2", amid(2), vec![answered()], BROKEN),
        Case::frames("3.3", amid(3), vec![answered()], BROKEN),
        Case::chopped("3.4", amid(4), 1, vec![answered()], BROKEN),
        Case::frames("3.5", vec![with(5, BINARY)], vec![], BROKEN),
        Case::frames("3.6", vec![with(6, PING)], vec![], BROKEN),
        Case::frames("3.7", vec![with(7, CLOSE)], vec![], BROKEN),
    ]
}

/// 4.
fn opcodes() -> Vec<Case> {
    let kind = |name, first: u8| {
        let id = |number| format!("{name}.{number}");
        let amid = |opcode, payload: &[u8]| vec![hello(), frame(FIN | opcode, payload), ping(b"")];
        [
            Case::frames(id(1), vec![frame(FIN | first, b"")], vec![], BROKEN),
            Case::frames(id(2), vec![frame(FIN | (first + 1), HELLO)], vec![], BROKEN),
            Case::frames(id(3), amid(first + 2, b""), vec![answered()], BROKEN),
            Case::frames(id(4), amid(first + 3, HELLO), vec![answered()], BROKEN),
            Case::chopped(id(5), amid(first + 4, HELLO), 1, vec![answered()], BROKEN),
        ]
    };
    [kind("4.1", 3), kind("4.2", 11)].concat()
}

/// 5.1, 5.2, 5.18.
fn broken_fragments() -> Vec<Case> {
    let two = |first, second| vec![frame(first, b"fragment1"), frame(FIN | second, b"fragment2")];
    vec![
        Case::frames("5.1", two(PING, 0), vec![], BROKEN),
        Case::frames("5.2", two(PONG, 0), vec![], BROKEN),
        Case::frames("5.18", two(TEXT, TEXT), vec![], BROKEN),
    ]
}

/// 5.3 to 5.8, 5.19, 5.20.
fn joined_fragments() -> Vec<Case> {
    let message = echo("hello");
    let (left, right) = message.as_bytes().split_at(9);
    let two = || fragments(&[left, right]);
    let around = || {
        let mut frames = two();
        frames.insert(1, ping(b"between"));
        frames
    };
    let both = || vec![pong(b"between"), answered()];
    let five: Vec<&[u8]> = message.as_bytes().chunks(message.len().div_ceil(5)).collect();
    let mut pinged = fragments(&five);
    pinged.insert(2, ping(b"first"));
    pinged.insert(5, ping(b"second"));
    let seen = vec![pong(b"first"), pong(b"second"), answered()];
    vec![
        Case::at_once("5.3", two(), vec![answered()], End::Open),
        Case::frames("5.4", two(), vec![answered()], End::Open),
        Case::chopped("5.5", two(), 1, vec![answered()], End::Open),
        Case::at_once("5.6", around(), both(), End::Open),
        Case::frames("5.7", around(), both(), End::Open),
        Case::chopped("5.8", around(), 1, both(), End::Open),
        Case::at_once("5.19", pinged.clone(), seen.clone(), End::Open),
        Case::frames("5.20", pinged, seen, End::Open),
    ]
}

/// 5.9 to 5.17: a continuation where there is nothing to continue.
fn out_of_turn() -> Vec<Case> {
    let message = echo("hello");
    let (left, right) = message.as_bytes().split_at(9);
    let before = |first| vec![frame(first, b"nothing to continue"), hello()];
    let after = || [fragments(&[left, right]), before(0)].concat();
    let once = |first: u8| [vec![frame(first, b"nothing")], fragments(&[left, right])].concat();
    let again = |first| [once(first), once(first)].concat();
    vec![
        Case::at_once("5.9", before(FIN), vec![], BROKEN),
        Case::frames("5.10", before(FIN), vec![], BROKEN),
        Case::chopped("5.11", before(FIN), 1, vec![], BROKEN),
        Case::at_once("5.12", before(0), vec![], BROKEN),
        Case::frames("5.13", before(0), vec![], BROKEN),
        Case::chopped("5.14", before(0), 1, vec![], BROKEN),
        Case::at_once("5.15", after(), vec![answered()], BROKEN),
        Case::frames("5.16", again(0), vec![], BROKEN),
        Case::frames("5.17", again(FIN), vec![], BROKEN),
    ]
}
