//! Keeps a backend's server running: started, watched, started again, stopped.
//!
//! All servers are started by one thread that lives as long as the process: a parent-death signal fires when the *thread* that
//! started the child ends, so neither tokio's blocking threads nor a test's runtime will do.

use std::ffi::OsString;
use std::fs::File;
use std::future::pending;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::health::{Health, PROBE_EVERY, Verdict};
use super::log_file::LogFile;
use super::supervised::{State, Status, Supervised, SupervisedEnd, Wanted, stop_wanted};
use super::{Backend, Endpoints, Notice, Notify};

/// After so many deaths in a row, each within `QUICK` of its start, a server is given up.
const QUICK_DEATHS_MAX: u32 = 5;
const QUICK: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const CHECK_EVERY: Duration = Duration::from_millis(20);
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// A server that is not ready by then is said to be slow; it may still be loading its data.
const SLOW: Duration = Duration::from_secs(15);
const LOG_BOUND_EVERY: Duration = Duration::from_mins(1);
const LOG_LINES: usize = 8;

/// How to start a backend's server.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Files outside the data folder that it leaves behind, to be removed when it has ended.
    pub litter: Vec<PathBuf>,
}

/// Where a backend's server comes from.
pub enum Source {
    /// It runs elsewhere: it is only checked.
    Given,
    /// It is started here, as soon as its program is found or fetched and its config written.
    Child(BoxFuture<'static, anyhow::Result<Launch>>),
}

/// The task on the supervisor's thread.
pub struct Supervisor {
    pub backend: Backend,
    pub endpoints: Arc<Endpoints>,
    /// The natter binary, for its subcommand `backend-exec`.
    pub shim: PathBuf,
    pub log: LogFile,
    /// The data folder's lock, handed to the child.
    pub lock: Arc<File>,
    pub notify: Notify,
}

impl Supervisor {
    /// Starts the backend on the supervisor's thread.
    pub fn spawn(self, source: Source) -> anyhow::Result<Supervised> {
        let (handle, SupervisedEnd { wanted, state, alive }) = Supervised::new();
        let task = Task { of: self, wanted, state };
        thread()?.spawn(async move {
            task.run(source).await;
            drop(alive);
        });
        Ok(handle)
    }

    /// Returns when a health check succeeds; says so once when that takes long.
    async fn until_ready(&self) {
        let started = Instant::now();
        let mut is_told = false;
        loop {
            let Err(error) = in_time(self.backend.check(&self.endpoints)).await else { return };
            if !is_told && started.elapsed() > SLOW {
                is_told = true;
                self.tell(Notice::Slow { backend: self.backend, error, log: self.log.path().to_owned() });
            }
            sleep(CHECK_EVERY).await;
        }
    }

    /// Of a server that was ready: returns when it is lost, with the reason.
    async fn until_lost(&self) -> String {
        let mut health = Health::default();
        loop {
            sleep(PROBE_EVERY).await;
            let answer = in_time(self.backend.probe(&self.endpoints)).await;
            match health.after(answer, Instant::now()) {
                Verdict::Goes => {}
                Verdict::Unwell(error) => self.tell(Notice::Unwell { backend: self.backend, error }),
                Verdict::Lost(reason) => return reason,
            }
        }
    }

    fn bound_log(&self) {
        if let Err(error) = self.log.bound() {
            tracing::warn!(backend = %self.backend, %error, "cannot bound the log file");
        }
    }

