//! A client's connection as HTTP sees it: bytes of a request come through once its head has been looked at ([`super::head`])
//! and in the time that it may take, and an answer goes out while the client takes it. Who breaks a rule is told and sent away,
//! and HTTP sees the connection's end.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use super::head::{Follows, HEAD_BYTES_MAX, look};
use super::refusal::Refusal;

/// Bytes of a head read at once.
const CHUNK_BYTES: usize = 4096;
/// How long a client that was sent away has to read why: a connection that is dropped with unread bytes is reset, and the
/// answer may be lost with it.
const LINGER: Duration = Duration::from_secs(1);
/// Who is turned away asks within this time, or is told unasked.
const ASKED_WITHIN: Duration = Duration::from_millis(500);

/// Whether a handler is at work on this connection's request: then it is not the client who keeps the other waiting, and the
/// next request waits.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<AtWork>);

#[derive(Debug, Default)]
struct AtWork {
    is: AtomicBool,
    /// The connection, which has left the next request where it is.
    waits: AtomicWaker,
}

impl Busy {
    /// A handler begins.
    pub fn begin(&self) {
        self.0.is.store(true, Ordering::Release);
    }

    /// It has ended.
    pub fn end(&self) {
        self.0.is.store(false, Ordering::Release);
        self.0.waits.wake();
    }

    fn is(&self) -> bool {
        self.0.is.load(Ordering::Acquire)
    }
}

/// A guarded connection.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    /// How long a head may take to arrive, and how long a client may take nothing of its answer.
    patience: Duration,
    busy: Busy,
    next: Next,
    /// Bytes that have arrived and were not handed on; the first `cleared` of them may be.
    arrived: Vec<u8>,
    cleared: usize,
    /// Bytes of an unfinished head that were looked at.
    seen: usize,
    /// Runs while a head is waited for.
    late: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing of its answer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether there was a request.
    asked: bool,
    refusal: Option<Refusal>,
    farewell: Farewell,
}

/// What stands next in the bytes of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// Anything, to the end.
    Rest,
}

/// How far the end of the connection has come.
#[derive(Debug)]
enum Farewell {
    /// What is left to be said.
    Tell(Vec<u8>),
    Close,
    Linger(Pin<Box<Sleep>>),
}

impl Guarded {
    /// Guards a connection.
    pub fn new(stream: TcpStream, patience: Duration, busy: Busy) -> Self {
        Self {
            stream,
            patience,
            busy,
            next: Next::Head,
            arrived: Vec::new(),
            cleared: 0,
            seen: 0,
            late: None,
            stalled: None,
            asked: false,
            refusal: None,
            farewell: Farewell::Close,
        }
    }

