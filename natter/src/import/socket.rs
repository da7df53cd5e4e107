//! The import's connection to the gateway: an ordinary client's.

use anyhow::{Context, anyhow};
use futures_util::{FutureExt, SinkExt, StreamExt};
use natter_schemas::wire::server::Reply;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{End, socket_url};

/// A connection to a gateway.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects with a service token.
    pub async fn connect(gateway: &str, token: &str) -> Result<Self, End> {
        let request = || -> anyhow::Result<_> {
            let mut request = socket_url(gateway)?.into_client_request()?;
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, "natter.v1".parse()?);
            Ok(request)
        };
        match connect_async(request().map_err(End::Failed)?).await {
            Ok((socket, _)) => Ok(Self(socket)),
            // The gateway is there and says no.
            Err(Error::Http(response)) if response.status().is_client_error() => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err(End::Failed(anyhow!("{gateway} refuses the connection: {} {body}", response.status())))
            }
            Err(error) => Err(End::Lost(anyhow!(error).context(format!("cannot connect to {gateway}")))),
        }
    }

    /// Sends frames in one go.
    pub async fn send(&mut self, frames: impl Iterator<Item = String>) -> Result<(), End> {
        for frame in frames {
            self.0.feed(Message::text(frame)).await.map_err(lost)?;
        }
        self.0.flush().await.map_err(lost)
    }

    /// The replies that are here; with `wait`, at least one.
    pub async fn replies(&mut self, wait: bool) -> Result<Vec<Reply>, End> {
        let mut replies = Vec::new();
        loop {
            let message = if wait && replies.is_empty() {
                self.0.next().await
            } else {
                match self.0.next().now_or_never() {
                    Some(message) => message,
                    None => return Ok(replies),
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => replies.extend(reply(&text).map_err(End::Failed)?),
                Some(Ok(Message::Close(frame))) => {
                    return Err(End::Lost(anyhow!("the gateway closed the connection: {frame:?}")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(End::Lost(anyhow!("the gateway closed the connection"))),
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if let Err(error) = self.0.close(None).await {
            tracing::debug!(%error, "closing after the import");
        }
    }
}

fn lost(error: Error) -> End {
    End::Lost(anyhow!(error).context("the connection to the gateway broke"))
}

/// A reply, or nothing for events: the service user is a member of nothing but hears of its own doings.
fn reply(text: &str) -> anyhow::Result<Option<Reply>> {
    if !text.starts_with(r#"{"id""#) {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).with_context(|| format!("the gateway's reply is not understood: {text}"))
}
