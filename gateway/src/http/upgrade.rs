//! `GET /v1/ws`: from a request to a session.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use axum::http::{HeaderValue, Version};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade as handshake};
use hyper::upgrade::Parts;
use hyper_util::rt::TokioIo;
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use tokio::net::TcpStream;

use super::answer::Refused;
use super::guarded::Guarded;
use crate::auth::{Identity, SUBPROTOCOL, offers_subprotocol, origin_allowed};
use crate::gateway::Gateway;
use crate::serve::Place;
use crate::socket;

/// Who has too many sessions may try again after so long.
const SESSIONS_RETRY_MS: u64 = 1000;

/// Checks origin and token, and makes the connection a session.
pub async fn upgrade(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Result<Response, Refused> {
    let headers = request.headers();
    if !is_upgrade_request(&request) {
        return Err(
            ErrorBody::new(ErrorCode::InvalidFrame, "this is a WebSocket: connect with `Upgrade: websocket`").into()
        );
    }
    if request.version() < Version::HTTP_11 {
        // RFC 9110, 7.8: an `Upgrade` in HTTP/1.0 does not count.
        return Err(ErrorBody::new(ErrorCode::InvalidFrame, "a WebSocket begins with HTTP/1.1 or newer").into());
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refused::version());
    }
    if !headers.get(SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(ErrorBody::new(ErrorCode::InvalidField, "`Sec-WebSocket-Key` is not 16 bytes in base64").into());
    }
    if !origin_allowed(headers, &gateway.config.origins) {
        return Err(ErrorBody::new(ErrorCode::Forbidden, "pages of this origin may not connect").into());
    }
    let identity = gateway.authenticate(headers)?;
    if gateway.drain.is_cancelled() {
        return Err(ErrorBody::new(ErrorCode::Unavailable, "the gateway is stopping").into());
    }
    let user_place = gateway.users.take(&identity).ok_or_else(|| too_many_sessions(&gateway))?;
    let speaks_ours = offers_subprotocol(headers);
    let (response, upgraded) = handshake(&mut request)
        .map_err(|error| ErrorBody::new(ErrorCode::InvalidFrame, format!("the handshake is malformed: {error}")))?;
    let mut response = response.map(Body::new);
    if speaks_ours {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let place = request.extensions_mut().remove::<Place>();
    let sockets = gateway.sockets.clone();
    sockets.spawn(async move {
        run(gateway, upgraded, identity).await;
        drop((place, user_place));
    });
    Ok(response)
}

fn too_many_sessions(gateway: &Gateway) -> ErrorBody {
    let most = gateway.config.user_sessions_max;
    let detail = format!("this user has {most} sessions here, and no more are allowed (`gateway.user_sessions_max`)");
    ErrorBody::new(ErrorCode::RateLimited, detail).retry_after(SESSIONS_RETRY_MS)
}

/// RFC 6455, 4.2.1: what the client makes anew for each handshake.
fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

async fn run(gateway: Arc<Gateway>, upgraded: UpgradeFut, identity: Identity) {
    let upgraded = match upgraded.await {
        Ok(socket) => socket.into_inner().into_inner(),
        Err(error) => return tracing::debug!(%error, "a client went away during the handshake"),
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Guarded>>() else {
        return tracing::error!("an upgraded connection is none of ours");
    };
    let (stream, leftover) = bare(parts);
    socket::serve(gateway, stream, leftover, identity).await;
}

/// The connection without what HTTP had around it, and what the client sent right behind its handshake.
fn bare(parts: Parts<TokioIo<Guarded>>) -> (TcpStream, Bytes) {
    let (stream, arrived) = parts.io.into_inner().into_parts();
    (stream, [parts.read_buf.as_ref(), &arrived].concat().into())
}
