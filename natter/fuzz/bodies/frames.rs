//! The frame reader: whatever comes, it reads the same however it is cut, and hands on nothing beyond the limit.

use natter_schemas::limits::FRAME_BYTES_MAX;

use crate::frames::read::{FrameReader, Incoming, Violation};

/// The first byte says where the others are cut.
pub fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (left, right) = bytes.split_at(bytes.len() * usize::from(*cut) / 256);
    let whole = read(&[bytes], false);
    assert_eq!(whole, read(&[left, right], false));
    assert_eq!(whole, read(&[left, right], true));
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, read(&octets, false));
}

/// All that pieces come to. `pausing`: the session stops reading behind every message.
fn read(pieces: &[&[u8]], pausing: bool) -> (Vec<String>, Option<Violation>) {
    let mut reader = FrameReader::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = bytes.as_mut_slice();
        loop {
            match reader.next(&mut input) {
                Ok(Some(incoming)) => {
                    if let Incoming::Text(text) = incoming {
                        assert!(text.len() <= FRAME_BYTES_MAX);
                    }
                    seen.push(format!("{incoming:?}"));
                }
                Ok(None) => break,
                Err(violation) => return (seen, Some(violation)),
            }
            if pausing {
                reader.keep(&mut input);
            }
        }
    }
    (seen, None)
}
