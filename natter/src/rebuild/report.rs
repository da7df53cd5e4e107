//! What a rebuild did.

use std::fmt;

use serde::Serialize;

/// A partition of both generations at one position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Its number.
    pub partition: u16,
    /// The position in `EVT_p` at which both were compared.
    pub position: u64,
    /// Rows or keys compared.
    pub compared: u64,
    /// The live generation's digest, whatever the order, as hex; of Redis there is none, each is compared with the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// The new one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A key that is not the same in both generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The partition.
    pub partition: u16,
    /// The key.
    pub key: String,
    /// What about it.
    pub detail: String,
}

/// How a rebuild of a view ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The view.
    pub view: &'static str,
    /// Whether readers and projectors were switched to the new generation.
    pub switched: bool,
    /// The new generation.
    pub generation: u64,
    /// The one that was live at the begin; kept after a switch.
    pub live: u64,
    /// Outcomes that this run applied; one that was killed before it may have applied the others.
    pub records: u64,
    /// How long it applied until it was at the log's end.
    pub build_seconds: f64,
    /// Outcomes a second.
    pub records_per_second: f64,
    /// How long it took in all.
    pub seconds: f64,
    /// Each partition.
    pub partitions: Vec<Compared>,
    /// Differing keys in all.
    pub differences_total: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// Records a second, for people.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(super) fn rate(records: u64, seconds: f64) -> f64 {
    records as f64 / seconds.max(0.001)
}

/// Differences as they are found: the first are kept, all are counted.
#[derive(Debug)]
pub(super) struct Differences {
    pub(super) kept_max: usize,
    pub(super) kept: Vec<Difference>,
    pub(super) total: u64,
}

impl Differences {
    pub(super) const fn new(kept_max: usize) -> Self {
        Self { kept_max, kept: Vec::new(), total: 0 }
    }

    pub(super) fn add(&mut self, partition: u16, key: impl Into<String>, detail: &str) {
        self.total += 1;
        if self.kept.len() < self.kept_max {
            self.kept.push(Difference { partition, key: key.into(), detail: detail.to_owned() });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, generation, live, records, build_seconds, records_per_second, .. } = self;
        writeln!(
            formatter,
            "{view}: generation {generation} built beside {live}: {records} records in {build_seconds:.1} s ({records_per_second:.0}/s)"
        )?;
        for Compared { partition, position, compared, live, next } in &self.partitions {
            write!(formatter, "partition {partition} at {partition}:{position}: {compared} compared")?;
            match (live, next) {
                (Some(live), Some(next)) if live == next => writeln!(formatter, ", both have the digest {live}")?,
                (Some(live), Some(next)) => writeln!(formatter, ", digests {live} and {next}")?,
                _ => writeln!(formatter)?,
            }
        }
        for Difference { partition, key, detail } in &self.differences {
            writeln!(formatter, "partition {partition}: {key}: {detail}")?;
        }
        let more = self.differences_total - self.differences.len() as u64;
        if more > 0 {
            writeln!(formatter, "and {more} more")?;
        }
        match (self.switched, self.differences_total) {
            (true, 0) => write!(
                formatter,
                "no difference: generation {generation} is live. {live} is kept until `natter rebuild --drop-old {view}`"
            ),
            (true, total) => write!(
                formatter,
                "{total} difference(s), accepted: generation {generation} is live. {live} is kept until `natter rebuild --drop-old {view}`"
            ),
            (false, total) => write!(
                formatter,
                "{total} difference(s): not switched, generation {live} stays live. `natter audit` says which of the two is what the log says; `natter rebuild --accept {view}` switches nevertheless, `natter rebuild --discard {view}` drops the new one"
            ),
        }
    }
}
