//! `natter rebuild` as a process of its own, watched from outside: its steps, its memory, its end.

use std::num::NonZeroU64;
use std::process::Stdio;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{self, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::resident::{Samples, watch};
use crate::cli::Running;
use crate::rebuild::{Step, View};

/// A rebuild at work. Dropping it kills it.
pub struct Child {
    process: process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: JoinHandle<String>,
    resident: JoinHandle<Samples>,
    steps: Vec<(Step, Instant)>,
    report: Option<Report>,
}

/// What of a rebuild's report is of use here.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    pub switched: bool,
    pub records: u64,
    pub build_seconds: f64,
    pub records_per_second: f64,
    pub seconds: f64,
    pub differences_total: u64,
}

#[derive(Deserialize)]
struct StepLine {
    step: Step,
}

/// How one ended.
pub struct Ended {
    /// Its report; `None`: it was killed, or failed and said why.
    pub report: Option<Report>,
    /// When each of its steps began.
    pub steps: Vec<(Step, Instant)>,
    /// Its memory.
    pub resident: Samples,
    /// With what it ended, and what it said on standard error.
    pub said: String,
}

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// This program's own file cannot be found.
    pub fn start(running: &Running, view: View, throttle: Option<NonZeroU64>) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(&binary);
        // So that it dies with this process, whichever way that ends.
        command.arg("backend-exec").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(&binary);
        command.args(["rebuild", view.name(), "--json", "--steps"]);
        match &running.config {
            Some(config) => command.arg("--config").arg(config),
            None => command.arg("--data").arg(&running.data),
        };
        command.args(throttle.map(|records| format!("--throttle={records}")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start `natter rebuild`")?;
        let lines = BufReader::new(process.stdout.take().context("its output")?).lines();
        let said = tokio::spawn(text(process.stderr.take().context("its errors")?));
        let resident = watch(process.id().context("its process id")?);
        Ok(Self { process, lines, said, resident, steps: Vec::new(), report: None })
    }

    /// Returns when it has begun, that is when no other rebuild is at work any more; `false`: it has ended instead.
    ///
    /// # Errors
    /// It says something that is no step.
    pub async fn until_begun(&mut self) -> anyhow::Result<bool> {
        Ok(!self.steps.is_empty() || self.line().await?)
    }

    /// Lets it work until this moment; `false`: it has said all that it has to say.
    ///
    /// # Errors
    /// It says something that is no step.
    pub async fn until(&mut self, moment: Instant) -> anyhow::Result<bool> {
        while let Ok(goes_on) = timeout_at(moment, self.line()).await {
            if !goes_on? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// SIGKILL, and waits for the end. The step that it fell into; `None`: it had ended before.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> anyhow::Result<(Option<Step>, Ended)> {
        let had_ended = self.process.try_wait()?.is_some();
        if !had_ended {
            self.process.start_kill().context("cannot kill the rebuild")?;
        }
        // What it had said before, and nobody had read yet.
        while self.line().await? {}
        let step = self.steps.last().map(|(step, _)| *step);
        // A report is its last word: the kill came too late to matter.
        let in_time = !had_ended && self.report.is_none();
        Ok((step.filter(|_| in_time), self.ended().await?))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn until_end(mut self) -> anyhow::Result<Ended> {
        while self.line().await? {}
        self.ended().await
    }

    async fn ended(mut self) -> anyhow::Result<Ended> {
        let status = self.process.wait().await.context("cannot wait for the rebuild")?;
        let said = self.said.await.unwrap_or_default();
        let resident = self.resident.await.unwrap_or_default();
        Ok(Ended { report: self.report, steps: self.steps, resident, said: format!("{status}: {}", said.trim()) })
    }

    /// Takes its next line; `false`: there is none any more.
    async fn line(&mut self) -> anyhow::Result<bool> {
        // Cancelled by a deadline, it loses nothing.
        let Some(line) = self.lines.next_line().await.context("cannot read what the rebuild says")? else {
            return Ok(false);
        };
        if let Ok(StepLine { step }) = serde_json::from_str(&line) {
            self.steps.push((step, Instant::now()));
        } else {
            let report = serde_json::from_str(&line);
            self.report = Some(report.with_context(|| format!("`{line}` is no report of a rebuild"))?);
        }
        Ok(true)
    }
}

async fn text(mut errors: ChildStderr) -> String {
    let mut said = Vec::new();
    // What can be read of it is of use.
    errors.read_to_end(&mut said).await.map(drop).ok();
    String::from_utf8_lossy(&said).into_owned()
}
