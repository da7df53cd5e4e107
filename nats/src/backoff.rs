//! Waiting between tries: longer each time, up to a limit.

use std::fmt::Display;
use std::time::Duration;

/// Doubles from `first` to `max`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, at most `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// Begins anew, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait this time.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        now
    }

    /// Waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }
}

/// Between two tries to reach what is away.
const AWAY_FIRST: Duration = Duration::from_millis(100);
const AWAY_MAX: Duration = Duration::from_secs(2);

/// What `reach` gives as soon as it does: a process may be started before what it needs. Says what it waits for.
/// Whoever may be told to stop meanwhile drops the future.
///
/// # Errors
/// One that does not pass by itself.
pub async fn until_there<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    passes: impl Fn(&E) -> bool,
    reach: impl Fn() -> F,
) -> Result<T, E> {
    let mut backoff = Backoff::new(AWAY_FIRST, AWAY_MAX);
    loop {
        match reach().await {
            // With its causes, where it is an error that says them so.
            Err(error) if passes(&error) => tracing::warn!(error = format!("{error:#}"), "waiting for {what}"),
            reached => return reached,
        }
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn doubles_to_its_limit_and_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        let steps: Vec<_> = (0..4).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(steps, [10, 20, 35, 35]);
        backoff.reset();
        assert_eq!(backoff.step().as_millis(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_out_and_what_does_not_is_not() {
        let left = Cell::new(5);
        let reach = || async {
            match left.replace(left.get() - 1) {
                0 => Ok("there"),
                _ => Err("away"),
            }
        };
        assert_eq!(until_there("it", |error| *error == "away", reach).await, Ok("there"));
        let refused = || async { Err::<(), _>("refused") };
        assert_eq!(until_there("it", |error| *error == "away", refused).await, Err("refused"));
    }
}
