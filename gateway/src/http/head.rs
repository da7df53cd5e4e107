//! A request's head as bytes, checked before HTTP is made of it, and more strictly than the parser behind it does: where two
//! readers (a proxy and this server) could disagree on where a request ends, one of them may be made to take a part of its body
//! for the next request (RFC 9112, 11.2). What follows a head is known from here too. Pure.

use axum::http::Uri;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use natter_schemas::error::ErrorCode;

/// Bytes of a head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers in it.
pub const HEADERS_MAX: usize = 64;

/// What stands behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A body of so many bytes, and then the next head.
    Body(u64),
    /// No other request: the body says itself where it ends, or it is no HTTP any more.
    Rest,
}

/// A head that has arrived and may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its bytes, the empty line included.
    pub bytes: usize,
    /// What stands behind it.
    pub follows: Follows,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the head has more than {HEAD_BYTES_MAX} bytes")]
    Bytes,
    #[error("the head has more than {HEADERS_MAX} headers")]
    Headers,
    #[error("a line does not end in CR LF")]
    LineEnd,
    #[error("a header is folded over two lines")]
    Folded,
    #[error("the head is no HTTP/1.1: {0}")]
    Http(httparse::Error),
    #[error("the request's target is no URI")]
    Target,
    #[error("there must be one `Host`")]
    Host,
    #[error("`Content-Length` is there twice")]
    LengthTwice,
    #[error("`Content-Length` is not a number")]
    Length,
    #[error("`Content-Length` and `Transfer-Encoding` do not go together")]
    LengthAndEncoding,
    #[error("`Transfer-Encoding` must be `chunked`, and needs HTTP/1.1")]
    Encoding,
}

impl HeadError {
    /// What it is called in the table.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Bytes | Self::Headers => ErrorCode::HeadTooLarge,
            _ => ErrorCode::MalformedRequest,
        }
    }
}

/// The head at the beginning of `bytes`, of which `seen` bytes were looked at before; `None`: it has not wholly arrived.
///
/// # Errors
/// The rule that it breaks, as soon as that can be told from the ends of its lines, else when it has arrived.
pub fn look(bytes: &[u8], seen: usize) -> Result<Option<Head>, HeadError> {
    let end = end(bytes, seen)?;
    if end.unwrap_or(bytes.len()) > HEAD_BYTES_MAX {
        return Err(HeadError::Bytes);
    }
    let head = &bytes[..end.unwrap_or(bytes.len())];
    if end.is_none() && seen > 0 {
        // The first piece is enough to tell another protocol.
        return Ok(None);
    }
    if head.windows(3).any(|three| matches!(three, [b'\r', b'\n', b' ' | b'\t'])) {
        return Err(HeadError::Folded);
    }
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match (request.parse(head), end) {
        (Ok(Status::Complete(_)), Some(bytes)) => Ok(Some(Head { bytes, follows: follows(&request)? })),
        (Ok(_), None) => Ok(None),
        // Its lines end where they should, so there is nothing to wait for.
        (Ok(Status::Partial), Some(_)) => Err(HeadError::Http(httparse::Error::NewLine)),
        (Err(httparse::Error::TooManyHeaders), _) => Err(HeadError::Headers),
        (Err(error), _) => Err(HeadError::Http(error)),
    }
}

/// Where the head ends: behind its empty line. Lines before the first are passed over (RFC 9112, 2.2).
fn end(bytes: &[u8], seen: usize) -> Result<Option<usize>, HeadError> {
    let first = bytes.chunks(2).take_while(|two| *two == b"\r\n").count() * 2;
    let mut from = seen.saturating_sub(3).max(first);
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(HeadError::LineEnd);
        }
        if at >= first + 3 && bytes[at - 3..at - 1] == *b"\r\n" {
            return Ok(Some(at + 1));
        }
        from = at + 1;
    }
    Ok(None)
}

fn follows(request: &Request<'_, '_>) -> Result<Follows, HeadError> {
    if request.path.is_none_or(|path| path.parse::<Uri>().is_err()) {
        return Err(HeadError::Target);
    }
    let old = request.version == Some(0);
    let hosts = named(request, "host").count();
    if hosts > 1 || hosts == 0 && !old {
        return Err(HeadError::Host);
    }
    let mut lengths = named(request, "content-length");
    let mut encodings = named(request, "transfer-encoding");
    let rest = named(request, "upgrade").next().is_some() || request.method == Some("CONNECT");
    match (lengths.next(), encodings.next()) {
        (Some(_), Some(_)) => Err(HeadError::LengthAndEncoding),
        (None, Some(encoding)) => {
            let chunked = encoding.value.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
            if chunked && !old { Ok(Follows::Rest) } else { Err(HeadError::Encoding) }
        }
        (Some(_), None) if lengths.next().is_some() => Err(HeadError::LengthTwice),
        (Some(length), None) => {
            let length = number(length.value).ok_or(HeadError::Length)?;
            Ok(if rest { Follows::Rest } else { Follows::Body(length) })
        }
        (None, None) => Ok(if rest { Follows::Rest } else { Follows::Body(0) }),
    }
}

