//! `/healthz`: the process answers. `/readyz`: what it needs is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use super::answer::fresh;
use crate::gateway::Gateway;

/// Knows whether what the gateway needs is there; given by the binary.
pub trait Readiness: Send + Sync + 'static {
    /// Each dependency, as of now. Answers within a second or two.
    fn check(&self) -> BoxFuture<'_, Vec<Dependency>>;
}

/// Something that the gateway depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// Its name, such as `nats` or `processors`.
    pub name: String,
    /// Whether it is there.
    pub ready: bool,
    /// Without it the gateway is not ready; else only degraded.
    pub required: bool,
    /// What is wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The process answers.
pub async fn healthz() -> Response {
    fresh(Json(json!({ "status": "ok" })))
}

/// 200 with `ready` or `degraded`, 503 with `unready` or `draining`; each dependency by name.
pub async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response {
    let dependencies = gateway.readiness.check().await;
    let status = status(gateway.drain.is_cancelled(), &dependencies);
    let code = match status {
        "ready" | "degraded" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, fresh(Json(json!({ "status": status, "dependencies": dependencies })))).into_response()
}

fn status(draining: bool, dependencies: &[Dependency]) -> &'static str {
    let away = |required| dependencies.iter().any(|one| !one.ready && one.required == required);
    match (draining, away(true), away(false)) {
        (true, _, _) => "draining",
        (false, true, _) => "unready",
        (false, false, true) => "degraded",
        (false, false, false) => "ready",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(ready: bool, required: bool) -> Dependency {
        Dependency { name: "x".into(), ready, required, detail: None }
    }

    #[test]
    fn what_is_not_required_only_degrades() {
        assert_eq!(status(false, &[dependency(true, true), dependency(true, false)]), "ready");
        assert_eq!(status(false, &[dependency(true, true), dependency(false, false)]), "degraded");
        assert_eq!(status(false, &[dependency(false, true), dependency(false, false)]), "unready");
        assert_eq!(status(true, &[dependency(true, true)]), "draining");
    }
}
