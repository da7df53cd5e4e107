//! What a request's headers say: the token, and whether the page that it comes from may use it.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};

use super::Origin;

/// The subprotocol that the server speaks; browsers offer it beside `bearer.<jwt>`, the only header they may set.
pub const SUBPROTOCOL: &str = "natter.v1";

/// The token of a request: `Authorization: Bearer <jwt>`, or the subprotocol `bearer.<jwt>`.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer.or_else(|| subprotocols(headers).find_map(|protocol| protocol.strip_prefix("bearer.")))
}

/// Whether the client offers our subprotocol; only then may the answer name it.
pub fn offers_subprotocol(headers: &HeaderMap) -> bool {
    subprotocols(headers).any(|protocol| protocol == SUBPROTOCOL)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a page of this request's `Origin` may connect: its own host's, or one of `allowed`. Programs that are no browsers
/// send none.
pub fn origin_allowed(headers: &HeaderMap, allowed: &[Origin]) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin_of(headers).is_some_and(|origin| allowed.contains(&origin) || host.is_some_and(|host| origin.is_at(host)))
}

/// The origin of the page that a request comes from.
pub fn origin_of(headers: &HeaderMap) -> Option<Origin> {
    let mut origins = headers.get_all(ORIGIN).into_iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    origin.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn tokens_come_by_header_or_subprotocol() {
        assert_eq!(token_of(&headers(&[(AUTHORIZATION, "Bearer a.b.c")])), Some("a.b.c"));
        assert_eq!(token_of(&headers(&[(AUTHORIZATION, "bearer  a.b.c ")])), Some("a.b.c"));
        assert_eq!(token_of(&headers(&[(AUTHORIZATION, "Basic abc")])), None);
        let offered = headers(&[(SEC_WEBSOCKET_PROTOCOL, "natter.v1, bearer.a.b.c")]);
        assert_eq!(token_of(&offered), Some("a.b.c"));
        assert!(offers_subprotocol(&offered));
        assert!(!offers_subprotocol(&headers(&[(SEC_WEBSOCKET_PROTOCOL, "bearer.a.b.c")])));
        assert_eq!(token_of(&HeaderMap::new()), None);
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let from = |origin| headers(&[(ORIGIN, origin), (HOST, "chat.example:8080")]);
        assert!(origin_allowed(&headers(&[(HOST, "chat.example")]), &[]));
        assert!(origin_allowed(&from("http://chat.example:8080"), &[]));
        for origin in ["http://evil.example", "null", "http://chat.example", "file://chat.example:8080", ""] {
            assert!(!origin_allowed(&from(origin), &[]), "{origin}");
        }
        let allowed = ["https://app.example".parse().unwrap()];
        assert!(origin_allowed(&from("https://app.example"), &allowed));
        assert!(origin_allowed(&from("https://app.example:443"), &allowed));
        assert!(!origin_allowed(&from("https://app.example.evil"), &allowed));
        let mut twice = from("https://app.example");
        twice.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(!origin_allowed(&twice, &allowed));
    }

    #[test]
    fn default_ports_of_host_and_origin_are_equal() {
        let at = |origin, host| origin_allowed(&headers(&[(ORIGIN, origin), (HOST, host)]), &[]);
        assert!(at("https://chat.example", "chat.example:443") && at("https://chat.example:443", "chat.example"));
        assert!(at("http://chat.example", "chat.example:80") && at("http://chat.example:80", "Chat.Example"));
        assert!(!at("http://chat.example", "chat.example:443") && !at("https://chat.example", "chat.example:80"));
    }
}
