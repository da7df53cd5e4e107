//! Work on partitions, shared among processes by leases: one worker per (role, partition).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_nats::{Lease, LeaseOptions, Leases, Log};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::ViewError;

/// A stopped partition is free for the next try after so long, here or elsewhere: what was wrong may have passed, or is mended.
const STOPPED_PAUSE: Duration = Duration::from_secs(30);

/// Partitions that have stopped, each with the reason.
pub type Stopped = watch::Sender<BTreeMap<u16, String>>;

/// What is done for each partition.
pub(crate) trait Shared: Send + Sync + 'static {
    /// The role's name.
    fn role(&self) -> &'static str;

    /// The log.
    fn log(&self) -> &Log;

    /// Where it is said which partitions have stopped.
    fn stopped(&self) -> &Stopped;

    /// Works on one partition until `until`.
    ///
    /// # Errors
    /// Why the partition stopped.
    fn work(&self, partition: u16, until: &CancellationToken) -> impl Future<Output = Result<(), ViewError>> + Send;
}

/// Works on this process's share of the partitions until `shutdown`. A partition that cannot go on stops with an error in the
/// log and in what is told of those that stopped, and is tried again after a while; the others go on.
pub(crate) async fn run<W: Shared>(worker: W, shutdown: CancellationToken) {
    let Some((leases, mut acquired)) = shutdown.run_until_cancelled(leases(&worker)).await else { return };
    let worker = Arc::new(worker);
    let mut workers = JoinSet::new();
    while let Some(Some(lease)) = shutdown.run_until_cancelled(acquired.recv()).await {
        let (worker, shutdown) = (Arc::clone(&worker), shutdown.clone());
        workers.spawn(async move { run_leased(&*worker, lease, &shutdown).await });
    }
    leases.stop().await;
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(role = worker.role(), %error, "the worker of a partition broke");
        }
    }
}

/// Starts to acquire leases, as soon as the broker lets us.
async fn leases<W: Shared>(worker: &W) -> (Leases, mpsc::Receiver<Lease>) {
    let role = worker.role();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match Leases::start(worker.log(), role, role, LeaseOptions::default()).await {
            Ok(started) => return started,
            Err(error) => tracing::warn!(role, %error, "trying again"),
        }
        backoff.wait().await;
    }
}

async fn run_leased<W: Shared>(worker: &W, lease: Lease, shutdown: &CancellationToken) {
    let (partition, until) = (lease.partition(), shutdown.child_token());
    let ending = async {
        // Lost or asked for: the step under way is guarded by where the view stands, so it may end in peace.
        lease.ended().await;
        until.cancel();
    };
    let working = async {
        let Err(error) = worker.work(partition, &until).await else { return };
        worker.stopped().send_modify(|stopped| drop(stopped.insert(partition, error.to_string())));
        // Kept for a while, so that nobody takes it up to stop at the same place, over and over.
        until.run_until_cancelled(tokio::time::sleep(STOPPED_PAUSE)).await;
        worker.stopped().send_modify(|stopped| drop(stopped.remove(&partition)));
    };
    tokio::pin!(working);
    tokio::select! {
        () = &mut working => {}
        () = ending => working.await,
    }
    lease.release().await;
}
