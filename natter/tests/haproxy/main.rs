//! Three gateways behind the real HAProxy, as deploy/haproxy.cfg has it: clients chat across them, one gateway is stopped, one is killed, and nothing is lost.
//!
//! Run by deploy/check-haproxy.sh.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "the helpers of the other tests, of which this one needs some")]

#[path = "../system/gateway/client.rs"]
mod client;
mod gateway {
    pub(crate) use crate::client;
}
#[path = "../system/process.rs"]
mod process;
#[path = "../system/servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use natter::backends::free_port;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use client::{Client, Ended, Http};
use process::Process;

const CLIENTS: usize = 6;
/// The proxy gives each gateway as many.
const CLIENTS_EACH: usize = 2;
const READY_MAX: Duration = Duration::from_secs(30);

/// One gateway's process. Killed on drop.
struct Gateway {
    child: Child,
    public: SocketAddr,
}

impl Gateway {
    /// With the gateways' users of the servers that `system` runs.
    fn start(data: &Path) -> Gateway {
        let secrets: BTreeMap<String, String> = read(&data.join("credentials.json"));
        let (ports, tenants): (Value, Value) = (read(&data.join("ports.json")), read(&data.join("tenants.json")));
        let public = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        let secret = |name: &str| &*secrets[name];
        for (variable, value) in [
            ("LOG_URL", format!("nats://gateway:{}@127.0.0.1:{}", secret("nats_gateway_password"), ports["nats"])),
            ("REDIS_URL", format!("redis://gateway:{}@127.0.0.1:{}", secret("redis_gateway_password"), ports["redis"])),
            ("CLICKHOUSE_URL", format!("http://127.0.0.1:{}", ports["clickhouse"])),
            ("CLICKHOUSE_USER", "gateway".to_owned()),
            ("CLICKHOUSE_PASSWORD", secret("clickhouse_gateway_password").to_owned()),
            ("TENANTS_MASTER", tenants["master"].as_str().unwrap().to_owned()),
            ("GATEWAY_LISTEN", public.to_string()),
            ("TELEMETRY_LISTEN", format!("127.0.0.1:{}", free_port().unwrap())),
        ] {
            command.env(format!("NATTER_{variable}"), value);
        }
        command.arg("gateway").env("RUST_LOG", "warn").current_dir(data.parent().unwrap());
        Gateway { child: command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap(), public }
    }

