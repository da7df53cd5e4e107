//! Frames (RFC 6455) as a load needs them: what the server sends is walked by its heads, where it lies; what a client sends
//! is made ready once. Pure.

/// A frame's opcodes.
pub const TEXT: u8 = 0x1;
/// A close frame.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;
const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A whole frame of the server. Server frames are not masked, and Natter's are never fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// What it is.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'b [u8],
}

/// Gives every whole frame in `bytes` to `each`. The answer is how many bytes they were: what is left is the beginning of
/// the next.
pub fn walk<'b>(bytes: &'b [u8], mut each: impl FnMut(Frame<'b>)) -> usize {
    let mut at = 0;
    while let Some((opcode, head, length)) = head(&bytes[at..]) {
        let Some(payload) = bytes.get(at + head..at + head + length) else { break };
        each(Frame { opcode, payload });
        at += head + length;
    }
    at
}

/// Opcode, bytes of the head, bytes of the payload; `None`: not all of the head is here.
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (head, length) = match second & !MASKED {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    Some((first & 0x0F, head, usize::try_from(length).unwrap_or(usize::MAX / 2)))
}

/// Appends a text frame of a client's to `out`.
///
/// It is masked, as it must be, with zeroes: the server undoes the mask all the same, and the generator is spared making it.
pub fn text(out: &mut Vec<u8>, payload: &[u8]) {
    masked(out, TEXT, payload);
}

/// Appends the answer to a ping to `out`.
pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    masked(out, PONG, payload);
}

/// Appends a text frame of a server's to `out`.
pub fn server_text(out: &mut Vec<u8>, payload: &[u8]) {
    put_head(out, TEXT, 0, payload.len());
    out.extend(payload);
}

fn masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_head(out, opcode, MASKED, payload.len());
    out.extend([0; 4]);
    out.extend(payload);
}

#[expect(clippy::cast_possible_truncation, reason = "each length was compared with what its bytes can hold")]
fn put_head(out: &mut Vec<u8>, opcode: u8, mask: u8, length: usize) {
    out.push(FIN | opcode);
    match length {
        0..=125 => out.push(mask | length as u8),
        126..=0xFFFF => {
            out.push(mask | 0x7e);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
}

/// What stands between `before` and `after` in a frame's JSON, without parsing the rest.
pub fn between<'t>(text: &'t [u8], before: &[u8], after: u8) -> Option<&'t [u8]> {
    let from = text.windows(before.len()).position(|window| window == before)? + before.len();
    let rest = &text[from..];
    rest.iter().position(|byte| *byte == after).map(|to| &rest[..to])
}

/// The number that stands between `before` and `after`.
pub fn number(text: &[u8], before: &[u8], after: u8) -> Option<u64> {
    std::str::from_utf8(between(text, before, after)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_given_wherever_the_bytes_are_cut() {
        let payloads = [b"".to_vec(), b"hi".to_vec(), vec![b'x'; 125], vec![b'y'; 126], vec![b'z'; 70_000]];
        let mut all = Vec::new();
        for payload in &payloads {
            server_text(&mut all, payload);
        }
        for size in [1, 7, 4096, all.len()] {
            let (mut carry, mut found) = (Vec::new(), Vec::new());
            for piece in all.chunks(size) {
                carry.extend_from_slice(piece);
                let done = walk(&carry, |frame| found.push(frame.payload.to_vec()));
                carry.drain(..done);
            }
            assert_eq!(found, payloads);
            assert!(carry.is_empty());
        }
    }

    #[test]
    fn client_frames_have_a_mask_of_zeroes() {
        let mut out = Vec::new();
        text(&mut out, b"hi");
        pong(&mut out, b"");
        assert_eq!(out, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i', 0x8A, 0x80, 0, 0, 0, 0]);
    }

    #[test]
    fn fields_are_found_without_parsing() {
        let frame = br#"{"event":"message.sent","seq":12,"text":"345 xxx"}"#;
        assert_eq!(number(frame, br#""seq":"#, b','), Some(12));
        assert_eq!(number(frame, br#""text":""#, b' '), Some(345));
        assert_eq!(number(frame, br#""ref":""#, b'"'), None);
    }
}
