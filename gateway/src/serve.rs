//! Connections: accepted, served by HTTP, bounded in number and in what they may cost before they have said anything.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;

/// Connections at a time, sessions included; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 65_536;
/// How long a client may take for its request's head; an idle connection is closed after it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// After an error of `accept` (no file descriptors left) it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection's place among [`CONNECTIONS_MAX`]; whoever holds it last gives it back. It is in every request's
/// extensions: a session takes it over from HTTP.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// Accepts connections until the drain begins; returns when the listener is closed. `connections` are those that are
/// served by HTTP: they end by themselves once the drain has begun.
pub async fn accept(gateway: Arc<Gateway>, listener: TcpListener, router: Router, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let drain = gateway.drain.clone();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (gateway, router) = (Arc::clone(&gateway), router.clone());
                connections.spawn(async move { serve(&gateway, stream, router, Place(Arc::new(place))).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(gateway: &Gateway, stream: TcpStream, router: Router, place: Place) {
    // Frames are written whole: waiting for more only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "a client went away at once");
    }
    let application = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
        application.call(request)
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = gateway.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}
