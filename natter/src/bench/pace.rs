//! When each message is to be sent.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// How long the pacing thread sleeps where nothing is due.
const NAP: Duration = Duration::from_micros(200);

/// The times of all messages: one after another over all sessions, evenly.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    sessions: u64,
    warm_up: u64,
    total: u64,
}

impl Schedule {
    /// `rate` messages a second from `start`.
    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    pub fn new(start: Instant, rate: u64, sessions: u64, warm_up: Duration, measured: Duration) -> Self {
        let count = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX) * rate / 1000;
        let warm_up_count = count(warm_up);
        let interval = Duration::from_secs_f64(1.0 / rate.max(1) as f64);
        Self { start, interval, sessions, warm_up: warm_up_count, total: warm_up_count + count(measured) }
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

    /// When the last message is sent.
    pub fn end(&self) -> Instant {
        self.at(self.total)
    }

    /// How many messages session `index` sends.
    pub const fn of_session(&self, index: u64) -> u64 {
        self.total / self.sessions + (index < self.total % self.sessions) as u64
    }

    /// Tells each session in time. A session that cannot even take its work counts as overrun; its messages are sent
    /// late, and measured from when they were due.
    pub fn pace(&self, senders: &[Sender<u64>]) -> u64 {
        let mut overrun = 0;
        for number in 0..self.total {
            while Instant::now() < self.at(number) {
                std::thread::sleep(NAP);
            }
            let sender = &senders[usize::try_from(number % self.sessions).unwrap_or(0)];
            if let Err(tokio::sync::mpsc::error::TrySendError::Full(number)) = sender.try_send(number) {
                overrun += 1;
                if sender.blocking_send(number).is_err() {
                    return overrun;
                }
            }
        }
        overrun
    }
}
