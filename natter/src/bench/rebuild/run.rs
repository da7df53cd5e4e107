//! What came of the rebuilds of a view.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio::time::Instant;

use super::resident::Samples;
use crate::bench::latency::{Latencies, Percentiles};
use crate::bench::report::{grouped, head, table};
use crate::rebuild::Step;

/// A view that was rebuilt.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Which.
    pub view: &'static str,
    /// Whether everybody was switched to the new generation.
    pub switched: bool,
    /// Outcomes applied.
    pub records: u64,
    /// Outcomes a second, while they were applied.
    pub records_per_second: f64,
    /// How long that took.
    pub build_seconds: f64,
    /// How long the rebuild took in all.
    pub seconds: f64,
    /// Keys or rows that were not the same in both generations, or not what the log says.
    pub differences: u64,
    /// Of the rebuild's process.
    pub memory: Memory,
    /// What others saw meanwhile.
    pub reads: Reads,
    /// The same again and again, killed.
    pub kills: Option<Kills>,
}

/// Resident memory of a rebuild's process, in MiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// On average over the first quarter of the build.
    pub first_quarter_mib: u64,
    /// On average over its last quarter: as much as in the first where memory does not grow with the log.
    pub last_quarter_mib: u64,
    /// At most while it was built.
    pub build_max_mib: u64,
    /// At most afterwards, while both were compared.
    pub compare_max_mib: u64,
}

/// Pages that were read.
#[derive(Debug, Clone, Serialize)]
pub struct Reads {
    /// Pages a second that were asked for.
    pub asked_per_second: u64,
    /// Messages of the room.
    pub room: u64,
    /// Messages of a page.
    pub limit: u64,
    /// Before the rebuild.
    pub before: Pages,
    /// From its start to its end.
    pub during: Pages,
}

/// Pages of one span of time.
#[derive(Debug, Clone, Serialize)]
pub struct Pages {
    /// From due to a page of the newest messages, by the hot view.
    pub newest: Percentiles,
    /// From due to a page anywhere below those, by the history.
    pub deep: Percentiles,
    /// Pages that were not what they should be: another status, or other messages.
    pub wrong: BTreeMap<String, u64>,
    /// Pages that never came.
    pub missing: u64,
    /// Pages that were asked for late.
    pub late_at_source: u64,
}

/// Rebuilds that were killed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kills {
    /// Kills while the new generation was begun.
    pub begin: u32,
    /// While it was built.
    pub build: u32,
    /// While both were compared.
    pub compare: u32,
    /// While it was put in the place of the live one.
    pub switch: u32,
    /// Generations that went live nevertheless, one after another.
    pub rebuilds: u32,
    /// Rebuilds that nobody killed and that ended without having switched: started again, too.
    pub given_up: u32,
    /// Differences that they found.
    pub differences: u64,
    /// What a full `natter audit` found at the end.
    pub audit_differences: u64,
}

impl Run {
    /// Whether the new generations are live, nothing differs, and whoever read meanwhile saw what there is.
    pub fn is_right(&self) -> bool {
        let is_read = |pages: &Pages| pages.wrong.is_empty() && pages.missing == 0;
        let is_built = self.switched && self.differences == 0;
        let went_on = |kills: &Kills| kills.differences == 0 && kills.audit_differences == 0 && kills.rebuilds > 0;
        is_built
            && is_read(&self.reads.before)
            && is_read(&self.reads.during)
            && self.kills.as_ref().is_none_or(went_on)
    }
}

impl Memory {
    /// Of a build that lasted from `build` to `compare`.
    pub fn of(samples: &Samples, build: Instant, compare: Instant) -> Self {
        let quarter = (compare - build) / 4;
        let within = |from: Instant, to: Option<Instant>| {
            let is_before = move |at: Instant| to.is_none_or(|to| at < to);
            let of = samples.iter().filter(move |(at, _)| *at >= from && is_before(*at)).map(|(_, bytes)| *bytes >> 20);
            let mut of = of.collect::<Vec<_>>();
            if of.is_empty() {
                // It was over between two looks: what was seen last before its end.
                let seen = samples.iter().rev().find(|(at, _)| is_before(*at)).or(samples.first());
                of.extend(seen.map(|(_, bytes)| *bytes >> 20));
            }
            of
        };
        let average = |of: Vec<u64>| of.iter().sum::<u64>() / (of.len() as u64).max(1);
        let greatest = |of: Vec<u64>| of.into_iter().max().unwrap_or_default();
        Self {
            first_quarter_mib: average(within(build, Some(build + quarter))),
            last_quarter_mib: average(within(compare - quarter, Some(compare))),
            build_max_mib: greatest(within(build, Some(compare))),
            compare_max_mib: greatest(within(compare, None)),
        }
    }
}

