//! What is bad by when it comes, or by how much of it there is.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use natter_schemas::error::CloseCode;
use natter_schemas::error::ErrorCode::{Overloaded, RateLimited, TooSlow, Unauthenticated};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::case::{Act, Case, Got, Scene, Told};
use super::system::{CONNECTIONS_MAX, System, answer, ended};
use crate::gateway::client::DEADLINE;
use crate::raw_socket::{PING, RawSocket, Seen, frame, text};

pub const ABOUT: &str = "The times are those of `gateway.request_seconds_max` (10) for heads, bodies and answers that are not taken, and of \
                         two `gateway.ping_seconds` (25) for sessions; the number of connections is `gateway.connections_max` (65,536), \
                         that of one user's sessions `gateway.user_sessions_max` (100). Who has said nothing at all is told nothing.";

/// Connections that say nothing, in one scene.
const CROWD: usize = 1000;
/// What they may cost together while they are open.
const CROWD_BYTES_MAX: u64 = 64 << 20;
const CONNECTS_AT_ONCE: usize = 32;
const FIN: u8 = 0x80;

pub fn cases() -> Vec<Case> {
    let slow = |says| Told::Refused { code: TooSlow, says, reason: "slow_head" };
    let head = "the request's head did not arrive within 1000 ms";
    let body = Told::Answered {
        route: "/v1/commands",
        status: 408,
        code: TooSlow,
        says: "the body did not arrive within 1000 ms",
    };
    let second =
        Told::Answered { route: "/v1/commands", status: 401, code: Unauthenticated, says: "a token is needed" };
    let limited = Told::Answered { route: "/v1/conversations", status: 429, code: RateLimited, says: "" };
    let hoarder = Told::Answered {
        route: "/v1/ws",
        status: 429,
        code: RateLimited,
        says: "this user has 100 sessions here, and no more are allowed",
    };
    let full = Told::Refused { code: Overloaded, says: "all of 1100 connections are taken", reason: "full" };
    vec![
        scene("a head that stops in the middle", |system| stops(system).boxed(), slow(head)),
        scene("a head byte by byte, without end", |system| drips(system).boxed(), slow(head)),
        scene("a body that stops in the middle", |system| half_a_body(system).boxed(), body),
        scene("1,000 connections that never speak", |system| crowd(system).boxed(), Told::Cut { reason: "silent" }),
        scene("one connection more than there may be", |system| one_too_many(system).boxed(), full),
        scene("one session more than a user may have", |system| hoards(system).boxed(), hoarder),
        scene(
            "requests whose answers are not taken",
            |system| answers_not_taken(system).boxed(),
            Told::Cut { reason: "slow_reader" },
        ),
        scene("a request hidden behind one with `Transfer-Encoding`", |system| hidden(system).boxed(), second),
        scene("100 reads at once", |system| many_reads(system).boxed(), limited),
        scene(
            "half a frame, and then silence",
            |system| half_a_frame(system).boxed(),
            Told::Closed(CloseCode::PingTimeout),
        ),
        scene(
            "a frame byte by byte, without end",
            |system| frame_drips(system).boxed(),
            Told::Closed(CloseCode::PingTimeout),
        ),
        scene(
            "a session that asks and never reads",
            |system| never_reads(system).boxed(),
            Told::Closed(CloseCode::Slow),
        ),
    ]
}

fn scene(sent: &'static str, scene: Scene, told: Told) -> Case {
    Case { sent, act: Act::Scene(scene), told }
}

async fn stops(system: &System) -> Got {
    system.request(b"GET /healthz HTTP/1.1\r\nHost:").await.into()
}

async fn drips(system: &System) -> Got {
    let (mut reader, mut writer) = system.connect().await.into_split();
    let drip = async {
        // Until the server has had enough.
        while writer.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        use tokio::io::AsyncReadExt as _;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.ok();
        bytes
    };
    let both = timeout(DEADLINE, futures_util::future::join(drip, answered)).await.expect("its end in time");
    super::system::parse(&both.1).map_or(Got::Cut, Got::from)
}

async fn half_a_body(system: &System) -> Got {
    let token = System::token("mallory");
    let head = format!(
        "POST /v1/commands HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{\"id\""
    );
    system.request(head.as_bytes()).await.into()
}

/// Few at a time: the kernel's queue of those that were not accepted yet is short, and who finds it full tries again seconds
/// later.
async fn connections(system: &System, count: usize) -> Vec<TcpStream> {
    let opening = futures_util::stream::iter(0..count).map(|_| system.connect());
    opening.buffer_unordered(CONNECTS_AT_ONCE).collect().await
}

