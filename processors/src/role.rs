//! The role: a worker for each partition whose lease this process holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_nats::{COMMANDS_HELD, COMMANDS_KEPT, Lease, LeaseOptions, Leases, Log, LogError, role};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::subjects::outcome_stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::Halt;
use crate::shell::{Backends, Shell};
use crate::{telemetry, worker};

/// How often room is made for commands, where it is short.
const ROOM_INTERVAL: Duration = Duration::from_secs(10);
/// Old commands are dropped every so many of these.
const TRIM_EVERY: u32 = 60;
/// A stopped partition is looked at again after so long: somebody may have mended what was wrong.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);
/// A worker that went on for so long was well: the next begins without delay.
const WELL: Duration = Duration::from_secs(5);

/// Partitions that pause or have stopped, each with the reason.
pub type Stopped = BTreeMap<u16, String>;

/// Decides the commands of this process's share of the partitions until `shutdown`.
///
/// # Errors
/// The broker gives no leases.
pub async fn run(
    backends: Backends,
    name: &str,
    options: LeaseOptions,
    shutdown: CancellationToken,
) -> Result<(), LogError> {
    run_telling(backends, name, options, watch::Sender::default(), shutdown).await
}

/// The same; tells in `stopped` which partitions do not go on, for the readiness check.
///
/// # Errors
/// As [`run`].
pub async fn run_telling(
    backends: Backends,
    name: &str,
    options: LeaseOptions,
    stopped: watch::Sender<Stopped>,
    shutdown: CancellationToken,
) -> Result<(), LogError> {
    let (leases, mut acquired) = Leases::start(&backends.log, role::PROCESSOR, name, options).await?;
    let mut workers = JoinSet::new();
    while let Some(Some(lease)) = shutdown.run_until_cancelled(acquired.recv()).await {
        workers.spawn(hold(backends.clone(), lease, stopped.clone(), shutdown.clone()));
    }
    leases.stop().await;
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a processor broke");
        }
    }
    Ok(())
}

/// Works as long as the lease is held and nobody asks for it. A worker may be dropped at any moment.
async fn hold(backends: Backends, lease: Lease, stopped: watch::Sender<Stopped>, shutdown: CancellationToken) {
    let partition = lease.partition();
    tokio::select! {
        () = shutdown.cancelled() => {}
        end = lease.ended() => tracing::info!(partition, ?end, "the partition goes to another"),
        () = work(&backends, &lease, &stopped) => {}
        never = trim(&backends.log, partition) => match never {},
    }
    stopped.send_modify(|stopped| drop(stopped.remove(&partition)));
    lease.release().await;
}

/// One worker after another, each from the log's end; until the partition turns out to be another's.
async fn work(backends: &Backends, lease: &Lease, stopped: &watch::Sender<Stopped>) {
    let shell = Arc::new(Shell::new(lease.partition(), backends.clone()));
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    loop {
        let began = Instant::now();
        let halt = worker::run(Arc::clone(&shell), lease.revision(), Arc::clone(&backends.clock)).await;
        if began.elapsed() >= WELL {
            backoff.reset();
        }
        let Some(pause) = pause(lease.partition(), &halt, &mut backoff) else { return };
        if is_stopped(&halt) {
            stopped.send_modify(|stopped| drop(stopped.insert(lease.partition(), halt.to_string())));
        }
        tokio::time::sleep(pause).await;
        stopped.send_modify(|stopped| drop(stopped.remove(&lease.partition())));
    }
}

/// Counts and tells why a worker stopped; the answer is how long to wait before the next, if there is to be one.
fn pause(partition: u16, halt: &Halt, backoff: &mut Backoff) -> Option<Duration> {
    let (reason, pause) = match halt {
        Halt::Transient(_) => ("transient", Some(backoff.step())),
        Halt::Behind { .. } => ("behind", Some(backoff.step())),
        Halt::NotOwner(_) => ("not_owner", None),
        Halt::Corrupt(_) => ("corrupt", Some(STOPPED_PAUSE)),
    };
    let label = partition.to_string();
    metrics::counter!(telemetry::HALTS, "partition" => label.clone(), "reason" => reason).increment(1);
    metrics::gauge!(telemetry::PAUSED, "partition" => label).set(if is_stopped(halt) { 1.0 } else { 0.0 });
    if matches!(halt, Halt::Corrupt(_)) {
        tracing::error!(partition, error = %halt, "the processor of this partition stopped");
    } else {
        tracing::warn!(partition, error = %halt, "beginning again");
    }
    pause
}

/// Whether the partition does not go on before something outside of this process has changed.
fn is_stopped(halt: &Halt) -> bool {
    matches!(halt, Halt::Behind { .. } | Halt::Corrupt(_))
}

/// Drops decided commands: those that are old, and others where room is short (invariant 1: CMD is only a queue).
async fn trim(log: &Log, partition: u16) -> std::convert::Infallible {
    let mut ticks = interval(ROOM_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in (0..TRIM_EVERY).cycle() {
        ticks.tick().await;
        match trim_once(log, partition, tick == 0).await {
            Ok(0) => {}
            Ok(batches) => tracing::info!(partition, batches, "decided commands dropped"),
            Err(error) => tracing::warn!(partition, %error, "decided commands could not be dropped"),
        }
    }
    std::future::pending().await
}

async fn trim_once(log: &Log, partition: u16, old_too: bool) -> Result<u64, LogError> {
    let Some(last) = log.last_from_leader(&outcome_stream(partition)).await? else { return Ok(0) };
    let answered = OutcomeBatch::decode(&last.payload)?.header.command_sequence();
    let old = if old_too { log.trim_commands(partition, answered, COMMANDS_KEPT).await? } else { 0 };
    Ok(old + log.make_room(partition, answered, COMMANDS_HELD).await?)
}
