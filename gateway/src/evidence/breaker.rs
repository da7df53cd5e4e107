//! A circuit breaker: what failed just now is not asked again for a while. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Open after a failure until its pause is over; the next question tries.
#[derive(Debug, Default)]
pub struct Breaker {
    open_until: Option<Instant>,
    pause: Duration,
}

impl Breaker {
    /// Whether a question may be asked now.
    pub fn lets_through(&self, now: Instant) -> bool {
        self.open_until.is_none_or(|until| now >= until)
    }

    /// An answer came.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// None came.
    pub fn failed(&mut self, now: Instant) {
        self.pause = (2 * self.pause).clamp(PAUSE_MIN, PAUSE_MAX);
        self.open_until = Some(now + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_pause_longer_and_longer() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.lets_through(start));
        breaker.failed(start);
        assert!(!breaker.lets_through(start));
        let after = start + PAUSE_MIN;
        assert!(breaker.lets_through(after));
        breaker.failed(after);
        assert!(!breaker.lets_through(after + PAUSE_MIN));
        assert!(breaker.lets_through(after + 2 * PAUSE_MIN));
        for _ in 0..20 {
            breaker.failed(after);
        }
        assert!(breaker.lets_through(after + PAUSE_MAX));
        breaker.succeeded();
        assert!(breaker.lets_through(after));
    }
}
