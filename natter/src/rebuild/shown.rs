//! Progress for people: a bar on a terminal, else a line now and then.

use std::cell::Cell;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Progress, Step};

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
        let Progress { step, batches, batches_total, records, records_per_second, seconds_left } = progress;
        if *step > Step::Build {
            self.say_step(*step);
            return;
        }
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

    /// What follows the build has no measure of how far it is.
    fn say_step(&self, step: Step) {
        if let Some(bar) = &self.bar {
            bar.set_message(match step {
                Step::Compare => "comparing",
                _ => "switching",
            });
        }
    }

    /// It is done, or cannot go on.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The same for programs: a line for each step as it begins.
#[derive(Debug)]
pub struct Steps {
    view: &'static str,
    is_wanted: bool,
    last: Option<Step>,
}

impl Steps {
    /// For this view, where they are wanted.
    pub const fn new(view: &'static str, is_wanted: bool) -> Self {
        Self { view, is_wanted, last: None }
    }

    /// The line, where this step is another than before.
    pub fn tell(&mut self, step: Step) -> Option<String> {
        let is_new = self.last.replace(step) != Some(step);
        (self.is_wanted && is_new).then(|| serde_json::json!({ "view": self.view, "step": step }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once() {
        let mut steps = Steps::new("redis", true);
        let told: Vec<_> = [Step::Begin, Step::Build, Step::Build, Step::Compare].map(|step| steps.tell(step)).into();
        assert_eq!(told[0].as_deref(), Some(r#"{"step":"begin","view":"redis"}"#));
        assert!(told[1].is_some() && told[2].is_none() && told[3].is_some());
        assert_eq!(Steps::new("redis", false).tell(Step::Begin), None);
    }
}
