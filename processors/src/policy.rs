//! Tenants' policies, ready for use.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use natter_schemas::limits::{LIST_NAME_BYTES_MAX, TEXT_SCALARS_MAX};
use natter_schemas::policy::{Policy, PolicyHash};

use crate::error::Halt;
use crate::filter::{Filter, FilterError, Verdict};
use crate::ports::PolicyStore;
use crate::telemetry;

/// Compiled policies that are kept; those of the batch at hand always are.
const COMPILED_MAX: usize = 256;
/// A policy that could not be used is looked for again after so many batches.
const UNUSABLE_ROUNDS: u64 = 64;

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
    known: HashMap<PolicyHash, Entry>,
    round: u64,
}

#[derive(Debug)]
struct Entry {
    /// `None`: nothing usable is stored.
    rules: Option<Arc<ContentRules>>,
    /// The round that used it last; of one that cannot be used, the round in which it was looked for.
    round: u64,
}

/// What is known of a policy.
#[derive(Debug)]
pub enum Known<'a> {
    /// Ready for use.
    Usable(&'a Arc<ContentRules>),
    /// Nothing usable is stored under its hash.
    Unusable,
    /// It has to be prepared first.
    NotYet(PolicyHash),
}

impl Policies {
    /// The rules under `hash` (`None`: the default policy's), as far as they have been prepared.
    pub fn known(&self, hash: Option<PolicyHash>) -> Known<'_> {
        let Some(hash) = hash else { return Known::Usable(&self.default) };
        match self.known.get(&hash) {
            Some(Entry { rules: Some(rules), .. }) => Known::Usable(rules),
            Some(Entry { rules: None, .. }) => Known::Unusable,
            None => Known::NotYet(hash),
        }
    }

    /// Makes the rules under `hash` ready. False: nothing usable is stored there; it is looked for again some rounds later.
    ///
    /// # Errors
    /// The store is away.
    pub async fn prepare(&mut self, hash: PolicyHash, store: &impl PolicyStore) -> Result<bool, Halt> {
        if let Some(entry) = self.known.get_mut(&hash)
            && entry.rules.is_some()
        {
            entry.round = self.round;
            return Ok(true);
        }
        let rules = compile(hash, store.policy(hash).await?).await?;
        let is_usable = rules.is_some();
        if !is_usable {
            metrics::counter!(telemetry::POLICIES_UNUSABLE).increment(1);
            tracing::error!(%hash, "this policy is not stored or cannot be used: set it again with `natter policy set`");
        }
        self.known.insert(hash, Entry { rules, round: self.round });
        Ok(is_usable)
    }

    /// A batch begins: what it does not use may be forgotten, and what could not be used is looked for again now and then.
    pub fn begin_round(&mut self) {
        self.round += 1;
        let round = self.round;
        self.known.retain(|_, entry| entry.rules.is_some() || entry.round + UNUSABLE_ROUNDS > round);
        while self.known.len() > COMPILED_MAX {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.round).map(|(hash, _)| *hash);
            if let Some(hash) = oldest {
                self.known.remove(&hash);
            }
        }
    }
}

async fn compile(hash: PolicyHash, stored: Option<Bytes>) -> Result<Option<Arc<ContentRules>>, Halt> {
    let Some(stored) = stored else { return Ok(None) };
    // Large lists take a while, and other tasks live on this thread.
    let compiling = tokio::task::spawn_blocking(move || ContentRules::compile(&stored));
    match compiling.await.map_err(|error| Halt::Transient(format!("compiling policy {hash}: {error}")))? {
        Ok(rules) => Ok(Some(Arc::new(rules))),
        Err(error) => {
            tracing::warn!(%hash, %error, "a stored policy cannot be used");
            Ok(None)
        }
    }
}
