//! A page in the operator's browser: it may send a `POST` with any body to any port of this machine, but no header of its own choice and no password.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::System;

/// An answer, or the end of the connection, within this time.
const SOON: Duration = Duration::from_secs(10);

/// What an HTTP server answers.
async fn answer(port: u16, sent: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(sent.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let read = timeout(SOON, socket.read_to_end(&mut received)).await;
    assert!(read.is_ok(), "port {port} does not answer");
    String::from_utf8_lossy(&received).into_owned()
}

/// As a browser sends a form of a page of `origin`.
fn post(path: &str, host: &str, origin: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nSec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

pub async fn no_web_page_reaches_a_backend(system: &System) {
    let metrics: u16 = {
        let url = system.process.run["metrics"].as_str().unwrap();
        url.trim_end_matches("/metrics").rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let gateway = system.process.address().port();
    let s3 = ["s3", "filer", "volume", "master"].map(|name| (name, system.port(name), "/natter/x"));
    let http = [
        ("the private port", metrics, "/metrics"),
        ("the gateway", gateway, "/v1/commands"),
        ("clickhouse", system.port("clickhouse"), "/?query=SELECT+1"),
    ];
    for (name, port, path) in http.into_iter().chain(s3) {
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            let said = post_to(port, path, &format!("127.0.0.1:{port}"), origin).await;
            assert!(!is_success(&said), "{name} takes a post of a page of {origin}: {said}");
        }
    }
    // A page whose name was given this machine's address.
    for (name, port, path) in http.into_iter().filter(|(name, ..)| *name != "the gateway") {
        let host = format!("evil.example:{port}");
        let said = answer(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{name} answers to another name: {said}");
    }
    // No HTTP: what a page sends must not be taken for commands. It knows no password, and without one nothing is done.
    let commands = "CONNECT {\"user\":\"gateway\"}\r\nPUB cmd.0 2\r\nhi\r\nPING\r\n";
    let said = post_commands(system.port("nats"), commands).await;
    assert!(said.contains("-ERR") && !said.contains("PONG"), "{said}");
    let said = post_commands(system.port("redis"), "PING\r\nAUTH gateway guess\r\nCONFIG GET *\r\nFLUSHALL\r\n").await;
    assert!(!said.contains("+OK") && !said.contains("+PONG") && !said.contains('*'), "{said}");
    the_monitoring_is_off(system);
}

async fn post_to(port: u16, path: &str, host: &str, origin: &str) -> String {
    answer(port, &post(path, host, origin, "SELECT 1")).await
}

/// A post to a server that takes each line for a command, and what it says to all of them.
async fn post_commands(port: u16, body: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let sent = post("/", &format!("127.0.0.1:{port}"), "http://evil.example", body);
    socket.write_all(sent.as_bytes()).await.unwrap();
    // It may have closed already: at the first word, as Redis 7 does.
    socket.shutdown().await.ok();
    let mut received = Vec::new();
    timeout(SOON, socket.read_to_end(&mut received)).await.expect("it closes").ok();
    String::from_utf8_lossy(&received).into_owned()
}

fn is_success(answer: &str) -> bool {
    answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2'))
}

/// NATS has an HTTP interface without any password: it must listen nowhere.
fn the_monitoring_is_off(system: &System) {
    let config = std::fs::read_to_string(system.data.join("nats/nats.conf")).unwrap();
    assert!(!config.contains("http"), "{config}");
}
