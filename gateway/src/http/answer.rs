//! Answers: JSON, with the status that goes with an error's code.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use serde::Serialize;

/// A refusal: `{"error":{…}}`.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    error: ErrorBody,
}

impl Refused {
    /// The path is known, the method is not.
    pub fn method(error: ErrorBody) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, error }
    }

    /// The client speaks another WebSocket (RFC 6455, 4.4).
    pub fn version() -> Self {
        let error = ErrorBody::new(ErrorCode::InvalidField, "`Sec-WebSocket-Version` is not 13");
        Self { status: StatusCode::UPGRADE_REQUIRED, error }
    }
}

impl From<ErrorBody> for Refused {
    fn from(error: ErrorBody) -> Self {
        Self { status: status_of(&error), error }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a ErrorBody,
        }
        let mut response =
            with_retry(&self.error, (self.status, fresh(Json(Body { error: &self.error }))).into_response());
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// The status of an error's code.
pub fn status_of(error: &ErrorBody) -> StatusCode {
    StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `Retry-After`, in whole seconds, where the error says when.
pub fn with_retry(error: &ErrorBody, mut response: Response) -> Response {
    if let Some(retry_after_ms) = error.retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
    }
    response
}

/// What changes with every event is never cached.
pub fn fresh(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
