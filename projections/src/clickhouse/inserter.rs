//! One inserter for all partitions of a process: ClickHouse wants few large inserts, so groups of several partitions go
//! together, at most a few times a second.

use std::time::Duration;

use clickhouse::{RowOwned, RowWrite};
use natter_nats::backoff::Backoff;
use natter_nats::clock::SharedClock;
use natter_nats::{LogId, Stored};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connection::{ClickHouse, within};
use super::fold::{Rows, milliseconds};
use super::rows::WatermarkRow;
use crate::error::ViewError;
use crate::telemetry::InsertTelemetry;

/// Between two inserts into the same tables; five tables twice a second are far below 60 inserts a second.
const INTERVAL: Duration = Duration::from_millis(500);
/// So many rows do not wait for the interval.
const ROWS_ENOUGH: usize = 50_000;
/// Groups that wait: every partition has at most one under way.
const QUEUE_MAX: usize = natter_schemas::limits::PARTITIONS_MAX as usize;

/// Successive batches of one partition.
pub struct Group {
    /// The partition.
    pub partition: u16,
    /// The batches; at least one.
    pub batches: Vec<Stored>,
    /// Hears when all rows are on disk, or why never.
    pub done: oneshot::Sender<Result<(), ViewError>>,
}

/// Where groups are handed in.
#[derive(Clone)]
pub struct InserterHandle(mpsc::Sender<Group>);

impl InserterHandle {
    /// Inserts batches of `partition`; returns when ClickHouse has them on disk.
    ///
    /// # Errors
    /// A batch cannot be decoded, or the inserter has ended.
    pub async fn insert(&self, partition: u16, batches: Vec<Stored>) -> Result<(), ViewError> {
        let ended = |_| ViewError::Transient("the inserter of the history has ended".to_owned());
        let (done, inserted) = oneshot::channel();
        self.0.send(Group { partition, batches, done }).await.map_err(|_| ended(()))?;
        inserted.await.map_err(|_| ended(()))?
    }
}

/// The inserter's handle and its work, which ends when the last handle is dropped.
pub fn run_inserter(
    clickhouse: ClickHouse,
    log: LogId,
    clock: SharedClock,
) -> (InserterHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let telemetry = InsertTelemetry::new();
    let inserter = Inserter { clickhouse, log, clock, telemetry, groups: receiver, not_before: Instant::now() };
    (InserterHandle(sender), inserter.run())
}

struct Inserter {
    clickhouse: ClickHouse,
    log: LogId,
    clock: SharedClock,
    telemetry: InsertTelemetry,
    groups: mpsc::Receiver<Group>,
    not_before: Instant,
}

impl Inserter {
    async fn run(mut self) {
        while let Some(first) = self.groups.recv().await {
            let mut rows = Rows::default();
            let mut waiting = Vec::new();
            self.take(first, &mut rows, &mut waiting);
            self.gather(&mut rows, &mut waiting).await;
            self.insert_until_done(&rows).await;
            for done in waiting {
                // A projector that has stopped meanwhile does not need the answer: the rows are idempotent.
                drop(done.send(Ok(())));
            }
        }
    }

    /// Takes what else comes until the interval since the last insert is over or there are rows enough.
    async fn gather(&mut self, rows: &mut Rows, waiting: &mut Vec<oneshot::Sender<Result<(), ViewError>>>) {
        let until = self.not_before;
        while rows.len() < ROWS_ENOUGH {
            tokio::select! {
                group = self.groups.recv() => match group {
                    Some(group) => self.take(group, rows, waiting),
                    None => return,
                },
                () = sleep_until(until) => return,
            }
        }
    }

    fn take(&self, group: Group, rows: &mut Rows, waiting: &mut Vec<oneshot::Sender<Result<(), ViewError>>>) {
        let Group { partition, batches, done } = group;
        let mut batches_of = batches.iter();
        match batches_of.try_for_each(|batch| rows.fold(&self.log, partition, batch.sequence, &batch.payload)) {
            Ok(()) => {
                rows.watermarks.extend(batches.last().map(|last| (partition, self.watermark(partition, last))));
                waiting.push(done);
            }
            // What was folded before it is right all the same.
            Err(error) => drop(done.send(Err(error))),
        }
    }

    fn watermark(&self, partition: u16, last: &Stored) -> WatermarkRow {
        WatermarkRow {
            partition,
            log_last: last.sequence + last.behind,
            applied: last.sequence,
            checked_at: milliseconds(self.clock.now_ms()),
            log: self.log.to_string(),
        }
    }

    /// The rows are kept until ClickHouse has answered for all of them; a group is tried again from its first table.
    async fn insert_until_done(&mut self, rows: &Rows) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let started = Instant::now();
        self.not_before = started + INTERVAL;
        while let Err(error) = self.insert(rows).await {
            self.telemetry.failed();
            tracing::warn!(%error, rows = rows.len(), "inserting into the history failed; trying again");
            backoff.wait().await;
        }
        self.telemetry.inserted(rows.len(), started.elapsed());
    }

    async fn insert(&self, rows: &Rows) -> Result<(), ViewError> {
        insert_all(&self.clickhouse, "messages", rows.messages.iter()).await?;
        insert_all(&self.clickhouse, "conversations", rows.conversations.values()).await?;
        insert_all(&self.clickhouse, "members", rows.members.values()).await?;
        insert_all(&self.clickhouse, "users", rows.users.values()).await?;
        insert_all(&self.clickhouse, "events", rows.events.iter()).await?;
        insert_all(&self.clickhouse, "watermarks", rows.watermarks.values()).await
    }
}

/// Inserts rows into a table; nothing where there are none.
async fn insert_all<'r, T>(
    clickhouse: &ClickHouse,
    table: &str,
    rows: impl ExactSizeIterator<Item = &'r T>,
) -> Result<(), ViewError>
where
    T: RowOwned + RowWrite + Serialize + 'r,
{
    if rows.len() == 0 {
        return Ok(());
    }
    let name = clickhouse.table(table);
    let insert = async {
        let mut insert = clickhouse.client().insert_unescaped::<T>(&name).await?;
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    };
    within(&format!("inserting into {name}"), insert).await
}
