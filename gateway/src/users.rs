//! How many sessions each user has at this gateway: one token must not take the places of everybody else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use natter_schemas::names::Tenant;
use natter_schemas::slot::user_hash;

use crate::auth::Identity;

/// By tenant and the user's hash. Users whose hashes are alike share a limit: no harm.
type Key = (Tenant, u64);

/// The sessions of all users, by number.
#[derive(Debug)]
pub struct UserSessions {
    most: usize,
    open: Mutex<HashMap<Key, usize>>,
}

/// One session's place among its user's; given back when it is dropped.
#[derive(Debug)]
pub struct UserPlace {
    sessions: Arc<UserSessions>,
    /// A service has as many sessions as it likes.
    key: Option<Key>,
}

impl UserSessions {
    /// At most `most` sessions of each user; services are not counted.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more session; `None`: the user has as many as there may be.
    pub fn take(self: &Arc<Self>, identity: &Identity) -> Option<UserPlace> {
        let sessions = Arc::clone(self);
        if identity.service {
            return Some(UserPlace { sessions, key: None });
        }
        let key = (identity.tenant.clone(), user_hash(&identity.tenant, &identity.user));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(UserPlace { sessions, key: Some(key) })
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut open = self.sessions.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::names::UserId;

    use super::*;

    fn identity(tenant: &str, user: &str, service: bool) -> Identity {
        let (tenant, user) = (Tenant::trusted(tenant), UserId::trusted(user));
        Identity { tenant, user, name: None, expires_ms: u64::MAX, service }
    }

    #[test]
    fn each_user_has_so_many_places_and_gets_them_back() {
        let sessions = UserSessions::new(2);
        let ada = identity("demo", "ada", false);
        let (first, _second) = (sessions.take(&ada).unwrap(), sessions.take(&ada).unwrap());
        assert!(sessions.take(&ada).is_none());
        let others = [identity("demo", "bob", false), identity("other", "ada", false)];
        let _others = others.map(|other| sessions.take(&other).unwrap());
        drop(first);
        let _third = sessions.take(&ada).unwrap();
        assert!(sessions.take(&ada).is_none());
    }

    #[test]
    fn who_has_left_is_forgotten_and_services_are_not_counted() {
        let sessions = UserSessions::new(1);
        drop(sessions.take(&identity("demo", "ada", false)));
        let import = identity("demo", "import", true);
        let _many = [sessions.take(&import).unwrap(), sessions.take(&import).unwrap()];
        assert!(sessions.open.lock().unwrap().is_empty());
    }
}
