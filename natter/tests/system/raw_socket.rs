//! A WebSocket client of our own, byte by byte: it can break every rule of RFC 6455, and takes nothing of the server's library.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// The key of RFC 6455, 1.3, and what a server makes of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's frame: `first` is FIN, reserved bits and opcode as they stand in the first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked: Vec<u8> = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    [&head(first, payload.len()), MASK.as_slice(), &masked].concat()
}

/// A whole text message.
pub fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x80 | TEXT, payload.as_ref())
}

/// A close frame.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x80 | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A frame's head without the mask.
pub fn head(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(length) {
        Ok(short @ 0..126) => bytes.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(medium.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 0x7f);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Json(Value),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    /// The connection ended.
    Gone,
}

/// One connection.
pub struct RawSocket {
    pub stream: TcpStream,
    arrived: Vec<u8>,
}

impl RawSocket {
    /// Shakes hands and takes the first frame.
    pub async fn open(address: SocketAddr, token: &str) -> RawSocket {
        Self::open_on(TcpSocket::new_v4().expect("a socket"), address, token).await
    }

    /// The same on a socket that the test has set up.
    pub async fn open_on(socket: TcpSocket, address: SocketAddr, token: &str) -> RawSocket {
        let mut opened = RawSocket { stream: socket.connect(address).await.expect("connected"), arrived: Vec::new() };
        opened.stream.set_nodelay(true).expect("set");
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        opened.send(request.as_bytes()).await;
        let end = loop {
            if let Some(at) = opened.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(opened.receive().await, "the handshake fails: {}", String::from_utf8_lossy(&opened.arrived));
        };
        let head = String::from_utf8_lossy(&opened.arrived[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 101 "), "no upgrade: {head}");
        assert!(head.to_lowercase().contains("sec-websocket-accept: ") && head.contains(ACCEPT), "{head}");
        assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "none was offered: {head}");
        opened.arrived.drain(..end);
        let first = opened.seen().await;
        assert!(matches!(&first, Seen::Json(opened) if opened["event"] == "session.opened"), "{first:?}");
        opened
    }

    /// Sends bytes as they are. A server that has closed is no error: what it said is what counts.
    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.stream.write_all(bytes)).await.expect("sent in time").ok();
    }

    /// What comes next, whatever it is.
    pub async fn seen(&mut self) -> Seen {
        loop {
            if let Some((seen, bytes)) = parse(&self.arrived) {
                self.arrived.drain(..bytes);
                return seen;
            }
            if !self.receive().await {
                assert!(self.arrived.is_empty(), "the server broke off within a frame: {:?}", self.arrived);
                return Seen::Gone;
            }
        }
    }

    /// What comes next, but for the server's pings and events.
    pub async fn answer(&mut self) -> Seen {
        loop {
            match self.seen().await {
                Seen::Ping => {}
                Seen::Json(frame) if frame.get("event").is_some() => {}
                seen => return seen,
            }
        }
    }

    /// `false`: the connection has ended.
    async fn receive(&mut self) -> bool {
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.arrived)).await.expect("something in time");
        read.is_ok_and(|count| count > 0)
    }
}

/// The first frame and its length, checked by the rules for servers (RFC 6455, 5).
fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "FIN and no reserved bits: {first:#x}");
    assert_eq!(second & 0x80, 0, "servers do not mask");
    let (length, start) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    assert!(start == 2 || length > 125 && (start == 4 || length > 0xffff), "the shortest form");
    let end = start + usize::try_from(length).expect("a length");
    let payload = bytes.get(start..end)?;
    let seen = match first & 0x0f {
        TEXT => Seen::Json(serde_json::from_slice(payload).expect("json")),
        PING => Seen::Ping,
        PONG => Seen::Pong(payload.to_vec()),
        CLOSE => {
            let (code, reason) = payload.split_first_chunk().expect("the server gives a code");
            Seen::Close(u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
        }
        other => panic!("opcode {other}"),
    };
    assert!(first & 0x08 == 0 || length <= 125, "a control frame of {length} bytes");
    Some((seen, end))
}
