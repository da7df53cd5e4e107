//! A whole system as people start it: `natter up --json` in a process of its own, and the other subcommands beside it.

use std::fs::{File, OpenOptions, read_to_string};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::gateway::client::Http;
use crate::servers::signal;

/// For a system whose backends have to be fetched first. Without fetching, it is ready within seconds.
const READY_DEADLINE: Duration = Duration::from_mins(10);
/// A system drains within 10 s; the rest is for a machine that is busy with other tests.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// A running system. Killed on drop, and its backends with it.
pub struct Process {
    child: Child,
    data: PathBuf,
    /// Kept, for a process whose output nobody reads any more ends when it says something.
    _stdout: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    pub run: Value,
}

/// A system that did not come up.
#[derive(Debug)]
pub struct NotUp {
    pub status: ExitStatus,
    /// What it said on standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a system on any free port and waits until it is ready.
    pub async fn up(data: &Path) -> Process {
        Self::up_with(data, &["--port", "0"]).await
    }

    /// The same on a port of which clients know already.
    pub async fn up_at(data: &Path, port: u16) -> Process {
        Self::up_with(data, &["--port", &port.to_string()]).await
    }

    /// `natter up --json --data DATA ARGS`, until it is ready.
    pub async fn up_with(data: &Path, args: &[&str]) -> Process {
        let started = Self::try_up(data, args).await;
        started.unwrap_or_else(|not| panic!("natter up ended with {}: {}", not.status, not.stderr))
    }

    /// The same, where it may end instead.
    pub async fn try_up(data: &Path, args: &[&str]) -> Result<Process, NotUp> {
        let mut child = natter(data, "up")
            .arg("--json")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file(data))
            .kill_on_drop(true)
            .spawn()
            .expect("natter starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let read = timeout(READY_DEADLINE, stdout.read_line(&mut line)).await;
        let read = read.unwrap_or_else(|_| panic!("natter up is not ready in time: {}", log_text(data)));
        if read.expect("a line of text") == 0 {
            let status = timeout(END_DEADLINE, child.wait()).await.expect("it ends").expect("it was started");
            return Err(NotUp { status, stderr: log_text(data) });
        }
        let run = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no json: {line}"));
        Ok(Process { child, data: data.to_owned(), _stdout: stdout, run })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it has said on standard error.
    pub fn log(&self) -> String {
        log_text(&self.data)
    }

    /// SIGTERM, and waits for the end.
    pub async fn term(mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        let ended = timeout(END_DEADLINE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("natter up does not end: {}", log_text(&self.data))).expect("it was started")
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// The gateway.
    pub fn address(&self) -> SocketAddr {
        let url = self.run["http"].as_str().expect("a url");
        url.strip_prefix("http://").expect("an http url").parse().expect("an address")
    }

    /// HTTP requests of a user of the tenant `demo`.
    pub async fn http(&self, user: &str) -> Http {
        Http { address: self.address(), token: Some(self.token(user).await) }
    }

    /// A token of a user of the tenant `demo`.
    pub async fn token(&self, user: &str) -> String {
        self.ask(&["token", "--user", user]).await.trim().to_owned()
    }

    /// What another subcommand answers, which must succeed.
    pub async fn ask(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(args).await;
        assert!(status.success(), "natter {args:?} ends with {status}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    /// Another subcommand, to its end.
    pub async fn run(&self, args: &[&str]) -> Output {
        let (name, args) = args.split_first().expect("a subcommand");
        natter(&self.data, name).args(args).stdin(Stdio::null()).output().await.expect("natter starts")
    }

    /// Another subcommand, which runs on.
    pub fn start(&self, args: &[&str]) -> Child {
        let (name, args) = args.split_first().expect("a subcommand");
        natter(&self.data, name)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("natter starts")
    }

    /// The history.
    pub fn clickhouse(&self) -> clickhouse::Client {
        let url = self.run["clickhouse"].as_str().expect("a url");
        let (credentials, host) = url.strip_prefix("http://").and_then(|url| url.split_once('@')).expect("credentials");
        let (user, password) = credentials.split_once(':').expect("a password");
        clickhouse::Client::default().with_url(format!("http://{host}")).with_user(user).with_password(password)
    }

    /// Process id of the backend with `word` in its command line.
    pub fn backend(&self, word: &str) -> u32 {
        let found = self.backends().into_iter().find(|(_, command)| command.contains(word));
        found.unwrap_or_else(|| panic!("no backend is called {word}: {}", self.log())).0
    }

    /// Process ids and command lines of its children.
    pub fn backends(&self) -> Vec<(u32, String)> {
        let pids = std::fs::read_dir("/proc").expect("Linux").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| parent(*pid) == Some(self.pid())).filter_map(|pid| Some((pid, command_line(pid)?))).collect()
    }
}

/// A subcommand for the system in `data`, in a folder where no configuration lies about.
fn natter(data: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.current_dir(data.parent().expect("it lies in a temporary folder"));
    match subcommand.split_once(' ') {
        Some((first, second)) => command.args([first, second]),
        None => command.arg(subcommand),
    };
    command.arg("--data").arg(data);
    command
}

fn log_file(data: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log_path(data)).expect("a file beside the data folder")
}

fn log_text(data: &Path) -> String {
    read_to_string(log_path(data)).expect("a file beside the data folder")
}

fn log_path(data: &Path) -> PathBuf {
    data.with_extension("stderr")
}

fn parent(pid: u32) -> Option<u32> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`, and a name may have brackets and spaces in it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn command_line(pid: u32) -> Option<String> {
    Some(read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " "))
}
