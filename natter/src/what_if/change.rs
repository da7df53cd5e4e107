//! The other rules.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use natter_nats::{Log, Policies, Stored};
use natter_processors::policy::ContentRules;
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::policy::{Action, Policy, PolicyHash, WordList};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// What is otherwise than it was.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The whole policy.
    Policy(Policy),
    /// Some lists of the policy that was in force, whichever that was.
    Lists(Vec<Replaced>),
}

/// A word list that takes the place of the one of its name.
#[derive(Debug, Clone)]
pub(super) struct Replaced {
    pub(super) name: String,
    /// `None`: what the other did.
    pub(super) action: Option<Action>,
    pub(super) words: Vec<String>,
    /// Words that match nothing.
    pub(super) inert: Vec<String>,
}

impl Change {
    /// The policy that would have been in force where `was` was.
    fn on(&self, mut was: Policy) -> Policy {
        let lists = match self {
            Self::Policy(policy) => return policy.clone(),
            Self::Lists(lists) => lists,
        };
        for Replaced { name, action, words, .. } in lists {
            let place = was.lists.iter().position(|list| list.name == *name);
            let other = place.map(|place| was.lists[place].action);
            let list =
                WordList { name: name.clone(), action: action.or(other).unwrap_or(Action::Mask), words: words.clone() };
            match place {
                Some(place) => was.lists[place] = list,
                None => was.lists.push(list),
            }
        }
        was
    }
}

/// Compiled rules in the place of each policy that was in force; an error where they cannot be made, which matters only if they are needed.
pub(super) type InPlaceOf = HashMap<Option<PolicyHash>, Result<Arc<ContentRules>, String>>;

/// The rules in the place of each policy, made as policies are met.
pub(super) struct Rules {
    change: Arc<Change>,
    policies: Policies,
    made: Mutex<Arc<InPlaceOf>>,
}

impl Rules {
    pub(super) fn new(log: &Log, change: Change) -> Self {
        Self { change: Arc::new(change), policies: Policies::new(log), made: Mutex::default() }
    }

    /// The rules in the place of every policy that these batches were decided by, at least.
    pub(super) async fn of(&self, batches: &[Stored]) -> anyhow::Result<Arc<InPlaceOf>> {
        let mut named = vec![None];
        for stored in batches {
            named.extend(OutcomeBatch::decode(&stored.payload)?.header.policies.into_iter().map(Some));
        }
        named.sort_unstable();
        named.dedup();
        let mut made = self.made.lock().await;
        for hash in named {
            if !made.contains_key(&hash) {
                let rules = self.in_place_of(hash).await?;
                // Whoever judges meanwhile keeps the map without it.
                Arc::make_mut(&mut made).insert(hash, rules);
            }
        }
        Ok(Arc::clone(&made))
    }

    async fn in_place_of(&self, hash: Option<PolicyHash>) -> anyhow::Result<Result<Arc<ContentRules>, String>> {
        let was = match (hash, self.change.as_ref()) {
            (Some(hash), Change::Lists(_)) => {
                let stored = self.policies.fetch(hash).await.context("cannot read a policy")?;
                let Some(stored) = stored else { return Ok(Err(format!("policy {hash} is not stored"))) };
                match serde_json::from_slice(&stored) {
                    Ok(policy) => policy,
                    Err(error) => return Ok(Err(format!("policy {hash} cannot be read: {error}"))),
                }
            }
            _ => Policy::default(),
        };
        let change = Arc::clone(&self.change);
        let compiling = spawn_blocking(move || ContentRules::compile(&change.on(was).to_stored().0));
        Ok(compiling.await?.map(Arc::new).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, action: Action, words: &[&str]) -> WordList {
        WordList { name: name.to_owned(), action, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn replaced(name: &str, action: Option<Action>) -> Change {
        Change::Lists(vec![Replaced { name: name.to_owned(), action, words: vec!["new".to_owned()], inert: vec![] }])
    }

    #[test]
    fn a_list_takes_the_place_of_the_one_of_its_name_and_all_else_stays() {
        let lists = vec![list("a", Action::Reject, &["one"]), list("b", Action::Flag, &["two"])];
        let was = Policy { lists, text_scalars_max: 7 };
        let becomes = |change: &Change| change.on(was.clone());
        assert_eq!(
            becomes(&replaced("a", None)).lists,
            [list("a", Action::Reject, &["new"]), list("b", Action::Flag, &["two"])]
        );
        assert_eq!(becomes(&replaced("b", Some(Action::Mask))).lists[1], list("b", Action::Mask, &["new"]));
        assert_eq!(becomes(&replaced("c", None)).lists[2], list("c", Action::Mask, &["new"]));
        assert_eq!(becomes(&replaced("c", None)).text_scalars_max, 7);
        assert_eq!(becomes(&Change::Policy(Policy::default())), Policy::default());
    }
}
