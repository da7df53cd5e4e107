//! The page: files of `gateway/page/`, embedded by the build script.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use sha2::{Digest as _, Sha256};

use super::answer::Refused;
use super::query::Named;

/// Nothing but the page's own files; `connect-src` allows the session.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

static FILES: LazyLock<HashMap<&'static str, File>> =
    LazyLock::new(|| EMBEDDED.iter().map(|(name, bytes)| (*name, File::new(name, bytes))).collect());

struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    etag: HeaderValue,
}

impl File {
    fn new(name: &str, bytes: &'static [u8]) -> Self {
        let hash = hex::encode(&Sha256::digest(bytes)[..16]);
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hex digits");
        Self { bytes, content_type: content_type(name), etag }
    }
}

/// `GET /`
pub async fn index(headers: HeaderMap) -> Response {
    respond("index.html", &headers, "no-store")
}

/// `GET /page/{file}`
pub async fn file(Named(name): Named, headers: HeaderMap) -> Response {
    respond(&name, &headers, "no-cache")
}

fn respond(name: &str, request: &HeaderMap, cache: &'static str) -> Response {
    let Some(file) = FILES.get(name) else {
        return Refused::from(ErrorBody::new(ErrorCode::NotFound, "the page has no such file")).into_response();
    };
    let known = request.get_all(IF_NONE_MATCH).iter().any(|etag| etag == file.etag);
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { file.bytes.into_response() };
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, cache),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(ETAG, file.etag.clone());
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_its_files_with_their_types() {
        let response = respond("index.html", &HeaderMap::new(), "no-store");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(
            response.headers()[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'; script-src 'self'")
        );
        assert!(FILES.values().all(|file| file.content_type != "application/octet-stream"));
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let etag = respond("style.css", &HeaderMap::new(), "no-cache").headers()[ETAG].clone();
        let request = HeaderMap::from_iter([(IF_NONE_MATCH, etag)]);
        assert_eq!(respond("style.css", &request, "no-cache").status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn nothing_else_is_served() {
        for name in ["../Cargo.toml", "package.json", "test", ""] {
            assert_eq!(respond(name, &HeaderMap::new(), "no-cache").status(), StatusCode::NOT_FOUND, "{name}");
        }
    }
}
