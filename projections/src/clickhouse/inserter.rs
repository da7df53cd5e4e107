//! One inserter for all partitions of a process: ClickHouse wants few large inserts, so groups of several partitions go
//! together, at most once a second.

use std::time::Duration;

use clickhouse::{RowOwned, RowWrite};
use natter_nats::{LogId, Stored};
use natter_schemas::limits::PARTITIONS_MAX;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::connection::{ClickHouse, write};
use super::fold::Rows;
use super::rows::WatermarkRow;
use crate::error::ViewError;
use crate::telemetry::InsertTelemetry;

/// Between two groups of inserts. A group of seven inserts costs ClickHouse a tenth of a second of CPU however few its rows
/// are, the merges that follow included.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many rows do not wait for the interval.
const ROWS_ENOUGH: usize = 50_000;
/// Nor does a partition that has so many batches more to catch up with, however few rows they are.
const BEHIND_ENOUGH: u64 = 1000;
/// Every partition has at most one group under way.
const QUEUE_MAX: usize = PARTITIONS_MAX as usize;

/// Hears when all rows of a group are on disk, or why they are not.
type Done = oneshot::Sender<Result<(), ViewError>>;

/// Successive batches of one partition for one generation, and how far it is with them.
struct Group {
    into: ClickHouse,
    batches: Vec<Stored>,
    note: WatermarkRow,
    done: Done,
}

/// Where groups are handed in.
#[derive(Clone)]
pub struct InserterHandle(mpsc::Sender<Group>);

impl InserterHandle {
    /// Inserts successive batches of the partition that `note` is about into one generation, then the note; returns when
    /// ClickHouse has them on disk.
    ///
    /// # Errors
    /// Transient: some of the rows may be there, and inserting the batches again, cut as you like, is harmless.
    /// `Corrupt`: a batch cannot be decoded.
    pub(super) async fn insert(
        &self,
        into: ClickHouse,
        batches: Vec<Stored>,
        note: WatermarkRow,
    ) -> Result<(), ViewError> {
        let ended = || ViewError::Transient("the inserter of the history has ended".to_owned());
        let (done, inserted) = oneshot::channel();
        self.0.send(Group { into, batches, note, done }).await.map_err(|_| ended())?;
        inserted.await.map_err(|_| ended())?
    }
}

/// The inserter's handle and its work, which ends when the last handle is dropped.
pub fn run_inserter(log: LogId) -> (InserterHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, groups) = mpsc::channel(QUEUE_MAX);
    let inserter = Inserter { log, telemetry: InsertTelemetry::new(), groups, not_before: Instant::now() };
    (InserterHandle(sender), inserter.run())
}

struct Inserter {
    log: LogId,
    telemetry: InsertTelemetry,
    groups: mpsc::Receiver<Group>,
    not_before: Instant,
}

/// What goes into ClickHouse together.
struct Gathered {
    into: ClickHouse,
    rows: Rows,
    /// Batches that the one who is furthest behind has still to read.
    behind: u64,
    waiting: Vec<Done>,
}

impl Inserter {
    async fn run(mut self) {
        while let Some(first) = self.groups.recv().await {
            let Gathered { into, rows, waiting, .. } = self.gather(first).await;
            let started = Instant::now();
            self.not_before = started + INTERVAL;
            let inserted = insert(&into, &rows).await;
            match &inserted {
                Ok(()) => self.telemetry.inserted(rows.len(), started.elapsed()),
                Err(_) => self.telemetry.failed(),
            }
            for done in waiting {
                // A projector that has gone meanwhile does not need the answer.
                drop(done.send(inserted.clone()));
            }
        }
    }

    /// Takes what else comes until the interval since the last group is over or there is enough.
    async fn gather(&mut self, first: Group) -> Gathered {
        let into = first.into.clone();
        let mut gathered = Gathered { into, rows: Rows::default(), behind: 0, waiting: Vec::new() };
        gathered.take(&self.log, first).await;
        while !gathered.is_enough() {
            tokio::select! {
                biased;
                group = self.groups.recv() => match group {
                    Some(group) => gathered.take(&self.log, group).await,
                    None => break,
                },
                () = sleep_until(self.not_before) => break,
            }
        }
        gathered
    }
}

