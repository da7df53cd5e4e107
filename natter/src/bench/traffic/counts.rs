//! What is counted while a load runs, and the figures that come of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use natter_gateway::telemetry::{DELIVERIES, WRITES};
use serde::Serialize;
use tokio::time::Instant;

use super::ear::Heard;
use super::views::View;
use super::{Plan, Sent};
use crate::bench::latency::{Latencies, Percentiles};
use crate::bench::pace::Schedule;
use crate::bench::processes::{Spent, Usage, own_cpu};
use crate::bench::report::{grouped, head, table};
use crate::bench::scrape::Scrape;
use crate::bench::system::System;

/// The share of what was asked for that must have come while measured: the rest was on its way at the end.
const IN_TIME: f64 = 0.97;

/// Counts of all sessions.
pub struct Counts {
    schedule: Schedule,
    accepted: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    delivered: AtomicU64,
    reads: AtomicU64,
    frames: AtomicU64,
    answer_latency: Latencies,
    delivery_latency: Latencies,
}

impl Counts {
    /// Nothing so far.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            accepted: AtomicU64::new(0),
            refused: Mutex::default(),
            delivered: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            answer_latency: Latencies::default(),
            delivery_latency: Latencies::default(),
        }
    }

    /// A session has read so many frames at once, with so many messages among them.
    pub fn read(&self, frames: u64, messages: u64) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Message `number` was accepted.
    pub fn accepted(&self, number: u64, now: Instant) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if self.schedule.is_measured(number) {
            self.answer_latency.record(self.schedule.at(number), now);
        }
    }

    /// A message was refused.
    pub fn refused(&self, code: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(code.to_owned()).or_default() += 1;
    }

    /// Another session has message `number`.
    pub fn delivered(&self, number: u64, now: Instant) {
        if self.schedule.is_measured(number) {
            self.delivery_latency.record(self.schedule.at(number), now);
        }
    }

    /// Latencies of deliveries and answers.
    pub fn latencies(&self) -> [Percentiles; 2] {
        [&self.delivery_latency, &self.answer_latency].map(Latencies::percentiles)
    }

    /// Refusals by code.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes whenever something came.
    pub fn progress(&self) -> (u64, u64) {
        (self.answers(), self.delivered.load(Ordering::Relaxed))
    }

    /// Whether all that was sent is answered, and all that was accepted has reached every member.
    pub fn is_complete(&self, sent: u64, members: u64) -> bool {
        self.answers() >= sent
            && self.delivered.load(Ordering::Relaxed) >= self.accepted.load(Ordering::Relaxed) * members
    }

    fn answers(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed) + self.refusals().values().sum::<u64>()
    }
}

/// Everything at one moment.
pub struct Moment {
    at: Instant,
    usage: Usage,
    own: Duration,
    scrape: Scrape,
    accepted: u64,
    delivered: u64,
    reads: u64,
    frames: u64,
}

impl Moment {
    /// This moment.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn now(system: &System, counts: &Counts) -> anyhow::Result<Self> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let now = Self {
            at: Instant::now(),
            usage: system.processes.usage(),
            own: own_cpu(),
            accepted: load(&counts.accepted),
            delivered: load(&counts.delivered),
            reads: load(&counts.reads),
            frames: load(&counts.frames),
            scrape: Scrape::default(),
        };
        Ok(Self { scrape: system.metrics.now().await?, ..now })
    }
}

/// What came of a load.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// Messages a second that were asked for.
    pub rate: u64,
    /// Sessions that each message reaches, its sender's own included.
    pub members: u64,
    /// Characters of a message.
    pub text_bytes: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages that went out, those of the warm-up included.
    pub sent: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Sent and not answered.
    pub unanswered: u64,
    /// Messages that went out more than 5 ms after they were due: the generator's fault, measured all the same.
    pub late_at_source: u64,
    /// Messages accepted a second, while measured.
    pub accepted_per_second: f64,
    /// Messages that reached a session a second, while measured.
    pub deliveries_per_second: f64,
    /// Messages that reached a session.
    pub delivered: u64,
    /// Accepted messages that did not reach a member.
    pub undelivered: u64,
    /// Sessions that looked into what they got.
    pub looked: u64,
    /// Messages whose seq was not the last + 1, at those.
    pub out_of_order: u64,
    /// Sessions that ended before the load did, by why.
    pub ended: BTreeMap<String, u64>,
    /// From due to the answer.
    pub answered: Percentiles,
    /// From due to the other sessions that looked.
    pub delivery: Percentiles,
    /// Frames that a client got by one read, while measured.
    pub frames_per_read: f64,
    /// Writes of the gateway for each delivery, by its metrics, while measured.
    pub writes_per_delivery: f64,
    /// What the servers spent while measured.
    pub servers: Spent,
    /// CPU of all servers for each accepted message, in microseconds.
    pub cpu_micros_per_message: f64,
    /// CPU of the generator while measured, in seconds.
    pub generator_cpu_seconds: f64,
    /// How far the views were behind.
    pub views: Vec<View>,
}