    fn tell(&self, notice: Notice) {
        let backend = self.backend;
        if matches!(notice, Notice::Failed { .. }) {
            tracing::error!(%backend, "{notice}");
        } else {
            tracing::warn!(%backend, "{notice}");
        }
        (self.notify)(notice);
    }
}

async fn in_time(check: impl Future<Output = anyhow::Result<()>>) -> Result<(), String> {
    match timeout(CHECK_DEADLINE, check).await {
        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {CHECK_DEADLINE:?}")),
    }
}

/// The thread that starts all children, as the handle of the single-threaded runtime that it runs.
fn thread() -> anyhow::Result<Handle> {
    static THREAD: Mutex<Option<Handle>> = Mutex::new(None);
    let mut started = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*started {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make the backends' runtime")?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("backends".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))
        .context("cannot start the backends' thread")?;
    *started = Some(handle.clone());
    Ok(handle)
}

struct Task {
    of: Supervisor,
    wanted: watch::Receiver<Wanted>,
    state: watch::Sender<State>,
}

/// Why a server is no longer watched.
enum End {
    Died(String),
    Stopped,
}

impl Task {
    async fn run(mut self, source: Source) {
        match source {
            Source::Given => self.watch_given().await,
            Source::Child(prepare) => {
                let prepared = tokio::select! {
                    prepared = prepare => prepared,
                    _ = stop_wanted(&mut self.wanted) => return self.set(Status::Stopped, None),
                };
                match prepared {
                    Ok(launch) => self.keep_running(&launch).await,
                    Err(error) => self.give_up(format!("{}: {error:#}", self.of.backend)).await,
                }
            }
        }
    }

    async fn watch_given(&mut self) {
        self.set(Status::Starting, None);
        tokio::select! {
            () = self.of.until_ready() => self.set(Status::Ready, None),
            _ = stop_wanted(&mut self.wanted) => {}
        }
        stop_wanted(&mut self.wanted).await;
        self.set(Status::Stopped, None);
    }

    /// Ends when the handle is dropped.
    async fn keep_running(&mut self, launch: &Launch) {
        let mut quick_deaths = 0;
        loop {
            // Also where it was to be stopped before it ever ran: whoever waits for that hears of it.
            if matches!(*self.wanted.borrow(), Wanted::Stopped(_)) {
                self.set(Status::Stopped, None);
                if self.wanted.wait_for(|wanted| matches!(wanted, Wanted::Running)).await.is_err() {
                    return;
                }
            }
            let started = Instant::now();
            let end = match self.start(launch) {
                Ok(child) => self.watch(child).await,
                Err(error) => End::Died(format!("cannot be started: {error}")),
            };
            remove_litter(launch);
            let End::Died(reason) = end else {
                quick_deaths = 0;
                continue;
            };
            quick_deaths = if started.elapsed() < QUICK { quick_deaths + 1 } else { 1 };
            if quick_deaths >= QUICK_DEATHS_MAX {
                let error = self.last_words(&reason, quick_deaths);
                self.give_up(error).await;
                quick_deaths = 0;
            } else {
                self.back_off(reason, quick_deaths).await;
            }
        }
    }

    fn start(&self, launch: &Launch) -> std::io::Result<Child> {
        let log = self.of.log.open()?;
        let mut command = Command::new(&self.of.shim);
        command.arg("backend-exec").arg("--parent").arg(std::process::id().to_string());
        command.arg("--").arg(&launch.program).args(&launch.args).current_dir(&launch.folder);
        command.stdin(Stdio::from(self.of.lock.try_clone()?)).stdout(log.try_clone()?).stderr(log);
        // In a group of its own, so that a Ctrl-C at the terminal reaches natter only: servers outlive the drain.
        command.process_group(0).kill_on_drop(true).spawn()
    }

    async fn watch(&mut self, mut child: Child) -> End {
        let pid = child.id();
        self.set(Status::Starting, pid);
        let mut becomes_ready = std::pin::pin!(self.of.until_ready());
        let mut is_lost = std::pin::pin!(self.of.until_lost());
        let mut is_ready = false;
        loop {
            tokio::select! {
                ended = child.wait() => return End::Died(ended.map_or_else(|error| error.to_string(), describe)),
                grace = stop_wanted(&mut self.wanted) => {
                    terminate(&mut child, grace).await;
                    return End::Stopped;
                }
                () = &mut becomes_ready, if !is_ready => {
                    is_ready = true;
                    self.set(Status::Ready, pid);
                }
                reason = &mut is_lost, if is_ready => {
                    // It may hang in its own end: there is nothing to ask it for.
                    terminate(&mut child, Duration::ZERO).await;
                    return End::Died(reason);
                }
                () = sleep(LOG_BOUND_EVERY) => self.of.bound_log(),
            }
        }
    }

    async fn back_off(&mut self, reason: String, quick_deaths: u32) {
        let delay = backoff(quick_deaths);
        self.of.tell(Notice::Restarting { backend: self.of.backend, reason: reason.clone(), delay });
        self.set(Status::Restarting(reason), None);
        tokio::select! {
            () = sleep(delay) => {}
            _ = stop_wanted(&mut self.wanted) => self.set(Status::Stopped, None),
        }
    }

    /// Says so and waits until the backend is to be stopped.
    async fn give_up(&mut self, error: String) {
        self.of.tell(Notice::Failed { backend: self.of.backend, error: error.clone() });
        self.set(Status::Failed(error), None);
        stop_wanted(&mut self.wanted).await;
        self.set(Status::Stopped, None);
    }

    fn last_words(&self, reason: &str, deaths: u32) -> String {
        let (backend, log) = (self.of.backend, &self.of.log);
        let mut words =
            format!("{backend} died {deaths} times in a row, at last: {reason}; its log is {}", log.path().display());
        let lines = log.last_lines(LOG_LINES);
        if !lines.is_empty() {
            words.push_str(", which ends in:\n");
            words.push_str(&lines);
        }
        words
    }

    fn set(&self, status: Status, pid: Option<u32>) {
        self.state.send_replace(State { status, pid });
    }
}

async fn terminate(child: &mut Child, grace: Duration) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { return };
    if !grace.is_zero() && kill_process(pid, Signal::TERM).is_ok() && timeout(grace, child.wait()).await.is_ok() {
        return;
    }
    // The group, for a server may have forked to rewrite its files.
    if let Err(error) = kill_process_group(pid, Signal::KILL) {
        tracing::debug!(%error, "a child had ended before it was killed");
    }
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "cannot wait for a killed child");
    }
}

