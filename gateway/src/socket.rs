//! A session's task: reads its socket and carries out what [`Session::step`] says. Who has something for the session writes it
//! at once; this task does so with its own answers, and where the socket took no more.
//!
//! One task, and nothing in it holds a buffer while it waits: bytes are read into a scratch of the thread once the
//! socket has some, and frames are written from where they lie.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natter_schemas::error::CloseCode;
use natter_schemas::limits::SERVICE_UNANSWERED_MAX;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::Identity;
use crate::commands::count_rejected;
use crate::frames::read::{FrameReader, Incoming};
use crate::gateway::{Gateway, millis};
use crate::handle::SessionHandle;
use crate::outbox::Written;
use crate::rate::SessionRate;
use crate::rooms::Recipient as _;
use crate::session::{Action, Input, Session, refusal};
use crate::telemetry;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A service that was stopped is read from again when so many of its commands are unanswered.
const SERVICE_RESUME: usize = SERVICE_UNANSWERED_MAX * 3 / 4;
/// How long a draining session waits for its answers.
const DRAIN_ANSWERS: Duration = Duration::from_secs(3);
/// How long a close frame may take to be written.
const CLOSE_WRITE: Duration = Duration::from_secs(5);
/// How long the client has to close after it.
const CLOSE_LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Serves an upgraded socket to its end. `leftover` is what the client sent right behind its handshake.
pub async fn serve(gateway: Arc<Gateway>, stream: TcpStream, leftover: Bytes, identity: Identity) {
    // Not kept: it holds a buffer of HTTP's, even where it is empty.
    let mut heard = leftover.to_vec();
    drop(leftover);
    let Ok(id) = getrandom::u64() else { return };
    let opened_at = Instant::now();
    let (load, meters) = (gateway.loads.of(&identity.tenant), Arc::clone(&gateway.meters));
    let stream = Arc::new(stream);
    let handle = Arc::new(SessionHandle::new(id, identity.clone(), load, Arc::clone(&stream), meters));
    gateway.meters.sessions.increment(1.0);
    // Boxed, and gone when the session is open: a session that is idle costs as little as possible.
    match Box::pin(gateway.opener.open(&handle, gateway.config.ping_interval)).await {
        Ok(()) => {
            gateway.meters.opened.increment(1);
            gateway.meters.opening.record(opened_at.elapsed());
        }
        Err(code) => handle.outbox.close(code),
    }
    let now = gateway.now();
    let mut socket = Socket {
        session: Session::new(id, identity, millis(gateway.config.ping_interval), now),
        rate: gateway.rates.session(handle.identity()),
        stream,
        // One that could not be opened is not listened to.
        paused: handle.outbox.closing().is_some(),
        handle,
        reader: FrameReader::default(),
        actions: Vec::new(),
        drain: Drain::NotYet,
        gateway,
    };
    socket.heard(&mut heard);
    drop(heard);
    let closed = socket.run().await;
    Box::pin(socket.leave()).await;
    if let Ok(code) = closed {
        metrics::counter!(telemetry::SESSIONS_CLOSED, "code" => code.name()).increment(1);
        Box::pin(socket.finish(code)).await;
    } else {
        socket.handle.outbox.detach();
    }
}

struct Socket {
    gateway: Arc<Gateway>,
    stream: Arc<TcpStream>,
    handle: Arc<SessionHandle>,
    session: Session,
    rate: Option<SessionRate>,
    reader: FrameReader,
    actions: Vec<Action>,
    /// A service with too many unanswered commands, or a session that drains or ends, is not read from.
    paused: bool,
    drain: Drain,
}

#[derive(Debug, Clone, Copy)]
enum Drain {
    NotYet,
    /// Reading goes on until then: not all sessions are sent away at once.
    ReadUntil(Instant),
    /// Answers are waited for until then.
    AnswersUntil(Instant),
}

