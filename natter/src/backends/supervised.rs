//! The handle of a backend that the supervisor keeps running: its state, and what is wanted of it.

use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;

/// The handle of a supervised backend. Dropping it kills the server.
#[derive(Debug)]
pub struct Supervised {
    wanted: Option<watch::Sender<Wanted>>,
    state: watch::Receiver<State>,
    /// Disconnected when the task has ended, and its child with it.
    ended: Mutex<mpsc::Receiver<()>>,
}

/// What a backend is doing at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its program is looked up or fetched, its config written.
    Preparing,
    /// It runs and has not answered its health check yet.
    Starting,
    /// It answered its health check.
    Ready,
    /// It died and is started again in a moment; with the reason of its death.
    Restarting(String),
    /// It could not be had, or died too often, and nothing is tried any more. The text names it and says what to do.
    Failed(String),
    /// It was stopped on request.
    Stopped,
}

/// What is known of a backend at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// The process id of its server, while one of ours runs.
    pub pid: Option<u32>,
}

/// What is wanted of a backend.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    Running,
    /// Asked to end, and killed when it has not within this time.
    Stopped(Duration),
}

/// The supervisor's side of a handle.
pub struct SupervisedEnd {
    pub wanted: watch::Receiver<Wanted>,
    pub state: watch::Sender<State>,
    /// To be dropped when the child is gone.
    pub alive: mpsc::SyncSender<()>,
}

impl Supervised {
    /// A backend that is wanted, and what its supervisor needs.
    pub fn new() -> (Supervised, SupervisedEnd) {
        let (wanted, wanted_there) = watch::channel(Wanted::Running);
        let (state_there, state) = watch::channel(State { status: Status::Preparing, pid: None });
        let (alive, ended) = mpsc::sync_channel(0);
        let end = SupervisedEnd { wanted: wanted_there, state: state_there, alive };
        (Supervised { wanted: Some(wanted), state, ended: Mutex::new(ended) }, end)
    }

    /// Waits until the backend answers its health check.
    ///
    /// # Errors
    /// When it was given up or stopped.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut state = self.state.clone();
        let settled = |state: &State| matches!(state.status, Status::Ready | Status::Failed(_) | Status::Stopped);
        match &state.wait_for(settled).await.context("the backend was dropped")?.status {
            Status::Ready => Ok(()),
            Status::Failed(reason) => bail!("{reason}"),
            _ => bail!("the backend was stopped"),
        }
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Stops the server and leaves it stopped: SIGTERM, and SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) {
        if let Some(wanted) = &self.wanted {
            wanted.send_replace(Wanted::Stopped(grace));
        }
        // An error is a task that has ended, and its child with it.
        if self.state.clone().wait_for(|state| state.status == Status::Stopped).await.is_err() {
            tracing::debug!("a backend had ended before it was stopped");
        }
    }

    /// Starts a stopped server again.
    pub fn start(&self) {
        if let Some(wanted) = &self.wanted {
            wanted.send_replace(Wanted::Running);
        }
    }

    /// Kills the server without waiting for it.
    pub fn kill(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            wanted.send_replace(Wanted::Stopped(Duration::ZERO));
        }
    }
}

impl Drop for Supervised {
    /// Returns when the child is gone, so that its folder may be deleted.
    fn drop(&mut self) {
        self.kill();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(Duration::from_secs(5)) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("a backend did not end when it was killed");
        }
    }
}

/// Waits until the backend is not wanted any more; the time that it has to end, zero when its handle was dropped.
pub async fn stop_wanted(wanted: &mut watch::Receiver<Wanted>) -> Duration {
    match wanted.wait_for(|wanted| matches!(wanted, Wanted::Stopped(_))).await.map(|wanted| *wanted) {
        Ok(Wanted::Stopped(grace)) => grace,
        _ => Duration::ZERO,
    }
}
