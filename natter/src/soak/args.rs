//! The command line of `natter soak`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parts::Shape;
use super::schedule::Kind;

/// `natter soak`.
#[derive(Debug, Args)]
pub struct Soak {
    /// Minutes of load, in rounds of at most five.
    #[arg(long, conflicts_with = "seconds")]
    pub minutes: Option<u64>,
    /// The same in seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Repeats a round: its schedule of faults, and what its clients wish. Without it, any.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How the system is put together; without it, both by turns.
    #[arg(long, value_enum)]
    pub shape: Option<Shape>,
    /// What is broken; without it, all but `disk`.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub faults: Vec<Kind>,
    /// So many faults in all, evenly spread over the rounds, instead of one in 2.5 s (apart: 1.5 s).
    #[arg(long, visible_alias = "kills")]
    pub count: Option<u32>,
    /// Messages a second over all clients.
    #[arg(long, default_value_t = 200)]
    pub rate: u64,
    /// Print each round's report as one JSON line.
    #[arg(long)]
    pub json: bool,
    /// Append each round to this file, and go on behind the rounds that it holds.
    #[arg(long)]
    pub results: Option<PathBuf>,
    /// Run nothing: name so many of the worst rounds of the results, with their schedules for the core's simulation.
    #[arg(long, requires = "results")]
    pub worst: Option<usize>,
}

impl Soak {
    /// How long the load runs, over all rounds.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.minutes.map_or(self.seconds, |minutes| minutes * 60))
    }

    /// What is broken.
    pub fn kinds(&self) -> Vec<Kind> {
        match (self.faults.is_empty(), self.count) {
            (false, _) => self.faults.clone(),
            (true, Some(_)) => vec![Kind::Kill],
            (true, None) => Kind::USUAL.to_vec(),
        }
    }
}
