//! Requests to the broker: the JetStream API and publishing, with errors told apart by what they mean.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Link;
use crate::error::LogError;

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) enum ApiError {
    /// The broker answered: no.
    Refused { code: ErrorCode, text: String },
    /// No answer came: the request may or may not have been carried out.
    Unanswered(String),
}

impl ApiError {
    pub(crate) fn is(&self, wanted: ErrorCode) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    /// An error that may pass, as all of them may unless the caller knows the code.
    pub(crate) fn into_transient(self, doing: impl std::fmt::Display) -> LogError {
        match self {
            Self::Refused { text, .. } | Self::Unanswered(text) => LogError::transient(doing, text),
        }
    }
}

impl Link {
    /// Asks the JetStream API; `subject` without its `$JS.API.`.
    pub(crate) async fn api<T: DeserializeOwned>(&self, subject: String, ask: &impl Serialize) -> Result<T, ApiError> {
        match self.jetstream.request::<_, _, Response<T>>(subject, ask).await {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(refused(&error)),
            Err(error) => Err(ApiError::Unanswered(error.to_string())),
        }
    }

    /// Publishes into a stream and waits for the acknowledgement: the message's sequence.
    pub(crate) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<u64, ApiError> {
        let request = Request::new().headers(headers).payload(payload).timeout(Some(timeout));
        let answer = self.client.send_request(subject, request).await;
        let answer = answer.map_err(|error| ApiError::Unanswered(error.to_string()))?;
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
            Ok(Response::Ok(ack)) => Ok(ack.sequence),
            Ok(Response::Err { error }) => Err(refused(&error)),
            Err(error) => Err(ApiError::Unanswered(format!("the acknowledgement cannot be read: {error}"))),
        }
    }
}

fn refused(error: &async_nats::jetstream::Error) -> ApiError {
    ApiError::Refused { code: error.error_code(), text: error.to_string() }
}
