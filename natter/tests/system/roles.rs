//! The roles apart, as on many machines: each a process, with the least permissions that it needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use natter::backends::{Backend, free_port};
use natter_nats::server::ServerRole;
use natter_schemas::id::ConversationId;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::gateway::client::{Client, Http};
use crate::servers::{self, Servers, signal};

/// After the death of a process, the others have its partitions and answer.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);
/// So many that each partition has some.
const CONVERSATIONS: usize = 12;

/// A system of processes.
struct Apart {
    servers: Servers,
    config: PathBuf,
    _folder: TempDir,
}

/// One of them. Killed on drop.
struct Running {
    child: Child,
    private: Http,
    /// A gateway's.
    public: SocketAddr,
}

impl Apart {
    async fn start() -> Apart {
        let servers = Servers::start().await;
        let (history, objects) = (servers::clickhouse().await, servers::s3().await);
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("natter.toml");
        let text = format!(
            "[log]\ncommand_bytes_max = 33554432\noutcome_bytes_max = 268435456\n\
             [clickhouse]\nurl = '{}'\nuser = '{}'\npassword = '{}'\ndatabase = '{}'\n\
             [s3]\nendpoint = '{}'\nregion = '{}'\naccess_key = '{}'\nsecret_key = '{}'\nbucket = '{}'\n\
             [tenants]\nmaster = '{}'\n",
            history.url,
            history.user,
            history.password,
            history.database,
            objects.service.endpoint,
            objects.service.region,
            objects.service.access_key,
            objects.service.secret_key,
            objects.bucket,
            "m".repeat(32),
        );
        std::fs::write(&config, text).unwrap();
        let apart = Apart { servers, config, _folder: folder };
        let made = apart.command("setup", ServerRole::Admin).output().await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        apart
    }

    /// A subcommand with the user of a role.
    fn command(&self, subcommand: &str, role: ServerRole) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        command.arg(subcommand).arg("--config").arg(&self.config);
        command.env("NATTER_LOG_URL", self.servers.nats_url_of(role)).env("RUST_LOG", "warn");
        command.env("NATTER_REDIS_URL", self.servers.redis_url_of(role));
        command.current_dir(self.config.parent().unwrap()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn run(&self, role: ServerRole) -> Running {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let (private, public) = (address(), address());
        let mut command = self.command(role.user(), role);
        command.env("NATTER_TELEMETRY_LISTEN", private.to_string()).env("NATTER_GATEWAY_LISTEN", public.to_string());
        Running { child: command.spawn().unwrap(), private: Http { address: private, token: None }, public }
    }

    async fn token(&self, user: &str) -> String {
        let mut command = self.command("token", ServerRole::Gateway);
        let minted = command.args(["--user", user]).output().await.unwrap();
        assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
        String::from_utf8(minted.stdout).unwrap().trim().to_owned()
    }
}

impl Running {
    fn kill(&self) {
        signal(self.child.id().unwrap(), Signal::KILL);
    }

