//! One inserter for all partitions of a process: ClickHouse wants few large inserts, so what several partitions have goes
//! together, at most once a second.
//!
//! Who is far behind does not wait. Then one group is folded while others are on their way to the disk, and what comes while all
//! ways are taken goes into the next group, which is the larger for it:
//!
//! ```text
//! projectors ──batches──▶ gathered: ≤ ROWS_MAX rows + one step ──▶ under way: ≤ UNDER_WAY_MAX groups ──▶ projectors hear
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::{LogId, Stored};
use natter_schemas::limits::PARTITIONS_MAX;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

use super::connection::ClickHouse;
use super::group::Group;
use super::rows::WatermarkRow;
use crate::error::ViewError;
use crate::telemetry::InsertTelemetry;

/// Between two groups of inserts. A group of seven inserts costs ClickHouse a tenth of a second of CPU however few its rows
/// are, the merges that follow included.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many rows do not wait for the interval.
const ROWS_ENOUGH: usize = 50_000;
/// A group that has so many rows waits for nobody else, even if all ways are taken.
const ROWS_MAX: usize = 200_000;
/// Groups on their way at the same time: of each, one insert is at its end, with a sync and no work for the CPU.
const UNDER_WAY_MAX: usize = 2;
/// A partition with so many batches more to catch up with does not wait for the interval, however few rows they are.
const BEHIND_ENOUGH: u64 = 1000;
/// Nor does one that has any more, where what it brings is worth inserts of its own.
const ROWS_WORTH_IT: usize = 10_000;
/// Every partition has at most one group under way.
const QUEUE_MAX: usize = PARTITIONS_MAX as usize;

/// Hears when all rows of a group are on disk, or why they are not.
type Done = oneshot::Sender<Result<(), ViewError>>;

/// Successive batches of one partition for one generation, and how far it is with them.
struct Step {
    into: ClickHouse,
    batches: Vec<Stored>,
    note: WatermarkRow,
    done: Done,
}

/// Where groups are handed in.
#[derive(Clone)]
pub struct InserterHandle(mpsc::Sender<Step>);

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
        self.0.send(Step { into, batches, note, done }).await.map_err(|_| ended())?;
        inserted.await.map_err(|_| ended())?
    }
}

/// The inserter's handle and its work, which ends when the last handle is dropped.
pub fn run_inserter(log: LogId) -> (InserterHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, steps) = mpsc::channel(QUEUE_MAX);
    (InserterHandle(sender), Inserter::new(log, steps).run())
}

struct Inserter {
    log: LogId,
    telemetry: Arc<InsertTelemetry>,
    steps: mpsc::Receiver<Step>,
    not_before: Instant,
    /// Partitions whose last step left much to catch up with.
    behind: HashSet<u16>,
    under_way: JoinSet<()>,
}

/// What goes into ClickHouse together.
struct Gathered {
    into: ClickHouse,
    rows: Group,
    /// It does not wait for the interval.
    at_once: bool,
    waiting: Vec<Done>,
}

impl Inserter {
    fn new(log: LogId, steps: mpsc::Receiver<Step>) -> Self {
        Self {
            log,
            telemetry: Arc::new(InsertTelemetry::new()),
            steps,
            not_before: Instant::now(),
            behind: HashSet::new(),
            under_way: JoinSet::new(),
        }
    }

    async fn run(mut self) {
        while let Some(first) = self.steps.recv().await {
            let gathered = self.gather(first).await;
            while self.under_way.len() >= UNDER_WAY_MAX {
                self.under_way.join_next().await;
            }
            self.not_before = Instant::now() + INTERVAL;
            self.under_way.spawn(gathered.insert(Arc::clone(&self.telemetry)));
        }
        while self.under_way.join_next().await.is_some() {}
    }

    /// Takes what else comes until there is a way, and the interval since the last group is over or there is enough.
    async fn gather(&mut self, first: Step) -> Gathered {
        let into = first.into.clone();
        let mut gathered = Gathered { into, rows: Group::default(), at_once: false, waiting: Vec::new() };
        gathered.take(&self.log, &mut self.behind, first).await;
        while gathered.rows.len() < ROWS_MAX {
            let is_way = self.under_way.len() < UNDER_WAY_MAX;
            if is_way && gathered.is_enough() {
                break;
            }
            tokio::select! {
                biased;
                step = self.steps.recv() => match step {
                    Some(step) => gathered.take(&self.log, &mut self.behind, step).await,
                    None => break,
                },
                Some(_) = self.under_way.join_next() => {}
                () = sleep_until(self.not_before), if is_way => break,
            }
        }
        gathered
    }
}

impl Gathered {
    /// Whether it does not wait for more.
    fn is_enough(&self) -> bool {
        self.at_once || self.rows.len() >= ROWS_ENOUGH
    }

    async fn take(&mut self, log: &LogId, behind: &mut HashSet<u16>, step: Step) {
        let Step { into, batches, note, done } = step;
        if into.generation() != self.into.generation() {
            // Partitions notice a switch one after the other; the watermark says what is left to do.
            drop(done.send(Err(ViewError::Transient("the history's generations were switched".to_owned()))));
            return;
        }
        let before = self.rows.len();
        for batch in &batches {
            if let Err(error) = self.rows.fold(log, note.partition, batch.sequence, &batch.payload) {
                // What was folded before it is right all the same.
                drop(done.send(Err(error)));
                return;
            }
            // A step is many milliseconds of work, and sockets may be served by the same thread.
            yield_now().await;
        }
        let was_behind = behind.contains(&note.partition);
        if let Some(last) = batches.last() {
            let is_worth_it = last.behind > 0 && self.rows.len() - before >= ROWS_WORTH_IT;
            if is_worth_it || last.behind >= BEHIND_ENOUGH {
                behind.insert(note.partition);
            } else {
                behind.remove(&note.partition);
            }
        }
        // The last step of who was behind does not wait either: then it is where it wanted to be.
        self.at_once |= was_behind || behind.contains(&note.partition);
        self.rows.note(note);
        self.waiting.push(done);
    }

