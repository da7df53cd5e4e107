//! Progress for people: a bar on a terminal, else a line now and then.

use std::cell::Cell;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Progress;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows how far a rebuild is, on standard error.
#[derive(Debug)]
pub struct Shown {
    view: &'static str,
    bar: Option<ProgressBar>,
    /// Where lines are wanted: when the next one is due.
    due: Option<Cell<Instant>>,
}

impl Shown {
    /// For this view, where it is `wanted`.
    pub fn new(view: &'static str, wanted: bool) -> Self {
        let is_terminal = stderr().is_terminal();
        let style = ProgressStyle::with_template("{prefix} {bar:40} {human_pos}/{human_len} batches  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = (wanted && is_terminal).then(|| ProgressBar::new(0).with_style(style).with_prefix(view));
        let due = (wanted && !is_terminal).then(|| Cell::new(Instant::now() + LINE_INTERVAL));
        Self { view, bar, due }
    }

    /// It is so far.
    pub fn tell(&self, progress: &Progress) {
        let Progress { batches, batches_total, records, records_per_second, seconds_left } = progress;
        let left = seconds_left.map_or_else(String::new, |left| format!(", {left:.0} s left"));
        let rate = format!("{records_per_second:.0} records/s{left}");
        if let Some(bar) = &self.bar {
            bar.set_length(*batches_total);
            bar.set_position(*batches);
            bar.set_message(rate.clone());
        }
        if let Some(due) = self.due.as_ref().filter(|due| Instant::now() >= due.get()) {
            due.set(Instant::now() + LINE_INTERVAL);
            #[expect(clippy::print_stderr, reason = "progress is no result")]
            {
                eprintln!("{}: {batches} of {batches_total} batches, {records} records, {rate}", self.view);
            }
        }
    }

    /// It is done, or cannot go on.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
