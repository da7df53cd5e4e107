//! What a client does: a session over a WebSocket, and HTTP requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Nothing that a test waits for takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One session.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    /// The first frame.
    pub opened: Value,
    /// Pushed frames that came while a reply was waited for.
    pushed: VecDeque<Value>,
    next_id: u64,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Closed(u16),
    Gone(String),
}

impl Client {
    pub async fn open(address: SocketAddr, token: &str) -> Client {
        Self::try_open(TcpSocket::new_v4().unwrap(), address, token, &[]).await.expect("the session opens")
    }

    /// With a receive buffer that is soon full.
    pub async fn open_with_small_buffer(address: SocketAddr, token: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::try_open(socket, address, token, &[]).await.expect("the session opens")
    }

    /// `headers` beside the token; the error is the HTTP status.
    pub async fn try_open(
        socket: TcpSocket,
        address: SocketAddr,
        token: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        let mut client = Self::connect(socket, address, token, headers).await?;
        client.opened = client.frame().await.expect("the first frame");
        assert_eq!(client.opened["event"], "session.opened");
        Ok(client)
    }

    /// A session that may not open.
    pub async fn connect(
        socket: TcpSocket,
        address: SocketAddr,
        token: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        let stream = socket.connect(address).await.unwrap();
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        let offered = HeaderValue::try_from(format!("natter.v1, bearer.{token}")).unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offered);
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::try_from(*value).unwrap());
        }
        let (socket, response) = match client_async(request, stream).await {
            Ok(opened) => opened,
            Err(Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("the handshake fails: {error}"),
        };
        assert_eq!(response.headers()["sec-websocket-protocol"], "natter.v1");
        Ok(Client { socket, opened: Value::Null, pushed: VecDeque::new(), next_id: 0 })
    }

    /// The next JSON frame, whatever it is.
    pub async fn frame(&mut self) -> Result<Value, Ended> {
        loop {
            let message = timeout(DEADLINE, self.socket.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("json")),
                Some(Ok(Message::Close(Some(close)))) => return Err(Ended::Closed(close.code.into())),
                Some(Ok(Message::Close(None))) | None => return Err(Ended::Gone("no code".into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Ended::Gone(error.to_string())),
            }
        }
    }

    /// Sends a frame as it is.
    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("sent");
    }

    /// Sends a command without waiting for its reply; its id.
    pub async fn send(&mut self, command: Value) -> String {
        self.try_send(command).await.expect("sent")
    }

    /// The same where the session may have ended.
    pub async fn try_send(&mut self, mut command: Value) -> Result<String, Ended> {
        self.next_id += 1;
        let id = self.next_id.to_string();
        command["id"] = json!(id);
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.map(|()| id).map_err(|error| Ended::Gone(error.to_string()))
    }

    /// The reply to `id`; events that come before it are kept.
    pub async fn reply(&mut self, id: &str) -> Value {
        let is_it = |frame: &Value| frame.get("id").is_some_and(|other| other == id);
        if let Some(came) = self.pushed.iter().position(is_it) {
            return self.pushed.remove(came).expect("it was found");
        }
        loop {
            let frame = self.frame().await.expect("a reply");
            if is_it(&frame) {
                return frame;
            }
            self.pushed.push_back(frame);
        }
    }

    /// What an accepted command came to.
    pub async fn ok(&mut self, command: Value) -> Value {
        let id = self.send(command).await;
        let reply = self.reply(&id).await;
        reply.get("ok").unwrap_or_else(|| panic!("refused: {reply}")).clone()
    }

    /// The code of a refusal.
    pub async fn refused(&mut self, command: Value) -> String {
        let id = self.send(command).await;
        let reply = self.reply(&id).await;
        reply["error"]["code"].as_str().unwrap_or_else(|| panic!("accepted: {reply}")).to_owned()
    }

    /// The next event or signal.
    pub async fn pushed(&mut self) -> Value {
        match self.pushed.pop_front() {
            Some(frame) => frame,
            None => self.frame().await.expect("an event"),
        }
    }

    /// Events up to the one with this name, it included.
    pub async fn events_to(&mut self, name: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.pushed().await);
            if events.last().is_some_and(|event| event["event"] == name) {
                return events;
            }
        }
    }

    /// Reads to the end.
    pub async fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.frame().await {
                return ended;
            }
        }
    }

    pub async fn close(mut self) {
        self.socket.close(None).await.expect("closed");
    }
}

/// HTTP requests of one user, or of nobody.
pub struct Http {
    pub address: SocketAddr,
    pub token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no json: {:?}", self.body))
    }

    pub fn code(&self) -> String {
        let body = self.json();
        body["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {body}")).to_owned()
    }
}

impl Http {
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], String::new()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], body.into()).await
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let client = HttpClient::builder(TokioExecutor::new()).build_http();
        let response = timeout(DEADLINE, client.request(request)).await.expect("in time").expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}
