//! nats-server with JetStream.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use async_nats::{ConnectOptions, ServerAddr};

use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;

/// 2.14 is the level of the JetStream API that the client crate is built for; an older server refuses fields of it.
pub const CANDIDATE: Candidate = Candidate { name: "nats-server", version_args: &["--version"], minimum: (2, 14, 0) };

const CONFIG: &str = "nats.conf";

/// Who may connect, and as whom natter itself does.
#[derive(Clone)]
pub struct NatsAccess {
    /// The user as whom natter connects.
    pub user: String,
    /// Plain characters only, for it becomes part of a URL.
    pub password: String,
    /// The whole `authorization { … }` block (or `accounts { … }`) of the server's config; it must contain the user above.
    pub block: String,
}

impl NatsAccess {
    /// One user who may do everything.
    pub fn admin(password: &str) -> NatsAccess {
        let user = "natter".to_owned();
        let block = format!("authorization {{\n  users: [ {{ user: \"{user}\", password: \"{password}\" }} ]\n}}\n");
        NatsAccess { user, password: password.to_owned(), block }
    }

    /// With user and password.
    pub fn url(&self, port: u16) -> String {
        format!("nats://{}:{}@127.0.0.1:{port}", self.user, self.password)
    }
}

/// The server's config. Paths in it are relative to the folder in which the server runs, so none has to be quoted.
pub fn config(port: u16, access: &NatsAccess) -> String {
    let authorization = &access.block;
    format!(
        "# Written by natter at each start.
server_name: natter
listen: \"127.0.0.1:{port}\"
max_payload: 8MB
jetstream {{
  store_dir: \"./store\"
  # An acknowledged message is on disk.
  sync_interval: always
}}
{authorization}"
    )
}

/// Writes the config into `folder` and says how to start the server there.
pub fn launch(program: &Path, folder: &Path, port: u16, access: &NatsAccess) -> anyhow::Result<Launch> {
    let file = folder.join(CONFIG);
    write_private(&file, config(port, access).as_bytes())?;
    Ok(Launch {
        program: program.to_owned(),
        args: vec!["--config".into(), file.into()],
        folder: folder.to_owned(),
        litter: Vec::new(),
    })
}

/// How to connect to this URL with the user and password in it, which the client crate does not look for by itself.
///
/// # Errors
/// When it is not a NATS URL.
pub fn connect_options(url: &str) -> anyhow::Result<ConnectOptions> {
    let address: ServerAddr = url.parse().context("not a nats url")?;
    Ok(match (address.username(), address.password()) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()),
        _ => ConnectOptions::new(),
    })
}

/// Whether the server answers with JetStream enabled for this user.
pub async fn check(url: &str) -> anyhow::Result<()> {
    let options = connect_options(url)?.connection_timeout(Duration::from_secs(1));
    let client = options.connect(url).await.context("nats does not answer")?;
    async_nats::jetstream::new(client).query_account().await.context("jetstream does not answer")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_syncs_always_and_listens_on_loopback_only() {
        let access = NatsAccess::admin("secret");
        let config = config(4222, &access);
        for line in
            ["listen: \"127.0.0.1:4222\"", "  sync_interval: always", "max_payload: 8MB", "password: \"secret\""]
        {
            assert!(config.contains(line), "{config}");
        }
        for absent in ["http", "websocket", "0.0.0.0"] {
            assert!(!config.contains(absent), "{config}");
        }
        assert_eq!(access.url(4222), "nats://natter:secret@127.0.0.1:4222");
    }
}
