//! What waits to be written to one session: frames that are ready to send, shared with the other sessions that get them,
//! bounded in bytes. Everything that is sent to a session goes through here, whole frame by whole frame, so nothing ever
//! stands within another frame.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use natter_schemas::error::CloseCode;
use natter_schemas::limits::SESSION_QUEUE_BYTES_MAX;
use tokio::sync::Notify;

use crate::frames::write;

/// Frames of one write at most (the kernel takes up to 1,024 pieces).
const WRITE_FRAMES_MAX: usize = 64;
/// A queue that was once long gives its memory back.
const KEPT_CAPACITY: usize = 16;

/// The queue of one session. Any task may push; the session's own task writes, by its [`Writer`].
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Told when there is something new to write.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// Bytes in `frames` and in the writer's hands.
    bytes: usize,
    /// Set once: a close frame is the last in the queue.
    closing: Option<CloseCode>,
    /// Nothing is written before the session has been opened.
    open: bool,
}

/// The frames that a session's task is writing.
#[derive(Debug, Default)]
pub struct Writer {
    frames: VecDeque<Bytes>,
    /// How much of the first frame is written.
    written: usize,
    /// Bytes written since the outbox was last told.
    done_bytes: usize,
    /// The last frame in hand is the close frame.
    closing: Option<CloseCode>,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything that was there.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// Everything, and the close frame was the last of it.
    Closed(CloseCode),
}

impl Outbox {
    /// Appends a frame. A session that has not read [`SESSION_QUEUE_BYTES_MAX`] is closed as slow.
    pub fn push(&self, frame: Bytes) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        if queue.bytes + frame.len() > SESSION_QUEUE_BYTES_MAX {
            queue.drop_waiting();
            queue.close(CloseCode::Slow);
        } else {
            queue.bytes += frame.len();
            queue.frames.push_back(frame);
        }
        // Otherwise the writer has been told, or will look again when the socket takes more.
        let wake = queue.closing.is_some() || queue.open && queue.frames.len() == 1;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Puts the session's first frame before all others and lets them go.
    pub fn open(&self, first: Bytes) {
        let mut queue = self.lock();
        queue.open = true;
        queue.bytes += first.len();
        queue.frames.push_front(first);
        drop(queue);
        self.wake.notify_one();
    }

