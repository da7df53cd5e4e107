//! The system under attack, what is in it, and what an operator can see of it from outside.

use std::net::SocketAddr;
use std::time::Duration;

use natter_gateway::auth::{Claims, TenantKeys, mint};
use natter_nats::clock::{Clock as _, SystemClock};
use natter_schemas::names::{Tenant, UserId};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::gateway::client::{Client, DEADLINE, Http};
use crate::process::Process;
use crate::raw_socket::RawSocket;

/// Of which the tenants' keys are made.
pub const MASTER: &[u8] = b"a master secret of 32 bytes long";
const LOOK: Duration = Duration::from_millis(20);
/// Short, so that what takes time by its nature is over soon.
const CONFIG: &str = "[gateway]\nreads_per_second = 20\nreads_burst = 40\nconnections_max = 1100\nrequest_seconds_max = 1\nping_seconds = 1\n\
                      [tenants]\nmaster = \"a master secret of 32 bytes long\"\n";
pub const CONNECTIONS_MAX: usize = 1100;

pub struct System {
    pub address: SocketAddr,
    /// A conversation of another tenant.
    pub foreign: String,
    process: Process,
    _data: TempDir,
}

/// What came back over HTTP; status 0: nothing.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub code: String,
    pub message: String,
}

impl System {
    /// Starts it, with the conversations that the cases name.
    pub async fn start() -> System {
        natter::open_files::raise();
        let data = tempfile::tempdir().expect("a folder");
        let config = data.path().join("natter.toml");
        std::fs::write(&config, CONFIG).expect("written");
        let args = ["--port", "0", "--config", config.to_str().expect("text")];
        let process = Process::up_with(&data.path().join("data"), &args).await;
        let mut system = System { address: process.address(), foreign: String::new(), process, _data: data };
        let create = |external: &str, visibility: &str| json!({ "cmd": "conversation.create", "kind": "group", "ref": external, "external": external, "visibility": visibility });
        let mut ada = Client::open(system.address, &System::token("ada")).await;
        ada.ok(create("private", "private")).await;
        ada.ok(create("public", "public")).await;
        let mut mallory = Client::open(system.address, &System::token("mallory")).await;
        mallory.ok(create("mine", "private")).await;
        let mut other = Client::open(system.address, &token_of("other", "ada", MASTER)).await;
        let foreign = other.ok(create("foreign", "public")).await;
        foreign["conversation"].as_str().expect("an id").clone_into(&mut system.foreign);
        system
    }

    /// A user's valid token.
    pub fn token(user: &str) -> String {
        token_of("demo", user, MASTER)
    }

    /// A session of our own making.
    pub async fn session(&self, user: &str) -> RawSocket {
        RawSocket::open(self.address, &Self::token(user)).await
    }

    /// What a counter of the gateway shows.
    pub async fn counted(&self, metric: &str) -> u64 {
        let url = self.process.run["metrics"].as_str().expect("a url");
        let address = url.trim_start_matches("http://").split('/').next().expect("an address");
        let shown = Http { address: address.parse().expect("an address"), token: None }.get("/metrics").await;
        let text = String::from_utf8(shown.body.to_vec()).expect("text");
        let count = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        count.map_or(0, |count| count.parse().expect("a count"))
    }

    /// Until a counter shows more than `before`.
    pub async fn risen(&self, metric: &str, before: u64) {
        while self.counted(metric).await <= before {
            sleep(LOOK).await;
        }
    }

    /// Until a gauge shows no more than `few`.
    pub async fn fallen(&self, metric: &str, few: u64) {
        while self.counted(metric).await > few {
            sleep(LOOK).await;
        }
    }

    /// Memory that the process has of the machine.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("a size") * 1024
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends a request and reads the answer.
    pub async fn request(&self, bytes: &[u8]) -> HttpAnswer {
        let mut stream = self.connect().await;
        // A server that has closed is no error: what it said is what counts.
        stream.write_all(bytes).await.ok();
        answer(&mut stream).await
    }
}

/// The next answer on this connection.
pub async fn answer(stream: &mut TcpStream) -> HttpAnswer {
    let mut bytes = Vec::new();
    let whole = async {
        loop {
            if let Some(answer) = parse(&bytes) {
                return Some(answer);
            }
            if stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                continue;
            }
            assert!(bytes.is_empty(), "the server broke off: {}", String::from_utf8_lossy(&bytes));
            return None;
        }
    };
    let answer = timeout(DEADLINE, whole).await.expect("an answer or an end in time");
    answer.unwrap_or(HttpAnswer { status: 0, code: String::new(), message: String::new() })
}

/// Waits until the connection ends; how many bytes came before.
pub async fn ended(stream: &mut TcpStream, within: Duration) -> usize {
    let mut bytes = Vec::new();
    timeout(within, stream.read_to_end(&mut bytes)).await.expect("its end in time").ok();
    bytes.len()
}

/// The answer at the beginning of `bytes`, once it is whole.
pub fn parse(bytes: &[u8]) -> Option<HttpAnswer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let body: Value = serde_json::from_slice(bytes.get(end..end + length)?).unwrap_or_default();
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    Some(HttpAnswer { status: head.get(9..12)?.parse().ok()?, code: text("code"), message: text("message") })
}

/// A token of a tenant's user, signed with the key that `master` gives that tenant.
pub fn token_of(tenant: &str, user: &str, master: &[u8]) -> String {
    let tenant = Tenant::try_from(tenant).expect("a tenant");
    let key = TenantKeys::new([], Some(master.to_vec())).expect("long enough").key(&tenant).expect("a key");
    mint(&claims(tenant, user), &key).expect("a token")
}

/// What a valid token says.
pub fn claims(tenant: Tenant, user: &str) -> Claims {
    let exp = SystemClock.now_ms() / 1000 + 600;
    Claims { sub: UserId::trusted(user), tenant, name: None, exp, nbf: None, aud: None, service: false }
}
