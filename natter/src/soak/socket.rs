//! A device's WebSocket, which may break at any moment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use natter_schemas::wire::server::SessionOpened;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A session that has not opened by then is given up.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// What cannot be sent in this time is not sent: the link is stalled.
const SEND_MAX: Duration = Duration::from_secs(10);

/// An open session.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// What the server said first.
    pub opened: SessionOpened,
}

impl Socket {
    /// Connects, and waits until the session is open.
    ///
    /// # Errors
    /// It does not come about.
    pub async fn open(gateway: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let opening = async {
            let mut request = format!("ws://{gateway}/v1/ws").into_client_request()?;
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, "natter.v1".parse()?);
            let connected = TcpStream::connect(gateway).await.map_err(|_| anyhow::anyhow!("cannot connect"))?;
            let shook = client_async(request, connected).await;
            let (mut stream, _) = shook.map_err(|_| anyhow::anyhow!("no handshake"))?;
            let text = next(&mut stream).await.context("not opened")?;
            let opened = serde_json::from_str(&text).with_context(|| format!("the first frame is {text}"))?;
            anyhow::Ok(Self { stream, opened })
        };
        timeout(OPEN_MAX, opening).await.context("the session did not open in time")?
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, frame: String) -> anyhow::Result<()> {
        let sent = timeout(SEND_MAX, self.stream.send(Message::text(frame))).await.context("cannot send")?;
        sent.map_err(|_| anyhow::anyhow!("the connection broke"))?;
        Ok(())
    }

    /// The next frame. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone; the text is the close code's, where there is one.
    pub async fn next(&mut self) -> anyhow::Result<String> {
        next(&mut self.stream).await
    }
}

async fn next(stream: &mut WebSocketStream<TcpStream>) -> anyhow::Result<String> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(Some(close)))) => bail!("closed {} {}", u16::from(close.code), close.reason),
            Some(Ok(Message::Close(None))) | None => bail!("closed without a code"),
            Some(Ok(_)) => {}
            Some(Err(_)) => bail!("the connection broke"),
        }
    }
}
