//! The frames of one room, once, one behind the other in one buffer. A session of the room is an offset into it. Pure.
//!
//! Frames gather while the sessions are handed what gathered before: the slower that goes, the more frames one write takes.

use bytes::Bytes;

/// Reserved when frames gather again: at most what gathered the last time, and no more than this.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// A tape. Offsets count its bytes from its beginning; it keeps what has not been handed to everybody. Holds no memory
/// when that is nothing.
#[derive(Debug, Default)]
pub struct Tape {
    /// Offset of `ready`.
    start: u64,
    /// What the sessions are being handed.
    ready: Bytes,
    /// What gathers meanwhile.
    fresh: Vec<u8>,
    reserve: usize,
}

impl Tape {
    /// The offset behind its last frame.
    pub const fn end(&self) -> u64 {
        self.start + self.ready.len() as u64 + self.fresh.len() as u64
    }

    /// Bytes that gather for the next pass.
    pub const fn fresh_bytes(&self) -> usize {
        self.fresh.len()
    }

    /// Appends what `write` appends: a whole frame.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.fresh.is_empty() {
            self.fresh.reserve(self.reserve);
        }
        write(&mut self.fresh);
    }

    /// What has gathered is now to be handed to every session; what was ready has been.
    pub fn begin_pass(&mut self) {
        self.end_pass();
        self.ready = Bytes::from(std::mem::take(&mut self.fresh));
        self.reserve = self.ready.len().min(RESERVED_BYTES_MAX);
    }

    /// What was ready has been handed to every session.
    pub fn end_pass(&mut self) {
        self.start += self.ready.len() as u64;
        self.ready = Bytes::new();
    }

    /// What is ready, and where in it a session stands that has been handed everything before `at`; `None`: it has it all.
    /// The second offset is where it stands afterwards.
    pub fn ready(&self, at: u64) -> Option<(&Bytes, usize, u64)> {
        let from = usize::try_from(at.saturating_sub(self.start)).ok()?;
        (from < self.ready.len()).then(|| (&self.ready, from, self.start + self.ready.len() as u64))
    }

    /// What is kept from offset `at` to offset `to`, in at most two pieces. What still gathers is copied: for single sessions
    /// only.
    pub fn between(&self, at: u64, to: u64) -> [Bytes; 2] {
        let offset = |at: u64| usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let (from, to) = (offset(at), offset(to.max(at)));
        let within = |offset: usize| offset.min(self.ready.len());
        let beyond = |offset: usize| offset.saturating_sub(self.ready.len()).min(self.fresh.len());
        [self.ready.slice(within(from)..within(to)), Bytes::copy_from_slice(&self.fresh[beyond(from)..beyond(to)])]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Pass,
        End,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Step::Append),
            2 => Just(Step::Pass),
            1 => Just(Step::End),
        ]
    }

    #[test]
    fn a_tape_that_everybody_has_read_holds_no_memory() {
        let mut tape = Tape::default();
        tape.append(|bytes| bytes.extend_from_slice(b"frame"));
        tape.begin_pass();
        assert_eq!(tape.ready(2).map(|(chunk, from, end)| (&chunk[from..], end)), Some((b"ame".as_slice(), 5)));
        tape.end_pass();
        assert_eq!((tape.ready(2), tape.end(), tape.fresh.capacity()), (None, 5, 0));
    }

    proptest! {
        /// Whatever is kept is what was appended, at its offset; a session that takes part in every pass gets all of it.
        #[test]
        fn an_offset_is_a_place_in_everything_that_was_appended(steps in prop::collection::vec(step(), 0..60)) {
            let (mut tape, mut all) = (Tape::default(), Vec::new());
            let (mut session, mut at) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        tape.append(|tape| tape.extend_from_slice(&bytes));
                        all.extend_from_slice(&bytes);
                    }
                    Step::Pass => tape.begin_pass(),
                    Step::End => tape.end_pass(),
                }
                prop_assert_eq!(tape.end(), all.len() as u64);
                if let Some((chunk, from, end)) = tape.ready(at) {
                    session.extend_from_slice(&chunk[from..]);
                    at = end;
                }
                prop_assert_eq!(&session[..], &all[..session.len()]);
                for from in usize::try_from(tape.start).unwrap()..=all.len() {
                    let to = from + (all.len() - from) / 2;
                    prop_assert_eq!(tape.between(from as u64, tape.end()).concat(), &all[from..]);
                    prop_assert_eq!(tape.between(from as u64, to as u64).concat(), &all[from..to]);
                }
            }
            tape.begin_pass();
            if let Some((chunk, from, _)) = tape.ready(at) {
                session.extend_from_slice(&chunk[from..]);
            }
            prop_assert_eq!(session, all);
        }
    }
}
