//! `natter bench start`: how long a start takes, on an empty log and on a long one, and after the Redis views are lost.
//!
//! On a system of its own, in a folder that is deleted at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::args::Start;
use super::client::Client;
use super::machine::Machine;
use super::own::{self, Up, lines, shown, token};
use super::processes::Processes;
use super::report::{Report, grouped, head, table};
use super::system::versions;
use super::traffic::salt;
use crate::{connect, running, up};

/// Messages that an empty log gets nonetheless: a room that the first answer is about.
const FEW: u64 = 1;
/// A system that is ready answers within this time.
const ANSWERED_WITHIN: Duration = Duration::from_mins(10);
const RETRY: Duration = Duration::from_millis(20);

/// One start.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// What was before it.
    pub after: &'static str,
    /// Messages in the log.
    pub messages: u64,
    /// From the start of the process until it said that it is ready, in seconds; none: it was not started again.
    pub ready_seconds: Option<f64>,
    /// From the same moment, or else from the loss, until a message to an old room was answered.
    pub first_answer_seconds: f64,
    /// From there until the Redis views showed all of the log again.
    pub views_seconds: f64,
    /// Resident memory of each process then, in MiB.
    pub resident_mib: BTreeMap<String, u64>,
}

/// Starts a system, fills its log, and starts it again in several ways.
///
/// # Errors
/// It cannot be started, or refuses what it should take.
pub async fn start(args: &Start) -> anyhow::Result<Report<Run>> {
    let folder = up::temporary_folder()?;
    std::fs::create_dir(&folder).context("cannot make the data folder")?;
    let mut bench = Bench { data: folder.join("data"), folder, messages: 0, runs: Vec::new() };
    let machine = bench.all(args.messages).await;
    // A failed one is looked into.
    let machine = machine.with_context(|| format!("the data is in {}", bench.folder.display()))?;
    std::fs::remove_dir_all(&bench.folder).context("cannot delete the data")?;
    Ok(Report { mode: "start", machine, runs: bench.runs })
}

struct Bench {
    folder: PathBuf,
    data: PathBuf,
    messages: u64,
    runs: Vec<Run>,
}

impl Bench {
    async fn all(&mut self, messages: u64) -> anyhow::Result<Machine> {
        let system = Up::start(&self.data).await?;
        self.fill(FEW).await?;
        system.end(Signal::TERM).await?;
        let system = self.start("SIGTERM").await?;
        self.fill(messages).await?;
        system.end(Signal::TERM).await?;
        self.start("SIGTERM").await?.end(Signal::KILL).await?;
        let system = self.start("SIGKILL").await?;
        let began = Instant::now();
        self.flush().await?;
        self.answered("FLUSHALL while it runs", &system, began, None).await?;
        self.flush().await?;
        system.end(Signal::KILL).await?;
        let system = self.start("FLUSHALL and SIGKILL").await?;
        let config = running::config(&self.data)?;
        let machine = Machine::with(versions(&config).await?, config.log.partitions, "always");
        system.end(Signal::TERM).await?;
        Ok(machine)
    }

    async fn start(&mut self, after: &'static str) -> anyhow::Result<Up> {
        let system = Up::start(&self.data).await?;
        self.answered(after, &system, system.began, Some(system.ready_after)).await?;
        Ok(system)
    }

    /// Waits for the first answer and for the views, both counted from `began`.
    async fn answered(
        &mut self,
        after: &'static str,
        system: &Up,
        began: Instant,
        ready_after: Option<Duration>,
    ) -> anyhow::Result<()> {
        first_answer(system, &self.data).await?;
        let first_answer_seconds = began.elapsed().as_secs_f64();
        self.messages += 1;
        shown(&running::config(&self.data)?, false).await?;
        let views_seconds = began.elapsed().as_secs_f64();
        let processes = Processes::with_children("natter", system.running.pid);
        self.runs.push(Run {
            after,
            messages: self.messages,
            ready_seconds: ready_after.map(|ready| ready.as_secs_f64()),
            first_answer_seconds,
            views_seconds,
            resident_mib: processes.usage().resident_mib(),
        });
        Ok(())
    }

    /// Imports so many messages, and waits until both views show them.
    async fn fill(&mut self, messages: u64) -> anyhow::Result<()> {
        self.messages += own::fill(&self.data, messages).await?;
        Ok(())
    }

    async fn flush(&self) -> anyhow::Result<()> {
        connect::flush_redis(&running::config(&self.data)?).await
    }
}

/// Sends a message to the first room until it is answered, as a client does that was told to come back.
async fn first_answer(system: &Up, data: &Path) -> anyhow::Result<()> {
    let token = token(&running::config(data)?, lines::FIRST_USER, false)?;
    let mut command = json!({
        "cmd": "message.send", "conversation": format!("ext:{}", lines::FIRST_ROOM), "ref": salt()?, "text": "the first",
    });
    let deadline = Instant::now() + ANSWERED_WITHIN;
    loop {
        let answer = async { Client::connect(system.gateway()?, &token).await?.ask(command.clone()).await };
        match answer.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context("no answer to a message")),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "once more"),
        }
        command["resend"] = true.into();
        sleep(RETRY).await;
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let messages = grouped(self.messages as f64);
        writeln!(f, "{messages} messages, after {}", self.after)?;
        let seconds = |seconds: f64| format!("{seconds:.2}");
        let rows = [
            head(["", "ready s", "first answer s", "views s"]),
            vec![
                String::new(),
                self.ready_seconds.map_or_else(|| "-".to_owned(), seconds),
                seconds(self.first_answer_seconds),
                seconds(self.views_seconds),
            ],
        ];
        let resident: Vec<_> = self.resident_mib.iter().map(|(name, mib)| format!("{name} {mib} MiB")).collect();
        write!(f, "{}\n  {}", table(&rows), resident.join(", "))
    }
}
