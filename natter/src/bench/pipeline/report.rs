//! The table of all cells.

use std::fmt;

use serde::Serialize;

use super::Cell;
use super::load::Load;
use crate::bench::args::Switch;
use crate::bench::latency::Percentiles;
use crate::bench::report::{grouped, head, table};
use crate::bench::traffic::View;

/// One cell.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Gateways.
    pub gateways: u32,
    /// Partitions.
    pub partitions: u16,
    /// Whether both projectors ran.
    pub projections: bool,
    /// Whether an echo stood in the processor's place.
    pub bare: bool,
    /// Its loads.
    pub loads: Vec<Load>,
    /// Records a second as taken, for one of the bare cell's of the same gateways and partitions; where there is one.
    pub ratio_to_bare: Option<f64>,
}

impl Run {
    /// A cell's loads.
    pub fn new(cell: Cell, loads: Vec<Load>) -> Self {
        let Cell { gateways, partitions, projections, bare } = cell;
        Self { gateways, partitions, projections: projections == Switch::On, bare, loads, ratio_to_bare: None }
    }

    fn saturation(&self) -> Option<f64> {
        self.loads.iter().find(|load| load.rate.is_none()).map(|load| load.records_per_second)
    }
}

/// Puts the bare cells beside the others.
pub fn compare(runs: &mut [Run]) {
    let all = runs.to_vec();
    for run in runs.iter_mut().filter(|run| !run.bare) {
        let same = |other: &&Run| other.bare && (other.gateways, other.partitions) == (run.gateways, run.partitions);
        let bare = all.iter().find(same).and_then(Run::saturation);
        run.ratio_to_bare = run.saturation().zip(bare).map(|(own, bare)| own / bare.max(1.0));
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.bare, self.projections) {
            (true, _) => "bare: an echo in the processor's place",
            (false, false) => "decided, projections off",
            (false, true) => "decided, both projections on",
        };
        write!(f, "{} gateway(s), {} partition(s), {what}", self.gateways, self.partitions)?;
        if let Some(ratio) = self.ratio_to_bare {
            write!(f, "; ratio to bare {ratio:.2}")?;
        }
        let mut rows = vec![head([
            "load",
            "records/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "commands/batch",
            "outcomes/batch",
            "µs/record",
        ])];
        rows.extend(self.loads.iter().map(row));
        write!(f, "\n{}", table(&rows))?;
        for load in &self.loads {
            let cpu: Vec<_> = load.servers.rows(1).into_iter().map(|row| format!("{} {}", row[0], row[1])).collect();
            let generator = 100.0 * load.generator_cpu_seconds / load.seconds.max(f64::EPSILON);
            write!(
                f,
                "\n  {}: of {} sent, {} unanswered, {} rejected, {} late at the source; {}, (the generator) {generator:.0} %",
                name(load),
                load.sent,
                load.unanswered,
                load.rejected,
                load.late_at_source,
                cpu.join(", ")
            )?;
            if !load.views.is_empty() {
                let mut rows = vec![head(View::HEAD)];
                rows.extend(load.views.iter().map(View::row));
                write!(f, "\n{}", table(&rows))?;
            }
        }
        Ok(())
    }
}

fn name(load: &Load) -> String {
    load.rate.map_or_else(|| "as taken".to_owned(), |rate| format!("{rate}/s"))
}

fn row(load: &Load) -> Vec<String> {
    let Percentiles { p50_ms, p99_ms, max_ms, .. } = load.answered;
    let one = |figure: f64| format!("{figure:.1}");
    vec![
        name(load),
        grouped(load.records_per_second),
        format!("{p50_ms:.2}"),
        format!("{p99_ms:.2}"),
        one(max_ms),
        one(load.records_per_command_batch),
        one(load.records_per_outcome_batch),
        format!("{:.2}", load.cpu_micros_per_record),
    ]
}
