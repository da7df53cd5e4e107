//! The writing side of one session. Everything that is sent to it goes through here, whole frame by whole frame, so nothing
//! ever stands within another frame.
//!
//! Whoever has something for a session writes it then and there, without waking the session's task: that is told only
//! when the socket takes no more. What waits is bounded in bytes and in age; a session that falls behind is closed as slow.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use natter_schemas::error::CloseCode;
use natter_schemas::limits::{SESSION_BACKLOG_MS_MAX, SESSION_QUEUE_BYTES_MAX};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::frames::write;
use crate::segments::Segments;
use crate::telemetry::Meters;

/// What waits at any moment has to be written within this time.
const BACKLOG_MAX: Duration = Duration::from_millis(SESSION_BACKLOG_MS_MAX);

/// Where bytes go.
pub trait Sink {
    /// Writes what can be written now.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`], or the connection is gone.
    fn try_write(&self, ranges: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Sink for TcpStream {
    fn try_write(&self, ranges: &[IoSlice<'_>]) -> io::Result<usize> {
        match ranges {
            [one] => self.try_write(one),
            many => self.try_write_vectored(many),
        }
    }
}

/// The outbox of one session. Any task may write by it.
#[derive(Debug)]
pub struct Outbox<S = TcpStream> {
    state: Mutex<State<S>>,
    /// Tells the session's task that the socket takes no more, or that the session ends.
    wake: Notify,
    meters: Arc<Meters>,
}

#[derive(Debug)]
struct State<S> {
    /// `None`: the connection is gone.
    socket: Option<Arc<S>>,
    waiting: Segments,
    /// Nothing is written before the session has been opened.
    open: bool,
    /// Since the socket took no more.
    backlog: Option<Backlog>,
    /// What ends here, in all that was ever written, is the rest of a signal: it is no backlog.
    excused: u64,
    /// Set once: a close frame is the last of what waits.
    closing: Option<CloseCode>,
}

/// What waited at one moment.
#[derive(Debug, Clone, Copy)]
struct Backlog {
    since: Instant,
    /// It is written when so many bytes are, of all that were ever.
    until: u64,
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

impl<S: Sink> Outbox<S> {
    /// An outbox that keeps everything until it is opened.
    pub fn new(socket: Arc<S>, meters: Arc<Meters>) -> Self {
        let waiting = Segments::default();
        let state = State { socket: Some(socket), waiting, open: false, backlog: None, excused: 0, closing: None };
        Self { state: Mutex::new(state), wake: Notify::new(), meters }
    }

    /// Appends whole frames without writing them. `true`: nothing waited before, so it is for the caller to see that they are
    /// written ([`Self::flush`]).
    pub fn queue(&self, frames: Bytes) -> bool {
        let mut state = self.lock();
        if !self.takes_more(&mut state) {
            return false;
        }
        let first = state.waiting.is_empty() && state.open;
        state.waiting.push(frames);
        first && !state.waiting.is_empty()
    }

    /// Writes the frames behind `from` of `chunk`, which other sessions share, behind all that waits.
    pub fn hand(&self, chunk: &Bytes, from: usize) {
        let mut guard = self.lock();
        if !self.takes_more(&mut guard) {
            return;
        }
        let state = &mut *guard;
        let Some(socket) = state.socket.as_ref().filter(|_| state.open && state.backlog.is_none()) else {
            return state.waiting.push(chunk.slice(from..));
        };
        let sent = state.waiting.send_or_push(chunk, from, |ranges| {
            self.meters.writes.increment(1);
            socket.try_write(ranges)
        });
        let written = sent.and_then(|()| self.write(state));
        self.tell(written, guard);
    }

    /// The same where some of the frames are `signals`. They go to a session that takes them at once: they never wait for one,
    /// and never make one slow.
    pub fn hand_with_signals(&self, chunk: &Bytes, from: usize, signals: &[Range<usize>]) {
        let mut guard = self.lock();
        let has_events = signals.iter().map(ExactSizeIterator::len).sum::<usize>() < chunk.len() - from;
        let goes_on = if has_events { self.takes_more(&mut guard) } else { guard.goes_on() };
        if !goes_on {
            return;
        }
        let state = &mut *guard;
        let is_behind = !state.open || state.backlog.is_some();
        // What was queued goes first, and where that stays, no signal does.
        let takes_all = !is_behind && matches!(self.write(state), Ok(Written::All));
        let Some(socket) = state.socket.as_ref().filter(|_| takes_all) else {
            let dropped = state.waiting.push_events(chunk, from, signals);
            self.meters.signals_slow.increment(dropped as u64);
            if !is_behind {
                let written = self.write(state);
                self.tell(written, guard);
            }
            return;
        };
        let sent = state.waiting.send_or_drop(chunk, from, signals, |ranges| {
            self.meters.writes.increment(1);
            socket.try_write(ranges)
        });
        let written = sent.and_then(|dropped| {
            self.meters.signals_slow.increment(dropped.signals as u64);
            if dropped.is_rest {
                state.excused = state.end();
            }
            self.write(state)
        });
        self.tell(written, guard);
    }

    /// Writes what waits, unless the socket took no more the last time: then the session's task will.
    pub fn flush(&self) {
        let mut guard = self.lock();
        if guard.backlog.is_none() {
            let written = self.write(&mut guard);
            self.tell(written, guard);
        }
    }

    /// Writes what waits: for the session's task.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_all(&self) -> io::Result<Written> {
        self.write(&mut self.lock())
    }

    /// Puts the session's first frame before all others and lets them go.
    pub fn open(&self, first: Bytes) {
        let mut state = self.lock();
        state.waiting.push_front(first);
        state.open = true;
    }

    /// Ends the session: a close frame behind all that waits. Only the first time counts.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.lock();
        if state.closing.is_none() {
            if !state.open {
                state.waiting.forget_waiting();
            }
            state.close(code);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Lets the connection go: nothing is written any more, whoever still knows the session.
    pub fn detach(&self) {
        let mut state = self.lock();
        state.socket = None;
        state.waiting = Segments::default();
    }

    /// Waits until the session's task has something to look at.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Has the session's task look.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Why the session ends, once it does.
    pub fn closing(&self) -> Option<CloseCode> {
        self.lock().closing
    }

    /// When the session is to be closed as slow, if nothing is written until then: see [`Self::close_if_slow`].
    pub fn slow_at(&self) -> Option<Instant> {
        let state = self.lock();
        state.backlog.filter(|_| state.closing.is_none()).map(|backlog| backlog.since + BACKLOG_MAX)
    }

    /// Closes the session as slow where something has waited too long.
    pub fn close_if_slow(&self, now: Instant) {
        let mut state = self.lock();
        let old = state.backlog.is_some_and(|backlog| now >= backlog.since + BACKLOG_MAX);
        if old && state.closing.is_none() {
            self.close_as_slow(&mut state);
        }
    }

    /// Whether the session goes on. One that has not read [`SESSION_QUEUE_BYTES_MAX`] when there is more is closed as slow.
    fn takes_more(&self, state: &mut State<S>) -> bool {
        if state.waiting.bytes() > SESSION_QUEUE_BYTES_MAX && state.closing.is_none() {
            self.close_as_slow(state);
        }
        state.goes_on()
    }

    fn close_as_slow(&self, state: &mut State<S>) {
        state.waiting.forget_waiting();
        state.close(CloseCode::Slow);
        self.wake.notify_one();
    }

    fn write(&self, state: &mut State<S>) -> io::Result<Written> {
        let Some(socket) = &state.socket else { return Err(ErrorKind::NotConnected.into()) };
        if !state.open && state.closing.is_none() {
            return Ok(Written::All);
        }
        let all = state.waiting.write(|ranges| {
            self.meters.writes.increment(1);
            socket.try_write(ranges)
        })?;
        if all {
            state.backlog = None;
            return Ok(state.closing.map_or(Written::All, Written::Closed));
        }
        if state.end() <= state.excused {
            return Ok(Written::Blocked);
        }
        if state.backlog.is_none_or(|backlog| state.waiting.written_in_all() >= backlog.until) {
            state.backlog = Some(Backlog { since: Instant::now(), until: state.end() });
            #[expect(clippy::cast_precision_loss, reason = "a metric, and at most some MiB")]
            self.meters.blocked.record(state.waiting.bytes() as f64);
        }
        Ok(Written::Blocked)
    }

    /// Tells the session's task what it has to go on with.
    fn tell(&self, written: io::Result<Written>, mut state: MutexGuard<'_, State<S>>) {
        let written = written.unwrap_or_else(|_| {
            // The task's own write says so again.
            state.socket = None;
            Written::Blocked
        });
        if written == Written::All {
            return;
        }
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // No code that can panic runs under this lock while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> State<S> {
    const fn goes_on(&self) -> bool {
        self.closing.is_none() && self.socket.is_some()
    }

    /// Where what waits ends, in all that was ever written.
    const fn end(&self) -> u64 {
        self.waiting.written_in_all() + self.waiting.bytes() as u64
    }

    fn close(&mut self, code: CloseCode) {
        self.waiting.push(write::close(code));
        self.closing = Some(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes and then blocks.
    #[derive(Debug, Default)]
    struct Fake {
        sent: Mutex<Vec<u8>>,
        room: Mutex<usize>,
        gone: Mutex<bool>,
        writes: Mutex<usize>,
    }

    impl Sink for Fake {
        fn try_write(&self, ranges: &[IoSlice<'_>]) -> io::Result<usize> {
            if *self.gone.lock().unwrap() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            *self.writes.lock().unwrap() += 1;
            let (mut sent, mut room) = (self.sent.lock().unwrap(), self.room.lock().unwrap());
            let before = sent.len();
            for range in ranges {
                let take = range.len().min(*room);
                sent.extend_from_slice(&range[..take]);
                *room -= take;
            }
            if sent.len() == before { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent.len() - before) }
        }
    }

    struct World {
        socket: Arc<Fake>,
        outbox: Outbox<Fake>,
    }

    impl World {
        fn with_room(room: usize) -> Self {
            let socket = Arc::new(Fake { room: Mutex::new(room), ..Fake::default() });
            Self { outbox: Outbox::new(Arc::clone(&socket), Arc::default()), socket }
        }

        fn opened(room: usize) -> Self {
            let world = Self::with_room(room);
            world.outbox.open(Bytes::from_static(b"\x81\x04open"));
            world
        }

        fn set_room(&self, room: usize) {
            *self.socket.room.lock().unwrap() = room;
        }

        fn sent(&self) -> Vec<u8> {
            self.socket.sent.lock().unwrap().clone()
        }

        fn woken(&self) -> bool {
            let mut woken = Box::pin(self.outbox.woken());
            woken.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        }

        fn waiting(&self) -> usize {
            self.outbox.lock().waiting.bytes()
        }
    }

    const OPEN: &[u8] = b"\x81\x04open";
    const EVENT: &[u8] = b"\x81\x05event";
    const REPLY: &[u8] = b"\x81\x05reply";

    fn large() -> Bytes {
        Bytes::from([&[0x81, 127, 0, 0, 0, 0, 0, 4, 0, 0][..], &vec![b'x'; SESSION_QUEUE_BYTES_MAX / 4]].concat())
    }

    #[test]
    fn nothing_goes_before_the_opening_frame() {
        let world = World::with_room(usize::MAX);
        assert!(!world.outbox.queue(Bytes::from_static(REPLY)));
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        world.outbox.flush();
        assert_eq!(world.outbox.write_all().unwrap(), Written::All);
        assert!(world.sent().is_empty());
        world.outbox.open(Bytes::from_static(OPEN));
        assert_eq!(world.outbox.write_all().unwrap(), Written::All);
        assert_eq!(world.sent(), [OPEN, REPLY, EVENT].concat());
    }

    #[test]
    fn an_answer_and_an_event_go_out_in_one_write_and_wake_nobody() {
        let world = World::opened(usize::MAX);
        world.outbox.flush();
        assert!(world.outbox.queue(Bytes::from_static(REPLY)), "nothing waited");
        assert!(!world.outbox.queue(Bytes::from_static(EVENT)), "the first caller writes both");
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        world.outbox.flush();
        assert_eq!(world.sent(), [OPEN, REPLY, EVENT, EVENT].concat());
        assert_eq!((*world.socket.writes.lock().unwrap(), world.woken()), (2, false));
    }

    #[test]
    fn partial_writes_go_on_where_they_stopped() {
        let world = World::opened(3);
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        assert!(world.woken(), "the session's task goes on");
        world.outbox.hand(&Bytes::from([EVENT, REPLY].concat()), EVENT.len());
        world.outbox.queue(Bytes::from_static(REPLY));
        let writes = *world.socket.writes.lock().unwrap();
        world.outbox.flush();
        assert_eq!(*world.socket.writes.lock().unwrap(), writes, "only the session's task tries a full socket again");
        while world.outbox.write_all().unwrap() == Written::Blocked {
            world.set_room(1);
        }
        assert_eq!(world.sent(), [OPEN, EVENT, REPLY, REPLY].concat());
        assert_eq!((world.waiting(), world.outbox.slow_at()), (0, None));
    }

    #[test]
    fn a_slow_session_is_closed_after_what_is_being_written() {
        let world = World::opened(10);
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        let large = large();
        (0..6).for_each(|_| world.outbox.hand(&large, 0));
        assert_eq!(world.outbox.closing(), Some(CloseCode::Slow));
        assert!(world.woken());
        world.set_room(1000);
        assert_eq!(world.outbox.write_all().unwrap(), Written::Closed(CloseCode::Slow));
        assert_eq!(world.sent(), [OPEN, EVENT, &write::close(CloseCode::Slow)].concat());
        assert!(large.is_unique(), "nothing of what it will not get is kept");
    }

    #[test]
    fn a_reader_that_keeps_up_is_not_slow_whatever_it_gets() {
        let world = World::opened(usize::MAX);
        for _ in 0..20 {
            world.outbox.queue(large());
            world.outbox.hand(&large(), 0);
        }
        assert_eq!((world.outbox.closing(), world.waiting()), (None, 0));
    }

    #[test]
    fn who_does_not_read_what_waits_in_time_is_slow_however_little_it_is() {
        let world = World::opened(0);
        let began = Instant::now();
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        let slow_at = world.outbox.slow_at().unwrap();
        assert!(slow_at >= began + BACKLOG_MAX);
        world.outbox.queue(Bytes::from_static(REPLY));
        world.set_room(OPEN.len());
        assert_eq!(world.outbox.write_all().unwrap(), Written::Blocked);
        assert_eq!(world.outbox.slow_at(), Some(slow_at), "some of what waited still does");
        // What waited at the beginning is read, what came later is not: a new time begins.
        world.set_room(EVENT.len());
        assert_eq!(world.outbox.write_all().unwrap(), Written::Blocked);
        let later = world.outbox.slow_at().unwrap();
        assert!(later > slow_at);
        world.outbox.close_if_slow(slow_at);
        assert_eq!(world.outbox.closing(), None);
        world.outbox.close_if_slow(later);
        assert_eq!((world.outbox.closing(), world.outbox.slow_at()), (Some(CloseCode::Slow), None));
    }

    const SIGNAL: &[u8] = b"\x81\x06signal";

    impl World {
        /// Hands on these frames, of which those that are [`SIGNAL`] are signals.
        fn hand_frames(&self, frames: &[&[u8]]) {
            let (mut signals, mut end) = (Vec::new(), 0);
            for frame in frames {
                end += frame.len();
                signals.extend((*frame == SIGNAL).then_some(end - frame.len()..end));
            }
            self.outbox.hand_with_signals(&Bytes::from(frames.concat()), 0, &signals);
        }
    }

    #[test]
    fn signals_go_out_with_events_in_one_write() {
        let world = World::opened(usize::MAX);
        world.outbox.flush();
        world.hand_frames(&[SIGNAL, EVENT, SIGNAL]);
        assert_eq!(world.sent(), [OPEN, SIGNAL, EVENT, SIGNAL].concat());
        assert_eq!((*world.socket.writes.lock().unwrap(), world.woken()), (2, false));
        assert!(world.outbox.queue(Bytes::from_static(REPLY)));
        world.hand_frames(&[SIGNAL]);
        assert_eq!(world.sent()[world.sent().len() - 15..], [REPLY, SIGNAL].concat(), "behind what was queued");
    }

    #[test]
    fn signals_do_not_wait_for_a_session_that_is_behind() {
        let world = World::opened(OPEN.len() + 3);
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        for _ in 0..100_000 {
            world.hand_frames(&[SIGNAL]);
        }
        world.hand_frames(&[SIGNAL, EVENT, SIGNAL]);
        assert_eq!((world.waiting(), world.outbox.closing()), (4 + EVENT.len(), None));
        world.set_room(usize::MAX);
        assert_eq!(world.outbox.write_all().unwrap(), Written::All);
        assert_eq!(world.sent(), [OPEN, EVENT, EVENT].concat());
        world.hand_frames(&[SIGNAL]);
        assert_eq!(world.sent().len(), [OPEN, EVENT, EVENT, SIGNAL].concat().len());
    }

    #[test]
    fn a_session_that_is_not_open_waits_for_no_signal() {
        let world = World::with_room(usize::MAX);
        world.hand_frames(&[SIGNAL, EVENT, SIGNAL]);
        world.outbox.open(Bytes::from_static(OPEN));
        assert_eq!(world.outbox.write_all().unwrap(), Written::All);
        assert_eq!(world.sent(), [OPEN, EVENT].concat());
    }

    #[test]
    fn signals_make_nobody_slow() {
        let world = World::opened(OPEN.len() + 3);
        world.outbox.flush();
        for _ in 0..100_000 {
            world.hand_frames(&[SIGNAL]);
        }
        assert_eq!((world.waiting(), world.outbox.slow_at()), (SIGNAL.len() - 3, None), "the rest of a frame");
        assert!(world.woken(), "the session's task writes it");
        assert_eq!(world.outbox.write_all().unwrap(), Written::Blocked);
        assert_eq!((world.outbox.slow_at(), world.outbox.closing()), (None, None));
        world.hand_frames(&[SIGNAL, EVENT]);
        assert!(world.outbox.slow_at().is_some(), "an event waits");
        world.set_room(usize::MAX);
        assert_eq!(world.outbox.write_all().unwrap(), Written::All);
        assert_eq!(world.sent(), [OPEN, SIGNAL, EVENT].concat());
    }

    #[test]
    fn the_first_close_counts_and_comes_last() {
        let world = World::opened(1000);
        world.outbox.close(CloseCode::Drain);
        world.outbox.close(CloseCode::Slow);
        world.outbox.queue(Bytes::from_static(REPLY));
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        assert_eq!(world.outbox.write_all().unwrap(), Written::Closed(CloseCode::Drain));
        assert_eq!(world.sent(), [OPEN, &write::close(CloseCode::Drain)].concat());
    }

    #[test]
    fn a_session_that_never_opened_is_only_closed() {
        let world = World::with_room(1000);
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        world.outbox.close(CloseCode::Unavailable);
        assert_eq!(world.outbox.write_all().unwrap(), Written::Closed(CloseCode::Unavailable));
        assert_eq!(world.sent(), write::close(CloseCode::Unavailable));
    }

    #[test]
    fn a_connection_that_is_gone_is_told_to_the_sessions_task_and_held_by_nobody() {
        let world = World::opened(1000);
        *world.socket.gone.lock().unwrap() = true;
        world.outbox.hand(&Bytes::from_static(EVENT), 0);
        assert!(world.woken() && world.outbox.write_all().is_err());
        assert_eq!(Arc::strong_count(&world.socket), 1);
        let other = World::opened(1000);
        other.outbox.detach();
        other.outbox.hand(&Bytes::from_static(EVENT), 0);
        assert!(!other.outbox.queue(Bytes::from_static(REPLY)));
        assert_eq!((other.waiting(), Arc::strong_count(&other.socket)), (0, 1));
    }
}
