//! Projectors of the history beside each other, stopped and killed.

use std::time::Duration;

use natter::backends::Backend;
use natter_nats::clock::SystemClock;
use natter_nats::{Log, LogConfig};
use natter_projections::clickhouse::{ClickHouse, HistoryProjector, migrate, run_inserter, watermark};
use natter_projections::error::ViewError;
use natter_projections::runner::{Projector, Runner, StepSize, Steps};
use natter_projections::watermark::Watermark;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tables::assert_shown;
use super::{DEADLINE, Projecting, World, connect, history, insert, log_id, until_complete};
use crate::generator::Generator;
use crate::servers::Servers;

/// A runner as in another process; its inserter ends with it.
async fn run(log: Log, history: ClickHouse, until: CancellationToken, step: StepSize) -> Result<(), ViewError> {
    let (handle, inserter) = run_inserter(log.id().clone());
    let mut inserting = JoinSet::new();
    inserting.spawn(inserter);
    let projector = Cut { projector: HistoryProjector::new(history, handle), step };
    Runner::new(log, projector, SystemClock::shared()).run_partition(0, &until).await
}

/// The projector with other steps.
struct Cut {
    projector: HistoryProjector,
    step: StepSize,
}

impl Projector for Cut {
    fn role(&self) -> &'static str {
        self.projector.role()
    }

    fn view(&self) -> &'static str {
        self.projector.view()
    }

    fn step_size(&self) -> StepSize {
        self.step
    }

    fn pace(&self) -> Duration {
        self.projector.pace()
    }

    fn mend(&self, partition: u16) -> String {
        self.projector.mend(partition)
    }

    async fn watermark(&self, partition: u16) -> Result<Watermark, ViewError> {
        self.projector.watermark(partition).await
    }

    async fn apply(&self, steps: Steps<'_>) -> Result<Watermark, ViewError> {
        self.projector.apply(steps).await
    }
}

const SMALL: StepSize = StepSize { records_max: 150, bytes_max: 1 << 20 };
const LARGE: StepSize = StepSize { records_max: 50_000, bytes_max: 16 << 20 };

impl World {
    fn end(&self) -> Watermark {
        Watermark::new(self.log.id().clone(), self.partitions[0].generator.sequence())
    }

    async fn assert_complete(&self) {
        until_complete(&self.history, 0, &self.end()).await;
        let part = &self.partitions[0];
        assert_shown(&self.history, &[(&part.generator, &part.batches)]).await;
    }
}

/// Two projectors without a lease between them, cutting differently, while the log grows.
#[tokio::test]
async fn two_projectors_at_once_leave_nothing_out_and_nothing_twice() {
    let mut world = World::new(81, 1).await;
    let until = CancellationToken::new();
    let (log, history) = (world.log.clone(), world.history.clone());
    let small = tokio::spawn(run(log.clone(), history.clone(), until.clone(), SMALL));
    let large = tokio::spawn(run(log, history, until.clone(), LARGE));
    for _ in 0..4 {
        world.log_only(8, 40).await;
        until_complete(&world.history, 0, &world.end()).await;
    }
    world.assert_complete().await;
    until.cancel();
    assert_eq!((small.await.unwrap(), large.await.unwrap()), (Ok(()), Ok(())));
}

/// A projector is stopped with batches in its hands, its successor goes on, and then it wakes up and inserts them: every
/// place where it may have been stopped.
#[tokio::test]
async fn a_projector_that_wakes_up_beside_its_successor_changes_nothing() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(82, 0);
    let batches: Vec<_> = (0..20).map(|_| generator.batch(60)).collect();
    let stopped = Projecting::new(&history, &log);
    stopped.apply(&log, 0, &batches[..5]).await.unwrap();
    // Its successor begins at the watermark and is done before the other one wakes up.
    let successor = Projecting::new(&history, &log);
    let stands = successor.projector.watermark(0).await.unwrap();
    assert_eq!(stands, Watermark::new(log.clone(), 5));
    successor.apply(&log, 0, &batches[5..]).await.unwrap();
    assert_shown(&history, &[(&generator, &batches)]).await;
    for late in [5..9, 9..10, 10..14] {
        let reached = Watermark::new(log.clone(), u64::try_from(late.end).unwrap());
        assert_eq!(stopped.apply(&log, 0, &batches[late]).await, Ok(reached));
        assert_shown(&history, &[(&generator, &batches)]).await;
        assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::new(log.clone(), 20)));
    }
    assert_eq!(stopped.projector.watermark(0).await, Ok(Watermark::new(log, 20)));
}