    async fn insert(self, telemetry: Arc<InsertTelemetry>) {
        let (rows, started) = (self.rows.len(), Instant::now());
        let inserted = self.rows.insert(&self.into).await;
        match &inserted {
            Ok(()) => telemetry.inserted(rows, started.elapsed()),
            Err(_) => telemetry.failed(),
        }
        for done in self.waiting {
            // A projector that has gone meanwhile does not need the answer.
            drop(done.send(inserted.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::codec::OutcomeBatchWriter;
    use natter_schemas::id::IdState;

    use super::*;
    use crate::clickhouse::ClickHouseConfig;

    /// A server that takes connections and never answers.
    fn hanging(listener: &std::net::TcpListener) -> ClickHouse {
        let (url, user) = (format!("http://{}", listener.local_addr().unwrap()), String::new());
        ClickHouse::new(&ClickHouseConfig { url, password: user.clone(), database: "natter".to_owned(), user })
    }

    fn nowhere() -> ClickHouse {
        hanging(&std::net::TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// So many outcome batches without outcomes, with so many behind them.
    fn step(
        into: &ClickHouse,
        partition: u16,
        batches: u64,
        behind: u64,
    ) -> (Step, oneshot::Receiver<Result<(), ViewError>>) {
        let payload: bytes::Bytes =
            OutcomeBatchWriter::default().finish(1, Vec::new(), IdState::default(), Vec::new()).into();
        let batch =
            |sequence| Stored { sequence, stored_ms: 0, lease: None, records: None, behind, payload: payload.clone() };
        let batches: Vec<_> = (1..=batches).map(batch).collect();
        let note = WatermarkRow { partition, log_last: 1 + behind, applied: 1, checked: 0, log: "l".to_owned() };
        let (done, inserted) = oneshot::channel();
        (Step { into: into.clone(), batches, note, done }, inserted)
    }

    fn log() -> LogId {
        "0123456789abcdef0123456789abcdef".parse().unwrap()
    }

    /// Whether a group of these steps goes at once: of each the partition, its batches, and how many it leaves.
    async fn goes_at_once(behind: &mut HashSet<u16>, steps: &[(u16, u64, u64)]) -> bool {
        let into = nowhere();
        let mut gathered = Gathered { into: into.clone(), rows: Group::default(), at_once: false, waiting: Vec::new() };
        for (partition, batches, left) in steps {
            gathered.take(&log(), behind, step(&into, *partition, *batches, *left).0).await;
        }
        gathered.is_enough()
    }

    #[tokio::test]
    async fn who_is_far_behind_does_not_wait_for_the_interval() {
        let (enough, worth_it) = (ROWS_ENOUGH as u64, ROWS_WORTH_IT as u64);
        let mut behind = HashSet::new();
        assert!(!goes_at_once(&mut behind, &[(0, 1, BEHIND_ENOUGH - 1)]).await);
        assert!(!goes_at_once(&mut behind, &[(0, worth_it, 0)]).await);
        assert!(goes_at_once(&mut behind, &[(0, 1, 0), (1, 1, BEHIND_ENOUGH), (2, 1, 0)]).await);
        assert!(goes_at_once(&mut behind, &[(2, worth_it, 1)]).await);
        assert!(goes_at_once(&mut behind, &[(3, enough - 1, 0), (4, 1, 0)]).await);
        // The last step of 1 and 2.
        assert!(goes_at_once(&mut behind, &[(1, 1, 0)]).await);
        assert!(goes_at_once(&mut behind, &[(2, 1, 0)]).await);
        assert!(!goes_at_once(&mut behind, &[(1, 1, 0), (2, 1, 0)]).await);
        assert!(behind.is_empty());
    }

    #[tokio::test]
    async fn what_is_gathered_and_under_way_is_bounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let into = hanging(&listener);
        let (sender, steps) = mpsc::channel(QUEUE_MAX);
        let mut inserter = Inserter::new(log(), steps);
        let size = ROWS_ENOUGH as u64;
        let mut waiting = Vec::new();
        for partition in 0..10 {
            let (step, inserted) = step(&into, partition, size, 0);
            sender.try_send(step).ok().unwrap();
            waiting.push(inserted);
        }
        for _ in 0..UNDER_WAY_MAX {
            let first = inserter.steps.recv().await.unwrap();
            let gathered = inserter.gather(first).await;
            assert_eq!(gathered.waiting.len(), 1, "there is a way: it does not wait for others");
            inserter.under_way.spawn(gathered.insert(Arc::clone(&inserter.telemetry)));
        }
        let first = inserter.steps.recv().await.unwrap();
        let gathered = inserter.gather(first).await;
        assert_eq!(
            gathered.rows.len(),
            ROWS_MAX + gathered.waiting.len() - 4,
            "all ways are taken: it grows, and no further"
        );
    }
}
