//! One request to a process of the system, on a connection of its own: it may be killed at any moment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why a read gave nothing.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody there, or the connection broke.
    Lost(anyhow::Error),
    /// Refused.
    Refused(ErrorBody),
}

/// `GET path`: the status and the body.
///
/// # Errors
/// No answer.
pub async fn get(address: SocketAddr, token: Option<&str>, path: &str) -> anyhow::Result<(u16, String)> {
    let asked = async {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("no http")?;
        let mut request = Request::get(path).header("host", address.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).context("a request")?;
        let answered = async {
            let response = sender.send_request(request).await.context("no answer")?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.context("half an answer")?.to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::pin!(answered);
        tokio::select! {
            answered = &mut answered => answered,
            ended = connection => match ended {
                // The answer may be here all the same.
                Ok(()) => answered.await,
                Err(error) => bail!("the connection broke: {error}"),
            },
        }
    };
    timeout(ANSWER_MAX, asked).await.context("no answer in time")?
}

/// A read of a client, parsed.
///
/// # Errors
/// Refused, or no answer.
pub async fn read<T: DeserializeOwned>(address: SocketAddr, token: &str, path: &str) -> Result<T, NoAnswer> {
    #[derive(Deserialize)]
    struct Refusal {
        error: ErrorBody,
    }
    let (status, body) = get(address, Some(token), path).await.map_err(NoAnswer::Lost)?;
    if status == 200 {
        let parsed = serde_json::from_str(&body).with_context(|| format!("{path} is not understood: {body}"));
        return parsed.map_err(NoAnswer::Lost);
    }
    let refusal = serde_json::from_str::<Refusal>(&body).map(|refusal| refusal.error);
    let internal = || ErrorBody::new(ErrorCode::Internal, format!("{status} {body}"));
    Err(NoAnswer::Refused(refusal.unwrap_or_else(|_| internal())))
}
