//! What clients get. Server frames are not masked, so one buffer serves all sessions.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload};
use natter_schemas::error::CloseCode;
use serde::Serialize;

/// Room for the longest head of a server's frame.
const HEAD_BYTES_MAX: usize = 10;
/// The head of most frames: 126 bytes to 64 KiB of payload. Room for it is left before the payload is written.
const HEAD_BYTES: usize = 4;
/// Reserved for a frame: most fit.
const FRAME_BYTES: usize = 512;

/// A text frame with `value` as JSON.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::new();
    append_json(&mut bytes, value);
    Bytes::from(bytes)
}

/// Appends a text frame with `value` as JSON.
pub fn append_json<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    bytes.reserve(FRAME_BYTES);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEAD_BYTES]);
    serde_json::to_writer(&mut *bytes, value).expect("wire types are plain data");
    finish(bytes, start, OpCode::Text);
}

/// A ping without payload.
pub fn ping() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// The answer to a ping: the same payload, at most 125 bytes.
pub fn pong(payload: &[u8]) -> Bytes {
    control(OpCode::Pong, payload)
}

/// A close frame with the table's code and name.
pub fn close(code: CloseCode) -> Bytes {
    control(OpCode::Close, &[code.number().to_be_bytes().as_slice(), code.name().as_bytes()].concat())
}

/// Where the frame ends that `at` lies in, in `frames`, which begin with a whole frame; `at` itself where a frame begins
/// there.
pub fn frame_end(frames: &[u8], at: usize) -> usize {
    let mut end = 0;
    while end < at {
        let short = frames.get(end + 1).copied().unwrap_or_default();
        let long = |bytes: usize| {
            let length = frames.get(end + 2..end + 2 + bytes).unwrap_or_default();
            2 + bytes + length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        end += match short {
            126 => long(2),
            127 => long(8),
            short => 2 + usize::from(short),
        };
    }
    end.min(frames.len())
}

fn control(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes.extend_from_slice(payload);
    finish(&mut bytes, 0, opcode);
    Bytes::from(bytes)
}

/// Puts the head before the payload that stands [`HEAD_BYTES`] behind `start`, and moves it where the head is another one.
fn finish(bytes: &mut Vec<u8>, start: usize, opcode: OpCode) {
    let payload = start + HEAD_BYTES;
    let mut head = [0; HEAD_BYTES_MAX];
    let mut frame = Frame::new(true, opcode, None, Payload::Borrowed(&bytes[payload..]));
    let length = frame.fmt_head(&mut head);
    match length.cmp(&HEAD_BYTES) {
        std::cmp::Ordering::Less => drop(bytes.drain(start + length..payload)),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => drop(bytes.splice(payload..payload, [0; HEAD_BYTES_MAX - HEAD_BYTES])),
    }
    bytes[start..start + length].copy_from_slice(&head[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_the_shortest_length() {
        assert_eq!(json(&"hi").as_ref(), [0x81, 4, b'"', b'h', b'i', b'"']);
        assert_eq!(json(&"a".repeat(200))[..5], [0x81, 126, 0, 202, b'"']);
        assert_eq!(json(&"a".repeat(70_000))[..11], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x72, b'"']);
        assert_eq!(json(&"a".repeat(70_000)).len(), 70_012);
        assert_eq!(pong(b"x").as_ref(), [0x8a, 1, b'x']);
        assert_eq!(ping().as_ref(), [0x89, 0]);
    }

    #[test]
    fn frames_that_stand_behind_each_other_are_the_same_and_their_ends_are_found() {
        let lengths = [0, 5, 121, 122, 123, 124, 200, 65_533, 65_534, 70_000, 3];
        let texts = lengths.map(|length| "a".repeat(length));
        let mut bytes = Vec::new();
        for text in &texts {
            let start = bytes.len();
            append_json(&mut bytes, text);
            assert_eq!(bytes[start..], json(text));
        }
        let mut start = 0;
        for text in &texts {
            let end = start + json(text).len();
            assert_eq!(frame_end(&bytes, start), start);
            for inside in [start + 1, start + 2, end - 1, end] {
                assert_eq!(frame_end(&bytes, inside), end, "at {inside} of {start} to {end}");
            }
            start = end;
        }
        assert_eq!(start, bytes.len());
    }

    #[test]
    fn close_says_code_and_name() {
        assert_eq!(close(CloseCode::Slow)[..4], [0x88, 6, 0x0f, 0xa2]);
        assert_eq!(&close(CloseCode::Slow)[4..], b"slow");
    }

    #[test]
    fn every_close_fits_a_control_frame() {
        for code in CloseCode::ALL {
            assert!(code.name().len() <= 123);
        }
    }
}
