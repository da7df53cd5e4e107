//! Connections that end before a handler could answer: why, what they are told and how they are counted.

use std::time::Duration;

use axum::http::StatusCode;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;

use super::answer::status_of;
use super::head::HeadError;
use crate::telemetry;

/// When a client that found no place, or came too early, may try again.
const RETRY_MS: u64 = 1000;

/// Why a connection ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A request that breaks the rules or the limits of a head.
    Head(HeadError),
    /// A head that does not arrive in time.
    SlowHead(Duration),
    /// Nothing was said at all.
    Silent,
    /// The client does not take its answer.
    SlowReader,
    /// There are too many connections.
    Full(usize),
    /// The gateway has not reached what it needs yet.
    Starting,
}

impl Refusal {
    /// The metric's label.
    const fn reason(self) -> &'static str {
        match self {
            Self::Head(error) if matches!(error.code(), ErrorCode::HeadTooLarge) => "head_too_large",
            Self::Head(_) => "malformed",
            Self::SlowHead(_) => "slow_head",
            Self::Silent => "silent",
            Self::SlowReader => "slow_reader",
            Self::Full(_) => "full",
            Self::Starting => "starting",
        }
    }

    /// Counts it.
    pub fn count(self) {
        metrics::counter!(telemetry::CONNECTIONS_REFUSED, "reason" => self.reason()).increment(1);
    }

    /// What the client is told, as it goes over the wire; who has not asked is not told.
    pub fn answer(self) -> Option<Vec<u8>> {
        let error = match self {
            Self::Head(error) => ErrorBody::new(error.code(), error.to_string()),
            Self::SlowHead(limit) => {
                let message = format!("the request's head did not arrive within {} ms", limit.as_millis());
                ErrorBody::new(ErrorCode::TooSlow, message)
            }
            Self::Full(limit) => {
                let message = format!("all of {limit} connections are taken");
                ErrorBody::new(ErrorCode::Overloaded, message).retry_after(RETRY_MS)
            }
            Self::Starting => ErrorBody::of(ErrorCode::Unavailable).retry_after(RETRY_MS),
            Self::Silent | Self::SlowReader => return None,
        };
        Some(response(&error))
    }
}

fn response(error: &ErrorBody) -> Vec<u8> {
    let status: StatusCode = status_of(error);
    let body = serde_json::json!({ "error": error }).to_string();
    let retry = error.retry_after_ms.map_or_else(String::new, |ms| format!("retry-after: {}\r\n", ms.div_ceil(1000)));
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: no-store\r\n{retry}connection: close\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_an_error_of_the_table() {
        let told = |refusal: Refusal| String::from_utf8(refusal.answer().unwrap()).unwrap();
        let folded = told(Refusal::Head(HeadError::Folded));
        assert!(folded.starts_with("HTTP/1.1 400 Bad Request\r\n") && folded.contains("connection: close\r\n"));
        assert!(folded.contains(r#"{"error":{"code":"malformed_request","message":"a header is folded"#), "{folded}");
        assert!(told(Refusal::Head(HeadError::Bytes)).starts_with("HTTP/1.1 431 "));
        assert!(told(Refusal::SlowHead(Duration::from_secs(2))).starts_with("HTTP/1.1 408 "));
        let full = told(Refusal::Full(7));
        assert!(
            full.starts_with("HTTP/1.1 503 ") && full.contains("\r\nretry-after: 1\r\n") && full.contains("all of 7")
        );
        assert_eq!(Refusal::Silent.answer(), None);
    }
}