/// Rows above a hole do not count: what is missing is inserted, and what lies above it once more.
#[tokio::test]
async fn a_watermark_ends_before_the_first_hole() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(83, 0);
    let batches: Vec<_> = (0..12).map(|_| generator.batch(30)).collect();
    let at = |sequence| Ok(Watermark::new(log.clone(), sequence));
    assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::default()));
    insert(&history, &log, 0, &batches[2..4]).await;
    assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::default()), "the first is missing");
    insert(&history, &log, 0, &batches[..2]).await;
    insert(&history, &log, 0, &batches[6..8]).await;
    insert(&history, &log, 0, &batches[9..]).await;
    for checked in [0, 1, 4] {
        assert_eq!(watermark(&history, 0, checked).await, at(4), "upward from {checked}");
    }
    insert(&history, &log, 0, &batches[4..6]).await;
    assert_eq!(watermark(&history, 0, 4).await, at(8));
    insert(&history, &log, 0, &batches[7..10]).await;
    assert_eq!(watermark(&history, 0, 8).await, at(12));
    assert_shown(&history, &[(&generator, &batches)]).await;
}

/// A batch counts when all of it is there, whatever an insert that was cut short has left.
#[tokio::test]
async fn rows_of_a_batch_without_its_own_row_do_not_count() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(84, 0);
    let batches: Vec<_> = (0..3).map(|_| generator.batch(30)).collect();
    insert(&history, &log, 0, &batches).await;
    let cut_short = format!("ALTER TABLE {} DELETE WHERE sequence = 3 AND command = 'batch'", history.table("events"));
    history.client().query(&cut_short).with_setting("mutations_sync", "2").execute().await.unwrap();
    for checked in [0, 2, 3] {
        assert_eq!(watermark(&history, 0, checked).await, Ok(Watermark::new(log.clone(), 2)), "from {checked}");
    }
    insert(&history, &log, 0, &batches[2..]).await;
    assert_shown(&history, &[(&generator, &batches)]).await;
}

/// A store that was emptied is filled again from the first batch, also by a projector that knew it as complete.
#[tokio::test]
async fn a_history_that_was_emptied_is_filled_again() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(85, 0);
    let batches: Vec<_> = (0..6).map(|_| generator.batch(30)).collect();
    let projecting = Projecting::new(&history, &log);
    projecting.apply(&log, 0, &batches[..4]).await.unwrap();
    assert_eq!(projecting.projector.watermark(0).await.unwrap().sequence, 4);
    for table in ["events", "messages", "conversations", "members", "users"] {
        let sql = format!("TRUNCATE TABLE {}", history.table(table));
        history.client().query(&sql).execute().await.unwrap();
    }
    // It goes on before it has noticed.
    projecting.apply(&log, 0, &batches[4..]).await.unwrap();
    assert_eq!(projecting.projector.watermark(0).await, Ok(Watermark::default()));
    assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::default()));
    insert(&history, &log, 0, &batches).await;
    assert_shown(&history, &[(&generator, &batches)]).await;
}

