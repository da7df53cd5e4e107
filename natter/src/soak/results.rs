//! The file of results: one JSON line a round, so that a long run can be stopped and gone on with.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use anyhow::Context;

use super::report::Report;

/// The file, or none.
#[derive(Debug)]
pub struct Results {
    file: Option<File>,
    rounds: u64,
}

impl Results {
    /// Opens it and counts the rounds that it holds.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None, rounds: 0 }) };
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
        let rounds = BufReader::new(&file).lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()).count();
        Ok(Self { file: Some(file), rounds: rounds as u64 })
    }

    /// Rounds that are done.
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// One more.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, report: &Report) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = serde_json::to_string(report)? + "\n";
        file.write_all(line.as_bytes()).context("cannot write the results")
    }
}
