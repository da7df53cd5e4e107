//! What clients send, frame by frame, with every limit and rule of RFC 6455 held.

use std::mem::take;

use fastwebsockets::{OpCode, unmask};
use natter_schemas::error::CloseCode;
use natter_schemas::limits::FRAME_BYTES_MAX;

/// Fragments of one message: a message may come in pieces, but not in a stream of empty ones.
const FRAGMENTS_MAX: u32 = 1024;
/// Bytes of a control frame's payload (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Bytes as they came from the socket, taken from the front.
pub type Chunk<'i> = &'i mut [u8];

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message, whatever fragments it came in.
    Text(&'a str),
    /// To be answered with the same payload.
    Ping(&'a [u8]),
    /// An answer to a ping, or unasked for.
    Pong,
    /// The client closes, with this code where it gave one.
    Close(Option<u16>),
}

/// A rule that the client broke; the connection ends with [`Violation::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 6455, 5.1.
    #[error("a frame of a client is not masked")]
    Unmasked,
    /// RFC 6455, 5.2.
    #[error("a reserved bit is set and no extension was agreed on")]
    ReservedBits,
    /// RFC 6455, 5.2.
    #[error("an opcode that does not exist")]
    Opcode,
    /// RFC 6455, 5.2.
    #[error("a length that is not in its shortest form")]
    Length,
    /// RFC 6455, 5.5.
    #[error("a control frame of more than 125 bytes or in fragments")]
    Control,
    /// RFC 6455, 5.4.
    #[error("a continuation of nothing, or a new message within another")]
    Continuation,
    /// RFC 6455, 5.5.1 and 7.4.
    #[error("a close frame whose code or reason is malformed")]
    Close,
    /// RFC 6455, 8.1.
    #[error("a text message that is not UTF-8")]
    Utf8,
    /// Our own limit.
    #[error("a message of more than 64 KiB or more than 1,024 fragments")]
    TooBig,
    /// Our own wish.
    #[error("a binary message")]
    Binary,
}

impl Violation {
    /// What the connection is closed with.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::InvalidUtf8,
            Self::TooBig => CloseCode::TooBig,
            Self::Binary => CloseCode::Unsupported,
            _ => CloseCode::Protocol,
        }
    }
}

/// The reading side of one connection. Holds no memory between whole messages.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Bytes that were not looked at yet (from `taken` on): the beginning of a head or of a control frame, or all that came
    /// since the session stopped reading.
    pending: Vec<u8>,
    taken: usize,
    /// What has come of a message that is not whole yet, unmasked.
    message: Vec<u8>,
    /// How much of `message` is known to be UTF-8.
    checked: usize,
    /// Fragments of it that are whole.
    fragments: u32,
    /// Its frame that is not.
    partial: Option<Partial>,
}

/// A frame's head, checked.
#[derive(Debug, Clone, Copy)]
struct Head {
    fin: bool,
    opcode: OpCode,
    mask: [u8; 4],
    start: usize,
    payload: usize,
}

/// A frame of a text message that has come in part.
#[derive(Debug, Clone, Copy)]
struct Partial {
    fin: bool,
    /// As it goes on with the next byte.
    mask: [u8; 4],
    /// Bytes that have not come.
    left: usize,
}

