//! What came of a round.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::faults::Cost;
use super::outage::Noticed;
use super::tally::Tally;
use super::waits::{Percentiles, Slow};
use super::witness::Broken;

/// Broken promises that are shown; all are in the JSON.
const SHOWN_MAX: usize = 50;

/// What came of a round.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of the round.
    pub seed: u64,
    /// `one` or `apart`.
    pub shape: &'static str,
    /// How long the load ran.
    pub seconds: u64,
    /// Messages a second that were asked for.
    pub rate: u64,
    /// Messages a second that the clients wished. Less than the rate: they had to wait for their rooms at first, or too
    /// much of theirs was unanswered.
    pub offered_per_second: u64,
    /// Messages a second that were answered before the load ended.
    pub reached_per_second: u64,
    /// How long messages waited for their answer.
    pub wait_ms: Percentiles,
    /// Those that waited longest.
    pub slowest: Vec<Slow>,
    /// The server that was away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<Noticed>,
    /// Devices that chatted.
    pub devices: usize,
    /// Faults, by kind.
    pub faults: BTreeMap<String, Cost>,
    /// Faults that found nobody, because the part was being started again.
    pub missed: u64,
    /// What the clients counted.
    pub clients: Tally,
    /// Messages in the log.
    pub logged: u64,
    /// From the end of the faults until everybody was answered, in milliseconds.
    pub settled_ms: u64,
    /// The same schedule for the simulation of the core.
    pub core: String,
    /// Promises that did not hold.
    pub broken: Vec<Broken>,
    /// Where the data is, if it was kept.
    pub data: Option<PathBuf>,
}

impl Report {
    /// Whether every promise held.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, shape, seconds, rate, devices, clients, .. } = self;
        writeln!(f, "seed {seed}, shape {shape}: {seconds} s, {devices} devices, {rate} messages/s asked for")?;
        let Percentiles { p50, p99, max } = self.wait_ms;
        writeln!(
            f,
            "  {} messages/s offered, {} messages/s answered within these {seconds} s; waits p50 {p50}, p99 {p99}, max {max} ms",
            self.offered_per_second, self.reached_per_second
        )?;
        let faults: u64 = self.faults.values().map(|cost| cost.count).sum();
        writeln!(
            f,
            "  {faults} faults ({} more found nobody); longest wait of a message wished then, ms:",
            self.missed
        )?;
        for (label, cost) in &self.faults {
            let Cost { count, worst_wait_ms_p50, worst_wait_ms_max } = cost;
            writeln!(f, "    {count:>5} × {label:<32} median {worst_wait_ms_p50:>6}, greatest {worst_wait_ms_max:>6}")?;
        }
        for Slow { wait_ms, since_ms, wish, conversation, sends, faults } in &self.slowest {
            let since = f64::from(*since_ms) / 1000.0;
            let faults = faults.join(", ");
            writeln!(f, "    {wait_ms} ms: {wish} of {since:.1} s in {conversation}, sent {sends} times; {faults}")?;
        }
        let Tally { answered, messages, same_again, live, read, sessions, .. } = clients;
        if let Some(outage) = &self.outage {
            writeln!(f, "  {outage}")?;
        }
        writeln!(
            f,
            "  {answered} commands answered, {messages} of them messages; {} messages in the log",
            self.logged
        )?;
        writeln!(
            f,
            "  {same_again} answers asked for again were the same; all answered {} ms after the last fault",
            self.settled_ms
        )?;
        writeln!(f, "  {live} messages came live and {read} by reading, in {sessions} sessions")?;
        for (what, counts) in [
            ("refused for now", &clients.refused_for_now),
            ("refused", &clients.refused),
            ("reads refused for now", &clients.reads_refused),
            ("sessions ended", &clients.ends),
        ] {
            if !counts.is_empty() {
                let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
                writeln!(f, "  {what}: {}", counts.join(", "))?;
            }
        }
        if self.is_clean() {
            return write!(f, "  every promise held");
        }
        write!(f, "  {} broken promises:", self.broken.len())?;
        for broken in self.broken.iter().take(SHOWN_MAX) {
            write!(f, "\n    {broken}")?;
        }
        if let Some(data) = &self.data {
            write!(f, "\n  the data is kept in {}", data.display())?;
        }
        Ok(())
    }
}
