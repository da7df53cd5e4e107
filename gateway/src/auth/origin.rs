//! Origins of pages (RFC 6454): scheme, host and port, as browsers send them and as operators write them.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// A page's origin. Two are equal where a browser would say so: whatever the case, and with its scheme's port or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: Authority,
}

/// A host, and a port where there is one or the scheme has its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

/// Why a text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `app.example`, `*`, `null`.
    #[error("it has no scheme")]
    Scheme,
    /// `file://`
    #[error("nothing stands after its scheme")]
    Empty,
    /// `https://app.example/`
    #[error("it goes on after the host: an origin has no path, and no slash at its end")]
    Path,
    /// `https://me@app.example`
    #[error("it has a user")]
    User,
    /// `https://*.example`, `https://bücher.example`
    #[error("its host is none: each is named, in ASCII (`xn--…`)")]
    Host,
    /// `https://app.example:70000`
    #[error("its port is none")]
    Port,
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
            return Err(OriginError::Scheme);
        }
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(rest)?.or_port_of(&scheme);
        Ok(Self { scheme, authority })
    }
}

impl Origin {
    /// Whether it is that of a page which came from `host`, a request's `Host`. Whether by TLS cannot be told: that may end in
    /// a proxy before the gateway.
    pub fn is_at(&self, host: &str) -> bool {
        matches!(&*self.scheme, "http" | "https")
            && Authority::parse(host).is_ok_and(|host| host.or_port_of(&self.scheme) == self.authority)
    }
}

impl Authority {
    fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains(['/', '?', '#', '\\']) && !text.starts_with('/') {
            return Err(OriginError::Path);
        }
        if text.contains('@') {
            return Err(OriginError::User);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        // As in a URL, an empty port is the scheme's (RFC 3986, 6.2.3).
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().map_err(|_| OriginError::Port)?) };
        if !digits {
            return Err(OriginError::Port);
        }
        Ok(Self { host: host_of(host)?, port })
    }

    fn or_port_of(mut self, scheme: &str) -> Self {
        let own = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        self.port = self.port.or(own);
        self
    }
}

/// In lower case, without the dot that a whole name may end in; an IPv6 address in its shortest form.
fn host_of(text: &str) -> Result<String, OriginError> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map(|address| format!("[{address}]")).map_err(|_| OriginError::Host);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.starts_with('/') {
        return Err(OriginError::Empty);
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        return Err(OriginError::Host);
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn default_ports_and_case_make_no_difference() {
        for (one, other) in [
            ("https://app.example", "https://app.example:443"),
            ("http://app.example:80", "http://app.example"),
            ("HTTPS://App.Example", "https://app.example"),
            ("https://app.example.", "https://app.example"),
            ("https://[2001:DB8::0:1]:443", "https://[2001:db8::1]"),
            ("https://app.example:", "https://app.example"),
            ("capacitor://localhost", "Capacitor://LOCALHOST"),
        ] {
            assert_eq!(origin(one), origin(other), "{one} and {other}");
        }
        for (one, other) in [
            ("https://app.example", "http://app.example"),
            ("https://app.example", "https://app.example:80"),
            ("http://app.example", "http://app.example:443"),
            ("https://app.example", "https://app.example.org"),
            ("https://app.example", "https://xapp.example"),
            ("capacitor://localhost", "capacitor://localhost:443"),
        ] {
            assert_ne!(origin(one), origin(other), "{one} and {other}");
        }
    }

    #[test]
    fn a_page_of_the_same_host_is_at_home() {
        for (page, host) in [
            ("https://x", "x:443"),
            ("https://x:443", "x"),
            ("https://x", "x"),
            ("http://x", "x:80"),
            ("http://x:80", "x"),
            ("http://x:8080", "X:8080"),
            ("https://X", "x:443"),
            ("https://x.", "x"),
            ("https://x", "x.:443"),
            ("https://[::1]", "[::1]:443"),
            ("http://[0:0:0:0:0:0:0:1]:80", "[::1]"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert!(origin(page).is_at(host), "{page} at {host}");
        }
        for (page, host) in [
            ("http://x", "x:443"),
            ("https://x", "x:80"),
            ("https://x:8443", "x"),
            ("https://x", "x:8443"),
            ("https://x", "y"),
            ("https://x", ""),
            ("https://x", "x/"),
            ("https://x", "x:99999"),
            ("https://x", "x:+443"),
            ("https://x", "y@x"),
            ("https://[::1]", "[::2]"),
            ("https://[::1]", "::1"),
            ("capacitor://x", "x"),
        ] {
            assert!(!origin(page).is_at(host), "{page} at {host}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_why() {
        for (text, error) in [
            ("", OriginError::Scheme),
            ("*", OriginError::Scheme),
            ("null", OriginError::Scheme),
            ("app.example", OriginError::Scheme),
            ("://app.example", OriginError::Scheme),
            ("ht tp://app.example", OriginError::Scheme),
            ("file://", OriginError::Empty),
            ("file:///", OriginError::Empty),
            ("https://:443", OriginError::Empty),
            ("https://.", OriginError::Empty),
            ("https://app.example/", OriginError::Path),
            ("https://app.example/chat", OriginError::Path),
            ("https://app.example?x", OriginError::Path),
            ("https://app.example#x", OriginError::Path),
            ("https://me@app.example", OriginError::User),
            ("https://*.example", OriginError::Host),
            ("https://bücher.example", OriginError::Host),
            ("https://app example", OriginError::Host),
            (" https://app.example", OriginError::Scheme),
            ("https://app.example ", OriginError::Host),
            ("https://[::1", OriginError::Host),
            ("https://[x]", OriginError::Host),
            ("https://app.example:70000", OriginError::Port),
            ("https://app.example:+1", OriginError::Port),
            ("https://app.example:http", OriginError::Port),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
    }
}
