//! nats-server with JetStream.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, ConnectOptions};
use natter_nats::server::{Fsync, Password, ServerRole, ServerSettings, server_config};

use super::credentials::Credentials;
use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;

/// 2.14 is the level of the JetStream API that the client crate is built for; an older server refuses fields of it.
pub const CANDIDATE: Candidate = Candidate { name: "nats-server", version_args: &["--version"], minimum: (2, 14, 0) };

const CONFIG: &str = "nats.conf";

/// For this role's user.
pub fn url(port: u16, role: ServerRole, credentials: &Credentials) -> String {
    format!("nats://{}:{}@127.0.0.1:{port}", role.user(), credentials.nats(role))
}

/// Writes the config into `folder` and says how to start the server there, for a log of so many partitions.
pub fn launch(
    program: &Path,
    folder: &Path,
    port: u16,
    partitions: u16,
    fsync: Fsync,
    credentials: &Credentials,
) -> anyhow::Result<Launch> {
    let user = |role| (role, Password::Literal(credentials.nats(role).to_owned()));
    let config = server_config(&ServerSettings {
        listen: format!("127.0.0.1:{port}"),
        // In the folder in which it runs, so that no path has to be quoted.
        store_dir: "./store".to_owned(),
        // Only what never changes: the streams' own bounds keep the reserve.
        file_store: disk_bytes(folder)?,
        partitions,
        fsync,
        users: ServerRole::ALL.map(user).into(),
    });
    let file = folder.join(CONFIG);
    write_private(&file, config.as_bytes())?;
    let args = vec!["--config".into(), file.into()];
    Ok(Launch { program: program.to_owned(), args, folder: folder.to_owned(), litter: Vec::new() })
}

/// Size of the file system that holds this folder.
fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    let found = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot see how large the disk of {} is", folder.display()))?;
    Ok(found.f_blocks * found.f_frsize)
}

/// How to connect to this URL with the user and password in it, which the client crate does not look for by itself.
///
/// # Errors
/// When it is not a NATS URL.
pub fn connect_options(url: &str) -> anyhow::Result<ConnectOptions> {
    let servers = natter_nats::servers(url)?;
    let named = servers.iter().find_map(|server| server.username().zip(server.password()));
    Ok(named.map_or_else(ConnectOptions::new, |(user, password)| {
        ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
    }))
}

/// Connects to one of the servers of this URL.
///
/// # Errors
/// It is not a NATS URL, or none of them answers or takes the user.
pub async fn connect(url: &str, options: ConnectOptions) -> anyhow::Result<Client> {
    options.connect(natter_nats::servers(url)?).await.context("nats does not answer")
}

/// Whether the server answers with JetStream enabled for this user.
pub async fn check(url: &str) -> anyhow::Result<()> {
    let options = connect_options(url)?.connection_timeout(Duration::from_secs(1));
    let client = connect(url, options).await?;
    async_nats::jetstream::new(client).query_account().await.context("jetstream does not answer")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_name_several_servers() {
        assert!(connect_options("nats://u:p@127.0.0.1:4222,nats://u:p@127.0.0.2:4222").is_ok());
        assert!(connect_options("nats://u:p@127.0.0.1:4222,nats://u:p@127.0.0.2:x").is_err());
    }

    #[test]
    fn the_config_syncs_always_and_listens_on_loopback_only() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::example();
        launch(Path::new("/nats-server"), folder.path(), 4222, 4, Fsync::default(), &credentials).unwrap();
        let config = std::fs::read_to_string(folder.path().join(CONFIG)).unwrap();
        for line in ["listen: \"127.0.0.1:4222\"", "  sync_interval: always", "  store_dir: \"./store\"", "EVT_3"] {
            assert!(config.contains(line), "{config}");
        }
        for absent in ["http", "websocket", "0.0.0.0", "EVT_4", "$NATS_"] {
            assert!(!config.contains(absent), "{config}");
        }
        for role in ServerRole::ALL {
            let password = credentials.nats(role);
            assert!(config.contains(&format!("password: \"{password}\"")), "{config}");
            assert_eq!(url(4222, role, &credentials), format!("nats://{}:{password}@127.0.0.1:4222", role.user()));
        }
    }
}
