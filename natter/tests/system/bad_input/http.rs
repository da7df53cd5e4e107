//! Requests that are not HTTP, or could be read in two ways, or ask for what there is not.

use natter_schemas::error::ErrorCode::{
    self, HeadTooLarge, InvalidField, InvalidFrame, MalformedRequest, NotFound, TooLarge, UnknownCommand,
};

use super::case::{Act, Case, FOREIGN, Told};
use super::system::{MASTER, token_of};

pub const ABOUT: &str = "The first group is refused before HTTP is made of it, so that a proxy in front and the gateway cannot disagree on where a \
                         request ends; the connection is closed after the answer. So is every connection after a request with \
                         `Transfer-Encoding`.";

const COMMANDS: &str = "/v1/commands";
const LIST: &str = "/v1/conversations";
const MESSAGES: &str = "/v1/conversations/{conversation}/messages";
const ONE: &str = "/v1/conversations/{conversation}";

pub fn cases() -> Vec<Case> {
    let mut cases = malformed();
    cases.extend(large_heads());
    cases.extend(bodies());
    cases.extend(reads());
    cases
}

fn malformed() -> Vec<Case> {
    let of = |sent, request: &str, says| {
        let told = Told::Refused { code: MalformedRequest, says, reason: "malformed" };
        Case { sent, act: Act::Request(request.to_owned()), told }
    };
    let post = |headers: &str| format!("POST /v1/commands HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{{}}");
    let together = "`Content-Length` and `Transfer-Encoding` do not go together";
    let encoding = "`Transfer-Encoding` must be `chunked`, and needs HTTP/1.1";
    vec![
        of(
            "`Content-Length` and then `Transfer-Encoding`",
            &post("Content-Length: 2\r\nTransfer-Encoding: chunked"),
            together,
        ),
        of(
            "`Transfer-Encoding` and then `Content-Length`",
            &post("Transfer-Encoding: chunked\r\nContent-Length: 2"),
            together,
        ),
        of(
            "`Content-Length` twice",
            &post("Content-Length: 2\r\nContent-Length: 2"),
            "`Content-Length` is there twice",
        ),
        of("`Content-Length: 2, 2`", &post("Content-Length: 2, 2"), "`Content-Length` is not a number"),
        of("`Content-Length: +2`", &post("Content-Length: +2"), "`Content-Length` is not a number"),
        of("`Content-Length: -1`", &post("Content-Length: -1"), "`Content-Length` is not a number"),
        of("`Transfer-Encoding: gzip, chunked`", &post("Transfer-Encoding: gzip, chunked"), encoding),
        of("`Transfer-Encoding` twice", &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), encoding),
        of("`Transfer-Encoding: xchunked`", &post("Transfer-Encoding: xchunked"), encoding),
        of(
            "`Transfer-Encoding` in HTTP/1.0",
            "POST /v1/commands HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            encoding,
        ),
        of("a header folded over two lines", &post("X-A: b\r\n c"), "a header is folded over two lines"),
        of("a blank before the colon", &post("Content-Length : 2"), "invalid header name"),
        of("lines that end in LF", "GET /healthz HTTP/1.1\nHost: x\n\n", "a line does not end in CR LF"),
        of("CR in a header", &post("X-A: b\rContent-Length: 2"), "invalid header value"),
        of("NUL in a header", &post("X-A: b\0c"), "invalid header value"),
        of("no `Host`", "GET /healthz HTTP/1.1\r\n\r\n", "there must be one `Host`"),
        of("`Host` twice", "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "there must be one `Host`"),
        of("a target that is no URI", "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", "the request's target is no URI"),
        of("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the head is no HTTP/1.1"),
        of("TLS", "\u{16}\u{3}\u{1}\0\u{5}\u{1}\0\0\u{1}\u{3}\u{3}", "the head is no HTTP/1.1"),
    ]
}

fn large_heads() -> Vec<Case> {
    let of = |sent, request: String, says| {
        let told = Told::Refused { code: HeadTooLarge, says, reason: "head_too_large" };
        Case { sent, act: Act::Request(request), told }
    };
    let many = (0..70).map(|count| format!("X-{count}: y\r\n")).collect::<Vec<_>>().concat();
    vec![
        of(
            "a header of 20,000 bytes",
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(20_000)),
            "the head has more than 16384 bytes",
        ),
        of(
            "a path of 20,000 bytes that does not end",
            format!("GET /{}", "a".repeat(20_000)),
            "the head has more than 16384 bytes",
        ),
        of("71 headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "the head has more than 64 headers"),
    ]
}

