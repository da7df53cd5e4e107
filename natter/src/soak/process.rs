//! One of natter's processes, kept running: whoever kills it finds it started again a moment later.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Between an end and the next start, as an orchestrator would.
const PAUSE: Duration = Duration::from_millis(200);
/// A drain takes 10 s at most; the rest is for a busy machine.
const STOP_MAX: Duration = Duration::from_secs(15);

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// In reports.
    pub name: String,
    /// Arguments of the natter binary.
    pub args: Vec<OsString>,
    /// Beside this process's own.
    pub environment: Vec<(String, String)>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A process that is kept running until it is stopped. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: watch::Receiver<Option<u32>>,
    wanted: watch::Sender<bool>,
    /// Ends that nobody asked for.
    surprises: Arc<Mutex<Vec<String>>>,
    /// Whether the next end is one that somebody asked for.
    asked: Arc<Mutex<Option<u32>>>,
    task: JoinHandle<()>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// This program's own file cannot be found.
    pub fn start(start: Start) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let (pid_there, pid) = watch::channel(None);
        let (wanted, wanted_there) = watch::channel(true);
        let (surprises, asked) = (Arc::default(), Arc::default());
        let keeper = Keeper {
            binary,
            start: start.clone(),
            pid: pid_there,
            wanted: wanted_there,
            surprises: Arc::clone(&surprises),
            asked: Arc::clone(&asked),
        };
        let task = tokio::spawn(keeper.keep());
        Ok(Self { name: start.name, log: start.log, pid, wanted, surprises, asked, task })
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Sends a signal; its end is no surprise then. `false`: it does not run at the moment.
    pub fn signal(&self, what: Signal) -> bool {
        let Some(pid) = self.pid() else { return false };
        if what == Signal::KILL || what == Signal::TERM {
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        }
        signal(pid, what)
    }

    /// Ends that nobody asked for, each with its reason and its log file.
    pub fn surprises(&self) -> Vec<String> {
        let found = self.surprises.lock().unwrap_or_else(PoisonError::into_inner);
        found
            .iter()
            .map(|how| format!("{} ended by itself: {how}; its log is {}", self.name, self.log.display()))
            .collect()
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(self) {
        self.wanted.send_replace(false);
        self.signal(Signal::TERM);
        let mut task = self.task;
        if timeout(STOP_MAX, &mut task).await.is_err() {
            // The child is killed when its handle is dropped.
            task.abort();
        }
    }
}

/// Sends a signal to a process. `false`: there is none.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

struct Keeper {
    binary: PathBuf,
    start: Start,
    pid: watch::Sender<Option<u32>>,
    wanted: watch::Receiver<bool>,
    surprises: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Option<u32>>>,
}

impl Keeper {
    async fn keep(mut self) {
        while *self.wanted.borrow_and_update() {
            let ended = match self.spawn() {
                Ok(mut child) => {
                    let (pid, started) = (child.id(), Instant::now());
                    self.pid.send_replace(pid);
                    let ended = child.wait().await;
                    self.pid.send_replace(None);
                    ended.map(|status| (pid, status, started.elapsed()))
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok((pid, status, lived)) => self.note(pid, status, lived),
                Err(error) => self.surprised(format!("cannot be started: {error}")),
            }
            sleep(PAUSE).await;
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = OpenOptions::new().append(true).create(true).open(&self.start.log)?;
        let mut command = Command::new(&self.binary);
        // So that it dies with this process, whichever way that ends.
        command.arg("backend-exec").arg("--parent").arg(std::process::id().to_string()).arg("--");
        command.arg(&self.binary).args(&self.start.args).envs(self.start.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Where no natter.toml lies.
        command.current_dir(self.start.log.parent().unwrap_or(&self.start.log));
        command.process_group(0).kill_on_drop(true).spawn()
    }

    fn note(&self, pid: Option<u32>, status: ExitStatus, lived: Duration) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if (asked.is_some() && asked == pid) || !*self.wanted.borrow() {
            return;
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
        };
        let said = self.last_line();
        self.surprised(format!("{how} after {:.1} s: {said}", lived.as_secs_f64()));
    }

    fn last_line(&self) -> String {
        let text = std::fs::read(&self.start.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
    }

    fn surprised(&self, how: String) {
        self.surprises.lock().unwrap_or_else(PoisonError::into_inner).push(how);
    }
}
