//! redis-server with an append-only file.

use std::path::Path;

use anyhow::{Context, ensure};

use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;

/// Natter uses commands of 6.2 and none above.
pub const CANDIDATE: Candidate = Candidate { name: "redis-server", version_args: &["--version"], minimum: (6, 2, 0) };

const CONFIG: &str = "redis.conf";

pub fn url(port: u16, password: &str) -> String {
    format!("redis://:{password}@127.0.0.1:{port}/")
}

/// The server's config. Paths in it are relative to the folder in which the server runs, so none has to be quoted.
pub fn config(port: u16, password: &str) -> String {
    format!(
        "# Written by natter at each start.
bind 127.0.0.1
port {port}
requirepass {password}
daemonize no
dir ./
# A crash loses up to a second; readers notice that a watermark fell and read the log again from there.
appendonly yes
appendfsync everysec
save \"\"
# A full memory refuses writes: views are never evicted behind the projector's back.
maxmemory-policy noeviction
"
    )
}

/// Writes the config into `folder` and says how to start the server there.
pub fn launch(program: &Path, folder: &Path, port: u16, password: &str) -> anyhow::Result<Launch> {
    let file = folder.join(CONFIG);
    write_private(&file, config(port, password).as_bytes())?;
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
        let config = config(6379, "secret");
        for line in [
            "bind 127.0.0.1\n",
            "maxmemory-policy noeviction\n",
            "appendonly yes\n",
            "requirepass secret\n",
            "save \"\"\n",
        ] {
            assert!(config.contains(line), "{config}");
        }
        assert_eq!(url(6379, "secret"), "redis://:secret@127.0.0.1:6379/");
    }
}
