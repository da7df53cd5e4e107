//! NATS.

use async_nats::{Client, ConnectOptions};
use tokio::sync::mpsc;

use super::{ROLES, System};

/// Subjects that nobody but the administrator may publish to.
const FOR_NOBODY: [&str; 9] = [
    "live.0",
    "$JS.API.STREAM.CREATE.X",
    "$JS.API.STREAM.DELETE.EVT_0",
    "$JS.API.STREAM.UPDATE.EVT_0",
    "$JS.API.STREAM.MSG.DELETE.EVT_0",
    "$JS.API.STREAM.PURGE.KV_policies",
    "$KV.policies.x",
    "$SYS.REQ.SERVER.PING",
    "$JS.API.STREAM.SNAPSHOT.EVT_0",
];

/// And what only some may not.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "gateway",
        &[
            "evt.0",
            "$KV.leases.processor.0",
            "$JS.API.STREAM.PURGE.CMD_0",
            "$JS.API.STREAM.PURGE.EVT_0",
            "$JS.API.CONSUMER.CREATE.EVT_0",
            "$JS.API.DIRECT.GET.CMD_0",
            "$JS.API.DIRECT.GET.KV_policies",
        ],
    ),
    ("processor", &["signal.0", "$KV.leases.projector-redis.0", "$JS.API.STREAM.PURGE.EVT_0"]),
    (
        "projector",
        &[
            "cmd.0",
            "evt.0",
            "signal.0",
            "$KV.leases.processor.0",
            "$JS.API.STREAM.PURGE.CMD_0",
            "$JS.API.DIRECT.GET.CMD_0",
            "$JS.API.DIRECT.GET.KV_policies",
        ],
    ),
    (
        "auditor",
        &[
            "cmd.0",
            "evt.0",
            "signal.0",
            "$KV.leases.processor.0",
            "$KV.leases.presence.processor.x",
            "$JS.API.STREAM.PURGE.CMD_0",
            "$JS.API.STREAM.PURGE.EVT_0",
        ],
    ),
];

/// What each may do, so that a refusal of everything does not pass for least privilege.
const ALLOWED: [(&str, &str); 5] = [
    ("gateway", "signal.0"),
    ("processor", "$JS.API.DIRECT.GET.CMD_0"),
    ("projector", "$JS.API.DIRECT.GET.EVT_0"),
    ("projector", "$JS.API.STREAM.PURGE.EVT_1"),
    ("auditor", "$JS.API.DIRECT.GET.CMD_0"),
];

/// Nobody may publish here: its refusal says that everything before it has been judged.
const LAST: &str = "nobody.publishes.here";

struct User {
    client: Client,
    refusals: mpsc::Receiver<String>,
}

impl User {
    async fn connect(system: &System, name: &str) -> User {
        let (heard, refusals) = mpsc::channel(64);
        let options = ConnectOptions::with_user_and_password(name.to_owned(), system.password("nats", name).to_owned());
        let options = options.event_callback(move |event| {
            let heard = heard.clone();
            async move { heard.send(event.to_string()).await.unwrap_or_default() }
        });
        let client = options.connect(format!("127.0.0.1:{}", system.port("nats"))).await.unwrap();
        User { client, refusals }
    }

    /// What the server refuses of what is done.
    async fn refusals(&mut self, act: impl AsyncFnOnce(&Client)) -> String {
        act(&self.client).await;
        self.client.publish(LAST, "".into()).await.unwrap();
        self.client.flush().await.unwrap();
        let mut all = String::new();
        loop {
            let event = self.refusals.recv().await.unwrap();
            if event.contains(LAST) {
                return all;
            }
            all.push_str(&event);
        }
    }
}

pub async fn nobody_does_the_work_of_another(system: &System) {
    for (name, subjects) in FORBIDDEN {
        let mut user = User::connect(system, name).await;
        for subject in subjects.iter().chain(&FOR_NOBODY) {
            let said = user.refusals(async |client| client.publish(*subject, "{}".into()).await.unwrap()).await;
            assert!(said.contains(subject), "{name} may publish to {subject}: {said:?}");
        }
        let others = ROLES.iter().filter(|other| **other != name).map(|other| format!("_INBOX_{other}.>"));
        for subject in others.chain([">", "cmd.*", "evt.*", "$SYS.>"].map(str::to_owned)) {
            let said = user.refusals(async |client| drop(client.subscribe(subject.clone()).await.unwrap())).await;
            assert!(said.contains(&subject), "{name} may listen to {subject}: {said:?}");
        }
        for (_, allowed) in ALLOWED.iter().filter(|(of, _)| *of == name) {
            // A purge up to nothing.
            let said =
                user.refusals(async |client| client.publish(*allowed, r#"{"seq":1}"#.into()).await.unwrap()).await;
            assert!(!said.contains(allowed), "{name} may not even publish to {allowed}: {said}");
        }
    }
    for (name, password) in [("gateway", "wrong"), ("nobody", "x"), ("", "")] {
        let options = ConnectOptions::with_user_and_password(name.to_owned(), password.to_owned());
        assert!(options.connect(format!("127.0.0.1:{}", system.port("nats"))).await.is_err(), "{name}");
    }
}
