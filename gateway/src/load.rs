//! Commands on their way, per tenant: one tenant's flood must not fill the queues that all share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use natter_schemas::limits::{PUBLISHER_QUEUE_MAX, SERVICE_UNANSWERED_MAX};
use natter_schemas::names::Tenant;

/// Unanswered commands of one tenant at this gateway: what three imports may have, and less than one partition takes.
pub const TENANT_UNANSWERED_MAX: usize = 3 * SERVICE_UNANSWERED_MAX;
const _: () = assert!(TENANT_UNANSWERED_MAX < PUBLISHER_QUEUE_MAX);

/// Tenants that are looked through for those without sessions, when one more comes.
const TENANTS_KEPT: usize = 1024;

/// The load of every tenant that is here.
#[derive(Debug, Default)]
pub struct Loads(Mutex<HashMap<Tenant, Arc<AtomicUsize>>>);

/// One tenant's load.
#[derive(Debug, Clone)]
pub struct Load(Arc<AtomicUsize>);

/// A command on its way; until it is dropped.
#[derive(Debug)]
pub struct OnItsWay(Arc<AtomicUsize>);

impl Loads {
    /// The load of `tenant`, to be kept while anybody of it is here.
    pub fn of(&self, tenant: &Tenant) -> Load {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(load) = loads.get(tenant) {
            return Load(Arc::clone(load));
        }
        if loads.len() >= TENANTS_KEPT {
            loads.retain(|_, load| Arc::strong_count(load) > 1);
        }
        Load(Arc::clone(loads.entry(tenant.clone()).or_default()))
    }
}

impl Load {
    /// Counts a command; `None`: there are too many.
    pub fn add(&self) -> Option<OnItsWay> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= TENANT_UNANSWERED_MAX {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(OnItsWay(Arc::clone(&self.0)))
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_bounded_and_others_are_not_hurt() {
        let loads = Loads::default();
        let (acme, demo) = (Tenant::trusted("acme"), Tenant::trusted("demo"));
        let load = loads.of(&acme);
        let mut going: Vec<_> = (0..TENANT_UNANSWERED_MAX).map(|_| load.add().unwrap()).collect();
        assert!(loads.of(&acme).add().is_none());
        assert!(loads.of(&demo).add().is_some());
        going.pop();
        assert!(load.add().is_some());
    }

    #[test]
    fn tenants_that_have_gone_are_forgotten_and_those_here_are_not() {
        let loads = Loads::default();
        let here = loads.of(&Tenant::trusted("here"));
        let _going = here.add().unwrap();
        for count in 0..3 * TENANTS_KEPT {
            loads.of(&Tenant::trusted(&count.to_string()));
        }
        assert!(loads.0.lock().unwrap().len() <= TENANTS_KEPT);
        assert_eq!(loads.of(&Tenant::trusted("here")).0.load(Ordering::Relaxed), 1);
    }
}
