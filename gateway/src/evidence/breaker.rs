//! A circuit breaker: what failed just now is not asked again for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Open after a failure, until its pause is over; then one question tries.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open_until: Option<Instant>,
    pause: Duration,
}

impl Breaker {
    /// Whether a question may be asked now. The one that tries after a pause is let through alone.
    pub fn lets_through(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // Until its answer is there.
                state.open_until = Some(now + state.pause);
                true
            }
        }
    }

    /// An answer came.
    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// None came.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.pause = (2 * state.pause).clamp(PAUSE_MIN, PAUSE_MAX);
        state.open_until = Some(now + state.pause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_pause_and_one_question_tries() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.lets_through(start));
        breaker.failed(start);
        assert!(!breaker.lets_through(start));
        let after = start + PAUSE_MIN;
        assert!(breaker.lets_through(after));
        assert!(!breaker.lets_through(after), "only one tries");
        breaker.failed(after);
        assert!(!breaker.lets_through(after + PAUSE_MIN), "the pause is longer");
        assert!(breaker.lets_through(after + 2 * PAUSE_MIN));
        breaker.succeeded();
        assert!(breaker.lets_through(after));
    }
}
