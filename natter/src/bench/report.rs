//! What came of a load.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use super::Options;
use super::pace::Schedule;

/// Latencies up to a minute, three digits.
const MICROSECONDS_MAX: u64 = 60_000_000;

/// Latencies as they come in, from when each message was due.
pub struct Latencies {
    answered: Mutex<Histogram<u64>>,
    delivered: Mutex<Histogram<u64>>,
    refused: AtomicU64,
    last: Mutex<Option<Instant>>,
    first: Mutex<Option<Instant>>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = || Mutex::new(Histogram::new_with_max(MICROSECONDS_MAX, 3).expect("valid bounds"));
        Self {
            answered: histogram(),
            delivered: histogram(),
            refused: AtomicU64::new(0),
            last: Mutex::new(None),
            first: Mutex::new(None),
        }
    }
}

/// Percentiles of a latency, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// 999 of 1,000 are below.
    pub p999_ms: f64,
    /// The greatest.
    pub max_ms: f64,
}

/// The result of a bench.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Sessions.
    pub sessions: usize,
    /// Messages a second that were asked for.
    pub rate: u64,
    /// Messages a second that were answered while measured.
    pub answered_per_second: f64,
    /// From due to the answer.
    pub answered: Percentiles,
    /// From due to the peer.
    pub delivered: Percentiles,
    /// Refused ones.
    pub refused: u64,
    /// Messages that the generator could not hand out in time.
    pub overrun: u64,
    /// Characters of a message.
    pub text_bytes: usize,
    /// Cores of this machine.
    pub cores: usize,
}

impl Latencies {
    /// A reply to message `number`.
    pub fn answered(&self, schedule: &Schedule, number: u64, accepted: bool) {
        if !schedule.is_measured(number) {
            return;
        }
        if !accepted {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        record(&self.answered, now, schedule.at(number));
        locked(&self.first).get_or_insert(now);
        *locked(&self.last) = Some(now);
    }

    /// The peer has message `number`.
    pub fn delivered(&self, schedule: &Schedule, number: u64) {
        if schedule.is_measured(number) {
            record(&self.delivered, Instant::now(), schedule.at(number));
        }
    }

    /// The figures.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn report(&self, options: &Options, sessions: usize, overrun: u64) -> Report {
        let answered = percentiles(&locked(&self.answered));
        let span =
            locked(&self.first).zip(*locked(&self.last)).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        Report {
            sessions,
            rate: options.rate,
            answered_per_second: if span > 0.0 { answered.count as f64 / span } else { 0.0 },
            answered,
            delivered: percentiles(&locked(&self.delivered)),
            refused: self.refused.load(Ordering::Relaxed),
            overrun,
            text_bytes: options.text_bytes,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

fn record(histogram: &Mutex<Histogram<u64>>, now: Instant, due: Instant) {
    let micros = u64::try_from(now.saturating_duration_since(due).as_micros()).unwrap_or(MICROSECONDS_MAX);
    locked(histogram).saturating_record(micros);
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let ms = |micros: u64| micros as f64 / 1000.0;
    Percentiles {
        count: histogram.len(),
        p50_ms: ms(histogram.value_at_quantile(0.5)),
        p99_ms: ms(histogram.value_at_quantile(0.99)),
        p999_ms: ms(histogram.value_at_quantile(0.999)),
        max_ms: ms(histogram.max()),
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |p: &Percentiles| {
            format!("{:>9} {:>8.2} {:>8.2} {:>8.2} {:>8.2}", p.count, p.p50_ms, p.p99_ms, p.p999_ms, p.max_ms)
        };
        writeln!(f, "{} sessions, {} cores, {} messages/s asked for", self.sessions, self.cores, self.rate)?;
        writeln!(
            f,
            "{:.0} messages/s answered, {} refused, {} late at the source",
            self.answered_per_second, self.refused, self.overrun
        )?;
        writeln!(f, "                count   p50 ms   p99 ms p99.9 ms   max ms")?;
        writeln!(f, "  answered  {}", row(&self.answered))?;
        write!(f, "  delivered {}", row(&self.delivered))
    }
}
