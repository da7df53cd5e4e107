//! The file of results: one JSON line a round, so that a long run can be stopped, killed and gone on with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::report::Report;

/// The rounds that are done, and the file that they are kept in, or none.
#[derive(Debug)]
pub struct Results {
    file: Option<File>,
    done: Vec<Done>,
}

/// Of a round's report, what sums and comparisons need.
#[derive(Debug, Clone, Deserialize)]
struct Done {
    seed: u64,
    shape: String,
    seconds: u64,
    faults: BTreeMap<String, Count>,
    offered_per_second: u64,
    reached_per_second: u64,
    wait_ms: Longest,
    logged: u64,
    core: String,
    broken: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Longest {
    max: u32,
}

impl Done {
    fn faults(&self) -> u64 {
        self.faults.values().map(|kind| kind.count).sum()
    }
}

impl Results {
    /// Opens it and reads the rounds that it holds. A last line that was not written to its end is taken out.
    ///
    /// # Errors
    /// It cannot be opened, or a line is no report.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None, done: Vec::new() }) };
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = opened.with_context(|| format!("cannot open {}", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).with_context(|| format!("cannot mend {}", path.display()))?;
        let lines = text[..whole].lines().filter(|line| !line.trim().is_empty());
        let done = lines.map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Self { file: Some(file), done: done.with_context(|| format!("{} holds no results", path.display()))? })
    }

    /// Rounds that are done.
    pub const fn rounds(&self) -> u64 {
        self.done.len() as u64
    }

    /// Whether every promise held in all of them.
    pub fn is_clean(&self) -> bool {
        self.done.iter().all(|round| round.broken.is_empty())
    }

    /// One more, which is on disk then.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, report: &Report) -> anyhow::Result<()> {
        let line = serde_json::to_string(report)?;
        self.done.push(serde_json::from_str(&line)?);
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all((line + "\n").as_bytes()).and_then(|()| file.sync_data());
        written.context("cannot write the results")
    }

    /// All rounds together, where there is more than one.
    pub fn sum(&self) -> Option<String> {
        let seconds: u64 = self.done.iter().map(|round| round.seconds).sum();
        if self.done.len() < 2 || seconds == 0 {
            return None;
        }
        let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
        for (label, kind) in self.done.iter().flat_map(|round| &round.faults) {
            *faults.entry(label).or_default() += kind.count;
        }
        let mean =
            |of: fn(&Done) -> u64| self.done.iter().map(|round| of(round) * round.seconds).sum::<u64>() / seconds;
        let mut text = format!(
            "{} rounds, {seconds} s: {} messages in the logs, {}/s offered, {}/s answered in time; {} faults, {} broken promises",
            self.done.len(),
            self.done.iter().map(|round| round.logged).sum::<u64>(),
            mean(|round| round.offered_per_second),
            mean(|round| round.reached_per_second),
            faults.values().sum::<u64>(),
            self.done.iter().map(|round| round.broken.len()).sum::<usize>(),
        );
        for (label, count) in faults {
            // A string takes everything.
            write!(text, "\n  {count:>5} × {label}").ok();
        }
        Some(text)
    }

    /// So many of the worst rounds, as cases of the core's simulation: first those with broken promises, then by their
    /// longest wait, then by their faults.
    pub fn worst(&self, count: usize) -> Vec<String> {
        let mut rounds: Vec<&Done> = self.done.iter().collect();
        rounds.sort_by_key(|round| std::cmp::Reverse((round.broken.len(), round.wait_ms.max, round.faults())));
        let case = |round: &&Done| {
            let Done { seed, shape, core, .. } = round;
            let why = format!(
                "{} broken promises, longest wait {} ms, {} faults in {} s",
                round.broken.len(),
                round.wait_ms.max,
                round.faults(),
                round.seconds
            );
            format!("// {why}\n(\"soak {seed}, {shape}\", {seed}, \"{core}\"),")
        };
        rounds.iter().take(count).map(case).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seed: u64, max: u32, broken: &str) -> String {
        format!(
            r#"{{"seed":{seed},"shape":"one","seconds":10,"faults":{{"kill nats":{{"count":3}}}},"offered_per_second":{seed},
            "reached_per_second":5,"wait_ms":{{"p50":1,"max":{max}}},"logged":50,"core":"1 kill","broken":[{broken}]}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn a_killed_run_goes_on_behind_its_last_whole_line_and_the_worst_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            format!("{}\n{}\n{}\n{{\"seed\":4,\"sh", line(1, 70, ""), line(2, 900, ""), line(3, 8, r#"{"a":1}"#));
        std::fs::write(file.path(), &text).unwrap();
        let results = Results::open(Some(file.path())).unwrap();
        assert_eq!((results.rounds(), results.is_clean()), (3, false));
        assert!(text.starts_with(&std::fs::read_to_string(file.path()).unwrap()));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap().lines().count(), 3);
        let worst = results.worst(2);
        assert!(worst[0].ends_with("(\"soak 3, one\", 3, \"1 kill\"),") && worst[1].contains("900 ms"), "{worst:?}");
        let sum = results.sum().unwrap();
        assert!(
            sum.starts_with("3 rounds, 30 s: 150 messages in the logs, 2/s offered, 5/s answered in time; 9 faults")
        );
        assert!(sum.ends_with("9 × kill nats"), "{sum}");
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        assert!(Results::open(Some(file.path())).is_err());
    }
}
