//! A case: what is sent, in which pieces, and what has to come back.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::raw_socket::{RawSocket, Seen, close, frame, text};

/// One case of the suite.
#[derive(Clone)]
pub struct Case {
    pub id: String,
    /// Written one by one.
    pub sent: Vec<Vec<u8>>,
    pub expected: Vec<Expected>,
    pub end: End,
}

/// What comes back.
#[derive(Clone, PartialEq, Eq)]
pub enum Expected {
    /// The answer to [`Echo`].
    Echo(String),
    /// The answer to a text that is no JSON.
    NoJson,
    Pong(Vec<u8>),
}

/// How a case ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The connection is as it was: the client closes it.
    Open,
    /// The server closes with this code, and the connection ends.
    Closed(u16),
}

impl Case {
    /// Whole frames, each written by itself.
    pub fn frames(id: impl Into<String>, sent: Vec<Vec<u8>>, expected: Vec<Expected>, end: End) -> Case {
        Case { id: id.into(), sent, expected, end }
    }

    /// All frames in one write.
    pub fn at_once(id: impl Into<String>, sent: impl AsRef<[Vec<u8>]>, expected: Vec<Expected>, end: End) -> Case {
        Self::frames(id, vec![sent.as_ref().concat()], expected, end)
    }

    /// Pieces of so many bytes, whatever frames they belong to.
    pub fn chopped(
        id: impl Into<String>,
        sent: impl AsRef<[Vec<u8>]>,
        size: usize,
        expected: Vec<Expected>,
        end: End,
    ) -> Case {
        let pieces = sent.as_ref().concat().chunks(size).map(<[u8]>::to_vec).collect();
        Self::frames(id, pieces, expected, end)
    }

    /// Why it is not as it should be.
    pub async fn run(&self, address: SocketAddr, token: &str) -> Result<(), String> {
        let mut socket = RawSocket::open(address, token).await;
        for piece in &self.sent {
            socket.send(piece).await;
        }
        for expected in &self.expected {
            let seen = socket.answer().await;
            if !expected.is(&seen) {
                return Err(format!("{} instead of {}", shown(&seen), expected.shown()));
            }
        }
        let code = match self.end {
            End::Closed(code) => code,
            End::Open => {
                // Nothing else is on its way, and it still answers.
                socket.send(&[text(echo("alive")), close(1000, b"")].concat()).await;
                let seen = socket.answer().await;
                if !Expected::Echo("alive".into()).is(&seen) {
                    return Err(format!("{} after all was answered", shown(&seen)));
                }
                1000
            }
        };
        match (socket.answer().await, socket.answer().await) {
            (Seen::Close(found, _), Seen::Gone) if found == code => Ok(()),
            (first, then) => Err(format!("{} and {} instead of close {code}", shown(&first), shown(&then))),
        }
    }
}

impl Expected {
    fn is(&self, seen: &Seen) -> bool {
        let refused = |frame: &Value, id: Value, code| frame["id"] == id && frame["error"]["code"] == code;
        match (self, seen) {
            (Self::Echo(payload), Seen::Json(frame)) => refused(frame, json!(payload), "unknown_command"),
            (Self::NoJson, Seen::Json(frame)) => refused(frame, Value::Null, "invalid_frame"),
            (Self::Pong(payload), Seen::Pong(found)) => payload == found,
            _ => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Echo(payload) => format!("the answer to {payload:?}"),
            Self::NoJson => "the answer to no JSON".to_owned(),
            Self::Pong(payload) => format!("a pong of {} bytes", payload.len()),
        }
    }
}

fn shown(seen: &Seen) -> String {
    format!("{seen:?}").chars().take(200).collect()
}

/// A command that there is not, whose refusal brings `payload` back.
pub fn echo(payload: &str) -> String {
    format!(r#"{{"id":"{payload}","cmd":"echo"}}"#)
}

/// The same, as long as is asked for.
pub fn echo_of_length(payload: &str, bytes: usize) -> String {
    let message = echo(payload);
    let blanks = " ".repeat(bytes - message.len());
    message + &blanks
}

/// A text message in pieces: the first says what it is, the last that it ends.
pub fn fragments(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = pieces.len() - 1;
    let first = |index: usize| u8::from(index == 0) | if index == last { 0x80 } else { 0 };
    pieces.iter().enumerate().map(|(index, piece)| frame(first(index), piece)).collect()
}