/// ClickHouse is killed again and again while batches come.
#[tokio::test]
async fn killing_clickhouse_in_the_middle_loses_nothing() {
    let servers = Servers::with(vec![Backend::Nats, Backend::Redis, Backend::ClickHouse]).await;
    let history = connect(servers.clickhouse());
    migrate(&history).await.unwrap();
    let mut world = World::on(servers, history, 86, 1).await;
    let until = CancellationToken::new();
    let running = tokio::spawn(run(world.log.clone(), world.history.clone(), until.clone(), SMALL));
    for _ in 0..3 {
        world.log_only(15, 60).await;
        // At least one insert of these is done, and the others are under way or to come.
        let begun = world.partitions[0].generator.sequence() - 14;
        let some = async {
            while watermark(&world.history, 0, 0).await.map_or(0, |found| found.sequence) < begun {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, some).await.unwrap();
        world.servers.restart(Backend::ClickHouse).await;
    }
    world.log_only(5, 60).await;
    world.assert_complete().await;
    until.cancel();
    assert_eq!(timeout(DEADLINE, running).await.unwrap().unwrap(), Ok(()));
}

/// A projector can be asked to end while ClickHouse is away.
#[tokio::test]
async fn a_projector_ends_while_clickhouse_is_away() {
    let servers = Servers::with(vec![Backend::Nats, Backend::Redis, Backend::ClickHouse]).await;
    let history = connect(servers.clickhouse());
    migrate(&history).await.unwrap();
    let mut world = World::on(servers, history, 87, 1).await;
    let until = CancellationToken::new();
    let running = tokio::spawn(run(world.log.clone(), world.history.clone(), until.clone(), LARGE));
    world.log_only(3, 60).await;
    until_complete(&world.history, 0, &world.end()).await;
    world.servers.take_away(Backend::ClickHouse).await;
    world.log_only(3, 60).await;
    until.cancel();
    assert_eq!(timeout(Duration::from_secs(5), running).await.expect("it ends").unwrap(), Ok(()));
}

async fn stopped(log: &Log, history: &ClickHouse) -> String {
    let ended = run(log.clone(), history.clone(), CancellationToken::new(), LARGE);
    let error = timeout(DEADLINE, ended).await.expect("it stops").unwrap_err();
    assert!(matches!(error, ViewError::Mismatch(_)), "{error}");
    error.to_string()
}

/// Invariant 6: a watermark of another log, or above the log's end, stops the partition; the error names both, and says
/// what to do.
#[tokio::test]
async fn histories_of_other_logs_stop_the_partition() {
    let servers = Servers::start().await;
    let log = Log::create(&LogConfig::new(servers.nats_url(), 1)).await.unwrap();
    let mut generator = Generator::new(88, 0);
    let batches: Vec<_> = (0..3).map(|_| generator.batch(5)).collect();
    let (own, other) = (log.id().clone(), log_id('b'));

    let elsewhere = history().await;
    insert(&elsewhere, &other, 0, &batches).await;
    let above = history().await;
    insert(&above, &own, 0, &batches).await;
    let mixed = history().await;
    insert(&mixed, &other, 0, &batches[..2]).await;
    let noticed = Projecting::new(&mixed, &own).apply(&own, 0, &batches[2..]).await.unwrap_err();
    assert!(matches!(noticed, ViewError::Mismatch(_)), "{noticed}");
    for (history, named) in [
        (&elsewhere, [format!("sequence 3 of log {other}"), format!("this is log {own}")]),
        (&above, [format!("sequence 3 of log {own}"), "EVT_0 ends at 0".to_owned()]),
        (&mixed, [own.to_string(), other.to_string()]),
    ] {
        let text = stopped(&log, history).await;
        let mend = format!("drop the databases {} and {} in ClickHouse", history.views(), history.store());
        for part in named.iter().chain([&mend]) {
            assert!(text.contains(part), "{text}");
        }
    }
}

/// Tables are written side by side, but a batch's own row, which vouches for all of it, after all of them.
#[tokio::test]
async fn a_batch_is_vouched_for_when_every_table_has_its_rows() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(86, 0);
    let batches: Vec<_> = (0..6).map(|_| generator.batch(60)).collect();
    let projecting = Projecting::new(&history, &log);
    for table in ["messages", "conversations", "members", "users", "events"] {
        let (here, away) = (history.table(table), history.table("away"));
        let rename = async |from: &str, to: &str| {
            history.client().query(&format!("RENAME TABLE {from} TO {to}")).execute().await.unwrap();
        };
        rename(&here, &away).await;
        let failed = projecting.apply(&log, 0, &batches).await;
        assert!(failed.as_ref().is_err_and(ViewError::is_transient), "without {table}: {failed:?}");
        rename(&away, &here).await;
        let sql = format!("SELECT count() FROM {} WHERE command = 'batch'", history.table("events"));
        assert_eq!(history.client().query(&sql).fetch_one::<u64>().await.unwrap(), 0, "without {table}");
        let sql = format!("SELECT count() FROM {}", history.table("watermarks"));
        assert_eq!(history.client().query(&sql).fetch_one::<u64>().await.unwrap(), 0, "without {table}");
    }
    projecting.apply(&log, 0, &batches).await.unwrap();
    assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::new(log.clone(), 6)));
    assert_shown(&history, &[(&generator, &batches)]).await;
}
