//! The command line of `natter rebuild`.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};

use crate::cli::Running;

/// `natter rebuild`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Rebuild {
    /// Which view.
    pub view: Wanted,
    /// Records a second at most, over all partitions: what is left of the machine is for those who chat. Without it, as fast as it can.
    #[arg(long, value_name = "RECORDS")]
    pub throttle: Option<NonZeroU64>,
    /// Switch although the two generations differ: for a change of the view that is meant to change it, or a live view that is damaged.
    #[arg(long)]
    pub accept: bool,
    /// Build nothing: drop the generation that a rebuild has replaced.
    #[arg(long, conflicts_with_all = ["accept", "throttle", "discard"])]
    pub drop_old: bool,
    /// Build nothing: drop a generation that was begun, or built and refused.
    #[arg(long, conflicts_with_all = ["accept", "throttle"])]
    pub discard: bool,
    /// Differing keys that are named; all are counted.
    #[arg(long, default_value_t = 20)]
    pub differences: usize,
    /// Which system; with --config, its users must be those who may do everything (admin, default).
    #[command(flatten)]
    pub running: Running,
    /// Print the report as one JSON document, and no progress.
    #[arg(long)]
    pub json: bool,
    /// With --json: before the report, a JSON line whenever a step (begin, build, compare, switch) begins.
    #[arg(long, requires = "json")]
    pub steps: bool,
}

/// What is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// The Redis views.
    Redis,
    /// The history.
    Clickhouse,
    /// Both, one after the other.
    All,
}

/// How a view is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Records a second at most; `None`: as many as can be.
    pub throttle: Option<NonZeroU64>,
    /// Whether it is switched to although it differs.
    pub accept: bool,
    /// Differences that are named.
    pub differences_max: usize,
}
