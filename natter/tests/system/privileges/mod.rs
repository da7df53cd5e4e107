//! What each role's credentials must not be able to do, tried on every server of a running system; and what web pages must not reach.

mod history;
mod log;
mod objects;
mod pages;
mod views;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::gateway::client::Client;
use crate::process::Process;

/// The roles that have users of their own, but for the administrator.
const ROLES: [&str; 4] = ["gateway", "processor", "projector", "auditor"];

/// A system as `natter up` starts it, with what its data folder says of users and ports.
struct System {
    process: Process,
    data: PathBuf,
    secrets: BTreeMap<String, String>,
    ports: Value,
}

impl System {
    async fn up(data: &Path) -> System {
        let process = Process::up(data).await;
        let file = |name: &str| std::fs::read(data.join(name)).unwrap();
        System {
            process,
            data: data.to_owned(),
            secrets: serde_json::from_slice(&file("credentials.json")).unwrap(),
            ports: serde_json::from_slice(&file("ports.json")).unwrap(),
        }
    }

    fn password(&self, server: &str, user: &str) -> &str {
        let name = format!("{server}_{user}_password");
        self.secrets.get(&name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// `nats` and so on, or one of the four in `s3`.
    fn port(&self, name: &str) -> u16 {
        let port = self.ports[name].as_u64().or_else(|| self.ports["s3"][name].as_u64());
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or_else(|| panic!("no port of {name}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_do_more_than_its_work_takes() {
    let outer = tempfile::tempdir().unwrap();
    let system = System::up(&outer.path().join("data")).await;
    let mut ada = Client::open(system.process.address(), &system.process.token("ada").await).await;
    let create = json!({ "cmd": "conversation.create", "kind": "group", "ref": "a", "members": ["bob"] });
    let conversation = ada.ok(create).await["conversation"].clone();
    let send = |text: &str| json!({ "cmd": "message.send", "conversation": conversation, "ref": text, "text": text });
    ada.ok(send("before")).await;

    log::nobody_does_the_work_of_another(&system).await;
    views::nobody_runs_other_commands_or_sees_other_keys(&system).await;
    history::readers_only_read_and_the_projector_only_inserts(&system).await;
    objects::gateways_write_media_and_projectors_the_archive_and_nobody_else_anything(&system).await;
    pages::no_web_page_reaches_a_backend(&system).await;

    // And all of that changed nothing.
    assert_eq!(ada.ok(send("after")).await["seq"], 2);
    let http = system.process.http("bob").await;
    let shown = http.get(&format!("/v1/conversations/{}/messages", conversation.as_str().unwrap())).await.json();
    assert_eq!(shown["messages"].as_array().map(Vec::len), Some(2), "{shown}");
}
