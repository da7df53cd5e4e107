//! Connections: accepted, served by HTTP, bounded in number and in what they may cost before they have said anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use metrics::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;
use crate::http::guarded::{Busy, Guarded, turn_away};
use crate::http::head::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::http::refusal::Refusal;

/// Clients for whom there is no place and who are told so at a time; further ones are only cut off.
const TURNED_AWAY_MAX: usize = 64;
/// A gateway whose servers are there serves by then.
const COMES_UP: Duration = Duration::from_secs(2);
/// After an error of `accept` (no file descriptors left) it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection's place among those that there may be; whoever holds it last gives it back. It is in every request's
/// extensions: a session takes it over from HTTP.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<Taken>);

#[derive(Debug)]
struct Taken {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, open: Gauge) -> Self {
        open.increment(1.0);
        Self(Arc::new(Taken { _permit: permit, open }))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

/// Accepts connections until the drain begins; returns when the listener is closed. `connections` are those that are
/// served by HTTP: they end by themselves once the drain has begun.
pub async fn accept(gateway: Arc<Gateway>, listener: TcpListener, router: Router, connections: TaskTracker) {
    let most = gateway.config.connections_max;
    let places = Arc::new(Semaphore::new(most));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let drain = gateway.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(permit) => {
                    let place = Place::new(permit, gateway.meters.connections.clone());
                    let (gateway, router) = (Arc::clone(&gateway), router.clone());
                    connections.spawn(async move { serve(&gateway, stream, router, place).await });
                }
                Err(_) => refuse(stream, Refusal::Full(most), &turned_away, &connections),
            },
            Err(error) => not_accepted(&error).await,
        }
    }
}

/// Tells everybody who connects that the gateway is not there yet: who waited without a word would wait in the wrong
/// place, for another gateway may be well. Not in the first moment, in which most gateways come up.
pub async fn refuse_all(listener: &TcpListener) -> Infallible {
    tokio::time::sleep(COMES_UP).await;
    let (turned_away, connections) = (Arc::new(Semaphore::new(TURNED_AWAY_MAX)), TaskTracker::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => refuse(stream, Refusal::Starting, &turned_away, &connections),
            Err(error) => not_accepted(&error).await,
        }
    }
}

fn refuse(stream: TcpStream, why: Refusal, turned_away: &Arc<Semaphore>, connections: &TaskTracker) {
    match Arc::clone(turned_away).try_acquire_owned() {
        Ok(told) => drop(connections.spawn(turn_away(stream, why).map(|()| drop(told)))),
        Err(_) => why.count(),
    }
}

async fn not_accepted(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn serve(gateway: &Gateway, stream: TcpStream, router: Router, place: Place) {
    // Frames are written whole: waiting for more only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "a client went away at once");
    }
    let busy = Busy::default();
    let stream = Guarded::new(stream, gateway.config.request_patience, busy.clone());
    let application = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
        busy.begin();
        let done = busy.clone();
        application.call(request).inspect(move |_| done.end())
    });
    // The guard holds the limits; these are the same.
    let connection = Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
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