impl Socket {
    /// Until the session is to be closed.
    ///
    /// # Errors
    /// The connection is gone.
    async fn run(&mut self) -> io::Result<CloseCode> {
        let drain = self.gateway.drain.clone();
        // Both are kept from round to round: to make them anew takes locks that all sessions share.
        let mut draining = pin!(drain.cancelled());
        let mut ticking = pin!(sleep_until(self.next_deadline()));
        loop {
            self.resume();
            let written = self.handle.outbox.write_all()?;
            if let Some(code) = self.ends(written) {
                return Ok(code);
            }
            let deadline = self.next_deadline();
            if deadline < ticking.deadline() {
                ticking.as_mut().reset(deadline);
            }
            let interest = match (self.paused, written) {
                (false, Written::Blocked) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, _) => Some(Interest::READABLE),
                (true, Written::Blocked) => Some(Interest::WRITABLE),
                (true, _) => None,
            };
            tokio::select! {
                ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                    if ready?.is_readable() && !self.paused {
                        self.read()?;
                    }
                }
                () = self.handle.outbox.woken() => {}
                () = &mut ticking => {
                    // It may be early: what was to be done at this time has been put off since.
                    self.tick();
                    ticking.as_mut().reset(self.next_deadline());
                }
                () = &mut draining, if matches!(self.drain, Drain::NotYet) => {
                    self.drain = Drain::ReadUntil(Instant::now() + self.jitter());
                }
            }
        }
    }

    /// Why the session ends, if it does: what is queued has been written, or will not be.
    fn ends(&self, written: Written) -> Option<CloseCode> {
        match written {
            Written::Closed(code) => Some(code),
            Written::Blocked => self.handle.outbox.closing(),
            Written::All => None,
        }
    }

    fn read(&mut self) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.heard(&mut scratch[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Takes bytes of the client apart and does what they say.
    fn heard(&mut self, mut bytes: &mut [u8]) {
        let now = self.gateway.now();
        loop {
            if self.paused {
                return self.reader.keep(&mut bytes);
            }
            let incoming = match self.reader.next(&mut bytes) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return,
                Err(violation) => {
                    tracing::debug!(session = self.handle.id(), %violation, "a session broke the protocol");
                    self.paused = true;
                    return self.handle.outbox.close(violation.close_code());
                }
            };
            self.gateway.meters.frames.increment(1);
            let admitted = match incoming {
                Incoming::Text(_) => self.gateway.rates.admit(self.rate.as_ref(), self.handle.identity()),
                _ => Ok(()),
            };
            let unanswered = self.handle.unanswered();
            self.session.step(Input::Incoming { incoming, admitted, unanswered }, now, &mut self.actions);
            self.act();
            self.paused |= self.handle.identity().service && self.handle.unanswered() >= SERVICE_UNANSWERED_MAX;
        }
    }

    /// Reads on where a service was stopped, once enough of its commands are answered.
    fn resume(&mut self) {
        let drained = matches!(self.drain, Drain::AnswersUntil(_));
        if self.paused
            && !drained
            && self.handle.unanswered() <= SERVICE_RESUME
            && self.handle.outbox.closing().is_none()
        {
            self.paused = false;
            self.heard(&mut []);
        }
    }

    fn tick(&mut self) {
        let now = self.gateway.now();
        self.handle.outbox.close_if_slow(Instant::now());
        self.session.step(Input::Tick { paused: self.paused }, now, &mut self.actions);
        match self.drain {
            Drain::ReadUntil(until) if Instant::now() >= until => {
                self.drain = Drain::AnswersUntil(Instant::now() + DRAIN_ANSWERS);
                self.paused = true;
                self.handle.count_answers();
                self.session.flush(now, &mut self.actions);
            }
            Drain::AnswersUntil(until) if self.handle.unanswered() == 0 || Instant::now() >= until => {
                self.actions.push(Action::Close(CloseCode::Drain));
            }
            _ => {}
        }
        self.act();
    }

    fn next_deadline(&self) -> Instant {
        let tick = Instant::now() + Duration::from_millis(self.session.next_tick_ms(self.gateway.now()).max(1));
        let session = self.handle.outbox.slow_at().map_or(tick, |slow_at| slow_at.min(tick));
        match self.drain {
            Drain::NotYet => session,
            // Whoever answers the last command wakes this task, which then looks here.
            Drain::AnswersUntil(_) if self.handle.unanswered() == 0 => Instant::now(),
            Drain::ReadUntil(until) | Drain::AnswersUntil(until) => session.min(until),
        }
    }

    /// When this session's turn comes while the gateway drains.
    fn jitter(&self) -> Duration {
        let spread = millis(self.gateway.config.drain_spread).max(1);
        Duration::from_millis(self.handle.id() % spread)
    }

    fn act(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Send(frame) => {
                    self.handle.outbox.queue(frame);
                }
                Action::Refuse(id, error) => {
                    count_rejected(error.code, 1);
                    self.handle.outbox.queue(refusal(id, error));
                }
                Action::Submit(ids, command) => {
                    self.handle.submitted(ids.len());
                    self.gateway.commands.submit(&self.handle, ids, *command);
                }
                Action::Signal(conversation, signal) => self.gateway.signal(&self.handle, conversation, signal),
                Action::Close(code) => {
                    self.paused = true;
                    self.handle.outbox.close(code);
                }
            }
        }
    }

    /// Sends on their way what was held back, and tells everybody that the session is gone.
    async fn leave(&mut self) {
        self.session.flush(self.gateway.now(), &mut self.actions);
        self.act();
        self.gateway.routing.close(self.handle.id()).await;
        self.gateway.meters.sessions.decrement(1.0);
    }

    /// Writes the close frame, if that can still be done, and waits until the client has closed: a connection that is
    /// dropped with unread bytes is reset, and the close frame may be lost with it.
    async fn finish(self, code: CloseCode) {
        tracing::debug!(session = self.handle.id(), code = code.name(), "a session is closed");
        let written = matches!(timeout(CLOSE_WRITE, self.write_rest()).await, Ok(Ok(())));
        self.handle.outbox.detach();
        let Some(mut stream) = Arc::into_inner(self.stream).filter(|_| written) else { return };
        if stream.shutdown().await.is_ok() {
            timeout(CLOSE_LINGER, read_to_end(&stream)).await.ok();
        }
    }

    async fn write_rest(&self) -> io::Result<()> {
        while self.handle.outbox.write_all()? == Written::Blocked {
            self.stream.writable().await?;
        }
        Ok(())
    }
}

async fn read_to_end(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        let read = SCRATCH.with_borrow_mut(|scratch| stream.try_read(scratch));
        match read {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand idle sessions are to cost as little as their sockets allow: no buffer, no large state.
    #[test]
    fn an_idle_session_costs_little() {
        let bytes = bytes_of(serve);
        assert!(bytes <= 2048, "{bytes}");
        let handle = size_of::<SessionHandle>();
        assert!(handle <= 384, "{handle}");
    }
}
