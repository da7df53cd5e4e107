//! HTTP: the upgrade to a session, commands by POST, reads by GET, the page, and what operators ask.
//!
//! Before any of them, [`guarded`] has looked at the request's bytes.

mod answer;
mod commands;
mod cors;
pub mod guarded;
pub mod head;
mod page;
mod query;
mod reads;
pub mod ready;
pub mod refusal;
mod tables;
mod upgrade;

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;

use crate::gateway::Gateway;
use crate::telemetry;

use answer::Refused;

/// Every route.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/ws", get(upgrade::upgrade))
        .route("/v1/commands", post(commands::command))
        .route("/v1/conversations", get(reads::conversations))
        .route("/v1/conversations/{conversation}", get(reads::conversation))
        .route("/v1/conversations/{conversation}/messages", get(reads::messages))
        .route("/v1/conversations/{conversation}/events", get(reads::events))
        .route("/v1/conversations/{conversation}/members", get(reads::members))
        .route("/v1/errors", get(tables::errors))
        .route("/healthz", get(ready::healthz))
        .route("/readyz", get(ready::readyz))
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(Arc::clone(&gateway), cors::cors))
        .layer(from_fn(end_where_nothing_can_follow))
        .layer(from_fn(count))
        .with_state(gateway)
}

async fn nothing_here() -> Refused {
    ErrorBody::new(ErrorCode::NotFound, "there is nothing at this path").into()
}

async fn other_method() -> Refused {
    Refused::method(ErrorBody::new(ErrorCode::InvalidFrame, "this path does not take that method"))
}

/// What stands behind such a request was not looked at ([`head::Follows::Rest`]), so it is the last of its connection.
async fn end_where_nothing_can_follow(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let last =
        headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(UPGRADE) || request.method() == Method::CONNECT;
    let mut response = next.run(request).await;
    if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(telemetry::HTTP_REQUESTS, "route" => route, "status" => status).increment(1);
    response
}
