//! Tenants' policies, ready for use.

use std::collections::HashMap;
use std::sync::Arc;

use natter_schemas::limits::{LIST_NAME_BYTES_MAX, TEXT_SCALARS_MAX};
use natter_schemas::policy::{Policy, PolicyHash};

use crate::error::Halt;
use crate::filter::{Filter, FilterError, Verdict};
use crate::ports::PolicyStore;

/// Compiled policies that are kept; those of the batch at hand always are.
const COMPILED_MAX: usize = 256;

/// What a policy says about texts, with its word lists compiled.
#[derive(Debug)]
pub struct ContentRules {
    /// The longest text that is allowed, in Unicode scalars.
    pub text_scalars_max: usize,
    filter: Option<Filter>,
}

/// Why stored bytes are no policy.
#[derive(Debug, thiserror::Error)]
pub enum UnusablePolicy {
    /// Not the JSON of a policy.
    #[error("not a policy: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Too many lists, or a name that is too long.
    #[error("policy beyond its limits: {0}")]
    TooLarge(String),
    /// The lists do not compile.
    #[error(transparent)]
    Lists(#[from] FilterError),
}

impl Default for ContentRules {
    /// The rules of a tenant without a policy.
    fn default() -> Self {
        Self { text_scalars_max: TEXT_SCALARS_MAX, filter: None }
    }
}

impl ContentRules {
    /// The rules in a stored policy.
    ///
    /// # Errors
    /// The bytes are no policy that can be used.
    pub fn compile(stored: &[u8]) -> Result<Self, UnusablePolicy> {
        let policy: Policy = serde_json::from_slice(stored)?;
        if policy.lists.len() > Policy::LISTS_MAX {
            let (found, limit) = (policy.lists.len(), Policy::LISTS_MAX);
            return Err(UnusablePolicy::TooLarge(format!("{found} word lists, at most {limit} are allowed")));
        }
        if let Some(list) = policy.lists.iter().find(|list| list.name.len() > LIST_NAME_BYTES_MAX) {
            let found = list.name.len();
            let refused = format!("a list's name has {found} bytes, at most {LIST_NAME_BYTES_MAX} are allowed");
            return Err(UnusablePolicy::TooLarge(refused));
        }
        let filter = if policy.lists.is_empty() { None } else { Some(Filter::compile(&policy.lists)?) };
        Ok(Self { text_scalars_max: policy.text_scalars_max, filter })
    }

    /// What the word lists say about a text.
    pub fn check(&self, text: &str) -> Verdict {
        self.filter.as_ref().map_or(Verdict::Clean, |filter| filter.check(text))
    }
}

/// Compiled policies by hash.
#[derive(Debug, Default)]
pub struct Policies {
    default: Arc<ContentRules>,
    compiled: HashMap<PolicyHash, (Arc<ContentRules>, u64)>,
    round: u64,
}

impl Policies {
    /// The rules under `hash` (`None`: the default policy's), if they have been made ready.
    pub fn ready(&self, hash: Option<PolicyHash>) -> Option<&Arc<ContentRules>> {
        match hash {
            None => Some(&self.default),
            Some(hash) => self.compiled.get(&hash).map(|(rules, _)| rules),
        }
    }

    /// Makes the rules under `hash` ready. False: nothing usable is stored there.
    ///
    /// # Errors
    /// The store is away.
    pub async fn prepare(&mut self, hash: PolicyHash, store: &impl PolicyStore) -> Result<bool, Halt> {
        if let Some((_, used)) = self.compiled.get_mut(&hash) {
            *used = self.round;
            return Ok(true);
        }
        let Some(stored) = store.policy(hash).await? else { return Ok(false) };
        // Large lists take a while, and other tasks live on this thread.
        let compiling = tokio::task::spawn_blocking(move || ContentRules::compile(&stored));
        let compiled = compiling.await.map_err(|error| Halt::Transient(format!("compiling policy {hash}: {error}")))?;
        match compiled {
            Ok(rules) => {
                self.compiled.insert(hash, (Arc::new(rules), self.round));
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(%hash, %error, "a stored policy cannot be used");
                Ok(false)
            }
        }
    }

    /// A batch begins: what it does not use may be forgotten.
    pub fn begin_round(&mut self) {
        while self.compiled.len() > COMPILED_MAX {
            let oldest = self.compiled.iter().min_by_key(|(_, (_, used))| *used).map(|(hash, _)| *hash);
            if let Some(hash) = oldest {
                self.compiled.remove(&hash);
            }
        }
        self.round += 1;
    }
}
