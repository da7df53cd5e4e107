//! The edge: authenticates, turns frames into commands, and hands events to sessions. Nothing in it is state.

pub mod auth;
mod commands;
pub mod config;
mod cursors;
mod dispatch;
mod evidence;
mod frames;
#[cfg(test)]
mod fuzz;
mod gateway;
mod handle;
mod http;
mod load;
mod opening;
mod outbox;
mod rate;
mod requests;
mod rooms;
mod segments;
mod serve;
mod session;
mod socket;
mod stopped;
mod tape;
pub mod telemetry;
mod users;

use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::until_there;
use natter_nats::{Hurried, LiveFeed, LiveItem, LiveStart, Log, LogError, Publisher, SignalFeed, SignalSender};
use natter_projections::reads::Reads;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::{Commands, Waiting};
use crate::dispatch::{Dispatcher, Routing};
use crate::evidence::Finder;
use crate::gateway::{Gateway, Parts};
use crate::telemetry::Meters;

pub use crate::config::{GatewayConfig, Rate};
pub use crate::http::ready::{Dependency, Readiness};
pub use crate::serve::refuse_all;
pub use crate::stopped::StoppedPartitions;

/// Batches of one partition that wait for its task.
const LIVE_QUEUE: usize = 64;
/// How often the rate limits of quiet users are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);
/// Kept of the drain's time for the last answers after the sockets.
const FLUSH_RESERVE: Duration = Duration::from_secs(1);

/// Serves clients on `listener` until `shutdown`, then drains: stops accepting, closes sessions, flushes publishers.
///
/// # Errors
/// The log is not what it must be. A broker that is away is waited for; a partition that turns out to be corrupt stops alone.
pub async fn run(
    config: GatewayConfig,
    log: Log,
    reads: Reads,
    readiness: Arc<dyn Readiness>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), LogError> {
    let meters = Arc::new(Meters::default());
    let publisher = Publisher::<Waiting>::start(&log)?;
    let finder = Finder::start(&reads, log.partitions());
    let (stopped, counted) = (config.stopped.clone(), Arc::clone(&meters));
    let commands = Commands::new(publisher.clone(), log.partitions(), finder, stopped, counted);
    let starting = start_partitions(&log, &commands, &meters, &config.stopped);
    let (routing, mut partitions) = tokio::select! {
        started = starting => started?,
        never = serve::refuse_all(&listener) => match never {},
        () = shutdown.cancelled() => return Ok(()),
    };
    let parts = Parts { partitions: log.partitions(), commands, reads, routing, meters, readiness };
    let gateway = Arc::new(Gateway::new(config, parts));

    let connections = TaskTracker::new();
    let router = http::router(Arc::clone(&gateway));
    let mut accepting = JoinSet::new();
    accepting.spawn(serve::accept(Arc::clone(&gateway), listener, router, connections.clone()));
    accepting.spawn(forget_quiet(Arc::clone(&gateway)));

    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = partitions.join_next() => broken(ended),
    };
    drain(&gateway, &publisher, &connections).await;
    ended
}

/// A task, a live feed and a signal feed for every partition. A broker that is away is waited for.
async fn start_partitions(
    log: &Log,
    commands: &Commands,
    meters: &Arc<Meters>,
    stopped: &StoppedPartitions,
) -> Result<(Routing, JoinSet<Result<(), LogError>>), LogError> {
    let signals = SignalSender::start(log);
    let (routing, requests) = Routing::new(log.partitions());
    let mut tasks = JoinSet::new();
    for (partition, requests) in (0..).zip(requests) {
        let (into, live) = mpsc::channel(LIVE_QUEUE);
        let asked = commands.publisher();
        let hurried: Hurried = Arc::new(move |partition| asked.unanswered(partition) > 0);
        let (feed, signal_feed) = feeds(log, partition, &hurried, &into).await?;
        let (commands, signals) = (commands.clone(), signals.clone());
        let (meters, stopped) = (Arc::clone(meters), stopped.clone());
        let dispatcher = Dispatcher::new(partition, feed.start(), commands, signals, meters, stopped);
        tasks.spawn(async move {
            let ended = dispatcher.run(live, signal_feed, requests).await;
            // The feed ends with it.
            drop(feed);
            ended
        });
    }
    Ok((routing, tasks))
}

/// The two feeds of a partition, as soon as the broker answers.
async fn feeds(
    log: &Log,
    partition: u16,
    hurried: &Hurried,
    into: &mpsc::Sender<LiveItem>,
) -> Result<(LiveFeed, SignalFeed), LogError> {
    let open = || async {
        let live = LiveFeed::open(log, partition, LiveStart::Tail, Arc::clone(hurried), into.clone()).await?;
        Ok((live, SignalFeed::open(log, partition).await?))
    };
    until_there("the log's live feeds", LogError::is_transient, open).await
}

/// A partition's task has ended before its time.
fn broken(ended: Option<Result<Result<(), LogError>, tokio::task::JoinError>>) -> Result<(), LogError> {
    match ended {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(panicked)) => Err(LogError::Corrupt(format!("a partition's task has ended: {panicked}"))),
        Some(Ok(Ok(()))) | None => Err(LogError::Transient("a partition's task has ended".into())),
    }
}

/// In the order in which things flow: no new connections, sessions away, HTTP to its end, commands answered.
async fn drain(gateway: &Gateway, publisher: &Publisher<Waiting>, connections: &TaskTracker) {
    let deadline = Instant::now() + gateway.config.drain_deadline;
    gateway.drain.cancel();
    gateway.sockets.close();
    connections.close();
    let ends = async { tokio::join!(gateway.sockets.wait(), connections.wait()) };
    let sockets_deadline = deadline.checked_sub(FLUSH_RESERVE).unwrap_or(deadline);
    if timeout_at(sockets_deadline, ends).await.is_err() {
        tracing::warn!(sessions = gateway.sockets.len(), connections = connections.len(), "some did not close in time");
    }
    let left = publisher.flush(deadline.saturating_duration_since(Instant::now())).await;
    if left > 0 {
        tracing::warn!(commands = left, "some commands were not answered before the end");
    }
}

async fn forget_quiet(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        gateway.rates.forget_quiet();
    }
}
