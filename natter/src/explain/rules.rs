//! The policy that an outcome was decided by, and which of its words the text touches.

use anyhow::Context;
use natter_nats::Policies;
use natter_processors::filter::{Filter, FilterError, Verdict};
use natter_schemas::command::Body;
use natter_schemas::event::Placed;
use natter_schemas::outcome::Received;
use natter_schemas::policy::{Action, Policy, WordList};
use serde::Serialize;

/// The rules in force.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// The policy's hash; `None`: the default policy.
    pub hash: Option<String>,
    /// Whether that policy can be read; without it nothing more is known.
    pub is_stored: bool,
    /// The longest text that it allows, in Unicode scalars.
    pub text_scalars_max: Option<usize>,
    /// Its word lists that the text touches.
    pub touched: Vec<Touched>,
}

/// A word list with the words of it that are in a text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// The list's name.
    pub list: String,
    /// What it does.
    pub action: Action,
    /// Its words that the text touches, as the list has them.
    pub words: Vec<String>,
}

/// The rules that decided `placed`.
pub(super) async fn rules(policies: &Policies, placed: &Placed) -> anyhow::Result<Rules> {
    let hash = placed.policy.map(|hash| hash.to_string());
    let policy = match placed.policy {
        None => Policy::default(),
        Some(named) => match policies.fetch(named).await.context("cannot read the policy")? {
            Some(stored) => serde_json::from_slice(&stored).context("the stored policy cannot be read")?,
            None => return Ok(Rules { hash, is_stored: false, text_scalars_max: None, touched: Vec::new() }),
        },
    };
    let touched = match &placed.outcome.received {
        Received::Command(command) => match &command.body {
            Body::Send { text, .. } => touched(&policy, text.as_str())?,
            _ => Vec::new(),
        },
        Received::Undecodable(_) => Vec::new(),
    };
    Ok(Rules { hash, is_stored: true, text_scalars_max: Some(policy.text_scalars_max), touched })
}

/// Each list that the text touches, with the words that it does.
fn touched(policy: &Policy, text: &str) -> Result<Vec<Touched>, FilterError> {
    let mut all = Vec::new();
    for list in &policy.lists {
        let mut words = Vec::new();
        search(&list.words, text, &mut words)?;
        if !words.is_empty() {
            all.push(Touched { list: list.name.clone(), action: list.action, words });
        }
    }
    Ok(all)
}

/// The filter says that a list is touched, not by which word: so it is asked of halves, and of halves of these.
fn search(words: &[String], text: &str, found: &mut Vec<String>) -> Result<(), FilterError> {
    let asked = WordList { name: String::new(), action: Action::Flag, words: words.to_vec() };
    if Filter::compile(&[asked])?.check(text) == Verdict::Clean {
        return Ok(());
    }
    if let [word] = words {
        found.push(word.clone());
        return Ok(());
    }
    let (left, right) = words.split_at(words.len() / 2);
    search(left, text, found)?;
    search(right, text, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, action: Action, words: &[&str]) -> WordList {
        WordList { name: name.to_owned(), action, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    #[test]
    fn each_touched_word_of_each_list_is_named() {
        let lists = vec![
            list("mild", Action::Mask, &["glimfrop", "blorfnak", "tweezle", "quandrel", "455"]),
            list("strong", Action::Reject, &["zibbledorf"]),
            list("look", Action::Flag, &["tweezle"]),
        ];
        let policy = Policy { lists, ..Policy::default() };
        let found = touched(&policy, "a BL0RFNAK and a tweezle").unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                Touched { list: "mild".into(), action: Action::Mask, words: words(&["blorfnak", "tweezle"]) },
                Touched { list: "look".into(), action: Action::Flag, words: words(&["tweezle"]) },
            ]
        );
        assert_eq!(touched(&policy, "nothing of it").unwrap(), []);
    }
}