    /// What `/readyz` says as soon as it is so.
    async fn readyz(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let asked = async {
            loop {
                if tokio::net::TcpStream::connect(self.private.address).await.is_ok() {
                    last = self.private.get("/readyz").await.json();
                    if is_so(&last) {
                        return;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(READY_MAX, asked).await;
        assert!(in_time.is_ok(), "readyz stays {last}");
        last
    }

    async fn ready(&self) -> Vec<String> {
        let answer = self.readyz(|answer| answer["status"] == "ready").await;
        let names = answer["dependencies"].as_array().unwrap().iter();
        names.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Whether `/readyz` says that this dependency is away, with the reason.
fn names_away(answer: &Value, name: &str, reason: &str) -> bool {
    let mut dependencies = answer["dependencies"].as_array().unwrap().iter();
    dependencies.any(|one| {
        one["name"] == name
            && one["ready"] == false
            && one["detail"].as_str().is_some_and(|detail| detail.contains(reason))
    })
}

async fn send_until_accepted(client: &mut Client, conversation: &str, text: &str) {
    loop {
        let reference = text.replace(' ', "-");
        let command = json!({ "cmd": "message.send", "conversation": conversation, "ref": reference, "text": text });
        let id = client.send(command).await;
        let reply = client.reply(&id).await;
        if reply.get("ok").is_some() {
            return;
        }
        assert!(["unavailable", "overloaded"].contains(&reply["error"]["code"].as_str().unwrap()), "{reply}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Reads events until each of `texts` was heard.
async fn hear(client: &mut Client, texts: impl IntoIterator<Item = String>) {
    let mut missing: std::collections::BTreeSet<_> = texts.into_iter().collect();
    while !missing.is_empty() {
        if let Some(text) = client.pushed().await["text"].as_str() {
            missing.remove(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_run_apart_and_survive_each_others_death() {
    let apart = Apart::start().await;
    let [gateways, processors, projectors] = [ServerRole::Gateway, ServerRole::Processor, ServerRole::Projector]
        .map(|role| [apart.run(role), apart.run(role)]);
    for gateway in &gateways {
        assert_eq!(gateway.ready().await, ["nats", "processors", "redis", "clickhouse", "s3", "gateway"]);
    }
    for processor in &processors {
        assert_eq!(processor.ready().await, ["nats", "redis", "processor"]);
    }
    for projector in &projectors {
        let named = projector.ready().await;
        let views = ["projector-redis", "projector-clickhouse", "projector-archive"];
        assert_eq!(named, [&["nats", "redis", "clickhouse", "s3"][..], &views].concat());
    }

    let mut ada = Client::open(gateways[0].public, &apart.token("ada").await).await;
    let mut bob = Client::open(gateways[1].public, &apart.token("bob").await).await;
    let mut conversations = Vec::new();
    for number in 0..CONVERSATIONS {
        let create =
            json!({ "cmd": "conversation.create", "kind": "group", "ref": number.to_string(), "members": ["bob"] });
        conversations.push(ada.ok(create).await["conversation"].as_str().unwrap().to_owned());
    }
    for (number, conversation) in conversations.iter().enumerate() {
        send_until_accepted(&mut ada, conversation, &format!("before {number}")).await;
    }
    hear(&mut bob, (0..CONVERSATIONS).map(|number| format!("before {number}"))).await;

    processors[0].kill();
    projectors[1].kill();
    let killed = Instant::now();
    for (number, conversation) in conversations.iter().enumerate() {
        let sender = if number % 2 == 0 { &mut bob } else { &mut ada };
        send_until_accepted(sender, conversation, &format!("after {number}")).await;
    }
    hear(&mut ada, (0..CONVERSATIONS).map(|number| format!("after {number}"))).await;
    assert!(killed.elapsed() < TAKEN_OVER_MAX, "{:?}", killed.elapsed());
    the_views_have_all(&gateways[0], &apart.token("bob").await, &conversations).await;
    processors[1].ready().await;
    projectors[0].ready().await;
    what_is_away_or_stopped_is_named(&apart, &gateways, (&processors[1], &projectors[0]), &conversations).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_started_before_their_servers_wait_for_them() {
    let apart = Apart::start().await;
    let backends = [Backend::Nats, Backend::Redis];
    for backend in backends {
        apart.servers.take_away(backend).await;
    }
    let roles = [ServerRole::Gateway, ServerRole::Processor, ServerRole::Projector].map(|role| apart.run(role));
    for backend in backends {
        for role in &roles {
            role.readyz(|answer| answer["status"] == "unready" && names_away(answer, "start", "waits")).await;
            assert_eq!(role.private.get("/healthz").await.status, 200, "it is alive");
        }
        // A client is not kept waiting: another gateway may serve it.
        let early = Http { address: roles[0].public, token: None }.get("/healthz").await;
        assert_eq!((early.status, early.code().as_str()), (503, "unavailable"));
        apart.servers.bring_back(backend).await;
    }
    for role in &roles {
        role.ready().await;
    }
    let mut ada = Client::open(roles[0].public, &apart.token("ada").await).await;
    let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": "1", "members": ["bob"] });
    let room = ada.ok(create).await["conversation"].as_str().unwrap().to_owned();
    send_until_accepted(&mut ada, &room, "there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_user_the_broker_refuses_ends() {
    let servers = Servers::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = servers.nats_url().replacen("://", "://nobody", 1);
    let redis = servers.redis_url();
    let environment = [("NATTER_LOG_URL", &*url), ("NATTER_REDIS_URL", redis), ("NATTER_CLICKHOUSE_URL", "http://h")];
    let (code, said) = refused(folder.path(), "processor", &environment).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("authorization violation"), "{said}");
}

async fn the_views_have_all(gateway: &Running, token: &str, conversations: &[String]) {
    let bob = Http { address: gateway.public, token: Some(token.to_owned()) };
    for (number, conversation) in conversations.iter().enumerate() {
        let shown = async {
            loop {
                let answer = bob.get(&format!("/v1/conversations/{conversation}/messages")).await;
                let texts: Vec<_> = match answer.json()["messages"].as_array() {
                    Some(messages) => messages.iter().map(|message| message["text"].clone()).collect(),
                    None => Vec::new(),
                };
                if texts == [json!(format!("before {number}")), json!(format!("after {number}"))] {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TAKEN_OVER_MAX, shown).await.expect("the views have all in time");
    }
}

async fn what_is_away_or_stopped_is_named(
    apart: &Apart,
    gateways: &[Running],
    (processor, projector): (&Running, &Running),
    conversations: &[String],
) {
    apart.servers.take_away(Backend::Redis).await;
    for process in [&gateways[0], processor, projector] {
        process.readyz(|answer| answer["status"] == "unready" && names_away(answer, "redis", "")).await;
    }
    apart.servers.bring_back(Backend::Redis).await;
    processor.ready().await;

    // What nobody can read stops its partition, and everybody who works on it says so.
    let nats = async_nats::jetstream::new(apart.servers.nats().await);
    nats.publish("evt.0", "no batch at all".into()).await.unwrap().await.unwrap();
    // So does a gateway, and goes on with the others: clients come back and chat there.
    gateways[0].readyz(|answer| answer["status"] == "degraded" && names_away(answer, "gateway", "partition 0")).await;
    the_other_partitions_go_on(&gateways[0], &apart.token("ada").await, conversations).await;
    projector.readyz(|answer| names_away(answer, "projector-redis", "partition 0")).await;
    projector.readyz(|answer| names_away(answer, "projector-clickhouse", "partition 0")).await;
    // A processor reads it when it starts, or is not the last writer any more.
    processor.kill();
    let successor = apart.run(ServerRole::Processor);
    successor.readyz(|answer| answer["status"] == "unready" && names_away(answer, "processor", "partition 0")).await;
}

/// Each conversation of the stopped partition 0 refuses at once; all others answer.
async fn the_other_partitions_go_on(gateway: &Running, token: &str, conversations: &[String]) {
    let mut ada = Client::open(gateway.public, token).await;
    let mut refused = 0;
    for (number, conversation) in conversations.iter().enumerate() {
        let id: u64 = conversation.parse().unwrap();
        let stopped = ConversationId::from_raw(id).slot().partition(4) == 0;
        let reference = format!("stopped-{number}");
        let command = json!({ "cmd": "message.send", "conversation": conversation, "ref": reference, "text": "on" });
        if stopped {
            assert_eq!(ada.refused(command).await, "unavailable");
            refused += 1;
        } else {
            ada.ok(command).await;
        }
    }
    assert!(refused < conversations.len(), "only one of four partitions has stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_says_all_that_it_lacks_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (role, lacks) in [
        ("gateway", vec!["log.url", "redis.url", "clickhouse.url", "tenants.master", "NATTER_TENANTS_MASTER"]),
        ("processor", vec!["log.url", "redis.url"]),
        ("projector", vec!["log.url", "redis.url", "clickhouse.url"]),
        ("setup", vec!["log.url", "clickhouse.url", "s3.endpoint", "s3.secret_key"]),
    ] {
        let (code, said) = refused(folder.path(), role, &[]).await;
        assert_eq!(code, Some(64), "{said}");
        for key in lacks {
            assert!(said.contains(key), "{role}: {key} is not in {said}");
        }
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(folder.path(), "processor", &[("NATTER_TELEMETRY_LISTEN", &address)]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains(&address) && said.contains("telemetry.listen"), "{said}");
}

/// Exit code and standard error of a role that does not start.
async fn refused(folder: &Path, role: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.arg(role).current_dir(folder).kill_on_drop(true);
    // Port 0: no other test's.
    command.env("NATTER_TELEMETRY_LISTEN", "127.0.0.1:0").env("NATTER_GATEWAY_LISTEN", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    let output = timeout(READY_MAX, command.output()).await.expect("it ends").unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
