//! What clients get. Server frames are not masked, so one buffer serves all sessions.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload};
use natter_schemas::error::CloseCode;
use serde::Serialize;

/// Room for the longest head of a server's frame.
const HEAD_BYTES_MAX: usize = 10;

/// A text frame with `value` as JSON.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::with_capacity(512);
    bytes.resize(HEAD_BYTES_MAX, 0);
    serde_json::to_writer(&mut bytes, value).expect("wire types are plain data");
    framed(OpCode::Text, bytes)
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

fn control(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    bytes.extend_from_slice(payload);
    framed(opcode, bytes)
}

/// The frame whose payload stands behind [`HEAD_BYTES_MAX`] free bytes.
fn framed(opcode: OpCode, mut bytes: Vec<u8>) -> Bytes {
    let (room, payload) = bytes.split_at_mut(HEAD_BYTES_MAX);
    let mut head = [0; HEAD_BYTES_MAX];
    let length = Frame::new(true, opcode, None, Payload::Borrowed(payload)).fmt_head(&mut head);
    let start = HEAD_BYTES_MAX - length;
    room[start..].copy_from_slice(&head[..length]);
    Bytes::from(bytes).slice(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_the_shortest_length() {
        assert_eq!(json(&"hi").as_ref(), [0x81, 4, b'"', b'h', b'i', b'"']);
        assert_eq!(json(&"a".repeat(200))[..4], [0x81, 126, 0, 202]);
        assert_eq!(json(&"a".repeat(70_000))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x72]);
        assert_eq!(pong(b"x").as_ref(), [0x8a, 1, b'x']);
        assert_eq!(ping().as_ref(), [0x89, 0]);
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
