//! The key that a tenant's tokens are signed with, and whom they have to be for.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use natter_schemas::names::Tenant;
use sha2::Sha256;

/// RFC 7518, 3.2: a key of HS256 has at least the length of its hash.
const KEY_BYTES_MIN: usize = 32;

/// Explicit keys, and a master secret from which the keys of all other tenants are derived.
pub struct TenantKeys {
    explicit: HashMap<Tenant, Vec<u8>>,
    master: Option<Vec<u8>>,
    audiences: HashMap<Tenant, String>,
    audience: Option<String>,
}

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of {whose} has {actual} bytes, at least {KEY_BYTES_MIN} are needed")]
pub struct KeyError {
    whose: String,
    actual: usize,
}

impl TenantKeys {
    /// The keys of some tenants, and a `master` secret for the others; without one, only the tenants named exist.
    ///
    /// # Errors
    /// A key of less than 32 bytes, naming whose it is.
    pub fn new(
        explicit: impl IntoIterator<Item = (Tenant, Vec<u8>)>,
        master: Option<Vec<u8>>,
    ) -> Result<Self, KeyError> {
        let explicit: HashMap<_, _> = explicit.into_iter().collect();
        let named = explicit.iter().map(|(tenant, key)| (format!("tenant `{tenant}`"), key));
        for (whose, key) in named.chain(master.iter().map(|key| ("the master secret".to_owned(), key))) {
            if key.len() < KEY_BYTES_MIN {
                return Err(KeyError { whose, actual: key.len() });
            }
        }
        Ok(Self { explicit, master, audiences: HashMap::new(), audience: None })
    }

    /// Tokens of these tenants have to be for these audiences, and those of all others for `audience`, if there is one.
    #[must_use]
    pub fn with_audiences(
        self,
        audiences: impl IntoIterator<Item = (Tenant, String)>,
        audience: Option<String>,
    ) -> Self {
        Self { audiences: audiences.into_iter().collect(), audience, ..self }
    }

    /// Whom the tokens of `tenant` have to be for.
    pub fn audience(&self, tenant: &Tenant) -> Option<&str> {
        self.audiences.get(tenant).or(self.audience.as_ref()).map(String::as_str)
    }

    /// The key of `tenant`: its own, else HMAC-SHA256 of `tenant:` and its name under the master secret. `None`: there
    /// is no such tenant.
    pub fn key(&self, tenant: &Tenant) -> Option<Vec<u8>> {
        if let Some(key) = self.explicit.get(tenant) {
            return Some(key.clone());
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.master.as_deref()?).ok()?;
        mac.update(b"tenant:");
        mac.update(tenant.as_str().as_bytes());
        Some(mac.finalize().into_bytes().to_vec())
    }
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants: Vec<_> = self.explicit.keys().collect();
        formatter
            .debug_struct("TenantKeys")
            .field("explicit", &tenants)
            .field("master", &self.master.as_ref().map(|_| "…"))
            .field("audiences", &self.audiences)
            .field("audience", &self.audience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::try_from(name).unwrap()
    }

    #[test]
    fn derived_keys_differ_and_stay() {
        let keys = TenantKeys::new([], Some(vec![7; 32])).unwrap();
        assert_ne!(keys.key(&tenant("demo")), keys.key(&tenant("acme")));
        assert_eq!(keys.key(&tenant("demo")), TenantKeys::new([], Some(vec![7; 32])).unwrap().key(&tenant("demo")));
    }

    #[test]
    fn an_explicit_key_counts_before_the_master() {
        let keys = TenantKeys::new([(tenant("acme"), vec![1; 32])], Some(vec![7; 32])).unwrap();
        assert_eq!(keys.key(&tenant("acme")), Some(vec![1; 32]));
        assert_eq!(keys.key(&tenant("demo")).map(|key| key.len()), Some(32));
    }

    #[test]
    fn without_a_master_only_named_tenants_exist() {
        let keys = TenantKeys::new([(tenant("acme"), vec![1; 32])], None).unwrap();
        assert_eq!(keys.key(&tenant("demo")), None);
    }

    #[test]
    fn short_keys_are_refused_and_no_key_is_printed() {
        let refused = TenantKeys::new([(tenant("acme"), b"secret".to_vec())], None).unwrap_err();
        assert_eq!(refused.to_string(), "the key of tenant `acme` has 6 bytes, at least 32 are needed");
        let keys = TenantKeys::new([], Some(b"0123456789abcdef0123456789abcdef".to_vec())).unwrap();
        assert!(!format!("{keys:?}").contains("48"));
    }
}
