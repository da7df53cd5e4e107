//! Frames that wait for one socket: ranges of buffers that other sessions share, written in order. A hot room's frames are
//! one range for each pass over the room, whatever their number; an answer is a range of its own. Pure.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;

use bytes::Bytes;

use crate::frames::write::frame_end;

/// Ranges of one write at most (the kernel takes up to 1,024).
const WRITE_RANGES_MAX: usize = 64;

/// What waits, oldest first. Each range begins and ends with a whole frame. Holds no memory when nothing waits.
#[derive(Debug, Default)]
pub struct Segments {
    ranges: VecDeque<Bytes>,
    /// How much of the first range is written.
    written: usize,
    bytes: usize,
    written_in_all: u64,
}

/// What became of signals that a socket did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// How many are gone.
    pub signals: usize,
    /// The rest of one is all that waits.
    pub is_rest: bool,
}

impl Segments {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that were ever taken by the socket.
    pub const fn written_in_all(&self) -> u64 {
        self.written_in_all
    }

    /// Appends whole frames.
    pub fn push(&mut self, frames: Bytes) {
        if !frames.is_empty() {
            self.bytes += frames.len();
            self.ranges.push_back(frames);
        }
    }

    /// Puts whole frames before all others; nothing may have been written yet.
    pub fn push_front(&mut self, frames: Bytes) {
        debug_assert_eq!(self.written, 0, "a frame would stand within another");
        self.bytes += frames.len();
        self.ranges.push_front(frames);
    }

    /// Forgets all but the frame that is written in part: it must not end in the middle.
    pub fn forget_waiting(&mut self) {
        self.ranges.truncate(1);
        let end = self.ranges.front().map_or(0, |first| frame_end(first, self.written));
        self.bytes = end - self.written;
        match self.ranges.front_mut() {
            Some(first) if self.bytes > 0 => first.truncate(end),
            _ => self.clear(),
        }
    }

    /// Hands the frames behind `from` of `chunk` to `send` at once where nothing else waits, and appends them (or what is
    /// left of them) otherwise: they are kept only then.
    ///
    /// # Errors
    /// What `send` says; nothing is kept then.
    pub fn send_or_push(
        &mut self,
        chunk: &Bytes,
        from: usize,
        send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut count = 0;
        if self.is_empty() && from < chunk.len() {
            count = send(&[IoSlice::new(&chunk[from..])]).or_else(would_block)?;
            self.written_in_all += count as u64;
        }
        if from + count < chunk.len() {
            self.push(chunk.slice(from..));
            self.written += count;
            self.bytes -= count;
        }
        Ok(())
    }

    /// The same where some of the frames are `signals` and nothing waits: what `send` does not take of them at once is dropped,
    /// but for the rest of one that it took in part.
    ///
    /// # Errors
    /// What `send` says; nothing is kept then.
    pub fn send_or_drop(
        &mut self,
        chunk: &Bytes,
        from: usize,
        signals: &[Range<usize>],
        send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Dropped> {
        debug_assert!(self.is_empty(), "frames would overtake others");
        let count = send(&[IoSlice::new(&chunk[from..])]).or_else(would_block)?;
        self.written_in_all += count as u64;
        let sent = from + count;
        if sent == chunk.len() {
            return Ok(Dropped::default());
        }
        let whole = from + frame_end(&chunk[from..], count);
        if sent < whole {
            self.push(chunk.slice(from..whole));
            self.written += count;
            self.bytes -= count;
        }
        let signals_left = self.push_events(chunk, whole, signals);
        let is_in_signal = signals.iter().any(|signal| signal.start < sent && signal.end == whole);
        Ok(Dropped { signals: signals_left, is_rest: is_in_signal && self.bytes == whole - sent })
    }

    /// Appends the frames behind `from` of `chunk` that are not `signals`. Gives how many of these there are.
    pub fn push_events(&mut self, chunk: &Bytes, from: usize, signals: &[Range<usize>]) -> usize {
        let (mut at, mut count) = (from, 0);
        for signal in &signals[signals.partition_point(|signal| signal.start < from)..] {
            self.push(chunk.slice(at..signal.start));
            (at, count) = (signal.end, count + 1);
        }
        self.push(chunk.slice(at..));
        count
    }

    /// Hands all that waits to `send`, as many ranges as possible at a time, until it takes no more. `true`: nothing is left.
    ///
    /// # Errors
    /// What `send` says, but for [`ErrorKind::WouldBlock`]: the connection is gone.
    pub fn write(&mut self, mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        while let Some(first) = self.ranges.front() {
            let count = if self.ranges.len() == 1 {
                send(&[IoSlice::new(&first[self.written..])])
            } else {
                self.send_many(&mut send)
            };
            match count.or_else(would_block)? {
                0 => return Ok(false),
                count => self.advance(count),
            }
        }
        Ok(true)
    }

    fn send_many(&self, send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_RANGES_MAX];
        let mut skip = self.written;
        for (slot, range) in slices.iter_mut().zip(&self.ranges) {
            *slot = IoSlice::new(&range[std::mem::take(&mut skip)..]);
        }
        send(&slices[..self.ranges.len().min(WRITE_RANGES_MAX)])
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        self.written_in_all += count as u64;
        self.bytes -= count;
        while let Some(first) = self.ranges.front().filter(|first| first.len() <= self.written) {
            self.written -= first.len();
            self.ranges.pop_front();
        }
        if self.ranges.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.ranges = VecDeque::new();
        self.written = 0;
        self.bytes = 0;
    }
}

