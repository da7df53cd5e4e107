//! One client of the load: sends what is due, and measures answers and what its peer sends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Barrier, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::pace::Schedule;
use super::report::Latencies;

/// The longest that a reply to the preparations may take.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// What all sessions of a load share.
pub struct Load {
    /// When each message is sent.
    pub schedule: Arc<Schedule>,
    /// Where latencies go.
    pub latencies: Latencies,
    /// All sessions, when they have what they wait for.
    pub settled: Barrier,
    /// Characters of a message.
    pub text_bytes: usize,
    /// What has not come by then does not come.
    pub until: Instant,
}

/// A connected client.
pub struct Session {
    user: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    conversation: String,
}

impl Session {
    /// Connects and waits until the session is opened.
    pub async fn connect(gateway: &str, user: &str, token: &str) -> anyhow::Result<Self> {
        let rest = gateway.strip_prefix("http").with_context(|| format!("`{gateway}` is no http address"))?;
        let mut request = format!("ws{}/v1/ws", rest.trim_end_matches('/')).into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        request.headers_mut().insert("sec-websocket-protocol", "natter.v1".parse()?);
        let (socket, _) = connect_async(request).await.with_context(|| format!("cannot connect to {gateway}"))?;
        let mut session = Self { user: user.to_owned(), socket, conversation: String::new() };
        session.next_where(|frame| frame["event"] == "session.opened").await?;
        Ok(session)
    }

    /// Who it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The conversation that it writes to.
    pub fn know(&mut self, conversation: &str) {
        conversation.clone_into(&mut self.conversation);
    }

    /// Makes (or finds) the direct chat with `peer`.
    pub async fn create_direct(&mut self, peer: &str) -> anyhow::Result<String> {
        let frame = serde_json::json!({
            "id": "create", "cmd": "conversation.create", "ref": format!("bench-{}", self.user), "kind": "direct", "members": [peer],
        });
        self.socket.send(Message::text(frame.to_string())).await?;
        let reply = self.next_where(|frame| frame["id"] == "create").await?;
        let conversation = reply["ok"]["conversation"].as_str();
        Ok(conversation.with_context(|| format!("refused: {reply}"))?.to_owned())
    }

    async fn next_where(&mut self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let found = async {
            while let Some(message) = self.socket.next().await {
                if let Message::Text(text) = message? {
                    let frame: Value = serde_json::from_str(&text)?;
                    if wanted(&frame) {
                        return Ok(frame);
                    }
                }
            }
            bail!("the gateway closed the connection")
        };
        timeout(REPLY_WITHIN, found).await.context("no answer in time")?
    }

    /// Sends what is due until all is sent, and measures until all of its answers are here or the load's end.
    pub async fn run(self, index: u64, load: Arc<Load>, mut due: mpsc::Receiver<u64>) -> anyhow::Result<()> {
        let Self { user, socket, conversation } = self;
        let Load { schedule, latencies, settled, text_bytes, until } = &*load;
        let (mut sink, mut stream) = socket.split();
        let expected = schedule.of_session(index);
        let text = "x".repeat(*text_bytes);
        let salt = format!("{:x}", rand_salt());
        let sending = async {
            while let Some(number) = due.recv().await {
                let frame = format!(
                    r#"{{"id":"{number}","cmd":"message.send","ref":"{salt}-{number}","conversation":"{conversation}","text":"{number} {text}"}}"#
                );
                sink.send(Message::text(frame)).await?;
            }
            anyhow::Ok(())
        };
        let receiving = async {
            let (mut answered, mut delivered) = (0, 0);
            let peers = schedule.of_session(index ^ 1);
            while answered < expected || delivered < peers {
                let Ok(Some(message)) = timeout_at(*until, stream.next()).await else { break };
                let Message::Text(frame) = message? else { continue };
                if let Some(id) = between(&frame, r#"{"id":""#, '"') {
                    answered += 1;
                    let accepted = frame.contains(r#""ok":"#);
                    latencies.answered(schedule, id.parse().unwrap_or(0), accepted);
                } else if frame.starts_with(r#"{"event":"message.sent""#)
                    && !frame.contains(&format!(r#""sender":"{user}""#))
                {
                    delivered += 1;
                    let number = between(&frame, r#""text":""#, ' ').and_then(|number| number.parse().ok());
                    latencies.delivered(schedule, number.unwrap_or(0));
                }
            }
            anyhow::Ok(())
        };
        tokio::try_join!(sending, receiving)?;
        // Nobody hangs up before the others have what they wait for.
        settled.wait().await;
        Ok(())
    }
}

/// Distinguishes the refs of one run from those of another.
fn rand_salt() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// What stands between `before` and `after`.
fn between<'t>(text: &'t str, before: &str, after: char) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.split(after).next()
}
