//! The private port: `/metrics`, `/healthz`, `/readyz` of a process that may have no gateway.

use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use natter_gateway::Readiness;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::foreign_pages;
use crate::readiness::Dependencies;

/// Histograms keep every value until this is done, whether anybody asks for them or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Private {
    metrics: PrometheusHandle,
    dependencies: watch::Receiver<Dependencies>,
}

/// Serves the private port until `shutdown`; the dependencies may change while the process starts.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    dependencies: watch::Receiver<Dependencies>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let private = Private { metrics: metrics.clone(), dependencies };
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(readyz))
        .with_state(private);
    let is_local = listener.local_addr().context("cannot read the private port's address")?.ip().is_loopback();
    let router = foreign_pages::refused(router, is_local);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => served.context("the private port broke"),
        never = upkeep(&metrics) => match never {},
    }
}

async fn upkeep(metrics: &PrometheusHandle) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

async fn render(State(private): State<Private>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], private.metrics.render())
}

async fn readyz(State(private): State<Private>) -> impl IntoResponse {
    let dependencies = private.dependencies.borrow().clone();
    let dependencies = dependencies.check().await;
    let away = |required| dependencies.iter().any(|one| !one.ready && one.required == required);
    let (code, status) = match (away(true), away(false)) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (false, true) => (StatusCode::OK, "degraded"),
        (false, false) => (StatusCode::OK, "ready"),
    };
    (code, Json(json!({ "status": status, "dependencies": dependencies })))
}