impl Flow {
    /// The figures.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn new(
        plan: &Plan,
        counts: &Counts,
        (before, after): (&Moment, &Moment),
        sent: Sent,
        heard: Heard,
        views: Vec<View>,
    ) -> Self {
        let seconds = (after.at - before.at).as_secs_f64();
        let ratio = |count: f64, of: f64| if of > 0.0 { count / of } else { 0.0 };
        let [delivery, answered] = counts.latencies();
        let accepted = counts.accepted.load(Ordering::Relaxed);
        let delivered = counts.delivered.load(Ordering::Relaxed);
        let servers = after.usage.since(&before.usage, seconds);
        let (deliveries, writes) =
            (after.scrape.grown(&before.scrape, DELIVERIES, &[]), after.scrape.grown(&before.scrape, WRITES, &[]));
        Self {
            rate: plan.rate,
            members: plan.members,
            text_bytes: plan.text_bytes,
            seconds,
            sent: sent.messages,
            accepted,
            unanswered: sent.messages.saturating_sub(counts.answers()),
            refused: counts.refusals(),
            late_at_source: sent.late,
            accepted_per_second: ratio((after.accepted - before.accepted) as f64, seconds),
            deliveries_per_second: ratio((after.delivered - before.delivered) as f64, seconds),
            delivered,
            undelivered: (accepted * plan.members).saturating_sub(delivered),
            looked: heard.looked,
            out_of_order: heard.out_of_order,
            ended: heard.ended,
            answered,
            delivery,
            frames_per_read: ratio((after.frames - before.frames) as f64, (after.reads - before.reads) as f64),
            writes_per_delivery: ratio(writes, deliveries),
            cpu_micros_per_message: servers.micros_each(after.accepted - before.accepted),
            servers,
            generator_cpu_seconds: (after.own.saturating_sub(before.own)).as_secs_f64(),
            views,
        }
    }

    /// Whether everything that was asked for was answered and delivered, in time.
    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    pub fn is_sustained(&self) -> bool {
        self.refused.is_empty()
            && self.unanswered == 0
            && self.undelivered == 0
            && self.ended.is_empty()
            && self.accepted_per_second >= IN_TIME * self.rate as f64
            && self.deliveries_per_second >= IN_TIME * (self.rate * self.members) as f64
            && self.views.iter().all(View::kept_up)
    }

    /// Deliveries while measured.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    pub fn measured_deliveries(&self) -> u64 {
        (self.deliveries_per_second * self.seconds).round() as u64
    }

    /// Frames of one write of the gateway, in the middle.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    pub fn frames_per_write(&self) -> u32 {
        if self.writes_per_delivery > 0.0 { (1.0 / self.writes_per_delivery).round() as u32 } else { 1 }
    }

    /// The lines above the tables.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn lines(&self) -> Vec<String> {
        let map = |map: &BTreeMap<String, u64>| match map.len() {
            0 => "none".to_owned(),
            _ => map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
        };
        vec![
            format!(
                "{} messages/s asked for over {:.1} s: {} accepted/s, {} deliveries/s",
                grouped(self.rate as f64),
                self.seconds,
                grouped(self.accepted_per_second),
                grouped(self.deliveries_per_second)
            ),
            format!(
                "of {} sent: {} accepted, refused: {}, unanswered: {}, late at the source: {}",
                self.sent,
                self.accepted,
                map(&self.refused),
                self.unanswered,
                self.late_at_source
            ),
            format!(
                "{} deliveries, missing: {}, out of order (at {} sessions): {}, sessions that ended: {}",
                self.delivered,
                self.undelivered,
                self.looked,
                self.out_of_order,
                map(&self.ended)
            ),
            format!(
                "frames per read of a client: {:.2}; writes of the gateway per delivery: {:.3}",
                self.frames_per_read, self.writes_per_delivery
            ),
        ]
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        let rows =
            [head(Percentiles::HEAD), self.answered.row("due to answered"), self.delivery.row("due to delivered")];
        writeln!(f, "{}", table(&rows))?;
        let accepted = (self.accepted_per_second * self.seconds).round();
        let mut rows = vec![Spent::head("message")];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        rows.extend(self.servers.rows(accepted as u64));
        rows.push(vec!["all of them".into(), String::new(), format!("{:.2}", self.cpu_micros_per_message)]);
        let share = 100.0 * self.generator_cpu_seconds / self.seconds.max(f64::EPSILON);
        rows.push(vec!["(the generator)".into(), format!("{share:.0} %")]);
        write!(f, "{}", table(&rows))?;
        if self.views.is_empty() {
            return Ok(());
        }
        let mut rows = vec![head(View::HEAD)];
        rows.extend(self.views.iter().map(View::row));
        write!(f, "\n{}", table(&rows))
    }
}
