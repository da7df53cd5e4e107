//! `natter audit --decide`: every command of the log is decided again from the outcomes alone, by the processors' own
//! function, and all bytes of `EVT` are compared with what comes of it.
//!
//! It begins at the log's first batch, for what a decision goes by is the fold of everything before it. As many partitions as
//! there are cores are decided side by side; only their facts are in memory, and at most [`FACTS_MAX`] of each.

use anyhow::{Context, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use natter_nats::{Log, LogError};
use natter_processors::error::Halt;
use natter_processors::replay::{DecodedBatch, Replay};
use natter_processors::shell::PartitionLog;
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::reading::Tail;
use super::report::{Differences, Kind, Store};

/// Facts of one partition that are held in memory: some 300 bytes each. What has more is not decided again.
const FACTS_MAX: usize = 30_000_000;
/// Batches that are decoded ahead, of a MiB at most each.
const DECODED_AHEAD: usize = 8;

/// What came of a partition.
pub(super) struct Decided {
    pub(super) partition: u16,
    /// Outcomes that were decided again.
    pub(super) outcomes: u64,
    pub(super) found: Differences,
}

/// Decides all partitions again, each from its first batch to the last that there is now.
pub(super) async fn decide(log: &Log, kept_max: usize) -> anyhow::Result<Vec<Decided>> {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let deciding = (0..log.partitions()).map(|partition| {
        let log = log.clone();
        async move {
            let mut task = JoinSet::new();
            task.spawn(one(log, partition, kept_max));
            task.join_next().await.context("nothing was decided")??
        }
    });
    let mut all: Vec<Decided> = stream::iter(deciding).buffer_unordered(at_once).try_collect().await?;
    all.sort_unstable_by_key(|decided| decided.partition);
    Ok(all)
}

async fn one(log: Log, partition: u16, kept_max: usize) -> anyhow::Result<Decided> {
    let mut found = Differences::of(Some(partition), kept_max);
    let bounds = log.whole_bounds(&outcome_stream(partition)).await?;
    let mut replay = Replay::of(partition);
    if bounds.first <= 1 && bounds.last > 0 {
        let source = PartitionLog::new(&log, partition);
        let (decoded, mut batches) = mpsc::channel(DECODED_AHEAD);
        let mut reading = JoinSet::new();
        reading.spawn(read(log.clone(), partition, bounds.last, decoded));
        while let Some((sequence, batch)) = batches.recv().await {
            match replay.batch(batch, &source).await {
                Ok(differences) => {
                    for difference in differences {
                        let place = difference.position.to_string();
                        found.add(Store::Log, Kind::Decision, place, difference.to_string());
                    }
                }
                Err(Halt::Corrupt(reason)) => {
                    let place = Position::batch(partition, sequence).to_string();
                    found.add(Store::Log, Kind::Decision, place, format!("it cannot be decided again: {reason}"));
                    return Ok(Decided { partition, outcomes: replay.outcomes(), found });
                }
                Err(error) => return Err(error).context("cannot decide the log again"),
            }
            if replay.facts() > FACTS_MAX {
                bail!("partition {partition} has more than {FACTS_MAX} facts: more than are decided again in memory");
            }
        }
        reading.join_next().await.context("nothing was read")???;
    }
    Ok(Decided { partition, outcomes: replay.outcomes(), found })
}

/// Reads and decodes beside the deciding. Ends at what cannot be read: the log's own check names it.
async fn read(log: Log, partition: u16, last: u64, decoded: mpsc::Sender<(u64, DecodedBatch)>) -> anyhow::Result<()> {
    let mut tail = Tail::open(&log, &outcome_stream(partition), 1).await.context("cannot read the log")?;
    while tail.next_sequence() <= last {
        let stored = match tail.next().await {
            Ok(stored) => stored,
            Err(LogError::Corrupt(_)) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the log"),
        };
        let Ok(batch) = DecodedBatch::of(partition, &stored) else { return Ok(()) };
        if decoded.send((stored.sequence, batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
