//! Policies by their hash: stored before they are used, never changed (invariant 5).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use natter_schemas::policy::PolicyHash;
use natter_schemas::subjects::POLICIES_BUCKET;

use crate::bucket::Bucket;
use crate::connection::Log;
use crate::error::LogError;

/// Policies kept in memory; there is about one per tenant.
const CACHED_MAX: usize = 1024;

/// The bucket of policies, with what was read of it.
#[derive(Debug)]
pub struct Policies {
    bucket: Bucket,
    cached: Mutex<HashMap<PolicyHash, Bytes>>,
}

impl Policies {
    /// The policies of `log`.
    pub fn new(log: &Log) -> Self {
        Self { bucket: Bucket::new(log, POLICIES_BUCKET), cached: Mutex::default() }
    }

    /// Stores a policy's bytes ([`natter_schemas::policy::Policy::to_stored`]) under their hash. Storing it again is harmless.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: other bytes stand under the hash.
    pub async fn store(&self, bytes: &[u8]) -> Result<PolicyHash, LogError> {
        let hash = PolicyHash::of(bytes);
        let bytes = Bytes::copy_from_slice(bytes);
        if self.bucket.put_if(&hash.to_string(), bytes, 0, None).await?.is_some() {
            return Ok(hash);
        }
        match self.fetch(hash).await? {
            Some(_) => Ok(hash),
            None => Err(LogError::Corrupt(format!("policy {hash} was deleted"))),
        }
    }

    /// The bytes of the policy with this hash; `None`: none is stored.
    ///
    /// # Errors
    /// [`LogError::Transient`]; [`LogError::Corrupt`]: what is stored has another hash.
    pub async fn fetch(&self, hash: PolicyHash) -> Result<Option<Bytes>, LogError> {
        if let Some(bytes) = self.cached().get(&hash) {
            return Ok(Some(bytes.clone()));
        }
        let entry = self.bucket.entry(&hash.to_string()).await?;
        let Some(bytes) = entry.and_then(|entry| entry.value) else { return Ok(None) };
        let actual = PolicyHash::of(&bytes);
        if actual != hash {
            return Err(LogError::Corrupt(format!("the policy stored as {hash} has the hash {actual}")));
        }
        let mut cached = self.cached();
        if cached.len() >= CACHED_MAX {
            cached.clear();
        }
        cached.insert(hash, bytes.clone());
        Ok(Some(bytes))
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, HashMap<PolicyHash, Bytes>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
