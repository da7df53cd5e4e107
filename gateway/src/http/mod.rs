//! HTTP: the upgrade to a session, commands by POST, reads by GET, the page, and what operators ask.

mod answer;
mod commands;
mod cors;
mod page;
mod query;
mod reads;
pub mod ready;
mod tables;
mod upgrade;

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::extract::Request;
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
        .layer(from_fn(count))
        .with_state(gateway)
}

async fn nothing_here() -> Refused {
    ErrorBody::new(ErrorCode::NotFound, "there is nothing at this path").into()
}

async fn other_method() -> Refused {
    Refused::method(ErrorBody::new(ErrorCode::InvalidFrame, "this path does not take that method"))
}

async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(telemetry::HTTP_REQUESTS, "route" => route, "status" => status).increment(1);
    response
}
