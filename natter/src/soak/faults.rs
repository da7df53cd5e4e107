//! Carries a schedule out on a running system, and heals it in the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natter_schemas::random::Random;
use rustix::process::Signal;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::device::Harm;
use super::parts::Part;
use super::process::signal;
use super::proxy::Link;
use super::room::Cramped;
use super::schedule::{Fault, Step};
use super::system::System;
use crate::backends::Backend;
use crate::connect;

/// Whether a process that was asked to end has.
const LOOK: Duration = Duration::from_millis(100);
/// A file that fills the disk of NATS.
const BALLAST: &str = "ballast";
/// Written at once.
const PIECE_BYTES: usize = 1 << 20;

/// A fault that was carried out.
#[derive(Debug, Clone)]
pub struct Done {
    /// When, from the start of the load, in milliseconds.
    pub at_ms: u32,
    /// How it is counted.
    pub label: String,
}

/// What a schedule came to.
#[derive(Debug, Clone, Default)]
pub struct Played {
    /// Every fault that was carried out.
    pub done: Vec<Done>,
    /// Those that found nobody: the part was not running just then.
    pub missed: u64,
}

/// Breaks a system by a schedule.
pub struct Player {
    system: Arc<System>,
    harms: Vec<watch::Sender<Harm>>,
    random: Random,
    /// Frozen processes, so that none stays so.
    frozen: Arc<Mutex<Vec<u32>>>,
    /// Held while a partition's streams have another size than they should.
    resizing: Arc<Mutex<()>>,
    data: PathBuf,
    started: Instant,
}

impl Player {
    /// Of this system and these clients; chance says which clients.
    pub fn new(
        system: Arc<System>,
        harms: Vec<watch::Sender<Harm>>,
        random: Random,
        data: &Path,
        started: Instant,
    ) -> Self {
        Self { system, harms, random, frozen: Arc::default(), resizing: Arc::default(), data: data.to_owned(), started }
    }

    /// Plays it to its end, then heals everything.
    pub async fn play(mut self, schedule: &[Step]) -> Played {
        let mut played = Played::default();
        let mut lasting = JoinSet::new();
        for (number, step) in (1..).zip(schedule) {
            sleep_until(self.started + step.at).await;
            if self.begin(number, step.fault, &mut lasting) {
                let at_ms = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
                played.done.push(Done { at_ms, label: step.fault.label() });
            } else {
                played.missed += 1;
            }
        }
        while let Some(ended) = lasting.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a fault broke");
            }
        }
        self.system.mend();
        for pid in self.frozen.lock().await.drain(..) {
            signal(pid, Signal::CONT);
        }
        played
    }

    /// Starts a fault; what lasts ends by itself. `false`: there was nobody to hit.
    fn begin(&mut self, number: u64, fault: Fault, lasting: &mut JoinSet<()>) -> bool {
        match fault {
            Fault::Kill(part) => self.system.signal(part, Signal::KILL),
            Fault::Term(part) => self.end(part, lasting),
            Fault::Freeze(part, time) => self.freeze(part, time, lasting),
            Fault::Link(wire, link, time) => {
                self.system.link(wire, link);
                let system = Arc::clone(&self.system);
                lasting.spawn(async move {
                    sleep(time).await;
                    system.link(wire, Link::Whole);
                });
                true
            }
            Fault::Flush => {
                let system = Arc::clone(&self.system);
                lasting.spawn(async move {
                    if let Err(error) = connect::flush_redis(system.config()).await {
                        tracing::warn!(error = format!("{error:#}"), "redis was not flushed");
                    }
                });
                true
            }
            Fault::Sockets(percent) => self.harm(percent, Harm::Cut(number)),
            Fault::Slow(percent, time) => self.harm(percent, Harm::Slow(Instant::now() + time)),
            Fault::Disk(time) => self.fill(time, lasting),
            Fault::Reserve(partition, time) => self.cramp(partition, time, lasting),
        }
    }

    /// Asks a process to end; one that does not is killed, as an init system would.
    fn end(&self, part: Part, lasting: &mut JoinSet<()>) -> bool {
        let Some(pid) = self.system.pid(part).filter(|_| self.system.signal(part, Signal::TERM)) else { return false };
        let (system, grace) = (Arc::clone(&self.system), grace(part));
        lasting.spawn(async move {
            let ended = async {
                while system.pid(part) == Some(pid) {
                    sleep(LOOK).await;
                }
            };
            if timeout(grace, ended).await.is_err() {
                system.did_not_end(part, grace);
                system.signal(part, Signal::KILL);
            }
        });
        true
    }

    fn freeze(&self, part: Part, time: Duration, lasting: &mut JoinSet<()>) -> bool {
        let Some(pid) = self.system.pid(part).filter(|pid| signal(*pid, Signal::STOP)) else { return false };
        let frozen = Arc::clone(&self.frozen);
        lasting.spawn(async move {
            frozen.lock().await.push(pid);
            sleep(time).await;
            signal(pid, Signal::CONT);
        });
        true
    }

    fn harm(&mut self, percent: u64, harm: Harm) -> bool {
        for device in &self.harms {
            if self.random.below(100) < percent {
                device.send_replace(harm);
            }
        }
        true
    }

    /// Fills the disk of NATS; after the space is made again NATS is restarted, as its operator would.
    fn fill(&self, time: Duration, lasting: &mut JoinSet<()>) -> bool {
        let (system, path) = (Arc::clone(&self.system), self.data.join(Backend::Nats.name()).join(BALLAST));
        lasting.spawn(async move {
            let filled = path.clone();
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || write_until_full(&filled)).await {
                tracing::warn!(%error, "the disk was not filled");
            }
            sleep(time).await;
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, "the ballast stays");
            }
            system.signal(Part::Backend(Backend::Nats), Signal::TERM);
        });
        true
    }

    /// Takes a partition's streams their room, and makes them as large as they were.
    fn cramp(&self, partition: u16, time: Duration, lasting: &mut JoinSet<()>) -> bool {
        let (system, resizing) = (Arc::clone(&self.system), Arc::clone(&self.resizing));
        lasting.spawn(async move {
            let full = async {
                let _one_at_a_time = resizing.lock().await;
                let cramped = Cramped::take(system.config(), partition).await?;
                sleep(time).await;
                cramped.give_back().await
            };
            if let Err(error) = full.await {
                tracing::warn!(partition, error = format!("{error:#}"), "a full log did not come about");
            }
        });
        true
    }
}

