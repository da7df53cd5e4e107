//! A case: what is sent, what is told, and which metric counts it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use natter_schemas::error::{CloseCode, ErrorCode};
use tokio::time::timeout;

use super::system::{HttpAnswer, System};
use crate::raw_socket::{Seen, text};

const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// Cases of one kind.
pub struct Group {
    pub name: &'static str,
    pub about: &'static str,
    pub cases: Vec<Case>,
}

/// One line of the documentation.
pub struct Case {
    /// In words.
    pub sent: &'static str,
    pub act: Act,
    pub told: Told,
}

/// What is done.
pub enum Act {
    /// A text frame on a session of mallory's, who is a member of `ext:mine`.
    Command(String),
    /// Bytes on such a session.
    Session(Vec<u8>),
    /// A request, whole, on a connection of its own.
    Request(String),
    /// What takes more than that, and gives what was told.
    Scene(Scene),
}

pub type Scene = fn(&System) -> BoxFuture<'_, Got>;

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    Error {
        code: String,
        message: String,
    },
    Closed(u16),
    Answered {
        status: u16,
        code: String,
        message: String,
    },
    /// The connection ended without a word.
    Cut,
    /// Not what a case can expect.
    Other(String),
}

/// What a client has to be told. Texts are parts of the message, which names the field and the limit.
#[derive(Clone, Copy)]
pub enum Told {
    /// An error on the session, which goes on.
    Error(ErrorCode, &'static str),
    /// The session's end.
    Closed(CloseCode),
    /// By a handler, at a route.
    Answered { route: &'static str, status: u16, code: ErrorCode, says: &'static str },
    /// Before any handler, and the connection's end.
    Refused { code: ErrorCode, says: &'static str, reason: &'static str },
    /// The connection's end.
    Cut { reason: &'static str },
}

impl Case {
    /// Why it is not as it should be.
    pub async fn run(&self, system: &System) -> Result<(), String> {
        let metric = self.told.metric();
        let before = system.counted(&metric).await;
        let got = match &self.act {
            Act::Command(command) => on_session(system, &text(fill(command, system)), &self.told).await,
            Act::Session(bytes) => on_session(system, bytes, &self.told).await,
            Act::Request(request) => system.request(fill(request, system).as_bytes()).await.into(),
            Act::Scene(scene) => scene(system).await,
        };
        if !self.told.is(&got) {
            return Err(format!("{got:?} instead of {}", self.told.shown()));
        }
        // A close is counted when it has been written.
        let counted = timeout(COUNTED_WITHIN, system.risen(&metric, before)).await;
        counted.map_err(|_| format!("not counted by {metric}"))
    }
}

async fn on_session(system: &System, bytes: &[u8], told: &Told) -> Got {
    let mut socket = system.session("mallory").await;
    socket.send(bytes).await;
    loop {
        match socket.answer().await {
            // What is accepted, or refused on the way to a close, is not what the case is about.
            Seen::Json(frame) if frame.get("ok").is_some() => {}
            Seen::Json(_) if matches!(told, Told::Closed(_)) => {}
            Seen::Json(frame) => {
                let text = |name: &str| frame["error"][name].as_str().unwrap_or_default().to_owned();
                return Got::Error { code: text("code"), message: text("message") };
            }
            Seen::Close(code, _) => return Got::Closed(code),
            Seen::Gone => return Got::Cut,
            other => return Got::Other(format!("{other:?}")),
        }
    }
}

/// Stands for the id of another tenant's conversation, which is known only when the system runs.
pub const FOREIGN: &str = "<foreign>";

fn fill(text: &str, system: &System) -> String {
    text.replace(FOREIGN, &system.foreign)
}

impl From<HttpAnswer> for Got {
    fn from(answer: HttpAnswer) -> Self {
        match answer {
            HttpAnswer { status: 0, .. } => Self::Cut,
            HttpAnswer { status, code, message } => Self::Answered { status, code, message },
        }
    }
}

impl Told {
    fn is(&self, got: &Got) -> bool {
        match (self, got) {
            (Self::Error(wanted, says), Got::Error { code, message }) => {
                code == wanted.name() && message.contains(says)
            }
            (Self::Closed(wanted), Got::Closed(code)) => *code == wanted.number(),
            (Self::Answered { status: wanted, code: name, says, .. }, Got::Answered { status, code, message }) => {
                status == wanted && code == name.name() && message.contains(says)
            }
            (Self::Refused { code: name, says, .. }, Got::Answered { status, code, message }) => {
                *status == name.http_status() && code == name.name() && message.contains(says)
            }
            (Self::Cut { .. }, Got::Cut) => true,
            _ => false,
        }
    }

    /// In words.
    pub fn shown(&self) -> String {
        let with = |told: String, says: &str| if says.is_empty() { told } else { format!("{told}: {says}") };
        match self {
            Self::Error(code, says) => with(format!("`{code}`"), says),
            Self::Closed(code) => format!("closed with {} `{}`", code.number(), code.name()),
            Self::Answered { status, code, says, .. } => with(format!("{status} `{code}`"), says),
            Self::Refused { code, says, .. } => with(format!("{} `{code}`", code.http_status()), says) + "; closed",
            Self::Cut { .. } => "closed without a word".to_owned(),
        }
    }

    /// As Prometheus shows it.
    pub fn metric(&self) -> String {
        match self {
            Self::Error(code, _) => format!("natter_gateway_commands_rejected_total{{code=\"{code}\"}}"),
            Self::Closed(code) => format!("natter_gateway_sessions_closed_total{{code=\"{}\"}}", code.name()),
            Self::Answered { route, status, .. } => {
                format!("natter_gateway_http_requests_total{{route=\"{route}\",status=\"{status}\"}}")
            }
            Self::Refused { reason, .. } | Self::Cut { reason } => {
                format!("natter_gateway_connections_refused_total{{reason=\"{reason}\"}}")
            }
        }
    }
}
