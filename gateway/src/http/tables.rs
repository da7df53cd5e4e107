//! `GET /v1/errors`: the tables of error and close codes, as the code has them.

use axum::Json;
use natter_schemas::error::{CloseCode, ErrorCode};
use serde::Serialize;

/// Both tables.
#[derive(Debug, Serialize)]
pub struct Tables {
    errors: Vec<ErrorRow>,
    closes: Vec<CloseRow>,
}

#[derive(Debug, Serialize)]
struct ErrorRow {
    code: ErrorCode,
    http_status: u16,
    retryable: bool,
    description: &'static str,
}

#[derive(Debug, Serialize)]
struct CloseRow {
    code: u16,
    reason: &'static str,
    reconnect: bool,
    description: &'static str,
}

/// Every code with its meaning.
pub async fn errors() -> Json<Tables> {
    let error = |code: &ErrorCode| ErrorRow {
        code: *code,
        http_status: code.http_status(),
        retryable: code.retryable(),
        description: code.description(),
    };
    let close = |code: &CloseCode| CloseRow {
        code: code.number(),
        reason: code.name(),
        reconnect: code.reconnect(),
        description: code.description(),
    };
    Json(Tables {
        errors: ErrorCode::ALL.iter().map(error).collect(),
        closes: CloseCode::ALL.iter().map(close).collect(),
    })
}