async fn crowd(system: &System) -> Got {
    let before = system.resident_bytes();
    let crowd = connections(system, CROWD).await;
    let gained = system.resident_bytes().saturating_sub(before);
    if gained > CROWD_BYTES_MAX {
        return Got::Other(format!("{gained} bytes for {CROWD} connections"));
    }
    let mut said = 0;
    for mut stream in crowd {
        said += ended(&mut stream, DEADLINE).await;
    }
    if said == 0 { Got::Cut } else { Got::Other(format!("{said} bytes were said")) }
}

/// Connections that are open while nothing much happens.
const FEW: u64 = 32;

/// Who is silent is closed after a second, and on a busy machine a crowd may take longer than that to come.
const CROWDS: usize = 5;

async fn one_too_many(system: &System) -> Got {
    let mut told = Got::Cut;
    for _ in 0..CROWDS {
        // The crowds before this one have gone, so that few are turned away, and each of them is told.
        system.fallen("natter_gateway_connections", FEW).await;
        // Some places are taken by the bystander: these are more than the rest.
        let crowd = connections(system, CONNECTIONS_MAX).await;
        told = system.request(b"").await.into();
        for mut stream in crowd {
            ended(&mut stream, DEADLINE).await;
        }
        if told != Got::Cut {
            break;
        }
    }
    told
}

async fn hoards(system: &System) -> Got {
    let open = |_| system.session("hoarder");
    let sessions: Vec<RawSocket> =
        futures_util::stream::iter(0..100).map(open).buffer_unordered(CONNECTS_AT_ONCE).collect().await;
    let token = System::token("hoarder");
    let handshake = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let told = system.request(handshake.as_bytes()).await.into();
    drop(sessions);
    told
}

async fn answers_not_taken(system: &System) -> Got {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let mut stream = socket.connect(system.address).await.expect("connected");
    let asked = b"GET /page/main.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    let metric = Told::Cut { reason: "slow_reader" }.metric();
    let before = system.counted(&metric).await;
    let ask = async {
        stream.write_all(&asked).await.ok();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ask => {}
        () = system.risen(&metric, before) => {}
    }
    Got::Cut
}

async fn hidden(system: &System) -> Got {
    let mut stream = system.connect().await;
    let outer = "POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let inner = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(format!("{outer}{inner}").as_bytes()).await.expect("sent");
    let first = answer(&mut stream).await;
    match ended(&mut stream, DEADLINE).await {
        0 => first.into(),
        more => Got::Other(format!("{more} bytes behind the first answer")),
    }
}

async fn many_reads(system: &System) -> Got {
    let token = System::token("eager");
    let read = format!("GET /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answers = futures_util::future::join_all((0..100).map(|_| system.request(read.as_bytes()))).await;
    let refused = answers.into_iter().find(|answer| answer.status != 200);
    refused.map_or(Got::Other("all were answered".to_owned()), Got::from)
}

async fn half_a_frame(system: &System) -> Got {
    let mut socket = system.session("mallory").await;
    let whole = text(r#"{"id":"1","cmd":"user.update","ref":"half","name":"Eve"}"#);
    socket.send(&whole[..whole.len() / 2]).await;
    closed(&mut socket).await
}

async fn frame_drips(system: &System) -> Got {
    let mut socket = system.session("mallory").await;
    let whole = text("a".repeat(60_000));
    for byte in &whole {
        socket.send(&[*byte]).await;
        if let Ok(got) = timeout(Duration::from_millis(20), closed(&mut socket)).await {
            return got;
        }
    }
    Got::Other("it may drip for ever".to_owned())
}

/// Reads to the close frame.
async fn closed(socket: &mut RawSocket) -> Got {
    match socket.answer().await {
        Seen::Close(code, _) => Got::Closed(code),
        Seen::Gone => Got::Cut,
        other => Got::Other(format!("{other:?}")),
    }
}

async fn never_reads(system: &System) -> Got {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let mut socket = RawSocket::open_on(socket, system.address, &System::token("mallory")).await;
    let asked = frame(FIN | PING, &[b'x'; 125]).repeat(1000);
    let metric = Told::Closed(CloseCode::Slow).metric();
    let before = system.counted(&metric).await;
    let ask = async {
        loop {
            socket.stream.write_all(&asked).await.ok();
        }
    };
    tokio::select! {
        () = ask => {}
        () = system.risen(&metric, before) => {}
    }
    // It reads at last, what was under way before the close frame first.
    loop {
        match socket.answer().await {
            Seen::Pong(_) => {}
            Seen::Close(code, _) => return Got::Closed(code),
            other => return Got::Other(format!("{other:?}")),
        }
    }
}