impl FrameReader {
    /// The next message or control frame in what was kept and `input`, which is taken from its front and unmasked in
    /// place; `None` once all of it is used up (the beginning of a frame is kept). Call it until then.
    ///
    /// # Errors
    /// The [`Violation`], as soon as the bytes that break the rule are there; nothing is to be read after one.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut Chunk<'i>) -> Result<Option<Incoming<'a>>, Violation> {
        self.forget_last_message();
        loop {
            let kept = self.taken < self.pending.len();
            if kept {
                self.keep(input);
            }
            if let Some(partial) = self.partial {
                match self.fill(partial, kept, input)? {
                    Filled::Partly => {
                        self.compact();
                        return Ok(None);
                    }
                    Filled::Fragment => continue,
                    Filled::Message => return text(&self.message).map(|text| Some(Incoming::Text(text))),
                }
            }
            let bytes = if kept { &self.pending[self.taken..] } else { &**input };
            let head = self.check_head(bytes)?;
            let Some(head) = head.filter(|head| !is_control(head.opcode) || head.total() <= bytes.len()) else {
                self.keep(input);
                self.compact();
                return Ok(None);
            };
            let single = head.fin && self.fragments == 0 && head.total() <= bytes.len();
            if is_control(head.opcode) || single {
                // Handed on from where it lies.
                let payload = &mut self.take(head.total(), kept, input)[head.start..];
                unmask(payload, head.mask);
                return whole(head.opcode, payload).map(Some);
            }
            self.take(head.start, kept, input);
            self.partial = Some(Partial { fin: head.fin, mask: head.mask, left: head.payload });
        }
    }

    /// Keeps the rest of `input` for the next call: for a session that stops reading in the middle.
    pub fn keep(&mut self, input: &mut Chunk<'_>) {
        self.pending.extend_from_slice(&*take(input));
    }

    /// `None`: more bytes are needed. The limits are checked before the payload is there.
    fn check_head(&self, bytes: &[u8]) -> Result<Option<Head>, Violation> {
        let Some(head) = parse_head(bytes)? else { return Ok(None) };
        if is_control(head.opcode) {
            return Ok(Some(head));
        }
        let continues = head.opcode == OpCode::Continuation;
        if continues != (self.fragments > 0) {
            return Err(Violation::Continuation);
        }
        if self.message.len() + head.payload > FRAME_BYTES_MAX || self.fragments == FRAGMENTS_MAX {
            return Err(Violation::TooBig);
        }
        Ok(Some(head))
    }

    /// Takes what has come of a frame's payload.
    fn fill(&mut self, partial: Partial, kept: bool, input: &mut Chunk<'_>) -> Result<Filled, Violation> {
        let Partial { fin, mut mask, left } = partial;
        let come = left.min(if kept { self.pending.len() - self.taken } else { input.len() });
        let start = self.message.len();
        if kept {
            self.message.extend_from_slice(&self.pending[self.taken..self.taken + come]);
            self.taken += come;
        } else {
            self.message.extend_from_slice(take_front(input, come));
        }
        unmask(&mut self.message[start..], mask);
        self.check_text(fin && come == left)?;
        if come < left {
            mask.rotate_left(come % 4);
            self.partial = Some(Partial { fin, mask, left: left - come });
            return Ok(Filled::Partly);
        }
        self.partial = None;
        self.fragments = if fin { 0 } else { self.fragments + 1 };
        Ok(if fin { Filled::Message } else { Filled::Fragment })
    }

    /// Fails at the first byte that makes the message wrong, not at its end (RFC 6455, 8.1 lets it be "when").
    fn check_text(&mut self, ends: bool) -> Result<(), Violation> {
        match std::str::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            // A character that goes on in the next bytes.
            Err(error) if error.error_len().is_none() && !ends => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }

    /// Takes so many bytes off the front of what was kept, or of `input`.
    fn take<'a, 'i: 'a>(&'a mut self, count: usize, kept: bool, input: &mut Chunk<'i>) -> &'a mut [u8] {
        if !kept {
            return take_front(input, count);
        }
        let start = self.taken;
        self.taken += count;
        &mut self.pending[start..self.taken]
    }

    /// The last call's message lay in the buffer until now.
    fn forget_last_message(&mut self) {
        if self.fragments == 0 && self.partial.is_none() && !self.message.is_empty() {
            self.message = Vec::new();
            self.checked = 0;
        }
    }

    fn compact(&mut self) {
        self.pending.drain(..self.taken);
        self.taken = 0;
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }
}

/// What the payload that has come makes whole.
enum Filled {
    /// Not even its frame.
    Partly,
    /// A fragment.
    Fragment,
    /// The message.
    Message,
}

impl Head {
    const fn total(self) -> usize {
        self.start + self.payload
    }
}

fn take_front<'i>(input: &mut Chunk<'i>, count: usize) -> &'i mut [u8] {
    let (front, rest) = take(input).split_at_mut(count);
    *input = rest;
    front
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBits);
    }
    let fin = first & 0x80 != 0;
    let opcode = OpCode::try_from(first & 0x0f).map_err(|_| Violation::Opcode)?;
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    let short = second & 0x7f;
    if is_control(opcode) && (!fin || usize::from(short) > CONTROL_BYTES_MAX) {
        return Err(Violation::Control);
    }
    if opcode == OpCode::Binary {
        return Err(Violation::Binary);
    }
    let Some((payload, rest)) = payload_length(short, rest)? else { return Ok(None) };
    let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
    let start = bytes.len() - rest.len() + mask.len();
    // A length that does not fit is refused by the caller's limit, like any other that is too large.
    let payload = usize::try_from(payload).unwrap_or(usize::MAX / 2);
    Ok(Some(Head { fin, opcode, mask: *mask, start, payload }))
}

fn payload_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, rest, shortest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    if length < shortest || length >> 63 != 0 {
        return Err(Violation::Length);
    }
    Ok(Some((length, rest)))
}

