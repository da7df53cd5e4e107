//! A load on one cell, and its figures.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use natter_nats::Publisher;
use natter_nats::telemetry::PUBLISHER_BATCH;
use natter_processors::telemetry::{BATCH, COMMANDS};
use natter_schemas::names::MessageText;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::chats::Chats;
use super::gateways::{Answers, Gateways, Sent};
use crate::bench::args::{Pipeline, Span};
use crate::bench::latency::Percentiles;
use crate::bench::pace::Schedule;
use crate::bench::processes::{Processes, Spent, Usage, thread_cpu};
use crate::bench::scrape::{Scrape, Source};
use crate::bench::traffic::{View, Watch};

/// The thread that makes the records: its CPU is not the servers'.
const THREAD: &str = "load";
/// This process, without that thread.
const OWN: &str = "natter";
const LEAD: Duration = Duration::from_millis(200);
const NAP: Duration = Duration::from_micros(50);
/// Answers may come this long after the last record.
const SETTLE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// How records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many a second, at fixed times.
    Rate(u64),
    /// As many as are answered, with so many on their way.
    AsTaken {
        /// Unanswered records at once, over all partitions.
        window: u64,
    },
}

/// One load's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    /// Records a second that were asked for; `None`: as many as were answered.
    pub rate: Option<u64>,
    /// Records answered a second, while measured.
    pub records_per_second: f64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Records that were sent, those of the warm-up included.
    pub sent: u64,
    /// Of these, not answered.
    pub unanswered: u64,
    /// Records that the processor rejected.
    pub rejected: u64,
    /// Records that were sent late: the generator's fault, or a full queue's; measured from when they were due.
    pub late_at_source: u64,
    /// From due (or, without a rate, from when it was sent) to the outcome at its gateway.
    pub answered: Percentiles,
    /// Records of a command batch, on average.
    pub records_per_command_batch: f64,
    /// Records of an outcome batch, on average; 0: nothing was decided.
    pub records_per_outcome_batch: f64,
    /// What the servers spent while measured; `natter` is this process without the thread that makes the records.
    pub servers: Spent,
    /// CPU of all of them for each record, in microseconds.
    pub cpu_micros_per_record: f64,
    /// CPU of the thread that makes the records, in seconds.
    pub generator_cpu_seconds: f64,
    /// How far the views were behind.
    pub views: Vec<View>,
}

/// The loads of one cell.
pub struct Bench {
    gateways: Gateways,
    chats: Chats,
    text: MessageText,
    span: Span,
    source: Source,
    projections: bool,
    processes: Processes,
    /// The next record's number; each has its own in this log.
    next: u64,
}

struct Moment {
    at: Instant,
    answered: u64,
    usage: Usage,
    scrape: Scrape,
}

impl Bench {
    /// Nothing has been sent.
    ///
    /// # Errors
    /// The text is none.
    pub fn new(
        gateways: Gateways,
        chats: Chats,
        args: &Pipeline,
        source: Source,
        projections: bool,
    ) -> anyhow::Result<Self> {
        let text = MessageText::try_from("x".repeat(args.text_bytes).as_str()).context("--text-bytes")?;
        let processes = Processes::with_children(OWN, std::process::id());
        Ok(Self { gateways, chats, text, span: args.span, source, projections, processes, next: 0 })
    }

    /// Puts a load on.
    ///
    /// # Errors
    /// The views' lag cannot be read.
    pub async fn run(&mut self, pace: Pace) -> anyhow::Result<Load> {
        let rate = match pace {
            Pace::Rate(rate) => rate,
            // Its times are not kept; they say when the load ends.
            Pace::AsTaken { .. } => 1000,
        };
        let schedule = Schedule::new(Instant::now() + LEAD, rate, self.span.before(), self.span.measured());
        let answers = Arc::clone(self.gateways.answers());
        answers.begin();
        let (answered_before, all_before) = (answers.count(), self.source.now().await?);
        let watch = if self.projections { Some(Watch::start(self.source.clone()).await?) } else { None };
        let sending = self.start_sending(pace, schedule.clone())?;
        sleep_until(schedule.measured_from()).await;
        let before = self.moment().await?;
        sleep_until(schedule.end()).await;
        let after = self.moment().await?;
        let sent = tokio::task::spawn_blocking(move || sending.join()).await?;
        let Done { sent, late, cpu } = sent.map_err(|_| anyhow::anyhow!("the load broke"))?;
        self.next += sent;
        let deadline = Instant::now() + SETTLE;
        while answers.count() < answered_before + sent && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let views = match watch {
            Some(watch) => watch.end().await?,
            None => Vec::new(),
        };
        let all = self.source.now().await?;
        Ok(Load {
            rate: matches!(pace, Pace::Rate(_)).then_some(rate),
            sent,
            unanswered: (answered_before + sent).saturating_sub(answers.count()),
            rejected: rejected(&all_before, &all),
            late_at_source: late,
            views,
            ..figures(&before, &after, cpu, answers.percentiles())
        })
    }

