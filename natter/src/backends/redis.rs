//! redis-server with an append-only file and a user for each role.

use std::path::Path;

use anyhow::{Context, ensure};
use natter_nats::server::{Password, ServerRole};
use natter_projections::redis::acl;

use super::credentials::Credentials;
use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;

/// Natter uses commands of 6.2 and none above.
pub const CANDIDATE: Candidate = Candidate { name: "redis-server", version_args: &["--version"], minimum: (6, 2, 0) };

const CONFIG: &str = "redis.conf";

/// For this role's user.
pub fn url(port: u16, role: ServerRole, credentials: &Credentials) -> String {
    format!("redis://{}:{}@127.0.0.1:{port}/", role.user(), credentials.redis(role))
}

/// The server's config. Paths in it are relative to the folder in which the server runs, so none has to be quoted.
pub fn config(port: u16, credentials: &Credentials) -> String {
    let password = |role| (role, Password::Literal(credentials.redis(role).to_owned()));
    let users = acl::users(&ServerRole::ALL.map(password));
    format!(
        "# Written by natter at each start.
bind 127.0.0.1
port {port}
daemonize no
dir ./
# A crash loses up to a second; readers notice that a watermark fell and read the log again from there.
appendonly yes
appendfsync everysec
save \"\"
# A full memory refuses writes: views are never evicted behind the projector's back.
maxmemory-policy noeviction
# Nobody gets in without a name, and each role may do what it needs.
{users}"
    )
}

/// Writes the config into `folder` and says how to start the server there.
pub fn launch(program: &Path, folder: &Path, port: u16, credentials: &Credentials) -> anyhow::Result<Launch> {
    let file = folder.join(CONFIG);
    write_private(&file, config(port, credentials).as_bytes())?;
    Ok(Launch { program: program.to_owned(), args: vec![file.into()], folder: folder.to_owned(), litter: Vec::new() })
}

/// Whether the server answers and has loaded its data.
pub async fn check(url: &str) -> anyhow::Result<()> {
    let client = redis::Client::open(url).context("not a redis url")?;
    let mut connection = client.get_multiplexed_async_connection().await.context("redis does not answer")?;
    let answer: String = redis::cmd("PING").query_async(&mut connection).await.context("redis refuses PING")?;
    ensure!(answer == "PONG", "redis answers {answer:?} to PING");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_never_evicts_and_listens_on_loopback_only() {
        let credentials = Credentials::example();
        let config = config(6379, &credentials);
        for line in [
            "bind 127.0.0.1\n",
            "maxmemory-policy noeviction\n",
            "appendonly yes\n",
            "\nuser default off ",
            "\nuser gateway on #",
            "save \"\"\n",
        ] {
            assert!(config.contains(line), "{config}");
        }
        assert!(!config.contains(credentials.redis(ServerRole::Gateway)), "{config}");
        let url = url(6379, ServerRole::Gateway, &credentials);
        assert_eq!(url, "redis://gateway:redis_gateway_password@127.0.0.1:6379/");
    }
}
