//! Who has no right to come in, and handshakes that are none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use natter_gateway::auth::{Claims, TenantKeys, mint};
use natter_schemas::error::ErrorCode::{self, Forbidden, InvalidField, InvalidFrame, Unauthenticated};
use natter_schemas::names::{Tenant, UserId};
use sha2::Sha256;

use super::case::{Act, Case, Got, Scene, Told};
use super::system::{MASTER, System, claims, token_of};

pub const ABOUT: &str = "The upgrade at `/v1/ws`; every other request is held to the same tokens.";

/// What anybody may know, as the public half of a pair of keys.
const PUBLIC: &[u8] = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

pub fn cases() -> Vec<Case> {
    let missing = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    vec![
        answered("no token", Act::Request(missing.into()), 401, Unauthenticated, "a token is needed"),
        refused("a token that is none", |system| with(system, "abc"), "not a JWT"),
        refused("a token of 5,000 bytes", |system| with(system, "a".repeat(5000)), "longer than 4096 bytes"),
        refused("an expired token", |system| with(system, minted(|claims| claims.exp = 1_700_000_000)), "expired"),
        refused(
            "a token that is not valid yet",
            |system| with(system, minted(|claims| claims.nbf = Some(claims.exp))),
            "not valid yet",
        ),
        refused(
            "a token signed with another key",
            |system| with(system, token_of("demo", "ada", &[7; 32])),
            "InvalidSignature",
        ),
        refused("a token signed with another tenant's key", |system| with(system, other_tenants()), "InvalidSignature"),
        refused(
            "a token whose tenant was exchanged under the signature",
            |system| with(system, exchanged()),
            "InvalidSignature",
        ),
        refused(
            "`alg: none` without a signature",
            |system| with(system, with_header(r#"{"alg":"none"}"#, None)),
            "unknown variant `none`",
        ),
        refused(
            "`alg: RS256` signed by HMAC with a public key",
            |system| with(system, with_header(r#"{"alg":"RS256"}"#, Some(PUBLIC))),
            "InvalidAlgorithm",
        ),
        refused("a key of its own in the token's header (`jwk`)", |system| with(system, own_key()), "InvalidSignature"),
        refused("`alg: HS512` with the right key", |system| with(system, hs512()), "InvalidAlgorithm"),
        refused(
            "`exp` in milliseconds",
            |system| with(system, saying(r#""exp":4102444800000"#)),
            "`exp`: 4102444800000 is beyond the year 2100: seconds since 1970 are meant, not milliseconds",
        ),
        refused(
            "`nbf` in milliseconds",
            |system| with(system, saying(r#""exp":4102444799,"nbf":1700000000000"#)),
            "`nbf`: 1700000000000 is beyond the year 2100",
        ),
        refused(
            "`exp` as a text",
            |system| with(system, saying(r#""exp":"4102444799""#)),
            "`exp`: invalid type: string",
        ),
        refused("`exp` below zero", |system| with(system, saying(r#""exp":-1.5"#)), "the token has expired"),
        refused(
            "an `exp` that no number can hold: `1e400`",
            |system| with(system, saying(r#""exp":1e400"#)),
            "`exp`: number out of range",
        ),
        refused("no `exp`", |system| with(system, saying(r#""iat":1700000000"#)), "missing field `exp`"),
        refused("`exp` twice", |system| with(system, saying(r#""exp":1,"exp":4102444799"#)), "duplicate field `exp`"),
        refused(
            "`crit` in the token's header",
            |system| with(system, with_header(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Some(&key(&demo())))),
            "the token's header has `crit`: no extension of JWS is understood here",
        ),
        refused(
            "`b64` in the token's header",
            |system| with(system, with_header(r#"{"alg":"HS256","b64":true}"#, Some(&key(&demo())))),
            "the token's header has `b64`",
        ),
        refused(
            "a token for an audience where none is configured",
            |system| with(system, saying(r#""exp":4102444799,"aud":"chat""#)),
            "it has `aud`, and no audience is configured for its tenant",
        ),
        refused(
            "a user's id of 129 bytes, signed",
            |system| with(system, minted(|claims| claims.sub = UserId::trusted(&"a".repeat(129)))),
            "at most 128 are allowed",
        ),
        handshake(
            "a page of another origin",
            |system| changed(system, "Host: x", "Host: x\r\nOrigin: https://evil.example"),
            403,
            Forbidden,
            "origin",
        ),
        handshake(
            "a page of the same host at another port",
            |system| changed(system, "Host: x", "Host: x:443\r\nOrigin: http://x"),
            403,
            Forbidden,
            "origin",
        ),
        handshake(
            "an upgrade in HTTP/1.0",
            |system| changed(system, "HTTP/1.1", "HTTP/1.0"),
            400,
            InvalidFrame,
            "a WebSocket begins with HTTP/1.1 or newer",
        ),
        handshake(
            "an old version of the protocol",
            |system| changed(system, "Version: 13", "Version: 8"),
            426,
            InvalidField,
            "`Sec-WebSocket-Version` is not 13",
        ),
        handshake(
            "a `Sec-WebSocket-Key` of 3 bytes",
            |system| changed(system, "dGhlIHNhbXBsZSBub25jZQ==", "YWJj"),
            400,
            InvalidField,
            "`Sec-WebSocket-Key` is not 16 bytes in base64",
        ),
        handshake(
            "no `Upgrade`",
            |system| changed(system, "Upgrade: websocket", "X-Upgrade: websocket"),
            400,
            InvalidFrame,
            "this is a WebSocket",
        ),
    ]
}

fn answered(sent: &'static str, act: Act, status: u16, code: ErrorCode, says: &'static str) -> Case {
    Case { sent, act, told: Told::Answered { route: "/v1/ws", status, code, says } }
}

fn refused(sent: &'static str, scene: Scene, says: &'static str) -> Case {
    answered(sent, Act::Scene(scene), 401, Unauthenticated, says)
}

fn handshake(sent: &'static str, scene: Scene, status: u16, code: ErrorCode, says: &'static str) -> Case {
    answered(sent, Act::Scene(scene), status, code, says)
}

fn with(system: &System, token: impl AsRef<str>) -> futures_util::future::BoxFuture<'_, Got> {
    request(system, upgrade(token.as_ref()))
}

/// A valid upgrade but for one thing.
fn changed<'s>(system: &'s System, from: &str, to: &str) -> futures_util::future::BoxFuture<'s, Got> {
    request(system, upgrade(&System::token("ada")).replacen(from, to, 1))
}

fn request(system: &System, request: String) -> futures_util::future::BoxFuture<'_, Got> {
    async move { system.request(request.as_bytes()).await.into() }.boxed()
}

fn upgrade(token: &str) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}

fn demo() -> Tenant {
    Tenant::try_from("demo").expect("a tenant")
}

fn key(tenant: &Tenant) -> Vec<u8> {
    TenantKeys::new([], Some(MASTER.to_vec())).expect("long enough").key(tenant).expect("a key")
}

/// A token that is right but for this.
fn minted(change: impl Fn(&mut Claims)) -> String {
    let mut claims = claims(demo(), "ada");
    change(&mut claims);
    mint(&claims, &key(&demo())).expect("a token")
}

fn other_tenants() -> String {
    mint(&claims(demo(), "ada"), &key(&Tenant::try_from("other").expect("a tenant"))).expect("a token")
}

fn exchanged() -> String {
    let others = token_of("other", "ada", MASTER);
    let mut parts: Vec<&str> = others.split('.').collect();
    let payload = payload();
    parts[1] = &payload;
    parts.join(".")
}

fn payload() -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims(demo(), "ada")).expect("json"))
}

/// A token of ada's with these claims besides, rightly signed.
fn saying(claims: &str) -> String {
    let payload = format!(r#"{{"sub":"ada","tenant":"demo",{claims}}}"#);
    signed(r#"{"alg":"HS256"}"#, &URL_SAFE_NO_PAD.encode(payload), Some(&key(&demo())))
}

/// Valid claims under this header, signed by HMAC-SHA256 with `key`, or not at all.
fn with_header(header: &str, key: Option<&[u8]>) -> String {
    signed(header, &payload(), key)
}

fn signed(header: &str, payload: &str, key: Option<&[u8]>) -> String {
    let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
    let signature = key.map(|key| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
        mac.update(signed.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    });
    format!("{signed}.{}", signature.unwrap_or_default())
}

fn own_key() -> String {
    let mine = [9; 32];
    let key = URL_SAFE_NO_PAD.encode(mine);
    with_header(&format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{key}"}}}}"#), Some(&mine))
}

fn hs512() -> String {
    encode(&Header::new(Algorithm::HS512), &claims(demo(), "ada"), &EncodingKey::from_secret(&key(&demo())))
        .expect("a token")
}
