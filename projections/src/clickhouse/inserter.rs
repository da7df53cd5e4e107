//! One inserter for all partitions of a process: ClickHouse wants few large inserts, so what several partitions have goes
//! together, at most once a second.
//!
//! Who is far behind does not wait. Then steps are folded while groups are on their way to the disk, and what comes while all
//! ways are taken goes into the next group, which is the larger for it:
//!
//! ```text
//! projectors: ≤ FOLDED_MAX steps folded ──▶ gathered: ≤ ROWS_MAX rows + one step ──▶ under way: ≤ UNDER_WAY_MAX groups ──▶ projectors hear
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use natter_nats::{LogId, Stored};
use natter_schemas::limits::PARTITIONS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

use super::connection::ClickHouse;
use super::group::{Group, insert};
use super::rows::WatermarkRow;
use crate::error::ViewError;
use crate::telemetry::InsertTelemetry;

/// Between two groups of inserts. A group of seven inserts costs ClickHouse a tenth of a second of CPU however few its rows
/// are, the merges that follow included.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many rows do not wait for the interval.
const ROWS_ENOUGH: usize = 50_000;
/// While a group is under way, the next has so many rows, or waits for the interval: half as many parts are made then, and merged.
const ROWS_LARGE: usize = 120_000;
/// A group that has so many rows waits for nobody else, even if all ways are taken.
const ROWS_MAX: usize = 200_000;
/// Groups on their way at the same time: of each, one insert is at its end, with a sync and no work for the CPU.
const UNDER_WAY_MAX: usize = 2;
/// Steps that are being folded, or wait to be gathered, however many partitions there are.
const FOLDED_MAX: usize = 4;
/// A partition with so many batches more to catch up with does not wait for the interval, however few rows they are.
const BEHIND_ENOUGH: u64 = 1000;
/// Nor does one that has any more, where what it brings is worth inserts of its own.
const ROWS_WORTH_IT: usize = 10_000;
/// Every partition has at most one group under way.
const QUEUE_MAX: usize = PARTITIONS_MAX as usize;

/// Hears when all rows of a group are on disk, or why they are not.
type Done = oneshot::Sender<Result<(), ViewError>>;

/// Successive batches of one partition for one generation, folded.
struct Step {
    into: ClickHouse,
    partition: u16,
    rows: Group,
    /// Batches of the partition behind these; `None`: it has none itself.
    left: Option<u64>,
    /// Its place among the folded ones.
    place: OwnedSemaphorePermit,
    done: Done,
}

/// Where steps are handed in.
#[derive(Clone)]
pub struct InserterHandle {
    log: LogId,
    places: Arc<Semaphore>,
    steps: mpsc::Sender<Step>,
}

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
        batches: &[Stored],
        note: WatermarkRow,
    ) -> Result<(), ViewError> {
        let ended = || ViewError::Transient("the inserter of the history has ended".to_owned());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| ended())?;
        let (mut rows, partition) = (Group::default(), note.partition);
        for batch in batches {
            rows.fold(&self.log, partition, batch.sequence, &batch.payload)?;
            // A step is many milliseconds of work, and sockets may be served by the same thread.
            yield_now().await;
        }
        rows.note(note);
        let left = batches.last().map(|last| last.behind);
        let (done, inserted) = oneshot::channel();
        self.steps.send(Step { into, partition, rows, left, place, done }).await.map_err(|_| ended())?;
        inserted.await.map_err(|_| ended())?
    }
}

/// The inserter's handle and its work, which ends when the last handle is dropped.
pub fn run_inserter(log: LogId) -> (InserterHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, steps) = mpsc::channel(QUEUE_MAX);
    let handle = InserterHandle { log, places: Arc::new(Semaphore::new(FOLDED_MAX)), steps: sender };
    (handle, Inserter::new(steps).run())
}

struct Inserter {
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
    groups: Vec<Group>,
    /// It does not wait for the interval.
    at_once: bool,
    waiting: Vec<Done>,
}

