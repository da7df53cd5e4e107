//! Invariant 15: two tenants whose users, external ids and refs have the same names. Nothing of one is found in the other, by any
//! command, read, signal or SQL: not at first, and not after a restart, an empty Redis or a rebuild.

use natter_schemas::id::ConversationId;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::gateway::client::{Client, DEADLINE, Http};
use crate::generator::Random;
use crate::observed::until_history_is_complete;
use crate::process::Process;
use crate::tenants::{ask, http_of, server};

const USERS: [&str; 3] = ["ada", "bob", "cy"];
const EXTERNALS: [&str; 3] = ["ext:tea", "ext:milk", "ext:salt"];
/// Few, so that the same comes again.
const REFS: u64 = 12;
const WISHES: usize = 60;

/// What one tenant's users did and know.
struct Side {
    tenant: &'static str,
    /// Stands in every text and name of this tenant, and nowhere else.
    marker: &'static str,
    random: Random,
    /// Ids of its conversations and messages.
    ids: Vec<String>,
    conversations: Vec<String>,
    /// Commands as they were sent.
    sent: Vec<(&'static str, Value)>,
    /// The newest positions it was answered with.
    position: String,
}

impl Side {
    fn new(tenant: &'static str, marker: &'static str, seed: u64) -> Self {
        let (ids, conversations, sent) = Default::default();
        Self { tenant, marker, random: Random::new(seed), ids, conversations, sent, position: String::new() }
    }

    async fn http(&self, process: &Process, user: &str) -> Http {
        http_of(process, self.tenant, user).await
    }

    /// A wish of one of its users about its own conversations.
    fn wish(&mut self) -> (&'static str, Value) {
        if self.random.one_in(4) && !self.sent.is_empty() {
            let (user, mut wish) = self.random.pick(&self.sent).clone();
            wish["resend"] = json!(self.random.one_in(2));
            return (user, wish);
        }
        let user = *self.random.pick(&USERS);
        let address = if self.random.one_in(2) || self.conversations.is_empty() {
            (*self.random.pick(&EXTERNALS)).to_owned()
        } else {
            self.random.pick(&self.conversations).clone()
        };
        let external = self.random.pick(&EXTERNALS).trim_start_matches("ext:");
        let text = format!("{} {}", self.marker, self.random.below(3));
        let mut wish = match self.random.below(10) {
            0 => {
                json!({ "cmd": "conversation.create", "kind": "group", "external": external, "name": text, "visibility": "public" })
            }
            1 => json!({ "cmd": "conversation.create", "kind": "direct", "members": [*self.random.pick(&USERS)] }),
            2 => json!({ "cmd": "conversation.join", "conversation": address }),
            3 => json!({ "cmd": "conversation.add", "conversation": address, "members": USERS }),
            4 => json!({ "cmd": "conversation.rename", "conversation": address, "name": text }),
            5 => json!({ "cmd": "user.update", "name": text }),
            6 => json!({ "cmd": "conversation.read", "conversation": address, "seq": 1 }),
            _ => json!({ "cmd": "message.send", "conversation": address, "text": text }),
        };
        wish["ref"] = json!(format!("r{}", self.random.below(REFS)));
        self.sent.push((user, wish.clone()));
        (user, wish)
    }

    /// Takes in what it was answered.
    fn learn(&mut self, answer: &Value) {
        for name in ["conversation", "message"] {
            if let Some(id) = answer["ok"][name].as_str() {
                self.ids.push(id.to_owned());
            }
        }
        if let Some(id) = answer["ok"]["conversation"].as_str()
            && !self.conversations.iter().any(|known| known == id)
        {
            self.conversations.push(id.to_owned());
        }
        if let Some(position) = answer["ok"]["position"].as_str() {
            position.clone_into(&mut self.position);
        }
    }