/// How long a process may take to end that is asked to.
fn grace(part: Part) -> Duration {
    match part {
        Part::Natter(..) => Duration::from_secs(15),
        // It does not end by itself while streams of its own are open: whoever supervises it has to notice.
        Part::Backend(Backend::S3) => Duration::from_mins(1),
        Part::Backend(_) => Duration::from_secs(10),
    }
}

fn write_until_full(path: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    let piece = vec![0; PIECE_BYTES];
    loop {
        match file.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// What each kind of fault cost: how many there were, and how long the messages that were wished right then waited.
pub fn costs(done: &[Done], waits: &mut [(u32, u32)]) -> BTreeMap<String, Cost> {
    waits.sort_unstable();
    let mut costs: BTreeMap<String, (u64, Vec<u32>)> = BTreeMap::new();
    for fault in done {
        let (from, to) = (fault.at_ms.saturating_sub(BEFORE_MS), fault.at_ms + AFTER_MS);
        let first = waits.partition_point(|(since, _)| *since < from);
        let worst = waits[first..].iter().take_while(|(since, _)| *since < to).map(|(_, after)| *after).max();
        let (count, worsts) = costs.entry(fault.label.clone()).or_default();
        *count += 1;
        worsts.extend(worst);
    }
    costs.into_iter().map(|(label, (count, worsts))| (label, Cost::of(count, worsts))).collect()
}

/// What was under way when the fault came counts too.
const BEFORE_MS: u32 = 50;
const AFTER_MS: u32 = 1000;

/// What one kind of fault cost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// How many there were.
    pub count: u64,
    /// The longest wait of a message that was wished from just before the fault to a second after it; of all such
    /// faults the median.
    pub worst_wait_ms_p50: u32,
    /// And the greatest.
    pub worst_wait_ms_max: u32,
}

impl Cost {
    fn of(count: u64, mut worsts: Vec<u32>) -> Self {
        worsts.sort_unstable();
        let p50 = worsts.get(worsts.len() / 2).copied().unwrap_or(0);
        Self { count, worst_wait_ms_p50: p50, worst_wait_ms_max: worsts.last().copied().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_costs_the_longest_wait_around_it() {
        let done = |at_ms, label: &str| Done { at_ms, label: label.to_owned() };
        let mut waits = [(990, 40), (1500, 700), (2500, 9), (5000, 3), (8000, 30)];
        let costs = costs(&[done(1000, "kill"), done(5000, "kill"), done(20_000, "flush")], &mut waits);
        assert_eq!(costs["kill"], Cost { count: 2, worst_wait_ms_p50: 700, worst_wait_ms_max: 700 });
        assert_eq!(costs["flush"], Cost { count: 1, worst_wait_ms_p50: 0, worst_wait_ms_max: 0 });
    }
}