fn named<'r>(request: &'r Request<'_, '_>, name: &str) -> impl Iterator<Item = &'r Header<'r>> {
    request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
}

/// Digits only: a sign, a blank or a list would be read in more than one way.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> Vec<u8> {
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    fn follows_of(lines: &[&str]) -> Result<Follows, HeadError> {
        let bytes = head(&[&["POST /v1/commands HTTP/1.1", "Host: x"], lines].concat());
        look(&bytes, 0).map(|head| head.expect("it is whole").follows)
    }

    #[test]
    fn what_follows_is_told_by_the_head() {
        assert_eq!(follows_of(&[]), Ok(Follows::Body(0)));
        assert_eq!(follows_of(&["content-length: 12"]), Ok(Follows::Body(12)));
        assert_eq!(follows_of(&["transfer-encoding: Chunked"]), Ok(Follows::Rest));
        assert_eq!(follows_of(&["Upgrade: websocket", "Connection: Upgrade"]), Ok(Follows::Rest));
        let old = b"GET /healthz HTTP/1.0\r\n\r\n";
        assert_eq!(look(old, 0), Ok(Some(Head { bytes: old.len(), follows: Follows::Body(0) })));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (lines, error) in [
            (&["Content-Length: 5", "Transfer-Encoding: chunked"][..], HeadError::LengthAndEncoding),
            (&["Transfer-Encoding: chunked", "Content-Length: 5"], HeadError::LengthAndEncoding),
            (&["Content-Length: 5", "Content-Length: 5"], HeadError::LengthTwice),
            (&["Content-Length: 5, 5"], HeadError::Length),
            (&["Content-Length: +5"], HeadError::Length),
            (&["Content-Length: 99999999999999999999"], HeadError::Length),
            (&["Transfer-Encoding: gzip, chunked"], HeadError::Encoding),
            (&["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], HeadError::Encoding),
            (&["Transfer-Encoding: xchunked"], HeadError::Encoding),
            (&["X: a", " b"], HeadError::Folded),
            (&["Host: y"], HeadError::Host),
            (&["Content-Length : 5"], HeadError::Http(httparse::Error::HeaderName)),
            (&["X: a\0b"], HeadError::Http(httparse::Error::HeaderValue)),
            (&["X: a\rb"], HeadError::Http(httparse::Error::HeaderValue)),
        ] {
            assert_eq!(follows_of(lines), Err(error), "{lines:?}");
        }
        let old = head(&["POST / HTTP/1.0", "Transfer-Encoding: chunked"]);
        assert_eq!(look(&old, 0), Err(HeadError::Encoding));
        assert_eq!(look(&head(&["GET / HTTP/1.1"]), 0), Err(HeadError::Host));
        assert_eq!(look(&head(&["GET http:// HTTP/1.1", "Host: x"]), 0), Err(HeadError::Target));
        assert!(matches!(look(&head(&["PRI * HTTP/2.0"]), 0), Err(HeadError::Http(_))));
        assert!(matches!(look(b"\x16\x03\x01\x02\x00\x01", 0), Err(HeadError::Http(_))));
    }

    #[test]
    fn a_bare_line_feed_is_refused_at_once() {
        assert_eq!(look(b"GET / HTTP/1.1\nHost: x", 0), Err(HeadError::LineEnd));
        assert_eq!(look(b"GET / HTTP/1.1\r\nHost: x\n\n", 0), Err(HeadError::LineEnd));
        assert_eq!(look(b"\n", 0), Err(HeadError::LineEnd));
    }

    #[test]
    fn the_limits_hold_before_the_head_has_ended() {
        let endless = format!("GET /{}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(look(endless.as_bytes(), 0), Err(HeadError::Bytes));
        let many: Vec<String> = (0..HEADERS_MAX).map(|count| format!("X-{count}: y")).collect();
        assert_eq!(follows_of(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(HeadError::Headers));
    }

    #[test]
    fn cut_at_every_byte_it_is_the_same() {
        let mut bytes = head(&["\r\n\r\nPOST / HTTP/1.1", "Host: x", "Content-Length: 4"]);
        let whole = look(&bytes, 0);
        assert_eq!(whole, Ok(Some(Head { bytes: bytes.len(), follows: Follows::Body(4) })));
        for cut in 0..bytes.len() {
            assert_eq!(look(&bytes[..cut], 0), Ok(None), "cut at {cut}");
            assert_eq!(look(&bytes, cut), whole, "seen up to {cut}");
        }
        let end = bytes.len();
        bytes.extend_from_slice(b"body");
        assert_eq!(look(&bytes, end), whole);
    }
}