    /// Nothing of this tenant stands in what another was shown.
    fn is_not_in(&self, shown: &str, what: &str) {
        assert!(!shown.contains(self.marker), "{what} shows {}: {shown}", self.tenant);
        if let Some(id) = self.ids.iter().find(|id| shown.contains(id.as_str())) {
            panic!("{what} shows {id} of {}: {shown}", self.tenant);
        }
    }
}

async fn command(http: &Http, mut command: Value) -> Value {
    command["id"] = json!("1");
    loop {
        let answer = http.post("/v1/commands", command.to_string()).await.json();
        // A system that has just begun, or waits for its views.
        if !answer["error"]["retry_after_ms"].is_number() {
            return answer;
        }
        sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Users do as they like with what is their own; whatever they hear of it is theirs.
async fn act(process: &Process, one: &mut Side, other: &Side) {
    let https =
        [one.http(process, USERS[0]).await, one.http(process, USERS[1]).await, one.http(process, USERS[2]).await];
    let token = https[0].token.clone().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    let mut session = Client::try_open(socket, process.address(), &token, &[]).await.expect("a session");
    for _ in 0..WISHES {
        let (user, wish) = one.wish();
        let by = USERS.iter().position(|name| *name == user).unwrap();
        let answer = command(&https[by], wish.clone()).await;
        other.is_not_in(&answer.to_string(), &format!("the answer to {wish}"));
        one.learn(&answer);
    }
    session.ok(json!({ "cmd": "user.update", "name": "fence", "ref": format!("fence-{}", one.ids.len()) })).await;
    loop {
        let event = session.pushed().await;
        other.is_not_in(&event.to_string(), "an event");
        if event["event"] == "user.updated" && event["name"] == "fence" {
            return;
        }
    }
}

/// Another id of the same partition that nobody has.
fn nobodys(id: &str) -> String {
    let id: u64 = id.parse().unwrap();
    ConversationId::from_raw(id - (1 << 22) * 1_000_003).to_string()
}

/// Every command about a conversation, with the refs that the other side used there and with others, sent again or not.
fn attacks(of: &Side, id: &str) -> Vec<Value> {
    let texts =
        ["a guess".to_owned(), format!("{} 0", of.marker), format!("{} 1", of.marker), format!("{} 2", of.marker)];
    let mut attacks = Vec::new();
    for number in 0..REFS {
        for resend in [false, true] {
            let reference = format!("r{number}");
            let about = |cmd: &str| json!({ "cmd": cmd, "ref": reference, "resend": resend, "conversation": id });
            for text in &texts {
                let mut send = about("message.send");
                send["text"] = json!(text);
                attacks.push(send);
            }
            let (mut add, mut rename) = (about("conversation.add"), about("conversation.rename"));
            add["members"] = json!(USERS);
            rename["name"] = json!(texts[1]);
            attacks.extend([add, rename, about("conversation.join"), about("conversation.leave")]);
        }
    }
    attacks.push(json!({ "cmd": "conversation.read", "conversation": id, "seq": 1 }));
    attacks
}

/// A stranger of another tenant is answered as if there were nothing.
async fn probe(process: &Process, one: &Side, other: &Side) {
    let http = one.http(process, "ada").await;
    for id in other.conversations.iter().take(2) {
        let nobodys = nobodys(id);
        let controls = attacks(other, &nobodys);
        for (attack, control) in attacks(other, id).into_iter().zip(controls) {
            let (found, wanted) = (command(&http, attack.clone()).await, command(&http, control).await);
            assert_eq!(found, wanted, "{} asks for {attack} of {}", one.tenant, other.tenant);
            assert!(found["error"]["code"].is_string(), "{attack}: {found}");
        }
        let message = other.ids.iter().find(|known| !other.conversations.contains(known)).unwrap();
        for path in reads(&other.position, message) {
            let found = http.get(&format!("/v1/conversations/{id}{path}")).await;
            let wanted = http.get(&format!("/v1/conversations/{nobodys}{path}")).await;
            assert_eq!((found.status, found.json()), (wanted.status, wanted.json()), "{path} of {}", other.tenant);
            assert!(found.status >= 400, "{path}: {:?}", found.body);
        }
    }
    for path in [
        "/v1/conversations",
        "/v1/conversations/ext:tea",
        "/v1/conversations/ext:tea/messages",
        "/v1/conversations/ext:milk/events?after=0:0",
    ] {
        let shown = http.get(path).await;
        other.is_not_in(&String::from_utf8_lossy(&shown.body), path);
    }
}

fn reads(position: &str, message: &str) -> Vec<String> {
    let partition = position.split(':').next().unwrap();
    [
        "",
        "/messages",
        "/messages?before=2",
        "/messages?after=0",
        "/messages?around=1",
        "/members",
        "/members?as_of=2026-01-01T00:00:00Z",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        format!("/messages?around_message={message}"),
        format!("/messages?as_of={position}"),
        format!("/events?after={partition}:0"),
    ])
    .collect()
}

/// A signal into a conversation of another tenant is heard by nobody.
async fn signals(process: &Process, one: &Side, other: &Side) {
    let sender = one.http(process, "ada").await.token.unwrap();
    let mut sender = Client::open(process.address(), &sender).await;
    let listener = other.http(process, "ada").await.token.unwrap();
    let mut listener = Client::open(process.address(), &listener).await;
    for id in &other.conversations {
        let typing = json!({ "signal": "typing", "conversation": id }).to_string();
        sender.send_raw(tokio_tungstenite::tungstenite::Message::text(typing)).await;
    }
    sender.ok(json!({ "cmd": "user.update", "name": "fence", "ref": format!("signalled-{}", other.ids.len()) })).await;
    listener.ok(json!({ "cmd": "user.update", "name": "fence", "ref": format!("listened-{}", other.ids.len()) })).await;
    loop {
        let heard = listener.pushed().await;
        assert!(heard.get("signal").is_none(), "{} signals into {}: {heard}", one.tenant, other.tenant);
        if heard["event"] == "user.updated" {
            return;
        }
    }
}

/// A tenant's analyst.
async fn sql(process: &Process, one: &Side, other: &Side) {
    let analyst = server(&process.ask(&["analyst add", "--tenant", one.tenant]).await);
    for view in ["messages", "events", "conversations", "members", "users"] {
        let shown = ask(&analyst, "/", &format!("SELECT * FROM {view} FORMAT JSONEachRow")).await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        other.is_not_in(&shown.text(), &format!("natter.{view}"));
    }
    let own = ask(&analyst, "/", &format!("SELECT count() FROM messages WHERE text LIKE '%{}%'", one.marker)).await;
    assert_ne!(own.text().trim(), "0", "there is something to be seen");
    process.ask(&["analyst remove", "--tenant", one.tenant]).await;
}

async fn until_it_reads(process: &Process, side: &Side) {
    let http = side.http(process, "ada").await;
    let path = format!("/v1/conversations?min_position={}", side.position);
    let reads = async {
        while http.get(&path).await.status != 200 {
            sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(3 * DEADLINE, reads).await.expect("the views come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_of_equal_names_share_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut process = Process::up(&data).await;
    let mut demo = Side::new("demo", "walrus", 41);
    let mut evil = Side::new("evil", "oyster", 42);
    for change in ["nothing", "a restart", "an empty redis", "a rebuild"] {
        match change {
            "a restart" => {
                process.term().await;
                process = Process::up(&data).await;
            }
            "an empty redis" => {
                let client = redis::Client::open(process.run["redis"].as_str().unwrap()).unwrap();
                let mut redis = client.get_multiplexed_async_connection().await.unwrap();
                redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
                for side in [&demo, &evil] {
                    until_it_reads(&process, side).await;
                }
            }
            "a rebuild" => drop(process.ask(&["rebuild all", "--json"]).await),
            _ => {}
        }
        act(&process, &mut demo, &evil).await;
        act(&process, &mut evil, &demo).await;
        probe(&process, &evil, &demo).await;
        probe(&process, &demo, &evil).await;
        signals(&process, &evil, &demo).await;
        if change == "an empty redis" {
            // Of the first generation: the next has nothing to wait for, what is old enough is there.
            until_history_is_complete(&process).await;
        }
        if change == "an empty redis" || change == "a rebuild" {
            sql(&process, &evil, &demo).await;
            sql(&process, &demo, &evil).await;
        }
    }
}