    async fn moment(&self) -> anyhow::Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            answered: self.gateways.answers().count(),
            usage: self.processes.usage(),
            scrape: self.source.now().await?,
        })
    }

    /// On a thread of its own, whose CPU can be told from the servers'.
    fn start_sending(&self, pace: Pace, schedule: Schedule) -> anyhow::Result<thread::JoinHandle<Done>> {
        let mut sender = Sender {
            publishers: self.gateways.publishers(),
            answers: Arc::clone(self.gateways.answers()),
            partitions: self.gateways.partitions(),
            chats: self.chats.clone(),
            text: self.text.clone(),
            first: self.next,
            cpu_before: None,
        };
        let send_all = move || {
            let (sent, late) = match pace {
                Pace::Rate(_) => {
                    let late = schedule.pace(|number| {
                        sender.send(number, Sent::new(schedule.at(number), schedule.is_measured(number)));
                    });
                    (schedule.total(), late)
                }
                Pace::AsTaken { window } => (sender.send_as_taken(window, &schedule), 0),
            };
            let cpu = thread_cpu().saturating_sub(sender.cpu_before.unwrap_or_default());
            Done { sent, late, cpu }
        };
        thread::Builder::new().name(THREAD.to_owned()).spawn(send_all).context("cannot start the load's thread")
    }
}

/// What the sending thread did.
struct Done {
    sent: u64,
    late: u64,
    /// While measured.
    cpu: Duration,
}

struct Sender {
    publishers: Vec<Publisher<Sent>>,
    answers: Arc<Answers>,
    partitions: u16,
    chats: Chats,
    text: MessageText,
    first: u64,
    /// CPU of this thread as the first measured record was due.
    cpu_before: Option<Duration>,
}

impl Sender {
    /// Gateways take turns. A queue that is full is waited for.
    fn send(&mut self, number: u64, sent: Sent) {
        if sent.is_measured() {
            self.cpu_before.get_or_insert_with(thread_cpu);
        }
        let (partition, record) = self.chats.record(self.first + number, &self.text, self.partitions);
        let publisher = &self.publishers[usize::try_from(number).unwrap_or(0) % self.publishers.len()];
        while publisher.send(partition, &record, sent).is_err() {
            thread::sleep(NAP);
        }
    }

    fn send_as_taken(&mut self, window: u64, schedule: &Schedule) -> u64 {
        let (answered_before, mut sent) = (self.answers.count(), 0);
        loop {
            let now = Instant::now();
            if now >= schedule.end() {
                return sent;
            }
            if sent - (self.answers.count() - answered_before).min(sent) >= window {
                thread::sleep(NAP);
                continue;
            }
            self.send(sent, Sent::new(now, now >= schedule.measured_from()));
            sent += 1;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(before: &Moment, after: &Moment, generator: Duration, answered: Percentiles) -> Load {
    let seconds = (after.at - before.at).as_secs_f64();
    let records = after.answered - before.answered;
    let servers = after.usage.since(&before.usage, seconds).less(OWN, generator);
    let mean = |metric: &str| {
        let grown = |part| after.scrape.grown(&before.scrape, &format!("{metric}_{part}"), &[]);
        if grown("count") > 0.0 { grown("sum") / grown("count") } else { 0.0 }
    };
    Load {
        rate: None,
        records_per_second: records as f64 / seconds,
        seconds,
        sent: 0,
        unanswered: 0,
        rejected: 0,
        late_at_source: 0,
        answered,
        records_per_command_batch: mean(PUBLISHER_BATCH),
        records_per_outcome_batch: mean(BATCH),
        cpu_micros_per_record: servers.micros_each(records),
        servers,
        generator_cpu_seconds: generator.as_secs_f64(),
        views: Vec::new(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn rejected(before: &Scrape, after: &Scrape) -> u64 {
    let grown = |labels: &[&str]| after.grown(before, COMMANDS, labels);
    (grown(&[]) - grown(&["outcome=\"accepted\""])).max(0.0).round() as u64
}
