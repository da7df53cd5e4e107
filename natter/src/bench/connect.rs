//! `natter bench connect`: handshakes with a token, until the session is opened. Each session ends as soon as it is open.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::args::Connect;
use super::client::Client;
use super::latency::{Latencies, Percentiles};
use super::pace::Schedule;
use super::processes::{Spent, own_cpu};
use super::report::{Report, grouped, head, table};
use super::system::{System, room_for_files, users};

/// Handshakes on their way at once, whatever the rate: more wait, and are measured from when they were due all the same.
const UNDER_WAY_MAX: usize = 8000;

/// One rate.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Handshakes a second that were asked for; `None`: as many as were taken, each begun when another had ended.
    pub rate: Option<u64>,
    /// Handshakes on their way at once, where as many as were taken were made.
    pub at_once: Option<u32>,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Sessions opened a second, while measured.
    pub opened_per_second: f64,
    /// Sessions opened, those of the warm-up included.
    pub opened: u64,
    /// Handshakes that failed, by why.
    pub failed: BTreeMap<String, u64>,
    /// From due (or, without a rate, from its beginning) to the session's opening.
    pub opening: Percentiles,
    /// What the servers spent while measured.
    pub servers: Spent,
    /// CPU of all servers for each session, in microseconds.
    pub cpu_micros_per_session: f64,
    /// CPU of the generator while measured, in seconds.
    pub generator_cpu_seconds: f64,
}

/// Runs each rate.
///
/// # Errors
/// Nothing runs there.
pub async fn connect(args: &Connect) -> anyhow::Result<Report<Run>> {
    let system = Arc::new(System::of(&args.against).await?);
    room_for_files(UNDER_WAY_MAX)?;
    let tokens = users("connect", args.users)
        .iter()
        .map(|user| system.token(user, false))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let tokens = Arc::new(tokens);
    let mut runs = Vec::new();
    for rate in &args.rate {
        let schedule = Schedule::new(Instant::now(), (*rate).max(1), args.span.before(), args.span.measured());
        let shared = Arc::new(Handshakes {
            system: Arc::clone(&system),
            tokens: Arc::clone(&tokens),
            schedule,
            next: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            failed: Mutex::default(),
            opening: Latencies::default(),
        });
        runs.push(run(&shared, *rate, args.at_once).await?);
    }
    Ok(Report { mode: "connect", machine: system.machine().await?, runs })
}

struct Handshakes {
    system: Arc<System>,
    tokens: Arc<Vec<String>>,
    schedule: Schedule,
    /// The next user.
    next: AtomicU64,
    opened: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    opening: Latencies,
}

async fn run(shared: &Arc<Handshakes>, rate: u64, at_once: u32) -> anyhow::Result<Run> {
    let making = {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            if rate == 0 { shared.as_many_as_are_taken(at_once).await } else { shared.paced().await }
        })
    };
    let moment = || (Instant::now(), shared.system.processes.usage(), own_cpu(), shared.opened.load(Ordering::Relaxed));
    sleep_until(shared.schedule.measured_from()).await;
    let (began, usage_before, own_before, opened_before) = moment();
    sleep_until(shared.schedule.end()).await;
    let (ended, usage_after, own_after, opened_after) = moment();
    making.await?;
    let (seconds, opened) = ((ended - began).as_secs_f64(), opened_after - opened_before);
    let servers = usage_after.since(&usage_before, seconds);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Run {
        rate: (rate > 0).then_some(rate),
        at_once: (rate == 0).then_some(at_once),
        seconds,
        opened_per_second: opened as f64 / seconds,
        opened: shared.opened.load(Ordering::Relaxed),
        failed: shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        opening: shared.opening.percentiles(),
        cpu_micros_per_session: servers.micros_each(opened),
        servers,
        generator_cpu_seconds: own_after.saturating_sub(own_before).as_secs_f64(),
    })
}

impl Handshakes {
    /// So many at once, each begun when another has ended.
    async fn as_many_as_are_taken(self: Arc<Self>, at_once: u32) {
        let mut lanes = JoinSet::new();
        for _ in 0..at_once {
            let shared = Arc::clone(&self);
            lanes.spawn(async move {
                while Instant::now() < shared.schedule.end() {
                    shared.one(Instant::now()).await;
                }
            });
        }
        lanes.join_all().await;
    }

    /// Each in its time.
    async fn paced(self: Arc<Self>) {
        let (room, handle) = (Arc::new(Semaphore::new(UNDER_WAY_MAX)), Handle::current());
        let (shared, all) = (Arc::clone(&self), Arc::clone(&room));
        let pacing = tokio::task::spawn_blocking(move || {
            shared.schedule.clone().pace(|number| {
                let (shared, room) = (Arc::clone(&shared), Arc::clone(&room));
                handle.spawn(async move {
                    let _under_way = room.acquire_owned().await;
                    shared.one(shared.schedule.at(number)).await;
                });
            })
        });
        // It breaks only where everything does.
        pacing.await.ok();
        all.acquire_many(u32::try_from(UNDER_WAY_MAX).unwrap_or(1)).await.ok();
    }

    async fn one(&self, due: Instant) {
        let user = self.next.fetch_add(1, Ordering::Relaxed);
        let token = &self.tokens[usize::try_from(user).unwrap_or(0) % self.tokens.len()];
        match Client::connect(self.system.address, token).await {
            Ok(client) => {
                self.opened.fetch_add(1, Ordering::Relaxed);
                if due >= self.schedule.measured_from() {
                    self.opening.record(due, Instant::now());
                }
                drop(client);
            }
            Err(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed.entry(format!("{:#}", error.root_cause())).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = match (self.rate, self.at_once) {
            (Some(rate), _) => {
                format!("{} handshakes/s asked for", grouped(f64::from(u32::try_from(rate).unwrap_or(0))))
            }
            (None, at_once) => format!("as many handshakes as are taken, {} at once", at_once.unwrap_or(0)),
        };
        writeln!(f, "{asked}: {} sessions opened/s over {:.1} s", grouped(self.opened_per_second), self.seconds)?;
        let failed: u64 = self.failed.values().sum();
        writeln!(f, "{} opened in all, {failed} failed {:?}", self.opened, self.failed)?;
        writeln!(f, "{}", table(&[head(Percentiles::HEAD), self.opening.row("opening")]))?;
        let mut rows = vec![Spent::head("session")];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        rows.extend(self.servers.rows((self.opened_per_second * self.seconds).round() as u64));
        rows.push(vec!["all of them".into(), String::new(), format!("{:.2}", self.cpu_micros_per_session)]);
        let share = 100.0 * self.generator_cpu_seconds / self.seconds.max(f64::EPSILON);
        rows.push(vec!["(the generator)".into(), format!("{share:.0} %")]);
        write!(f, "{}", table(&rows))
    }
}
