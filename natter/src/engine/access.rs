//! Who may ask: credentials and what they allow, and the guard against web pages in the operator's browser.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine as _;
use sha2::{Digest, Sha256};

use super::errors::{EngineError, code};

/// What a credential allows. Analysts' roles, whose connections the engine itself holds to row policies, join here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of ClickHouse, as its `default` user.
    Admin,
}

impl Role {
    /// Whether a request of this role may change the setting. What it may not change is dropped, because drivers send settings by habit.
    pub fn may_set(self, _setting: &str) -> bool {
        match self {
            Self::Admin => true,
        }
    }
}

/// The known users. Passwords are kept as digests only.
#[derive(Debug)]
pub struct AccessControl {
    users: Vec<User>,
}

#[derive(Debug)]
struct User {
    name: String,
    password: [u8; 32],
    role: Role,
}

/// A user's name and password as a request brings them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl AccessControl {
    /// One user `default` with all rights.
    pub fn with_default_user(password: &str) -> Self {
        Self { users: vec![User { name: "default".to_owned(), password: digest(password), role: Role::Admin }] }
    }

    /// The role of these credentials.
    ///
    /// # Errors
    /// `AUTHENTICATION_FAILED` (516), the same for an unknown user and a wrong password.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<Role, EngineError> {
        let name = credentials.user.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let password = digest(credentials.password.as_deref().unwrap_or_default());
        // Digests are compared, so the time that it takes says nothing about the password.
        self.users.iter().find(|user| user.name == name && user.password == password).map(|user| user.role).ok_or_else(
            || {
                EngineError::new(
                    code::AUTHENTICATION_FAILED,
                    "AUTHENTICATION_FAILED",
                    format!("{name}: Authentication failed: password is incorrect, or there is no user with such name"),
                )
            },
        )
    }
}

fn digest(password: &str) -> [u8; 32] {
    Sha256::digest(password.as_bytes()).into()
}

impl Credentials {
    /// Finds the credentials of a request: `X-ClickHouse-User` and `X-ClickHouse-Key`, else basic authentication, else `user=` and `password=`.
    pub fn find(headers: &HeaderMap, query: &[(String, String)]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let own = Self { user: header("x-clickhouse-user"), password: header("x-clickhouse-key") };
        if own != Self::default() {
            return own;
        }
        if let Some(basic) = header("authorization").as_deref().and_then(parse_basic) {
            return basic;
        }
        let parameter = |name: &str| query.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.clone());
        Self { user: parameter("user"), password: parameter("password") }
    }

    /// Whether the request brought any.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.password.is_none()
    }
}

fn parse_basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) })
}

/// Refuses what a foreign web page could send: a `Host` that is no loopback name (DNS rebinding), any `Origin` but our own address.
///
/// # Errors
/// The status and text to answer with.
pub fn guard(uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let refuse = |text: String| Err((StatusCode::FORBIDDEN, text));
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for name in [Some(host), uri.authority().map(axum::http::uri::Authority::as_str)].into_iter().flatten() {
        if !is_loopback(name) {
            return refuse(format!("host {name:?} is refused: use 127.0.0.1 or localhost"));
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        if origin.as_bytes().strip_prefix(b"http://") != Some(host.as_bytes()) {
            return refuse(format!("origin {origin:?} is refused"));
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

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) }
    }

    #[test]
    fn credentials_are_found_in_all_three_places() {
        let query = [("user".to_owned(), "c".to_owned()), ("password".to_owned(), "3".to_owned())];
        let basic = ("authorization", "Basic YjoyOjI="); // b:2:2
        let own = [("x-clickhouse-user", "a"), ("x-clickhouse-key", "1"), basic];
        assert_eq!(Credentials::find(&headers(&own), &query), credentials("a", "1"));
        assert_eq!(Credentials::find(&headers(&[basic]), &query), credentials("b", "2:2"));
        assert_eq!(Credentials::find(&headers(&[]), &query), credentials("c", "3"));
        assert!(Credentials::find(&headers(&[("authorization", "Bearer x")]), &[]).is_empty());
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        let access = AccessControl::with_default_user("secret");
        assert_eq!(access.authenticate(&credentials("default", "secret")), Ok(Role::Admin));
        assert_eq!(
            access.authenticate(&Credentials { user: None, password: Some("secret".to_owned()) }),
            Ok(Role::Admin)
        );
        for wrong in [credentials("default", "Secret"), credentials("other", "secret"), Credentials::default()] {
            assert_eq!(access.authenticate(&wrong).expect_err("refused").code, 516);
        }
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let allowed = |pairs: &[(&'static str, &str)]| guard(&Uri::from_static("/"), &headers(pairs)).is_ok();
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
        assert!(guard(&Uri::from_static("http://evil.example/"), &headers(&[("host", "localhost")])).is_err());
    }
}