    fn signal(&self, signal: Signal) {
        servers::signal(self.child.id().unwrap(), signal);
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The proxy, with the shipped configuration.
fn haproxy(gateways: &[Gateway]) -> (Child, SocketAddr) {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy.cfg"));
    command.env("NATTER_LISTEN", listen.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    for (number, gateway) in (1..).zip(gateways) {
        command.env(format!("NATTER_GATEWAY_{number}"), gateway.public.to_string());
    }
    (command.spawn().expect("haproxy is installed; on Debian: apt install haproxy"), listen)
}

/// A user who stays: connects again when the connection ends, sends again what was not answered, and reads what was missed.
struct Member {
    proxy: SocketAddr,
    token: String,
    conversation: String,
    client: Option<Client>,
    /// Text by seq, as seen live or read.
    seen: BTreeMap<u64, String>,
    /// How its sessions ended.
    endings: Vec<Ended>,
}

impl Member {
    async fn session(&mut self) -> &mut Client {
        let began = Instant::now();
        while self.client.is_none() {
            assert!(began.elapsed() < READY_MAX, "nobody takes the session");
            match Client::try_open(TcpSocket::new_v4().unwrap(), self.proxy, &self.token, &[]).await {
                Ok(client) => self.client = Some(client),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        self.client.as_mut().expect("it was just opened")
    }

    /// Sends until it is answered; the seq.
    async fn say(&mut self, text: &str) -> u64 {
        loop {
            let reference = text.replace(' ', "-");
            let mut command = json!({ "cmd": "message.send", "ref": reference, "text": text });
            command["conversation"] = json!(self.conversation);
            if !self.endings.is_empty() {
                command["resend"] = json!(true);
            }
            let id = match self.session().await.try_send(command).await {
                Ok(id) => id,
                Err(ended) => {
                    self.lost(ended);
                    continue;
                }
            };
            let answer = loop {
                match self.session().await.frame().await {
                    Ok(frame) if frame["id"] == id => break Ok(frame),
                    Ok(event) => note(&mut self.seen, &event),
                    Err(ended) => break Err(ended),
                }
            };
            match answer {
                Ok(frame) if frame["ok"]["seq"].is_u64() => return frame["ok"]["seq"].as_u64().unwrap(),
                Ok(refusal) => {
                    let may_pass = ["unavailable", "overloaded", "outcome_unknown"];
                    assert!(may_pass.contains(&refusal["error"]["code"].as_str().unwrap_or_default()), "{refusal}");
                    sleep(Duration::from_millis(100)).await;
                }
                Err(ended) => self.lost(ended),
            }
        }
    }

    /// Hears until `seq`, over however many sessions that takes.
    async fn hear_until(&mut self, seq: u64) {
        self.session().await;
        self.catch_up().await;
        while !self.seen.contains_key(&seq) {
            match self.session().await.frame().await {
                Ok(event) => note(&mut self.seen, &event),
                Err(ended) => {
                    self.lost(ended);
                    self.session().await;
                    self.catch_up().await;
                }
            }
        }
    }

    /// Until the session has ended, which the other side does.
    async fn ended(&mut self) {
        while let Some(client) = &mut self.client {
            match client.frame().await {
                Ok(event) => note(&mut self.seen, &event),
                Err(ended) => self.lost(ended),
            }
        }
    }

    /// What came while nobody was connected, by the same proxy.
    async fn catch_up(&mut self) {
        let http = Http { address: self.proxy, token: Some(self.token.clone()) };
        let path = format!("/v1/conversations/{}/messages?limit=200", self.conversation);
        let answer = http.get(&path).await.json();
        for message in answer["messages"].as_array().into_iter().flatten() {
            note(&mut self.seen, message);
        }
    }

    fn lost(&mut self, ended: Ended) {
        self.client = None;
        self.endings.push(ended);
    }
}

/// Takes a message in; the same seq is always the same text.
fn note(seen: &mut BTreeMap<u64, String>, message: &Value) {
    if let (Some(seq), Some(text)) = (message["seq"].as_u64(), message["text"].as_str()) {
        let before = seen.insert(seq, text.to_owned());
        assert!(before.is_none_or(|before| before == text), "seq {seq} is two messages");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_gateway_behind_the_proxy_is_stopped_or_killed() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let system = Process::up(&data).await;
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Gateway::start(&data));
    }
    let (_haproxy, proxy) = haproxy(&gateways);
    ready(proxy).await;

    let mut ada = Client::open(proxy, &system.token("user-0").await).await;
    let members: Vec<_> = (1..CLIENTS).map(|number| format!("user-{number}")).collect();
    let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": "room", "members": members });
    let conversation = ada.ok(create).await["conversation"].as_str().unwrap().to_owned();
    ada.close().await;

    let mut room = Vec::new();
    for number in 0..CLIENTS {
        let token = system.token(&format!("user-{number}")).await;
        let (conversation, seen, endings) = (conversation.clone(), BTreeMap::new(), Vec::new());
        let mut member = Member { proxy, token, conversation, client: None, seen, endings };
        member.session().await;
        room.push(member);
    }

    let mut said = BTreeMap::new();
    for round in ["all three", "one is stopped", "and one is killed"] {
        match round {
            "one is stopped" => gateways[0].signal(Signal::TERM),
            "and one is killed" => gateways[1].signal(Signal::KILL),
            _ => {}
        }
        for (number, member) in room.iter_mut().enumerate() {
            let text = format!("{round} {number}");
            let seq = member.say(&text).await;
            said.insert(seq, text);
        }
        let last = *said.keys().last().unwrap();
        for member in &mut room {
            member.hear_until(last).await;
        }
        if round == "one is stopped" {
            sessions_are_told(&mut room).await;
            let stopped = timeout(READY_MAX, gateways[0].child.wait()).await.expect("a stopped gateway ends").unwrap();
            assert!(stopped.success(), "{stopped}");
        }
    }

    for member in &room {
        assert_eq!(member.seen, said, "each member saw every answered message once, and nothing else");
    }
    let torn = room.iter().flat_map(|member| &member.endings).filter(|ended| matches!(ended, Ended::Gone(_)));
    assert_eq!(torn.count(), CLIENTS_EACH, "the sessions of the killed gateway, and no others");
    health_is_nobodys_business(proxy).await;
}

/// The sessions of a gateway that is stopped are told to connect again, and no others.
async fn sessions_are_told(room: &mut [Member]) {
    // On a slow machine some were told while they still listened, and are connected elsewhere by now.
    let told_before = room.iter().map(|member| member.endings.len()).sum();
    let mut ends: FuturesUnordered<_> = room.iter_mut().map(Member::ended).collect();
    for _ in told_before..CLIENTS_EACH {
        timeout(READY_MAX, ends.next()).await.expect("a stopped gateway closes its sessions");
    }
    drop(ends);
    let told = room.iter().flat_map(|member| &member.endings);
    assert!(told.clone().count() == CLIENTS_EACH && told.clone().all(|ended| matches!(ended, Ended::Closed(_))));
}

/// Until the proxy has found a gateway that is ready.
async fn ready(proxy: SocketAddr) {
    let began = Instant::now();
    loop {
        if TcpSocket::new_v4().unwrap().connect(proxy).await.is_ok() {
            // 401 comes from a gateway, 503 from the proxy.
            let answer = Http { address: proxy, token: None }.get("/v1/conversations").await;
            if answer.status == 401 {
                return;
            }
        }
        assert!(began.elapsed() < READY_MAX, "no gateway is ready");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn health_is_nobodys_business(proxy: SocketAddr) {
    let outside = Http { address: proxy, token: None };
    assert_eq!(outside.get("/readyz").await.status, 404);
    assert_eq!(outside.get("/healthz").await.status, 404);
}