    /// Ends the session after what is queued already. The first close counts.
    pub fn close(&self, code: CloseCode) {
        let mut queue = self.lock();
        if queue.closing.is_none() {
            if !queue.open {
                // A session that was never opened has no use for what waits.
                queue.drop_waiting();
            }
            queue.close(code);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits until something new is to be written.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Why the session ends, once it does.
    pub fn closing(&self) -> Option<CloseCode> {
        self.lock().closing
    }

    /// Bytes that wait, those in the writer's hands included.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under this lock while the queue is half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn drop_waiting(&mut self) {
        self.bytes -= self.frames.iter().map(Bytes::len).sum::<usize>();
        self.frames.clear();
    }

    fn close(&mut self, code: CloseCode) {
        let frame = write::close(code);
        self.bytes += frame.len();
        self.frames.push_back(frame);
        self.closing = Some(code);
    }
}

impl Writer {
    /// Hands all that waits to `send`, as many frames as possible in one vectored write each time, until everything is
    /// written or `send` says [`ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// What `send` says otherwise: the connection is gone.
    pub fn write(
        &mut self,
        outbox: &Outbox,
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        loop {
            if self.frames.is_empty() {
                self.take(outbox);
                if self.frames.is_empty() {
                    return Ok(self.closing.map_or(Written::All, Written::Closed));
                }
            }
            match self.send_once(&mut send) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes all that waits; the lock is not held while it is written.
    fn take(&mut self, outbox: &Outbox) {
        let mut queue = outbox.lock();
        queue.bytes -= std::mem::take(&mut self.done_bytes);
        if queue.open || queue.closing.is_some() {
            std::mem::swap(&mut queue.frames, &mut self.frames);
            self.closing = queue.closing;
        }
        if self.frames.is_empty() && self.frames.capacity() > KEPT_CAPACITY {
            self.frames = VecDeque::new();
        }
    }

    fn send_once(&self, send: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_FRAMES_MAX];
        let mut skip = self.written;
        for (slot, frame) in slices.iter_mut().zip(&self.frames) {
            *slot = IoSlice::new(&frame[std::mem::take(&mut skip)..]);
        }
        send(&slices[..self.frames.len().min(WRITE_FRAMES_MAX)])
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        self.done_bytes += count;
        while let Some(first) = self.frames.front().filter(|first| first.len() <= self.written) {
            self.written -= first.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes `room` bytes and then blocks.
    fn socket(sent: &mut Vec<u8>, room: usize) -> impl FnMut(&[IoSlice<'_>]) -> io::Result<usize> {
        let end = sent.len() + room;
        move |slices| {
            let before = sent.len();
            for slice in slices {
                let take = slice.len().min(end - sent.len());
                sent.extend_from_slice(&slice[..take]);
            }
            if sent.len() == before { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent.len() - before) }
        }
    }

    fn opened() -> Outbox {
        let outbox = Outbox::default();
        outbox.open(Bytes::from_static(b"<opened>"));
        outbox
    }

    #[test]
    fn nothing_goes_before_the_opening_frame() {
        let (outbox, mut writer, mut sent) = (Outbox::default(), Writer::default(), Vec::new());
        outbox.push(Bytes::from_static(b"<event>"));
        assert_eq!(writer.write(&outbox, socket(&mut sent, 100)).unwrap(), Written::All);
        assert!(sent.is_empty());
        outbox.open(Bytes::from_static(b"<opened>"));
        assert_eq!(writer.write(&outbox, socket(&mut sent, 100)).unwrap(), Written::All);
        assert_eq!(sent, b"<opened><event>");
    }

    #[test]
    fn partial_writes_go_on_where_they_stopped() {
        let (outbox, mut writer, mut sent) = (opened(), Writer::default(), Vec::new());
        for frame in [b"<a>".as_slice(), b"<bb>", b"<ccc>"] {
            outbox.push(Bytes::copy_from_slice(frame));
        }
        while writer.write(&outbox, socket(&mut sent, 1)).unwrap() == Written::Blocked {}
        assert_eq!(sent, b"<opened><a><bb><ccc>");
        assert_eq!(outbox.waiting_bytes(), 0);
    }

    #[test]
    fn a_slow_session_is_closed_after_what_is_being_written() {
        let (outbox, mut writer, mut sent) = (opened(), Writer::default(), Vec::new());
        outbox.push(Bytes::from_static(b"<half>"));
        assert_eq!(writer.write(&outbox, socket(&mut sent, 10)).unwrap(), Written::Blocked);
        let large = Bytes::from(vec![b'x'; SESSION_QUEUE_BYTES_MAX / 4]);
        (0..5).for_each(|_| outbox.push(large.clone()));
        assert_eq!(outbox.closing(), Some(CloseCode::Slow));
        assert_eq!(writer.write(&outbox, socket(&mut sent, 1000)).unwrap(), Written::Closed(CloseCode::Slow));
        assert_eq!(sent, [b"<opened><half>".as_slice(), &write::close(CloseCode::Slow)].concat());
        assert_eq!(outbox.waiting_bytes(), 0);
    }

    #[test]
    fn a_reader_that_keeps_up_is_not_slow_whatever_it_gets() {
        let (outbox, mut writer, mut sent) = (opened(), Writer::default(), Vec::new());
        let large = Bytes::from(vec![b'x'; SESSION_QUEUE_BYTES_MAX / 4]);
        for _ in 0..20 {
            outbox.push(large.clone());
            assert_eq!(writer.write(&outbox, socket(&mut sent, usize::MAX / 2)).unwrap(), Written::All);
        }
    }

    #[test]
    fn the_first_close_counts_and_comes_last() {
        let (outbox, mut writer, mut sent) = (opened(), Writer::default(), Vec::new());
        outbox.close(CloseCode::Drain);
        outbox.close(CloseCode::Slow);
        outbox.push(Bytes::from_static(b"<late>"));
        assert_eq!(writer.write(&outbox, socket(&mut sent, 1000)).unwrap(), Written::Closed(CloseCode::Drain));
        assert_eq!(sent, [b"<opened>".as_slice(), &write::close(CloseCode::Drain)].concat());
    }

    #[test]
    fn a_session_that_never_opened_is_only_closed() {
        let (outbox, mut writer, mut sent) = (Outbox::default(), Writer::default(), Vec::new());
        outbox.push(Bytes::from_static(b"<event>"));
        outbox.close(CloseCode::Unavailable);
        assert_eq!(writer.write(&outbox, socket(&mut sent, 1000)).unwrap(), Written::Closed(CloseCode::Unavailable));
        assert_eq!(sent, write::close(CloseCode::Unavailable));
    }
}