/// A socket that takes no more takes nothing.
fn would_block(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frames::write;

    /// A socket that takes as much as the next of `rooms` at a time, and blocks at each 0 and at their end.
    fn socket(
        sent: &mut Vec<u8>,
        rooms: impl Iterator<Item = usize>,
    ) -> impl FnMut(&[IoSlice<'_>]) -> io::Result<usize> {
        let mut rooms = rooms;
        move |slices| {
            let mut room = rooms.next().unwrap_or_default();
            let before = sent.len();
            for slice in slices {
                let take = slice.len().min(room);
                sent.extend_from_slice(&slice[..take]);
                room -= take;
            }
            if sent.len() == before { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent.len() - before) }
        }
    }

    fn frame(length: usize) -> Bytes {
        write::json(&"x".repeat(length))
    }

    #[test]
    fn what_is_taken_at_once_is_never_kept() {
        let (mut segments, mut sent) = (Segments::default(), Vec::new());
        let chunk = Bytes::from([frame(3), frame(300)].concat());
        let from = frame(3).len();
        segments.send_or_push(&chunk, from, socket(&mut sent, [usize::MAX].into_iter())).unwrap();
        assert_eq!(sent, chunk[from..]);
        assert_eq!((segments.bytes(), segments.ranges.capacity()), (0, 0));
        assert!(chunk.is_unique());
    }

    #[test]
    fn the_frame_in_the_middle_is_not_cut_when_the_rest_is_forgotten() {
        let chunk = Bytes::from([frame(3), frame(300), frame(5)].concat());
        for written in 0..=chunk.len() {
            let (mut segments, mut sent) = (Segments::default(), Vec::new());
            segments.send_or_push(&chunk, 0, socket(&mut sent, [written].into_iter())).unwrap();
            segments.push(frame(7));
            segments.forget_waiting();
            segments.push(write::ping());
            assert!(segments.write(socket(&mut sent, std::iter::repeat(2))).unwrap());
            let whole = frame_end(&chunk, written);
            assert_eq!(sent, [&chunk[..whole], &write::ping()].concat(), "{written} written");
            assert_eq!(segments.written_in_all(), sent.len() as u64);
        }
    }

    /// Frames of an event, two signals, an event and a signal, and which of them are signals.
    fn with_signals() -> (Vec<Bytes>, Bytes, Vec<Range<usize>>) {
        let frames: Vec<Bytes> = [3, 200, 5, 300, 7].into_iter().map(frame).collect();
        let starts: Vec<usize> = (0..=frames.len()).map(|count| frames[..count].iter().map(Bytes::len).sum()).collect();
        let signals = [1, 2, 4].map(|index: usize| starts[index]..starts[index + 1]).to_vec();
        (frames.clone(), Bytes::from(frames.concat()), signals)
    }

    #[test]
    fn signals_that_are_not_taken_at_once_are_dropped() {
        let (frames, chunk, signals) = with_signals();
        for written in 0..=chunk.len() {
            let (mut segments, mut sent) = (Segments::default(), Vec::new());
            let dropped = segments.send_or_drop(&chunk, 0, &signals, socket(&mut sent, [written].into_iter())).unwrap();
            let waiting = segments.bytes();
            assert!(segments.write(socket(&mut sent, std::iter::repeat(50))).unwrap());
            let whole = frame_end(&chunk, written);
            let after = |index: usize| frames[..index].iter().map(Bytes::len).sum::<usize>() >= whole;
            let events: Vec<Bytes> =
                [0, 3].into_iter().filter(|index| after(*index)).map(|index| frames[index].clone()).collect();
            assert_eq!(sent, [&chunk[..whole], &events.concat()].concat(), "{written} written");
            assert_eq!(
                dropped.signals,
                [1, 2, 4].into_iter().filter(|index| after(*index)).count(),
                "{written} written"
            );
            let amid_the_last = frames[..4].iter().map(Bytes::len).sum::<usize>() < written && written < chunk.len();
            assert_eq!((dropped.is_rest, waiting == 0), (amid_the_last, whole == written && events.is_empty()));
        }
    }

    #[test]
    fn a_session_that_is_behind_gets_events_only() {
        let (frames, chunk, signals) = with_signals();
        let mut from = 0;
        for index in 0..=frames.len() {
            let (mut segments, mut sent) = (Segments::default(), Vec::new());
            segments.push(frame(9));
            let dropped = segments.push_events(&chunk, from, &signals);
            assert!(segments.write(socket(&mut sent, std::iter::repeat(50))).unwrap());
            let left = |which: &[usize]| {
                which.iter().filter(|at| **at >= index).map(|at| frames[*at].clone()).collect::<Vec<_>>()
            };
            assert_eq!((sent, dropped), ([frame(9), left(&[0, 3]).concat().into()].concat(), left(&[1, 2, 4]).len()));
            from += frames.get(index).map_or(0, Bytes::len);
        }
    }

    #[test]
    fn nothing_is_held_when_nothing_waits() {
        let (mut segments, mut sent) = (Segments::default(), Vec::new());
        (0..200).for_each(|_| segments.push(frame(10)));
        assert!(segments.write(socket(&mut sent, std::iter::repeat(usize::MAX))).unwrap());
        assert_eq!((segments.ranges.capacity(), sent.len()), (0, 200 * frame(10).len()));
    }

    #[test]
    fn a_connection_that_is_gone_is_an_error() {
        let mut segments = Segments::default();
        segments.push(frame(1));
        let gone = |_: &[IoSlice<'_>]| Err(ErrorKind::BrokenPipe.into());
        assert_eq!(segments.write(gone).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    proptest! {
        /// Frames come singly and in chunks, from any frame of a chunk on; the socket takes any number of bytes at a time.
        #[test]
        fn what_is_written_is_what_was_pushed_in_order(
            steps in prop::collection::vec(
                (prop::collection::vec(0..400_usize, 1..6), any::<prop::sample::Index>(), any::<bool>(),
                 prop::collection::vec(0..900_usize, 0..4)),
                1..40,
            ),
        ) {
            let (mut segments, mut sent, mut pushed) = (Segments::default(), Vec::new(), Vec::new());
            for (lengths, first, directly, rooms) in steps {
                let frames: Vec<Bytes> = lengths.into_iter().map(frame).collect();
                let from = frames[..first.index(frames.len())].iter().map(Bytes::len).sum();
                let chunk = Bytes::from(frames.concat());
                pushed.extend_from_slice(&chunk[from..]);
                let mut send = socket(&mut sent, rooms.into_iter());
                if directly {
                    segments.send_or_push(&chunk, from, &mut send).unwrap();
                } else {
                    segments.push(chunk.slice(from..));
                }
                let all = segments.write(send).unwrap();
                prop_assert_eq!(all, segments.is_empty());
                prop_assert_eq!(&sent[..], &pushed[..sent.len()]);
                prop_assert_eq!(segments.bytes(), pushed.len() - sent.len());
                prop_assert_eq!(segments.written_in_all(), sent.len() as u64);
            }
            prop_assert!(segments.write(socket(&mut sent, std::iter::repeat(5000))).unwrap());
            prop_assert_eq!(sent, pushed);
        }
    }
}
