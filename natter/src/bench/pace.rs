//! When each message is to be sent, whatever became of those before it.

use std::time::Duration;

use tokio::time::Instant;

/// How long the pacing thread sleeps where nothing is due.
const NAP: Duration = Duration::from_micros(100);
/// A message that is sent later than this after it was due was late at the source.
const LATE: Duration = Duration::from_millis(5);

/// The times of all messages: one after another, evenly. What is due in the warm-up is not measured.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    warm_up: u64,
    total: u64,
}

impl Schedule {
    /// `rate` messages a second from `start`.
    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    pub fn new(start: Instant, rate: u64, warm_up: Duration, measured: Duration) -> Self {
        let count = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX) * rate / 1000;
        let warm_up_count = count(warm_up);
        let interval = Duration::from_secs_f64(1.0 / rate.max(1) as f64);
        Self { start, interval, warm_up: warm_up_count, total: warm_up_count + count(measured) }
    }

    /// When message `number` is to be sent.
    #[expect(clippy::cast_precision_loss, reason = "a bench has fewer than 2^52 messages")]
    pub fn at(&self, number: u64) -> Instant {
        self.start + self.interval.mul_f64(number as f64)
    }

    /// Whether message `number` is measured.
    pub const fn is_measured(&self, number: u64) -> bool {
        number >= self.warm_up
    }

    /// When the first measured message is due.
    pub fn measured_from(&self) -> Instant {
        self.at(self.warm_up)
    }

    /// When the last message has been due.
    pub fn end(&self) -> Instant {
        self.at(self.total)
    }

    /// How many messages there are, those of the warm-up included.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Calls `send` for each message in its time, on this thread, and says how many were late. They are measured from when
    /// they were due like all others.
    pub fn pace(&self, mut send: impl FnMut(u64)) -> u64 {
        let mut late = 0;
        for number in 0..self.total {
            let due = self.at(number);
            while Instant::now() < due {
                std::thread::sleep(NAP);
            }
            late += u64::from(self.is_measured(number) && due.elapsed() > LATE);
            send(number);
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_and_the_first_are_not_measured() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1000, Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(schedule.total(), 3000);
        assert_eq!(schedule.at(500), start + Duration::from_millis(500));
        assert!(!schedule.is_measured(999) && schedule.is_measured(1000));
        assert_eq!(schedule.measured_from(), start + Duration::from_secs(1));
        assert_eq!(schedule.end(), start + Duration::from_secs(3));
    }

    #[test]
    fn every_message_is_sent_once_in_order_and_not_early() {
        let schedule = Schedule::new(Instant::now(), 10_000, Duration::ZERO, Duration::from_millis(20));
        let mut sent = Vec::new();
        schedule.pace(|number| {
            assert!(Instant::now() >= schedule.at(number));
            sent.push(number);
        });
        assert_eq!(sent, (0..200).collect::<Vec<_>>());
    }
}
