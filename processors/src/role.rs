//! The role: a worker for each partition whose lease this process holds.

use std::sync::Arc;
use std::time::Duration;

use natter_nats::backoff::Backoff;
use natter_nats::{COMMANDS_KEPT, Lease, LeaseOptions, Leases, LogError, role};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::subjects::outcome_stream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::Halt;
use crate::shell::{Backends, Shell};
use crate::{telemetry, worker};

/// How often old commands are dropped.
const TRIM_INTERVAL: Duration = Duration::from_secs(600);
/// A stopped partition is looked at again after so long: somebody may have mended what was wrong.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);

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
    let (leases, mut acquired) = Leases::start(&backends.log, role::PROCESSOR, name, options).await?;
    let mut workers = JoinSet::new();
    while let Some(Some(lease)) = shutdown.run_until_cancelled(acquired.recv()).await {
        workers.spawn(hold(backends.clone(), lease, shutdown.clone()));
    }
    leases.stop().await;
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a processor broke");
        }
    }
    Ok(())
}

/// Works while the lease is held; after whatever went wrong, from the log's end again.
async fn hold(backends: Backends, lease: Lease, shutdown: CancellationToken) {
    let partition = lease.partition();
    let shell = Arc::new(Shell::new(partition, backends.clone()));
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let mut trim = interval(TRIM_INTERVAL);
    trim.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = worker::run(Arc::clone(&shell), lease.revision(), Arc::clone(&backends.clock));
        let mut work = std::pin::pin!(work);
        let halt = loop {
            tokio::select! {
                () = shutdown.cancelled() => return lease.release().await,
                () = lease.lost() => return lease.release().await,
                halt = &mut work => break halt,
                _ = trim.tick() => trim_commands(&backends, partition).await,
            }
        };
        let pause = say(partition, &halt, &mut backoff);
        if matches!(halt, Halt::NotOwner(_)) {
            return lease.release().await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return lease.release().await,
            () = lease.lost() => return lease.release().await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Counts and tells why a worker stopped; the answer is how long to wait before the next.
fn say(partition: u16, halt: &Halt, backoff: &mut Backoff) -> Duration {
    let (reason, pause) = match halt {
        Halt::Transient(_) => ("transient", backoff.step()),
        Halt::Behind { .. } => ("behind", backoff.step()),
        Halt::NotOwner(_) => ("not_owner", Duration::ZERO),
        Halt::Corrupt(_) => ("corrupt", STOPPED_PAUSE),
    };
    metrics::counter!(telemetry::HALTS, "partition" => partition.to_string(), "reason" => reason).increment(1);
    if matches!(halt, Halt::Corrupt(_)) {
        tracing::error!(partition, error = %halt, "the processor of this partition stopped");
    } else {
        tracing::warn!(partition, error = %halt, "beginning again");
    }
    pause
}

async fn trim_commands(backends: &Backends, partition: u16) {
    let log = &backends.log;
    let trimmed = async {
        let Some(last) = log.last_from_leader(&outcome_stream(partition)).await? else { return Ok(0) };
        let processed = OutcomeBatch::decode(&last.payload).map_or(0, |batch| batch.header.command_sequence());
        log.trim_commands(partition, processed, COMMANDS_KEPT).await
    };
    match trimmed.await {
        Ok::<u64, LogError>(0) => {}
        Ok(batches) => tracing::info!(partition, batches, "old commands dropped"),
        Err(error) => tracing::warn!(partition, %error, "old commands could not be dropped"),
    }
}
