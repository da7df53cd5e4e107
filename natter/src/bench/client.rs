//! A client of the load: a socket, the handshake, and frames by the thousand. No WebSocket library: what is measured is the
//! server, and a generator that is slower than it would be all that is seen.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::wire::{self, CLOSE, PING, TEXT};

/// Bytes read at once.
const SCRATCH_BYTES: usize = 256 * 1024;
/// The longest that the handshake, or an answer to the preparations, may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// 16 bytes, as the handshake wants them. That the server proves to have read them is for its tests.
const KEY: &str = "bmF0dGVyIGJlbmNoIGtleQ==";

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// A connected client: reads, and gives away what writes.
#[derive(Debug)]
pub struct Client {
    stream: OwnedReadHalf,
    line: Arc<Line>,
    /// The beginning of a frame whose rest has not come yet.
    carry: Vec<u8>,
}

/// The sending side, which any thread may use.
#[derive(Debug)]
pub struct Line {
    stream: OwnedWriteHalf,
    /// What the socket did not take. A frame is never cut by another.
    unsent: Mutex<Vec<u8>>,
}

/// Why there is nothing more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The server closed with this code.
    Closed(u16),
    /// The connection is gone.
    Lost(ErrorKind),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "closed with {code}"),
            Self::Lost(kind) => write!(f, "lost: {kind}"),
        }
    }
}

impl Client {
    /// Connects with a token and waits until the session is opened.
    ///
    /// # Errors
    /// Nobody there, refused, or no answer in time.
    pub async fn connect(gateway: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let opened = async {
            let mut client = Self::of(TcpStream::connect(gateway).await?)?;
            client.handshake(gateway, token).await?;
            client.next_where(|text| text.starts_with(br#"{"event":"session.opened""#)).await?;
            anyhow::Ok(client)
        };
        timeout(ANSWER_WITHIN, opened).await.context("no answer in time")?.context("cannot open a session")
    }

    /// A client without a handshake, on an open connection.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (stream, writing) = stream.into_split();
        Ok(Self { stream, line: Arc::new(Line { stream: writing, unsent: Mutex::default() }), carry: Vec::new() })
    }

    /// What writes to it.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Waits for bytes and gives each whole text frame in them to `each`. Pings are answered. How many
    /// frames there were, of any kind.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<u64, End> {
        if !self.carry.is_empty() {
            // The first frame may have come together with the handshake's answer.
            let carried = std::mem::take(&mut self.carry);
            let frames = self.take_apart(&carried, &mut each)?;
            if frames > 0 {
                return Ok(frames);
            }
        }
        let polled =
            |context: &mut Context<'_>| SCRATCH.with_borrow_mut(|scratch| self.poll_read(context, scratch, &mut each));
        let frames = poll_fn(polled).await?;
        self.line.flush().map_err(|error| lost(&error))?;
        Ok(frames)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        each: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<u64, End>> {
        let carried = self.carry.len();
        scratch[..carried].copy_from_slice(&self.carry);
        let mut room = ReadBuf::new(&mut scratch[carried..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)).map_err(|error| lost(&error))?;
        let count = room.filled().len();
        if count == 0 {
            // Or a frame that fills the buffer, which is none of Natter's.
            return Poll::Ready(Err(End::Lost(ErrorKind::UnexpectedEof)));
        }
        Poll::Ready(self.take_apart(&scratch[..carried + count], each))
    }

    /// Gives the whole frames, keeps what is left, and says how many there were.
    fn take_apart(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<u64, End> {
        let (mut frames, mut closed, mut pongs) = (0, None, Vec::new());
        let walked = wire::walk(bytes, |frame| {
            frames += 1;
            match frame.opcode {
                TEXT => each(frame.payload),
                PING => wire::pong(&mut pongs, frame.payload),
                CLOSE => closed = Some(frame.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))),
                _ => {}
            }
        });
        self.carry.clear();
        self.carry.extend_from_slice(&bytes[walked..]);
        if let Some(code) = closed {
            return Err(End::Closed(code));
        }
        if !pongs.is_empty() {
            self.line.send(&pongs).map_err(|error| lost(&error))?;
        }
        Ok(frames)
    }

    /// Sends a command and waits for its answer: what it came to.
    ///
    /// # Errors
    /// Refused, or no answer in time.
    pub async fn ask(&mut self, mut command: Value) -> anyhow::Result<Value> {
        command["id"] = "ask".into();
        let mut frame = Vec::new();
        wire::text(&mut frame, command.to_string().as_bytes());
        self.line.send(&frame)?;
        let reply = timeout(ANSWER_WITHIN, self.next_where(|text| text.starts_with(br#"{"id":"ask""#)));
        let reply: Value = serde_json::from_slice(&reply.await.context("no answer in time")??)?;
        reply.get("ok").cloned().with_context(|| format!("refused: {reply}"))
    }

    async fn next_where(&mut self, wanted: impl Fn(&[u8]) -> bool) -> anyhow::Result<Vec<u8>> {
        let mut found = None;
        while found.is_none() {
            let read = self.read(|text| {
                if found.is_none() && wanted(text) {
                    found = Some(text.to_vec());
                }
            });
            if let Err(end) = read.await {
                bail!("the connection ended: {end}");
            }
        }
        found.context("it was just found")
    }

    async fn handshake(&mut self, gateway: SocketAddr, token: &str) -> anyhow::Result<()> {
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {gateway}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: natter.v1\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        self.line.send(request.as_bytes())?;
        let mut head = Vec::with_capacity(512);
        let end = loop {
            if self.stream.read_buf(&mut head).await? == 0 {
                bail!("the gateway hung up: {}", String::from_utf8_lossy(&head));
            }
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            bail!("the gateway refuses: {}", String::from_utf8_lossy(&head).trim_end());
        }
        self.carry = head.split_off(end);
        Ok(())
    }
}

fn lost(error: &io::Error) -> End {
    End::Lost(error.kind())
}

impl Line {
    /// Sends bytes, or keeps what the socket does not take for now.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&self, frames: &[u8]) -> io::Result<()> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        if !unsent.is_empty() {
            unsent.extend_from_slice(frames);
            return self.drain(&mut unsent);
        }
        let sent = self.try_send(frames)?;
        unsent.extend_from_slice(&frames[sent..]);
        Ok(())
    }

    /// Sends what was kept.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&self) -> io::Result<()> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        if unsent.is_empty() { Ok(()) } else { self.drain(&mut unsent) }
    }

    fn drain(&self, unsent: &mut Vec<u8>) -> io::Result<()> {
        let sent = self.try_send(unsent)?;
        unsent.drain(..sent);
        Ok(())
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.try_write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_frame_that_comes_with_the_handshakes_answer_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
            wire::server_text(&mut answer, br#"{"event":"session.opened"}"#);
            stream.write_all(&answer).await.unwrap();
            stream
        };
        let (client, _open) = tokio::join!(Client::connect(address, "token"), serving);
        client.unwrap();
    }
}