impl Gathered {
    /// Whether it goes in at once.
    fn is_enough(&self) -> bool {
        self.rows.len() >= ROWS_ENOUGH || self.behind >= BEHIND_ENOUGH
    }

    async fn take(&mut self, log: &LogId, group: Group) {
        let Group { into, batches, note, done } = group;
        if into.generation() != self.into.generation() {
            // Partitions notice a switch one after the other; the watermark says what is left to do.
            drop(done.send(Err(ViewError::Transient("the history's generations were switched".to_owned()))));
            return;
        }
        for batch in &batches {
            if let Err(error) = self.rows.fold(log, note.partition, batch.sequence, &batch.payload) {
                // What was folded before it is right all the same.
                drop(done.send(Err(error)));
                return;
            }
            // A group is many milliseconds of work, and sockets may be served by the same thread.
            yield_now().await;
        }
        self.behind = self.behind.max(batches.last().map_or(0, |last| last.behind));
        self.rows.watermarks.insert(note.partition, note);
        self.waiting.push(done);
    }
}

/// A batch's own row says that all of it is there, so these rows come when everything else is on disk: neither two tables
/// nor two parts of one insert are written as one.
async fn insert(clickhouse: &ClickHouse, rows: &Rows) -> Result<(), ViewError> {
    insert_all(clickhouse, "messages", rows.messages.iter()).await?;
    insert_all(clickhouse, "conversations", rows.conversations.values()).await?;
    insert_all(clickhouse, "members", rows.members.values()).await?;
    insert_all(clickhouse, "users", rows.users.values()).await?;
    insert_all(clickhouse, "events", rows.events.iter()).await?;
    insert_all(clickhouse, "events", rows.batches.iter()).await?;
    insert_all(clickhouse, "watermarks", rows.watermarks.values()).await
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
    let inserted = async {
        let insert = clickhouse.client().insert_unescaped::<T>(&name).await?;
        // Several partitions that read a long log again may be in more than 100 different months.
        let mut insert = insert.with_setting("max_partitions_per_insert_block", "0");
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    };
    write(&format!("inserting into {name}"), inserted).await
}

#[cfg(test)]
mod tests {
    use natter_schemas::codec::OutcomeBatchWriter;
    use natter_schemas::id::IdState;

    use super::*;
    use crate::clickhouse::ClickHouseConfig;

    fn nowhere() -> ClickHouse {
        let (url, user) = ("http://127.0.0.1:1".to_owned(), String::new());
        ClickHouse::new(&ClickHouseConfig { url, password: user.clone(), database: "natter".to_owned(), user })
    }

    /// An outcome batch without outcomes, with so many behind it.
    fn group(partition: u16, behind: u64) -> Group {
        let payload = OutcomeBatchWriter::default().finish(1, Vec::new(), IdState::default(), Vec::new()).into();
        let batches = vec![Stored { sequence: 1, stored_ms: 0, lease: None, records: None, behind, payload }];
        let note = WatermarkRow { partition, log_last: 1 + behind, applied: 1, checked: 0, log: "l".to_owned() };
        Group { into: nowhere(), batches, note, done: oneshot::channel().0 }
    }

    #[tokio::test]
    async fn one_that_is_far_behind_does_not_wait_for_the_interval() {
        let log: LogId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let mut gathered = Gathered { into: nowhere(), rows: Rows::default(), behind: 0, waiting: Vec::new() };
        gathered.take(&log, group(0, BEHIND_ENOUGH - 1)).await;
        assert!(!gathered.is_enough());
        gathered.take(&log, group(1, BEHIND_ENOUGH)).await;
        gathered.take(&log, group(2, 0)).await;
        assert!(gathered.is_enough());
    }
}
