//! The command line of `natter soak`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::outage::{Away, Outage};
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
    /// This server is away for a while: killed and started again (clickhouse, s3; shape apart only), frozen (clickhouse-hangs; shape apart only), or emptied (redis). Nothing else is broken then,
    /// unless --faults says so.
    #[arg(long, value_enum)]
    pub outage: Option<Away>,
    /// For how long; not of redis, which is emptied in a moment.
    #[arg(long, default_value_t = 30, requires = "outage", value_parser = clap::value_parser!(u64).range(1..))]
    pub outage_seconds: u64,
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

    /// How the system is put together, round by round.
    ///
    /// # Errors
    /// In one process, natter starts a killed server again, so none stays away.
    pub fn shapes(&self) -> anyhow::Result<Vec<Shape>> {
        let stays_away = self.outage.is_some_and(|server| server != Away::Redis);
        Ok(match self.shape {
            Some(Shape::One) if stays_away => {
                bail!("in shape one a server does not stay away: `natter up` starts it again; use --shape apart")
            }
            Some(shape) => vec![shape],
            None if self.outage.is_some() => vec![Shape::Apart],
            None => vec![Shape::One, Shape::Apart],
        })
    }

    /// The server that is away for a while.
    ///
    /// # Errors
    /// The load is too short for it.
    pub fn outage(&self) -> anyhow::Result<Option<Outage>> {
        let Some(server) = self.outage else { return Ok(None) };
        let lasts = if server == Away::Redis { Duration::ZERO } else { Duration::from_secs(self.outage_seconds) };
        let outage = Outage { server, lasts };
        outage.begins(self.lasts()).map(|_| Some(outage))
    }

    /// What is broken.
    pub fn kinds(&self) -> Vec<Kind> {
        match (self.faults.is_empty(), self.count) {
            (true, None) if self.outage.is_some() => Vec::new(),
            (false, _) => self.faults.clone(),
            (true, Some(_)) => vec![Kind::Kill],
            (true, None) => Kind::USUAL.to_vec(),
        }
    }
}
