//! Bytes on a session that are no frames, or none that can be taken.

use natter_schemas::error::CloseCode;
use natter_schemas::error::CloseCode::{InvalidUtf8, Protocol, TooBig, TooManyErrors, Unsupported};

use super::case::{Act, Case, Told};
use crate::raw_socket::{BINARY, CLOSE, PING, TEXT, close, frame, head, text};

pub const ABOUT: &str = "Bytes on a session, which is closed. What RFC 6455 asks for is held in full: \
                         `cargo test -p natter --test system conformance` runs the cases of the Autobahn suite's sections 1 to 7 and 10.";

const FIN: u8 = 0x80;

pub fn cases() -> Vec<Case> {
    let many: Vec<u8> = (0..10_000).flat_map(|index| frame(u8::from(index == 0), b"")).collect();
    let halves = [frame(TEXT, &vec![b'a'; 40_000]), frame(0, &vec![b'a'; 40_000])].concat();
    let unmasked = [&[FIN | TEXT, 2], b"hi".as_slice()].concat();
    let long_form = [&[FIN | TEXT, 0x80 | 0x7e, 0, 2], [0; 6].as_slice()].concat();
    let negative = [&[FIN | TEXT, 0x80 | 127, 0x80], [0; 11].as_slice()].concat();
    let beginning = |payload: &[u8], announced| {
        let whole = frame(FIN | TEXT, payload);
        [head(FIN | TEXT, announced), whole[whole.len() - payload.len() - 4..].to_vec()].concat()
    };
    vec![
        case(
            "a frame that announces 65,537 bytes",
            head(FIN | TEXT, 65_537).into_iter().chain([0; 4]).collect(),
            TooBig,
        ),
        case(
            "a frame that announces 2^63 - 1 bytes",
            head(FIN | TEXT, usize::MAX >> 1).into_iter().chain([0; 4]).collect(),
            TooBig,
        ),
        case("a message of 80,000 bytes in two fragments", halves, TooBig),
        case("a message in 10,000 fragments", many, TooBig),
        case("a frame that is not masked", unmasked, Protocol),
        case("a reserved bit", frame(FIN | 0x40 | TEXT, b"hi"), Protocol),
        case("an opcode that does not exist", frame(FIN | 3, b"hi"), Protocol),
        case("a length that is not in its shortest form", long_form, Protocol),
        case("a length of 2^63", negative, Protocol),
        case("a ping of 126 bytes", frame(FIN | PING, &[0; 126]), Protocol),
        case("a ping in fragments", frame(PING, b""), Protocol),
        case("a continuation of nothing", frame(FIN, b"hi"), Protocol),
        case("a new message within another", [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(), Protocol),
        case("a close frame of one byte", frame(FIN | CLOSE, &[3]), Protocol),
        case("a close frame with code 1005", close(1005, b""), Protocol),
        case("a binary message", frame(FIN | BINARY, b"{}"), Unsupported),
        case("a message that is not UTF-8", text(b"\xc3\x28"), InvalidUtf8),
        case("the beginning of a message that cannot become UTF-8", beginning(b"\xf4\x90", 1000), InvalidUtf8),
        case("16 malformed messages one after the other", text("{").repeat(16), TooManyErrors),
    ]
}

fn case(sent: &'static str, bytes: Vec<u8>, code: CloseCode) -> Case {
    Case { sent, act: Act::Session(bytes), told: Told::Closed(code) }
}
