//! The frames of one room, once, one behind the other in one buffer. A session of the room is an offset into it. Pure.
//!
//! Frames gather from one time that a session is handed what is new to the next: the longer that takes, the more frames one
//! write takes.

use std::ops::Range;

use bytes::Bytes;

/// Reserved when frames gather again: at most as much as the last time, and no more than this.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// A tape. Offsets count its bytes from its beginning; it keeps what has not been handed to everybody. Holds no memory
/// when that is nothing.
#[derive(Debug, Default)]
pub struct Tape {
    /// Offset of `chunk`.
    start: u64,
    /// What is handed on.
    chunk: Bytes,
    /// What has come since.
    fresh: Vec<u8>,
    reserve: usize,
    /// Frames that are signals, from the beginning of `chunk` on, those in `fresh` included.
    signals: Vec<Range<usize>>,
}

/// Frames for a single session.
#[derive(Debug)]
pub struct Piece {
    /// The frames.
    pub frames: Bytes,
    /// Which of them are signals.
    pub signals: Vec<Range<usize>>,
}

impl Tape {
    /// The offset behind its last frame.
    pub const fn end(&self) -> u64 {
        self.start + self.bytes() as u64
    }

    /// Bytes that it keeps.
    pub const fn bytes(&self) -> usize {
        self.chunk.len() + self.fresh.len()
    }

    /// Appends what `write` appends: a whole frame.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.fresh.is_empty() {
            self.fresh.reserve(self.reserve);
        }
        write(&mut self.fresh);
    }

    /// The same, of a signal.
    pub fn append_signal(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes();
        self.append(write);
        self.signals.push(from..self.bytes());
    }

    /// Frames that are signals in the chunk that is handed on.
    pub fn signals(&self) -> &[Range<usize>] {
        &self.signals[..self.signals.partition_point(|signal| signal.end <= self.chunk.len())]
    }

    /// From here on everything that is on the tape is handed on. Copies what it keeps where something has come since the last
    /// time: nothing beside what one write to one session costs.
    pub fn seal(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        self.reserve = self.fresh.len().min(RESERVED_BYTES_MAX);
        let fresh = std::mem::take(&mut self.fresh);
        self.chunk = Bytes::from(if self.chunk.is_empty() { fresh } else { [&self.chunk[..], &fresh[..]].concat() });
    }

    /// Forgets what is before `offset`: everybody has it.
    pub fn forget(&mut self, offset: u64) {
        self.seal();
        let before = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.chunk.len());
        self.start += before as u64;
        self.chunk = self.chunk.slice(before..);
        self.signals = within(&self.signals, before..usize::MAX);
    }

    /// What is handed on to a session that has everything before `at`: a chunk, where in it, and the offset behind it. `None`:
    /// it has all of it.
    pub fn ready(&self, at: u64) -> Option<(&Bytes, usize, u64)> {
        let from = usize::try_from(at.saturating_sub(self.start)).ok()?;
        (from < self.chunk.len()).then(|| (&self.chunk, from, self.start + self.chunk.len() as u64))
    }

    /// What is kept from offset `at` to offset `to`, in at most two pieces. What has come since the last [`Tape::seal`] is
    /// copied: for single sessions only.
    pub fn between(&self, at: u64, to: u64) -> [Piece; 2] {
        let offset = |at: u64| usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.bytes());
        let (from, to) = (offset(at), offset(to.max(at)));
        let sealed = self.chunk.len();
        let beyond = |offset: usize| offset.saturating_sub(sealed);
        let piece = |frames, range| Piece { frames, signals: within(&self.signals, range) };
        [
            piece(self.chunk.slice(from.min(sealed)..to.min(sealed)), from.min(sealed)..to.min(sealed)),
            piece(Bytes::copy_from_slice(&self.fresh[beyond(from)..beyond(to)]), from.max(sealed)..to.max(sealed)),
        ]
    }
}

/// Those of these frames that lie in `range`, from its beginning on.
fn within(frames: &[Range<usize>], range: Range<usize>) -> Vec<Range<usize>> {
    let inside = frames.iter().filter(|frame| range.start <= frame.start && frame.end <= range.end);
    inside.map(|frame| frame.start - range.start..frame.end - range.start).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Hand(usize),
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Step::Append),
            4 => (0..3_usize).prop_map(Step::Hand),
            1 => Just(Step::Forget),
        ]
    }

    #[test]
    fn a_tape_that_everybody_has_read_holds_no_memory() {
        let mut tape = Tape::default();
        tape.append(|bytes| bytes.extend_from_slice(b"frame"));
        assert_eq!((tape.ready(0), tape.bytes()), (None, 5));
        tape.seal();
        assert_eq!(tape.ready(2).map(|(chunk, from, end)| (&chunk[from..], end)), Some((b"ame".as_slice(), 5)));
        let chunk = tape.chunk.clone();
        tape.forget(5);
        assert_eq!((tape.ready(2), tape.end(), tape.fresh.capacity()), (None, 5, 0));
        assert!(chunk.is_unique());
    }

    proptest! {
        /// Whatever is kept is what was appended, at its offset; each session gets all of it in order.
        #[test]
        fn an_offset_is_a_place_in_everything_that_was_appended(steps in prop::collection::vec(step(), 0..60)) {
            let (mut tape, mut all) = (Tape::default(), Vec::new());
            let mut sessions: [(u64, Vec<u8>); 3] = Default::default();
            let hand = |tape: &mut Tape, (at, session): &mut (u64, Vec<u8>)| {
                tape.seal();
                if let Some((chunk, from, end)) = tape.ready(*at) {
                    session.extend_from_slice(&chunk[from..]);
                    *at = end;
                }
            };
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        tape.append(|tape| tape.extend_from_slice(&bytes));
                        all.extend_from_slice(&bytes);
                    }
                    Step::Hand(session) => hand(&mut tape, &mut sessions[session]),
                    Step::Forget => tape.forget(sessions.iter().map(|(at, _)| *at).min().unwrap()),
                }
                prop_assert_eq!(tape.end(), all.len() as u64);
                for from in usize::try_from(tape.start).unwrap()..=all.len() {
                    let to = from + (all.len() - from) / 2;
                    let between = |to: u64| tape.between(from as u64, to).map(|piece| piece.frames).concat();
                    prop_assert_eq!(between(tape.end()), &all[from..]);
                    prop_assert_eq!(between(to as u64), &all[from..to]);
                }
            }
            for session in &mut sessions {
                hand(&mut tape, session);
                prop_assert_eq!(&session.1, &all);
            }
            tape.forget(tape.end());
            prop_assert_eq!(tape.bytes(), 0);
        }
    }
}