/// A request of mallory's. Its token is valid whenever the test runs.
fn request(line: &str, headers: &str, body: &str) -> String {
    let token = token_of("demo", "mallory", MASTER);
    format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{body}")
}

fn answered(
    sent: &'static str,
    request: String,
    route: &'static str,
    status: u16,
    code: ErrorCode,
    says: &'static str,
) -> Case {
    Case { sent, act: Act::Request(request), told: Told::Answered { route, status, code, says } }
}

fn bodies() -> Vec<Case> {
    let post = |body: &str| request("POST /v1/commands", &format!("Content-Length: {}\r\n", body.len()), body);
    let chunked = |body: &str| request("POST /v1/commands", "Transfer-Encoding: chunked\r\n", body);
    let of = |sent, request, status, code, says| answered(sent, request, COMMANDS, status, code, says);
    let large = format!("11170\r\n{}\r\n0\r\n\r\n", "a".repeat(70_000));
    vec![
        of("an empty body", post(""), 400, InvalidFrame, "EOF while parsing"),
        of("a body that is no JSON", post("hello"), 400, InvalidFrame, "expected value"),
        of(
            "a signal by POST",
            post(r#"{"signal":"typing","conversation":"1"}"#),
            400,
            UnknownCommand,
            "signals are taken from sessions only",
        ),
        of(
            "a body that announces 65,537 bytes",
            request("POST /v1/commands", "Content-Length: 65537\r\n", ""),
            413,
            TooLarge,
            "",
        ),
        of("a chunked body of 70,000 bytes", chunked(&large), 413, TooLarge, ""),
        of(
            "a chunk whose length is none",
            chunked("xyz\r\n{}\r\n0\r\n\r\n"),
            400,
            MalformedRequest,
            "the body cannot be read",
        ),
        of("a chunk with LF for CR LF", chunked("2\n{}\n0\n\n"), 400, MalformedRequest, "the body cannot be read"),
    ]
}

fn reads() -> Vec<Case> {
    let of = |sent, path: &str, route, status, code, says| {
        answered(sent, request(&format!("GET {path}"), "", ""), route, status, code, says)
    };
    vec![
        answered(
            "another method",
            request("DELETE /v1/commands", "", ""),
            COMMANDS,
            405,
            InvalidFrame,
            "does not take that method",
        ),
        of("a path that there is not", "/v2/commands", "other", 404, NotFound, ""),
        of("a path that is not UTF-8", "/v1/conversations/%ff", ONE, 400, InvalidField, "the path is not UTF-8"),
        of("a conversation that is no id", "/v1/conversations/lobby", ONE, 400, InvalidField, "`conversation` is"),
        of("a conversation of others", "/v1/conversations/ext:private/messages", MESSAGES, 404, NotFound, ""),
        of(
            "another tenant's conversation",
            &format!("/v1/conversations/{FOREIGN}/messages"),
            MESSAGES,
            404,
            NotFound,
            "",
        ),
        of(
            "an unknown parameter",
            "/v1/conversations?limt=1",
            LIST,
            400,
            InvalidField,
            "`limt` is not a parameter of this read",
        ),
        of("a parameter twice", "/v1/conversations?limit=1&limit=2", LIST, 400, InvalidField, "`limit` is there twice"),
        of(
            "a limit of 0",
            "/v1/conversations?limit=0",
            LIST,
            400,
            InvalidField,
            "`limit` is not a number from 1 to 200",
        ),
        of(
            "a limit of 201",
            "/v1/conversations?limit=201",
            LIST,
            400,
            InvalidField,
            "`limit` is not a number from 1 to 200",
        ),
        of("a cursor that is none", "/v1/conversations?cursor=x", LIST, 400, InvalidField, "`cursor`"),
        of(
            "a position of a partition that there is not",
            "/v1/conversations?min_position=99:1",
            LIST,
            400,
            InvalidField,
            "`min_position` names partition 99",
        ),
        of("a position that is none", "/v1/conversations?min_position=x", LIST, 400, InvalidField, "`min_position` is"),
        of(
            "two ranges",
            "/v1/conversations/ext:mine/messages?before=1&after=2",
            MESSAGES,
            400,
            InvalidField,
            "does not go with",
        ),
        of(
            "a seq of 2^64",
            "/v1/conversations/ext:mine/messages?before=18446744073709551616",
            MESSAGES,
            400,
            InvalidField,
            "`before` is not a seq",
        ),
    ]
}
