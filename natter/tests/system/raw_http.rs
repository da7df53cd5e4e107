//! HTTP requests to ClickHouse as `curl` would send them, byte by byte.

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::servers::ClickHouse;

/// An answer as it came over the socket.
pub struct Answer {
    pub status: u16,
    /// In lower case, but for ClickHouse's default format.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn code(&self) -> Option<u32> {
        self.head.lines().find_map(|line| line.strip_prefix("x-clickhouse-exception-code: "))?.parse().ok()
    }
}

pub fn address(server: &ClickHouse) -> &str {
    server.url.strip_prefix("http://").expect("an http url")
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

pub fn authorized(server: &ClickHouse) -> [(&'static str, String); 1] {
    [("Authorization", basic(&server.user, &server.password))]
}

pub fn head(
    server: &ClickHouse,
    method: &str,
    path: &str,
    headers: &[(&str, impl AsRef<str>)],
    length: &str,
) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{length}\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.extend(["Host: ", address(server), "\r\n"]);
    }
    for (name, value) in headers {
        head.extend([name, ": ", value.as_ref(), "\r\n"]);
    }
    head + "\r\n"
}

/// Sends one request and reads until the server closes. Chunks are joined.
pub async fn request(
    server: &ClickHouse,
    method: &str,
    path: &str,
    headers: &[(&str, impl AsRef<str>)],
    body: &[u8],
) -> Answer {
    let mut socket = TcpStream::connect(address(server)).await.expect("connected");
    let mut sent = head(server, method, path, headers, &format!("Content-Length: {}", body.len())).into_bytes();
    sent.extend_from_slice(body);
    socket.write_all(&sent).await.expect("sent");
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.expect("received");
    let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&received[..end]).to_lowercase().replace("tabseparated", "TabSeparated");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = if head.contains("transfer-encoding: chunked") {
        join_chunks(&received[end..])
    } else {
        received[end..].to_vec()
    };
    Answer { status, head, body }
}

fn join_chunks(mut chunks: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(end) = chunks.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk's size");
        joined.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
    joined
}