impl Default for Pages {
    fn default() -> Self {
        let none = || Latencies::default().percentiles();
        Self { newest: none(), deep: none(), wrong: BTreeMap::new(), missing: 0, late_at_source: 0 }
    }
}

impl Kills {
    /// One more, in this step.
    pub const fn add(&mut self, step: Step) {
        match step {
            Step::Begin => self.begin += 1,
            Step::Build => self.build += 1,
            Step::Compare => self.compare += 1,
            Step::Switch => self.switch += 1,
        }
    }

    /// All of them.
    pub const fn made(&self) -> u32 {
        self.begin + self.build + self.compare + self.switch
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, records, records_per_second, build_seconds, seconds, differences, memory, reads, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let records = grouped(*records as f64);
        writeln!(
            f,
            "{view}: {records} records in {build_seconds:.1} s ({}/s), compared and switched after {seconds:.1} s; differences: {differences}",
            grouped(*records_per_second)
        )?;
        if !self.switched {
            writeln!(f, "NOT switched: the new generation is kept; `natter rebuild --discard {view}` drops it")?;
        }
        let Memory { first_quarter_mib: first, last_quarter_mib: last, build_max_mib, compare_max_mib } = memory;
        writeln!(
            f,
            "its memory: {first} MiB in the first quarter of the build, {last} MiB in the last, at most {build_max_mib}; {compare_max_mib} while comparing"
        )?;
        let Reads { asked_per_second, room, limit, before, during } = reads;
        writeln!(f, "{asked_per_second} pages/s of {limit} messages asked for, from a room of {room}:")?;
        let rows = [
            head(Percentiles::HEAD),
            before.newest.row("newest page, before"),
            during.newest.row("newest page, meanwhile"),
            before.deep.row("deep page, before"),
            during.deep.row("deep page, meanwhile"),
        ];
        write!(f, "{}", table(&rows))?;
        for (when, Pages { wrong, missing, late_at_source, .. }) in [("before", before), ("meanwhile", during)] {
            write!(f, "\n  {when}: wrong: {wrong:?}, missing: {missing}, late at the source: {late_at_source}")?;
        }
        let Some(kills) = &self.kills else { return Ok(()) };
        let Kills { begin, build, compare, switch, rebuilds, given_up, differences, audit_differences } = kills;
        write!(
            f,
            "\n{} kills: {begin} at the begin, {build} while built, {compare} while compared, {switch} while switched; {given_up} ended by themselves and were started again; {rebuilds} generations went live, differences: {differences}; the audit's: {audit_differences}",
            kills.made()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn memory_is_told_by_quarters_of_the_build() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // The begin has 10 MiB; the build grows from 20 to 27, and the comparing takes 90.
        let mut samples: Samples = vec![(at(0), 10 << 20)];
        samples.extend((0..8).map(|second| (at(1 + second), (20 + second) << 20)));
        samples.push((at(9), 90 << 20));
        let found = Memory::of(&samples, at(1), at(9));
        let wanted = Memory { first_quarter_mib: 20, last_quarter_mib: 26, build_max_mib: 27, compare_max_mib: 90 };
        assert_eq!(found, wanted);
        // A build between two looks.
        let short = Memory::of(&samples, at(3) + Duration::from_millis(100), at(3) + Duration::from_millis(200));
        assert_eq!((short.first_quarter_mib, short.last_quarter_mib, short.build_max_mib), (22, 22, 22));
    }

    #[test]
    fn a_difference_a_wrong_page_or_an_unclean_audit_is_not_right() {
        let reads =
            Reads { asked_per_second: 1, room: 1, limit: 1, before: Pages::default(), during: Pages::default() };
        let right = Run {
            view: "redis",
            switched: true,
            records: 1,
            records_per_second: 1.0,
            build_seconds: 1.0,
            seconds: 1.0,
            differences: 0,
            memory: Memory::default(),
            reads,
            kills: Some(Kills { rebuilds: 1, ..Kills::default() }),
        };
        assert!(right.is_right());
        assert!(!Run { differences: 1, ..right.clone() }.is_right());
        assert!(!Run { switched: false, ..right.clone() }.is_right());
        let unclean = Kills { rebuilds: 1, audit_differences: 1, ..Kills::default() };
        assert!(!Run { kills: Some(unclean), ..right.clone() }.is_right());
        let during = Pages { missing: 1, ..Pages::default() };
        assert!(!Run { reads: Reads { during, ..right.reads.clone() }, ..right }.is_right());
    }
}
