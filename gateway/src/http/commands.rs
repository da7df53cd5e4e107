//! `POST /v1/commands`: what the socket takes, answered with the outcome.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use natter_schemas::error::ErrorCode;
use natter_schemas::limits::FRAME_BYTES_MAX;
use natter_schemas::wire::client::{ClientFrame, FrameError, parse};
use natter_schemas::wire::server::{Answer, ErrorBody, Reply};
use tokio::time::timeout;

use super::answer::{Refused, fresh, status_of, with_retry};
use crate::commands::{count_rejected, from_client};
use crate::gateway::Gateway;

/// Decides a command and answers with its reply.
pub async fn command(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let identity = gateway.authenticate(&parts.headers)?;
    let received = gateway.now();
    let bytes = read(&parts.headers, body, gateway.config.request_patience).await?;
    if let Err(retry_ms) = gateway.rates.admit(None, &identity) {
        count_rejected(ErrorCode::RateLimited, 1);
        return Err(ErrorBody::of(ErrorCode::RateLimited).retry_after(retry_ms).into());
    }
    let command = match parse(&bytes) {
        Ok(ClientFrame::Command(command)) => command,
        Ok(ClientFrame::Signal { .. }) => {
            let error = ErrorBody::new(ErrorCode::UnknownCommand, "signals are taken from sessions only");
            return Ok(reply(None, Err(error), true));
        }
        Err(FrameError { id, code, message }) => {
            return Ok(reply(id, Err(ErrorBody::new(code, message)), true));
        }
    };
    let id = Some(command.id.clone());
    match from_client(&identity, 0, command, received.unix_ms) {
        Ok(command) => Ok(reply(id, gateway.commands.ask(command, &gateway.loads.of(&identity.tenant)).await, false)),
        Err(error) => Ok(reply(id, Err(error), true)),
    }
}

async fn read(headers: &HeaderMap, body: Body, patience: Duration) -> Result<Bytes, Refused> {
    let too_large = || ErrorBody::of(ErrorCode::TooLarge);
    let announced = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > FRAME_BYTES_MAX as u64) {
        return Err(too_large().into());
    }
    match timeout(patience, Limited::new(body, FRAME_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large().into()),
        Ok(Err(error)) => {
            Err(ErrorBody::new(ErrorCode::MalformedRequest, format!("the body cannot be read: {error}")).into())
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} ms", patience.as_millis());
            Err(ErrorBody::new(ErrorCode::TooSlow, message).into())
        }
    }
}

/// The reply, as a session gets it, with the status of its error. `refused`: it is counted here.
fn reply(id: Option<String>, answer: Result<Answer, ErrorBody>, refused: bool) -> Response {
    match answer {
        Ok(ok) => fresh(Json(Reply::Ok { id: id.unwrap_or_default(), ok })),
        Err(error) => {
            if refused {
                count_rejected(error.code, 1);
            }
            let status: StatusCode = status_of(&error);
            let body = Json(Reply::Error { id, error: error.clone() });
            with_retry(&error, (status, fresh(body)).into_response())
        }
    }
}
