//! A system of the bench's own: `natter up` in a process that can be ended like any other.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::running::Running;
use crate::soak::signal;

/// Backends may have to be fetched first.
const READY_WITHIN: Duration = Duration::from_mins(10);
/// A drain takes 10 s at most.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Out of the way of an import and of the bench's own pace.
const COMMANDS_PER_SECOND: &str = "100000";

/// A running system.
pub struct Up {
    child: Child,
    /// Where everything is.
    pub running: Running,
    /// When the process was started.
    pub began: Instant,
    /// How long after that it said that it is ready.
    pub ready_after: Duration,
}

impl Up {
    /// Starts it in this folder and waits for the line that says that it is ready: log, views, history and roles.
    ///
    /// # Errors
    /// It ends, or is not ready in time; what it said stands in `up.log` of the folder.
    pub async fn start(data: &Path) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let said = data.with_extension("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&said)?;
        let mut command = Command::new(&binary);
        // So that it dies with this process, whichever way that ends.
        command.arg("backend-exec").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(&binary);
        command.args(["up", "--json", "--port", "0", "--data"]).arg(data);
        command.env("NATTER_TELEMETRY_LISTEN", "127.0.0.1:0");
        command.env("NATTER_GATEWAY_COMMANDS_PER_SECOND", COMMANDS_PER_SECOND);
        command.env("NATTER_GATEWAY_COMMANDS_BURST", COMMANDS_PER_SECOND);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0).kill_on_drop(true);
        let began = Instant::now();
        let mut child = command.spawn().context("cannot start `natter up`")?;
        let out = child.stdout.take().context("its output")?;
        let line =
            timeout(READY_WITHIN, BufReader::new(out).lines().next_line()).await.context("not ready in time")??;
        let Some(line) = line else { bail!("`natter up` ended: see {}", said.display()) };
        let ready_after = began.elapsed();
        let running =
            serde_json::from_str(&line).with_context(|| format!("`{line}` is not the line of `up --json`"))?;
        Ok(Self { child, running, began, ready_after })
    }

    /// Where its gateway listens.
    ///
    /// # Errors
    /// It said something else than an address.
    pub fn gateway(&self) -> anyhow::Result<SocketAddr> {
        let address = self.running.http.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.with_context(|| format!("`{}` is no address", self.running.http))
    }

    /// Ends it by this signal and waits for that.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end(mut self, by: Signal) -> anyhow::Result<()> {
        signal(self.running.pid, by);
        timeout(END_WITHIN, self.child.wait()).await.context("`natter up` does not end")??;
        Ok(())
    }
}
