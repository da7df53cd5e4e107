//! The command line of `natter what-if`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgGroup, Args};
use natter_processors::filter::Filter;
use natter_schemas::names::Tenant;
use natter_schemas::policy::{Action, WordList};

use super::change::{Change, Replaced};
use super::range::Bound;
use crate::cli::Running;
use crate::policy;

/// `natter what-if`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rules").args(["wordlist", "policy"]).required(true).multiple(true))]
pub struct WhatIf {
    /// A word list, one word or phrase a line, named after its file (en.txt: en): in the policy that was in force for each message, it takes the
    /// place of the list of that name, or is added. May be given several times.
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    pub wordlist: Vec<PathBuf>,
    /// What such a list does. Without it, what the list of that name did; a new one masks. An imported message is flagged at most.
    #[arg(long, conflicts_with = "policy", value_parser = action())]
    pub action: Option<Action>,
    /// A policy, as for `natter policy set`: in the place of whatever was in force.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The application.
    #[arg(long, default_value = "demo")]
    pub tenant: Tenant,
    /// From when (RFC 3339, by when the log stored it) or from which position (partition:sequence, of that partition only) on.
    #[arg(long, value_name = "TIME|POSITION")]
    pub from: Option<Bound>,
    /// Until before this time, or up to and with this position.
    #[arg(long, value_name = "TIME|POSITION")]
    pub to: Option<Bound>,
    /// Write every changed decision into this file, as CSV.
    #[arg(long)]
    pub csv: Option<PathBuf>,
    /// Changed decisions that are printed; all are counted.
    #[arg(long, default_value_t = 20)]
    pub rows: usize,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// Print the report as one JSON document.
    #[arg(long)]
    pub json: bool,
}

fn action() -> impl clap::builder::TypedValueParser<Value = Action> {
    PossibleValuesParser::new(["mask", "reject", "flag"]).map(|word| match word.as_str() {
        "reject" => Action::Reject,
        "flag" => Action::Flag,
        _ => Action::Mask,
    })
}

impl WhatIf {
    /// What is otherwise than it was.
    pub(super) fn change(&self) -> anyhow::Result<Change> {
        if let Some(file) = &self.policy {
            return Ok(Change::Policy(policy::read(file)?));
        }
        let mut lists: Vec<Replaced> = Vec::new();
        for file in &self.wordlist {
            let list = self.list(file)?;
            if lists.iter().any(|other| other.name == list.name) {
                bail!("two word lists are called {}", list.name);
            }
            lists.push(list);
        }
        Ok(Change::Lists(lists))
    }

    fn list(&self, file: &Path) -> anyhow::Result<Replaced> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        let name = file.file_stem().and_then(|stem| stem.to_str());
        let name = name.with_context(|| format!("{shown} has no name that a word list could have"))?.to_owned();
        let words: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        // Its faults are told by its file's name.
        let tried = WordList { name: name.clone(), action: Action::Flag, words: words.clone() };
        let filter = Filter::compile(&[tried]).with_context(|| format!("{shown} cannot be used"))?;
        Ok(Replaced { name, action: self.action, words, inert: filter.inert().to_vec() })
    }
}
