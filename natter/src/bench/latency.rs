//! Latencies, from when something was due to when it was there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

/// Up to a minute, three digits.
const MICROSECONDS_MAX: u64 = 60_000_000;

/// Latencies as they come in, from any thread.
#[derive(Debug)]
pub struct Latencies(Mutex<Histogram<u64>>);

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// 9 of 10 are below.
    pub p90_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// 999 of 1,000 are below.
    pub p999_ms: f64,
    /// The greatest.
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_max(MICROSECONDS_MAX, 3).expect("valid bounds")))
    }
}

impl Latencies {
    /// Something that was due at `due` is here at `now`.
    pub fn record(&self, due: Instant, now: Instant) {
        self.record_all(std::iter::once(due), now);
    }

    /// The same for many that come at once.
    pub fn record_all(&self, due: impl Iterator<Item = Instant>, now: Instant) {
        let mut histogram = self.lock();
        for due in due {
            let micros = u64::try_from(now.saturating_duration_since(due).as_micros()).unwrap_or(MICROSECONDS_MAX);
            histogram.saturating_record(micros);
        }
    }

    /// The figures so far.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn percentiles(&self) -> Percentiles {
        let histogram = self.lock();
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Percentiles {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(histogram.max()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Percentiles {
    /// The head of a table of latencies.
    pub const HEAD: [&str; 7] = ["", "count", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];

    /// A row of such a table.
    pub fn row(&self, name: &str) -> Vec<String> {
        let ms = |value: f64| format!("{value:.2}");
        let figures = [self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms].map(ms);
        [name.to_owned(), self.count.to_string()].into_iter().chain(figures).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn latency_counts_from_when_it_was_due() {
        let (latencies, due) = (Latencies::default(), Instant::now());
        for ms in 1..=100 {
            latencies.record(due, due + Duration::from_millis(ms));
        }
        latencies.record(due + Duration::from_secs(1), due);
        let found = latencies.percentiles();
        assert_eq!((found.count, found.p50_ms.round(), found.max_ms.round()), (101, 50.0, 100.0));
    }
}
