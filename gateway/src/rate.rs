//! Rate limits of commands, per session and per user over all sessions of this gateway, and of reads, per user.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use natter_schemas::names::Tenant;
use natter_schemas::slot::user_hash;

use crate::auth::Identity;
use crate::config::Rate;

/// The limit of one session.
pub type SessionRate = DefaultDirectRateLimiter;

/// The limits of all users.
#[derive(Debug)]
pub struct Rates {
    session: Quota,
    /// By tenant and the user's hash. Users whose hashes are alike share a limit: no harm.
    users: DefaultKeyedRateLimiter<(Tenant, u64)>,
    readers: DefaultKeyedRateLimiter<(Tenant, u64)>,
    clock: DefaultClock,
}

impl Rates {
    /// Nothing so far.
    pub fn new(session: Rate, user: Rate, reads: Rate) -> Self {
        Self {
            session: quota(session),
            users: RateLimiter::keyed(quota(user)),
            readers: RateLimiter::keyed(quota(reads)),
            clock: DefaultClock::default(),
        }
    }

    /// The limit of a new session; a service has none.
    pub fn session(&self, identity: &Identity) -> Option<SessionRate> {
        (!identity.service).then(|| RateLimiter::direct(self.session))
    }

    /// Counts a command of this session's (or, without one, of HTTP).
    ///
    /// # Errors
    /// In how many milliseconds it may be tried again.
    pub fn admit(&self, session: Option<&SessionRate>, identity: &Identity) -> Result<(), u64> {
        if identity.service {
            return Ok(());
        }
        let now = self.clock.now();
        let user = || self.users.check_key(&key(identity)).map_err(|refused| refused.wait_time_from(now));
        let session = session.map_or(Ok(()), |limit| limit.check().map_err(|refused| refused.wait_time_from(now)));
        session.and_then(|()| user()).map_err(retry_ms)
    }

    /// Counts a read.
    ///
    /// # Errors
    /// In how many milliseconds it may be tried again.
    pub fn admit_read(&self, identity: &Identity) -> Result<(), u64> {
        if identity.service {
            return Ok(());
        }
        let now = self.clock.now();
        self.readers.check_key(&key(identity)).map_err(|refused| retry_ms(refused.wait_time_from(now)))
    }

    /// Forgets users who have been quiet: call it now and then.
    pub fn forget_quiet(&self) {
        for limits in [&self.users, &self.readers] {
            limits.retain_recent();
            limits.shrink_to_fit();
        }
    }
}

fn key(identity: &Identity) -> (Tenant, u64) {
    (identity.tenant.clone(), user_hash(&identity.tenant, &identity.user))
}

fn quota(rate: Rate) -> Quota {
    let Rate { per_second, burst } = rate;
    Quota::per_second(per_second).allow_burst(NonZeroU32::max(per_second, burst))
}

/// Rounded up: who waits that long is let through.
fn retry_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use natter_schemas::names::UserId;

    use super::*;

    fn identity(user: &str, service: bool) -> Identity {
        let (tenant, user) = (Tenant::trusted("demo"), UserId::trusted(user));
        Identity { tenant, user, name: None, expires_ms: u64::MAX, service }
    }

    #[test]
    fn reads_have_a_limit_of_their_own() {
        let rates = Rates::new(Rate::new(1, 1), Rate::new(1, 1), Rate::new(1, 2));
        let ada = identity("ada", false);
        rates.admit(None, &ada).unwrap();
        assert_eq!((rates.admit_read(&ada), rates.admit_read(&ada)), (Ok(()), Ok(())));
        assert!((1..=1001).contains(&rates.admit_read(&ada).unwrap_err()));
        let service = identity("import", true);
        assert!((0..10).all(|_| rates.admit_read(&service).is_ok()));
    }

    #[test]
    fn bursts_pass_and_then_the_session_is_told_when_to_try_again() {
        let rates = Rates::new(Rate::new(1, 5), Rate::new(1, 100), Rate::new(1, 100));
        let ada = identity("ada", false);
        let session = rates.session(&ada);
        (0..5).for_each(|_| assert_eq!(rates.admit(session.as_ref(), &ada), Ok(())));
        let retry = rates.admit(session.as_ref(), &ada).unwrap_err();
        assert!((1..=1001).contains(&retry), "{retry}");
        assert_eq!(rates.admit(None, &ada), Ok(()), "another door of the same user is open");
    }

    #[test]
    fn a_user_is_limited_over_all_sessions_and_others_are_not() {
        let rates = Rates::new(Rate::new(10, 10), Rate::new(1, 3), Rate::new(1, 3));
        let ada = identity("ada", false);
        let (one, other) = (rates.session(&ada), rates.session(&ada));
        for session in [&one, &other, &one] {
            assert_eq!(rates.admit(session.as_ref(), &ada), Ok(()));
        }
        assert!(rates.admit(other.as_ref(), &ada).is_err());
        assert_eq!(rates.admit(None, &identity("bob", false)), Ok(()));
    }

    #[test]
    fn services_are_not_limited() {
        let rates = Rates::new(Rate::new(1, 1), Rate::new(1, 1), Rate::new(1, 1));
        let import = identity("import", true);
        assert!(rates.session(&import).is_none());
        (0..1000).for_each(|_| assert_eq!(rates.admit(None, &import), Ok(())));
    }
}
