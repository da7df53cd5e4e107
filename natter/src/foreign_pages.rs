//! The guard of private HTTP interfaces against web pages in the operator's browser, which reach loopback and may send a `POST` anywhere.

use std::net::IpAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

/// What a browser says of a request that its user typed, or that a page of the interface itself made.
const OWN_SITES: [&[u8]; 2] = [b"none", b"same-origin"];

/// The same interface, refusing what a foreign page could send. `is_local`: it listens on loopback, so that a `Host` that names no loopback is one that a page
/// has given another address (DNS rebinding).
pub fn refused(router: Router, is_local: bool) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        match guard(request.uri(), request.headers(), is_local) {
            Ok(()) => next.run(request).await,
            Err(text) => (StatusCode::FORBIDDEN, format!("{text}\n")).into_response() as Response,
        }
    }))
}

/// Whether no foreign page sent this; if one may have, why it is refused.
fn guard(uri: &Uri, headers: &HeaderMap, is_local: bool) -> Result<(), String> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for name in [Some(host), uri.authority().map(axum::http::uri::Authority::as_str)].into_iter().flatten() {
        if is_local && !is_loopback(name) {
            return Err(format!("host {name:?} is refused: use 127.0.0.1 or localhost"));
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        if origin.as_bytes().strip_prefix(b"http://") != Some(host.as_bytes()) {
            return Err(format!("origin {origin:?} is refused"));
        }
    }
    for site in headers.get_all("sec-fetch-site") {
        if !OWN_SITES.contains(&site.as_bytes()) {
            return Err(format!("a request from a page of a {site:?} is refused"));
        }
    }
    Ok(())
}

/// Whether `host` or `host:port` names this machine for itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value"))).collect()
    }

    fn allowed(pairs: &[(&'static str, &str)]) -> bool {
        guard(&Uri::from_static("/"), &headers(pairs), true).is_ok()
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        for host in ["127.0.0.1:8123", "localhost", "LOCALHOST:1", "[::1]:8123", "127.0.0.2"] {
            assert!(allowed(&[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example:80", "192.168.1.2", "", "localhost.evil", "[::2]:1", "[::1"]
        {
            assert!(!allowed(&[("host", host)]), "{host}");
        }
        assert!(!allowed(&[]));
        assert!(allowed(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        for origin in ["http://evil.example", "null", "https://localhost:1", "http://localhost:2", "http://127.0.0.1:1"]
        {
            assert!(!allowed(&[("host", "localhost:1"), ("origin", origin)]), "{origin}");
        }
        assert!(guard(&Uri::from_static("http://evil.example/"), &headers(&[("host", "localhost")]), true).is_err());
    }

    #[test]
    fn what_the_browser_says_of_a_page_counts() {
        for (site, is_own) in [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)] {
            assert_eq!(allowed(&[("host", "localhost:1"), ("sec-fetch-site", site)]), is_own, "{site}");
        }
    }

    #[test]
    fn a_port_of_a_network_takes_any_host_but_no_foreign_origin() {
        let allowed = |pairs: &[(&'static str, &str)]| guard(&Uri::from_static("/"), &headers(pairs), false).is_ok();
        assert!(allowed(&[("host", "gateway:9464")]));
        assert!(!allowed(&[("host", "gateway:9464"), ("origin", "http://evil.example")]));
    }
}