fn remove_litter(launch: &Launch) {
    for path in &launch.litter {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "not removed");
            }
            _ => {}
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The pause after that many deaths in a row.
fn backoff(deaths: u32) -> Duration {
    let doublings = deaths.saturating_sub(1).min(16);
    (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::{ClickHouse, S3};

    fn nowhere() -> Endpoints {
        let [url, user, password] = [(); 3].map(|()| String::new());
        let history = ClickHouse { url, user, password };
        let [endpoint, region, access_key, secret_key] = [(); 4].map(|()| String::new());
        Endpoints {
            nats_url: String::new(),
            redis_url: String::new(),
            clickhouse: history.clone(),
            s3: S3 { endpoint, region, access_key, secret_key },
            analyst: history,
            users: Vec::new(),
        }
    }

    /// A signal may come between the end of preparing and the start.
    #[tokio::test]
    async fn one_that_is_stopped_before_it_ran_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (handle, SupervisedEnd { wanted, state, alive }) = Supervised::new();
        let of = Supervisor {
            backend: Backend::Nats,
            endpoints: Arc::new(nowhere()),
            shim: PathBuf::new(),
            log: LogFile::new(folder.path(), "nats"),
            lock: Arc::new(File::create(folder.path().join("lock")).unwrap()),
            notify: Arc::new(|_| {}),
        };
        let launch =
            Launch { program: PathBuf::new(), args: Vec::new(), folder: folder.path().to_owned(), litter: Vec::new() };
        let mut task = Task { of, wanted, state };
        let keeping = tokio::spawn(async move {
            task.keep_running(&launch).await;
            drop(alive);
        });
        // The task runs for the first time when this waits.
        timeout(Duration::from_secs(10), handle.stop(Duration::ZERO)).await.unwrap();
        drop(tokio::task::spawn_blocking(move || drop(handle)));
        timeout(Duration::from_secs(10), keeping).await.unwrap().unwrap();
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let pauses: Vec<u128> = (1..=5).map(|deaths| backoff(deaths).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn an_exit_is_described_by_code_or_signal() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "exit code 1");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by signal 9");
    }
}