impl Inserter {
    fn new(steps: mpsc::Receiver<Step>) -> Self {
        Self {
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
        let mut gathered = Gathered::new(first.into.clone());
        gathered.take(&mut self.behind, first);
        while gathered.rows() < ROWS_MAX {
            let is_way = self.under_way.len() < UNDER_WAY_MAX;
            let is_large = self.under_way.is_empty() || gathered.rows() >= ROWS_LARGE;
            if is_way && is_large && gathered.is_enough() {
                break;
            }
            tokio::select! {
                biased;
                step = self.steps.recv() => match step {
                    Some(step) => gathered.take(&mut self.behind, step),
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
    const fn new(into: ClickHouse) -> Self {
        Self { into, groups: Vec::new(), at_once: false, waiting: Vec::new() }
    }

    fn rows(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// Whether it does not wait for more.
    fn is_enough(&self) -> bool {
        self.at_once || self.rows() >= ROWS_ENOUGH
    }

    fn take(&mut self, behind: &mut HashSet<u16>, step: Step) {
        let Step { into, partition, rows, left, place, done } = step;
        drop(place);
        if into.generation() != self.into.generation() {
            // Partitions notice a switch one after the other; the watermark says what is left to do.
            drop(done.send(Err(ViewError::Transient("the history's generations were switched".to_owned()))));
            return;
        }
        let was_behind = behind.contains(&partition);
        if let Some(left) = left {
            let is_worth_it = left > 0 && rows.len() >= ROWS_WORTH_IT;
            if is_worth_it || left >= BEHIND_ENOUGH {
                behind.insert(partition);
            } else {
                behind.remove(&partition);
            }
        }
        // The last step of who was behind does not wait either: then it is where it wanted to be.
        self.at_once |= was_behind || behind.contains(&partition);
        self.groups.push(rows);
        self.waiting.push(done);
    }

    async fn insert(self, telemetry: Arc<InsertTelemetry>) {
        let (rows, started) = (self.rows(), Instant::now());
        let inserted = insert(self.groups, &self.into).await;
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

    fn note(partition: u16) -> WatermarkRow {
        WatermarkRow { partition, log_last: 1, applied: 1, checked: 0, log: "l".to_owned() }
    }

    /// So many outcome batches without outcomes, with so many behind them.
    fn batches(count: u64, behind: u64) -> Vec<Stored> {
        let payload: bytes::Bytes =
            OutcomeBatchWriter::default().finish(1, Vec::new(), IdState::default(), Vec::new()).into();
        let batch =
            |sequence| Stored { sequence, stored_ms: 0, lease: None, records: None, behind, payload: payload.clone() };
        (1..=count).map(batch).collect()
    }

    /// A step of so many batches, with so many behind them.
    fn step(
        into: &ClickHouse,
        partition: u16,
        count: u64,
        behind: u64,
    ) -> (Step, oneshot::Receiver<Result<(), ViewError>>) {
        let mut rows = Group::default();
        for batch in batches(count, behind) {
            rows.fold(&log(), partition, batch.sequence, &batch.payload).unwrap();
        }
        rows.note(note(partition));
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (done, inserted) = oneshot::channel();
        (Step { into: into.clone(), partition, rows, left: Some(behind), place, done }, inserted)
    }

    fn log() -> LogId {
        "0123456789abcdef0123456789abcdef".parse().unwrap()
    }

    /// Whether a group of these steps goes at once: of each the partition, its batches, and how many it leaves.
    fn goes_at_once(behind: &mut HashSet<u16>, steps: &[(u16, u64, u64)]) -> bool {
        let into = nowhere();
        let mut gathered = Gathered::new(into.clone());
        for (partition, batches, left) in steps {
            gathered.take(behind, step(&into, *partition, *batches, *left).0);
        }
        gathered.is_enough()
    }

    #[test]
    fn who_is_far_behind_does_not_wait_for_the_interval() {
        let (enough, worth_it) = (ROWS_ENOUGH as u64, ROWS_WORTH_IT as u64);
        let mut behind = HashSet::new();
        assert!(!goes_at_once(&mut behind, &[(0, 1, BEHIND_ENOUGH - 1)]));
        assert!(!goes_at_once(&mut behind, &[(0, worth_it, 0)]));
        assert!(goes_at_once(&mut behind, &[(0, 1, 0), (1, 1, BEHIND_ENOUGH), (2, 1, 0)]));
        assert!(goes_at_once(&mut behind, &[(2, worth_it, 1)]));
        assert!(goes_at_once(&mut behind, &[(3, enough - 1, 0), (4, 1, 0)]));
        // The last step of 1 and 2.
        assert!(goes_at_once(&mut behind, &[(1, 1, 0)]));
        assert!(goes_at_once(&mut behind, &[(2, 1, 0)]));
        assert!(!goes_at_once(&mut behind, &[(1, 1, 0), (2, 1, 0)]));
        assert!(behind.is_empty());
    }

    /// An inserter with so many steps of this size, from as many partitions, handed in.
    fn with_steps(into: &ClickHouse, count: u16, size: usize) -> Inserter {
        let (sender, steps) = mpsc::channel(QUEUE_MAX);
        for partition in 0..count {
            sender.try_send(step(into, partition, size as u64, 0).0).ok().unwrap();
        }
        Inserter::new(steps)
    }

    /// The steps of the next group, and its rows; it is under way afterwards.
    async fn next_group(inserter: &mut Inserter) -> (usize, usize) {
        let first = inserter.steps.recv().await.unwrap();
        let gathered = inserter.gather(first).await;
        let size = (gathered.waiting.len(), gathered.rows());
        inserter.under_way.spawn(gathered.insert(Arc::clone(&inserter.telemetry)));
        size
    }

    #[tokio::test]
    async fn what_is_gathered_and_under_way_is_bounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut inserter = with_steps(&hanging(&listener), 6, ROWS_LARGE);
        for _ in 0..UNDER_WAY_MAX {
            assert_eq!(next_group(&mut inserter).await.0, 1, "there is a way: it does not wait for others");
        }
        let steps = ROWS_MAX.div_ceil(ROWS_LARGE);
        assert_eq!(
            next_group(&mut inserter).await,
            (steps, steps * ROWS_LARGE),
            "all ways are taken: it grows, and no further"
        );
    }

    #[tokio::test]
    async fn while_a_group_is_under_way_the_next_is_large() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut inserter = with_steps(&hanging(&listener), 6, ROWS_ENOUGH);
        assert_eq!(next_group(&mut inserter).await.0, 1);
        assert_eq!(next_group(&mut inserter).await.0, ROWS_LARGE.div_ceil(ROWS_ENOUGH));
    }

    #[tokio::test]
    async fn no_more_is_folded_than_there_are_places() {
        let (into, folded) = (nowhere(), FOLDED_MAX + 2);
        let (handle, _not_run) = run_inserter(log());
        let mut steps = JoinSet::new();
        for partition in 0..u16::try_from(folded).unwrap() {
            let (handle, into) = (handle.clone(), into.clone());
            steps.spawn(async move { handle.insert(into, &batches(10, 0), note(partition)).await });
        }
        while handle.steps.capacity() > QUEUE_MAX - FOLDED_MAX {
            yield_now().await;
        }
        assert_eq!(handle.places.available_permits(), 0);
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(handle.steps.capacity(), QUEUE_MAX - FOLDED_MAX, "the others wait");
    }
}
