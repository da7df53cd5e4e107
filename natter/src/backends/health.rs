//! Whether a server that was ready still is. One that hangs, or that ends without ending, is alive for the kernel only:
//! it is killed and started again. Pure; the supervisor asks.

use std::time::Duration;

use tokio::time::Instant;

/// Between two questions.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);
/// A server that is unwell for so long is lost. One that is busy, or frozen for a moment, is not unwell for so long.
const UNWELL_MAX: Duration = Duration::from_secs(20);

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is to be done.
    Goes,
    /// It is unwell since now; the operator should hear it.
    Unwell(String),
    /// It will not get well by itself.
    Lost(String),
}

/// What is known of a server that was ready.
#[derive(Debug, Default)]
pub struct Health {
    unwell_since: Option<Instant>,
}

impl Health {
    /// What to do after this answer, or after this error in its place.
    pub fn after(&mut self, answer: Result<(), String>, now: Instant) -> Verdict {
        let Err(error) = answer else {
            self.unwell_since = None;
            return Verdict::Goes;
        };
        let Some(since) = self.unwell_since else {
            self.unwell_since = Some(now);
            return Verdict::Unwell(error);
        };
        let unwell = now - since;
        if unwell < UNWELL_MAX {
            return Verdict::Goes;
        }
        Verdict::Lost(format!("it ran, but was unwell for {} s: {error}", unwell.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_unwell_long_enough_is_lost_and_who_gets_well_is_not() {
        let (mut health, start) = (Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let failed = || Err("no".to_owned());
        assert_eq!(health.after(Ok(()), at(0)), Verdict::Goes);
        assert_eq!(health.after(failed(), at(5)), Verdict::Unwell("no".to_owned()));
        assert_eq!(health.after(failed(), at(20)), Verdict::Goes);
        assert_eq!(health.after(Ok(()), at(24)), Verdict::Goes);
        assert_eq!(health.after(failed(), at(30)), Verdict::Unwell("no".to_owned()));
        assert_eq!(health.after(failed(), at(49)), Verdict::Goes);
        assert_eq!(health.after(failed(), at(50)), Verdict::Lost("it ran, but was unwell for 20 s: no".to_owned()));
    }
}