fn whole(opcode: OpCode, payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    match opcode {
        OpCode::Ping => Ok(Incoming::Ping(payload)),
        OpCode::Pong => Ok(Incoming::Pong),
        OpCode::Close => close(payload),
        _ => text(payload).map(Incoming::Text),
    }
}

fn text(payload: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(payload).map_err(|_| Violation::Utf8)
}

fn close(payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    if payload.is_empty() {
        return Ok(Incoming::Close(None));
    }
    let (code, reason) = payload.split_first_chunk::<2>().ok_or(Violation::Close)?;
    let code = u16::from_be_bytes(*code);
    // Those that RFC 6455, 7.4 lets an endpoint send; 1004 to 1006 and 1015 never stand in a frame.
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !allowed {
        return Err(Violation::Close);
    }
    text(reason)?;
    Ok(Incoming::Close(Some(code)))
}

const fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

    /// A client's frame.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..65536 => {
                bytes.push(0x80 | 0x7e);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(0x80 | 0x7f);
                bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(MASK);
        let mut masked = payload.to_vec();
        unmask(&mut masked, MASK);
        bytes.extend(masked);
        bytes
    }

    /// Everything that `chunks` come to, in a form that can be kept.
    fn read(chunks: &[&[u8]]) -> (Vec<String>, Option<Violation>) {
        let mut reader = FrameReader::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            let mut bytes = chunk.to_vec();
            let mut input = bytes.as_mut_slice();
            loop {
                match reader.next(&mut input) {
                    Ok(Some(Incoming::Ping(payload))) => seen.push(format!("ping {}", payload.len())),
                    Ok(Some(incoming)) => seen.push(format!("{incoming:?}")),
                    Ok(None) => break,
                    Err(violation) => return (seen, Some(violation)),
                }
            }
        }
        (seen, None)
    }

    fn violation(bytes: &[u8]) -> Option<Violation> {
        read(&[bytes]).1
    }

    #[test]
    fn messages_and_control_frames() {
        let bytes = [client(0x81, b"hi"), client(0x89, b"x"), client(0x8a, b""), client(0x88, &[0x03, 0xe8])].concat();
        let expected = ["Text(\"hi\")", "ping 1", "Pong", "Close(Some(1000))"];
        assert_eq!(read(&[&bytes]), (expected.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn fragments_join_around_control_frames_and_leave_no_memory() {
        let mut bytes =
            [client(0x01, b"he"), client(0x89, b""), client(0x00, b"ll"), client(0x80, b"o"), client(0x81, b"!")]
                .concat();
        assert_eq!(read(&[&bytes]).0, ["ping 0", "Text(\"hello\")", "Text(\"!\")"]);
        let mut reader = FrameReader::default();
        let mut input = bytes.as_mut_slice();
        while reader.next(&mut input).unwrap().is_some() {}
        assert_eq!((reader.pending.capacity(), reader.message.capacity()), (0, 0));
    }

    #[test]
    fn rules_of_the_protocol_are_held() {
        let unmasked = [0x81, 0x02, b'h', b'i'];
        assert_eq!(violation(&unmasked), Some(Violation::Unmasked));
        assert_eq!(violation(&client(0xc1, b"")), Some(Violation::ReservedBits));
        assert_eq!(violation(&client(0x83, b"")), Some(Violation::Opcode));
        assert_eq!(violation(&client(0x8b, b"")), Some(Violation::Opcode));
        assert_eq!(violation(&client(0x09, b"")), Some(Violation::Control));
        assert_eq!(violation(&client(0x89, &[0; 126])), Some(Violation::Control));
        assert_eq!(violation(&client(0x80, b"")), Some(Violation::Continuation));
        assert_eq!(violation(&[client(0x01, b""), client(0x81, b"")].concat()), Some(Violation::Continuation));
        assert_eq!(violation(&client(0x82, b"")), Some(Violation::Binary));
        assert_eq!(violation(&client(0x81, &[0xff])), Some(Violation::Utf8));
        assert_eq!(violation(&client(0x88, &[0x03])), Some(Violation::Close));
        assert_eq!(violation(&client(0x88, &[0x03, 0xed])), Some(Violation::Close));
        assert_eq!(violation(&client(0x88, &[0x03, 0xe8, 0xff])), Some(Violation::Utf8));
        let long_form = [[0x81, 0x80 | 0x7e, 0, 5].as_slice(), &MASK, &[0; 5]].concat();
        assert_eq!(violation(&long_form), Some(Violation::Length));
        let negative = [[0x81, 0x80 | 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0].as_slice(), &MASK].concat();
        assert_eq!(violation(&negative), Some(Violation::Length));
    }

    #[test]
    fn the_limit_holds_for_the_whole_message_and_before_it_has_arrived() {
        let largest = vec![b'a'; FRAME_BYTES_MAX];
        assert_eq!(read(&[&client(0x81, &largest)]).0.len(), 1);
        let announced = &client(0x81, &vec![b'a'; FRAME_BYTES_MAX + 1])[..14];
        assert_eq!(violation(announced), Some(Violation::TooBig));
        let pieces = [client(0x01, &largest), client(0x00, b"a")].concat();
        assert_eq!(violation(&pieces), Some(Violation::TooBig));
        let endless = [client(0x01, b""), client(0x00, b"").repeat(FRAGMENTS_MAX as usize)].concat();
        assert_eq!(violation(&endless), Some(Violation::TooBig));
        let huge = [[0x81, 0x80 | 0x7f, 0x7f, 255, 255, 255, 255, 255, 255, 255].as_slice(), &MASK].concat();
        assert_eq!(violation(&huge), Some(Violation::TooBig));
    }

    #[test]
    fn cut_at_every_byte_it_reads_the_same() {
        let long = "ö".repeat(200);
        let bytes = [
            client(0x81, b"first"),
            client(0x01, long.as_bytes()),
            client(0x89, b"ping"),
            client(0x80, b"end"),
            client(0x88, &[0x03, 0xe8, b'o', b'k']),
        ]
        .concat();
        let whole = read(&[&bytes]);
        assert_eq!(whole.1, None);
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(read(&[left, right]), whole, "cut at {cut}");
            let truncated = read(&[left]);
            assert!(truncated.1.is_none() && truncated.0.len() <= whole.0.len(), "truncated at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_at_the_byte_that_makes_it_so() {
        // A character that is cut may go on; one that is cut where no byte could make it right may not.
        let valid = "\u{3ba}\u{f4}".as_bytes();
        for (wrong, at) in
            [(&[0xf4, 0x90][..], 1), (&[0xed, 0xa0], 1), (&[0xff], 0), (&[0xe0, 0x80], 1), (&[0xce, 0x61], 1)]
        {
            let payload = [valid, wrong, b"never comes"].concat();
            let frame = client(0x81, &payload);
            let broken = frame.len() - payload.len() + valid.len() + at;
            assert_eq!(violation(&frame[..broken]), None, "{wrong:x?}");
            assert_eq!(violation(&frame[..=broken]), Some(Violation::Utf8), "{wrong:x?}");
            let fragments: Vec<u8> =
                payload.iter().enumerate().flat_map(|(index, byte)| client(u8::from(index == 0), &[*byte])).collect();
            assert_eq!(violation(&fragments[..7 * (valid.len() + at)]), None, "{wrong:x?}");
            assert_eq!(violation(&fragments[..7 * (valid.len() + at + 1)]), Some(Violation::Utf8), "{wrong:x?}");
        }
        let unfinished = client(0x81, &[0xce]);
        assert_eq!(
            read(&[&unfinished[..6], &unfinished[6..]]).1,
            Some(Violation::Utf8),
            "the message ends within a character"
        );
    }

    #[test]
    fn what_is_kept_comes_first() {
        let mut reader = FrameReader::default();
        let mut bytes = [client(0x81, b"1"), client(0x81, b"2"), client(0x81, b"3")].concat();
        let mut input = bytes.as_mut_slice();
        assert_eq!(reader.next(&mut input), Ok(Some(Incoming::Text("1"))));
        reader.keep(&mut input);
        assert!(!reader.pending.is_empty());
        let mut more = client(0x81, b"4");
        let mut input = more.as_mut_slice();
        for text in ["2", "3", "4"] {
            assert_eq!(reader.next(&mut input), Ok(Some(Incoming::Text(text))));
        }
        assert_eq!(reader.next(&mut input), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_the_same_however_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0..400_usize,
        ) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(read(&[&bytes]), read(&[left, right]));
        }

        #[test]
        fn any_text_in_any_fragments_is_read_whole(text in ".{0,300}", cuts in prop::collection::vec(0..1200_usize, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let last = cuts.len() - 2;
            let bytes: Vec<u8> = cuts.windows(2).enumerate().flat_map(|(index, ends)| {
                let first = u8::from(index == 0) | u8::from(index == last) << 7;
                client(first, &text.as_bytes()[ends[0]..ends[1]])
            }).collect();
            prop_assert_eq!(read(&[&bytes]), (vec![format!("Text({text:?})")], None));
        }
    }
}