    /// The connection as it is, for another protocol, with what has arrived of that.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.arrived)
    }

    /// Sends the client away: to HTTP this is the connection's end.
    fn refuse(&mut self, refusal: Refusal) {
        refusal.count();
        if let Some(answer) = refusal.answer() {
            self.farewell = Farewell::Tell(answer);
        }
        self.refusal = Some(refusal);
        self.late = None;
    }

    /// Clears bytes that have arrived, where they may be handed on. Otherwise more are needed.
    fn clear(&mut self) {
        let come = self.arrived.len();
        match self.next {
            Next::Rest => self.cleared = come,
            Next::Body(left) => {
                self.cleared = usize::try_from(left).unwrap_or(usize::MAX).min(come);
                self.spent(self.cleared);
            }
            Next::Head if self.busy.is() || come == self.seen => {}
            Next::Head => match look(&self.arrived, self.seen) {
                Ok(Some(head)) => {
                    self.cleared = head.bytes;
                    self.next = match head.follows {
                        Follows::Body(0) => Next::Head,
                        Follows::Body(bytes) => Next::Body(bytes),
                        Follows::Rest => Next::Rest,
                    };
                    (self.seen, self.late, self.asked) = (0, None, true);
                }
                Ok(None) => self.seen = come,
                Err(error) => self.refuse(Refusal::Head(error)),
            },
        }
    }

    /// So many bytes of the body are there.
    fn spent(&mut self, count: usize) {
        if let Next::Body(left) = &mut self.next {
            *left -= count as u64;
            if *left == 0 {
                self.next = Next::Head;
            }
        }
    }

    /// Reads a piece of a head. `false`: there is nothing more, or the connection is at its end.
    fn poll_arrive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let busy = self.busy.is();
        if busy {
            // Whatever stands behind the request is looked at when its handler has ended.
            self.busy.0.waits.register(cx.waker());
            if self.arrived.len() > HEAD_BYTES_MAX {
                return Poll::Pending;
            }
        }
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        if Pin::new(&mut self.stream).poll_read(cx, &mut chunk)?.is_ready() {
            self.arrived.extend_from_slice(chunk.filled());
            return Poll::Ready(Ok(!chunk.filled().is_empty()));
        }
        if busy {
            return Poll::Pending;
        }
        let patience = self.patience;
        ready!(self.late.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        match (self.arrived.is_empty(), self.asked) {
            (false, _) => self.refuse(Refusal::SlowHead(patience)),
            (true, false) => self.refuse(Refusal::Silent),
            // Idle: it has been served, and may come again.
            (true, true) => {}
        }
        Poll::Ready(Ok(false))
    }

    /// Notes whether the client takes its answer.
    fn taken(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            if self.arrived.is_empty() {
                // The time for the next request begins after the answer.
                self.late = None;
            }
            return written;
        }
        let patience = self.patience;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        self.refuse(Refusal::SlowReader);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Whether the client may still be sending.
    fn is_amid(&self) -> bool {
        self.refusal.is_some() || self.next != Next::Head || !self.arrived.is_empty()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(into.remaining());
                into.put_slice(&this.arrived[..count]);
                this.arrived.drain(..count);
                this.cleared -= count;
                if this.arrived.is_empty() {
                    this.arrived = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.refusal.is_some() {
                return Poll::Ready(Ok(()));
            }
            this.clear();
            if this.cleared > 0 || this.refusal.is_some() {
                continue;
            }
            match this.next {
                Next::Head => {
                    if !ready!(this.poll_arrive(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Rest => return Pin::new(&mut this.stream).poll_read(cx, into),
                Next::Body(left) => {
                    let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(into.remaining());
                    let mut part = ReadBuf::new(into.initialize_unfilled_to(bytes));
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
                    let count = part.filled().len();
                    into.advance(count);
                    this.spent(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.taken(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.taken(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.farewell {
                Farewell::Tell(answer) => {
                    // A few hundred bytes, and nothing before them: they fit, or the client does not read.
                    if let Poll::Ready(told) = Pin::new(&mut this.stream).poll_write(cx, answer) {
                        told?;
                    }
                    this.farewell = Farewell::Close;
                }
                Farewell::Close => {
                    ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                    if !this.is_amid() {
                        return Poll::Ready(Ok(()));
                    }
                    this.farewell = Farewell::Linger(Box::pin(sleep(LINGER)));
                }
                Farewell::Linger(until) => {
                    if until.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                    return poll_discard(&mut this.stream, cx);
                }
            }
        }
    }
}

/// Says no, and waits a moment until the client has read it: for a connection that is not served at all.
pub async fn turn_away(mut stream: TcpStream, refusal: Refusal) {
    refusal.count();
    let Some(answer) = refusal.answer() else { return };
    let told = async {
        // An answer to what was not asked yet is no answer to a client that keeps to HTTP. Where all places are taken, those
        // of who is told so are too few to wait in.
        if refusal == Refusal::Starting {
            timeout(ASKED_WITHIN, stream.peek(&mut [0])).await.unwrap_or(Ok(0))?;
        }
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        poll_fn(|cx| poll_discard(&mut stream, cx)).await
    };
    if let Ok(Err(error)) = timeout(LINGER, told).await {
        tracing::debug!(%error, "a client was not told why it was sent away");
    }
}

/// Reads to the end.
fn poll_discard(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut chunk))?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::server::conn::http1::Builder;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::task::yield_now;

    use super::*;

    /// Serves one connection, each request by a handler that takes its time, to its end.
    async fn serve(listener: TcpListener) {
        let (stream, _) = listener.accept().await.unwrap();
        let busy = Busy::default();
        let stream = Guarded::new(stream, Duration::from_secs(60), busy.clone());
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            busy.begin();
            let busy = busy.clone();
            async move {
                for _ in 0..10 {
                    yield_now().await;
                }
                busy.end();
                Ok::<_, Infallible>(Response::new(format!("<{}>", request.uri().path())))
            }
        });
        Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
    }

    async fn answers(requests: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(serve(listener));
        client.write_all(requests).await.unwrap();
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        serving.await.unwrap();
        answered
    }

    #[tokio::test]
    async fn requests_in_one_write_are_answered_one_after_the_other() {
        let with_body = "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
        let last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let many = "GET /more HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
        let answered = answers(format!("{with_body}{many}{last}").as_bytes()).await;
        assert_eq!(answered.matches("HTTP/1.1 200").count(), 1002);
        assert!(answered.find("</first>") < answered.find("</more>") && answered.ends_with("</last>"));
    }

    #[tokio::test]
    async fn http_1_0_goes_on_only_where_it_asks_to() {
        let first = |headers: &str| format!("GET /first HTTP/1.0\r\n{headers}\r\n");
        let last = "GET /last HTTP/1.0\r\n\r\n";
        let kept = answers(format!("{}{last}", first("Connection: keep-alive\r\n")).as_bytes()).await;
        assert_eq!(kept.matches("HTTP/1.0 200").count(), 2, "{kept}");
        assert!(kept.contains("connection: keep-alive") && kept.ends_with("</last>"), "{kept}");
        let closed = answers(format!("{}{last}", first("")).as_bytes()).await;
        assert_eq!(closed.matches("HTTP/1.0 200").count(), 1, "{closed}");
        assert!(closed.ends_with("</first>"), "{closed}");
    }

    #[tokio::test]
    async fn what_is_malformed_behind_a_request_is_told_after_its_answer() {
        let answered = answers(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\nHost: x\n\n").await;
        let (first, then) = answered.split_once("</first>").expect("the first is answered");
        assert!(first.starts_with("HTTP/1.1 200") && then.starts_with("HTTP/1.1 400"), "{answered}");
        assert!(then.contains("a line does not end in CR LF"), "{answered}");
    }
}
