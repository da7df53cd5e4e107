//! One request to a process of the system, on a connection of its own: it may be killed at any moment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::bench::http::Http;

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
    let client = Http::new(token.map(str::to_owned));
    let asked = timeout(ANSWER_MAX, client.get(&format!("http://{address}{path}"))).await;
    let (status, body) = asked.context("no answer in time")??;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
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
