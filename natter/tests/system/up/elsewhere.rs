//! Servers that run already.

use super::{folder, group, message};
use crate::gateway::client::Client;
use crate::process::Process;
use crate::servers::{self, Servers};

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_elsewhere_is_used_and_not_started() {
    let (outer, data) = folder();
    let servers = Servers::start().await;
    let (history, objects) = (servers::clickhouse().await, servers::s3().await);
    let config = outer.path().join("natter.toml");
    let text = format!(
        "[log]\nurl = '{}'\noutcome_bytes_max = 268435456\ncommand_bytes_max = 33554432\n[redis]\nurl = '{}'\n\
         [clickhouse]\nurl = '{}'\nuser = '{}'\npassword = '{}'\ndatabase = '{}'\n\
         [s3]\nendpoint = '{}'\nregion = '{}'\naccess_key = '{}'\nsecret_key = '{}'\nbucket = '{}'\n\
         [tenants]\nkeys = {{ acme = '{}' }}\n",
        servers.nats_url(),
        servers.redis_url(),
        history.url,
        history.user,
        history.password,
        history.database,
        objects.service.endpoint,
        objects.service.region,
        objects.service.access_key,
        objects.service.secret_key,
        objects.bucket,
        "k".repeat(32),
    );
    std::fs::write(&config, text).unwrap();
    let system = Process::up_with(&data, &["--port", "0", "--config", config.to_str().unwrap()]).await;
    assert_eq!(system.backends(), []);
    assert_eq!(system.run["nats"], servers.nats_url());
    // A tenant with a key of its own, and one whose key is derived.
    for tenant in ["acme", "demo"] {
        let token = system.ask(&["token", "--tenant", tenant, "--user", "ada"]).await;
        let mut ada = Client::open(system.address(), token.trim()).await;
        let conversation = group(&mut ada).await;
        assert_eq!(ada.ok(message(&conversation, "hello")).await["seq"], 1);
    }
    assert!(system.term().await.success());
    // They run on.
    assert!(servers.nats().await.flush().await.is_ok());
}
