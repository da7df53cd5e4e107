//! What was found, and how it is said.

use std::fmt;

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be otherwise.
    Warning,
    /// Somebody must act.
    Wrong,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `redis memory`.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// How to mend it; `None`: nothing is to be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// All checks of a system.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which system.
    pub of: String,
    /// The worst of all checks.
    pub verdict: Verdict,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Finding>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, seen: impl fmt::Display) -> Self {
        Self { check, verdict: Verdict::Ok, seen: seen.to_string(), mend: None }
    }

    /// It works, and should be otherwise.
    pub fn warning(check: &'static str, seen: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self { check, verdict: Verdict::Warning, seen: seen.to_string(), mend: Some(mend.to_string()) }
    }

    /// Somebody must act.
    pub fn wrong(check: &'static str, seen: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::warning(check, seen, mend) }
    }

    /// [`Finding::ok`] where `is_so`, else [`Finding::wrong`].
    pub fn expect(check: &'static str, is_so: bool, seen: impl fmt::Display, mend: impl fmt::Display) -> Self {
        if is_so { Self::ok(check, seen) } else { Self::wrong(check, seen, mend) }
    }
}

impl Report {
    /// Of a system that was not looked at yet.
    pub fn new(of: String) -> Self {
        Self { of, verdict: Verdict::Ok, checks: Vec::new() }
    }

    /// Takes a check in.
    pub fn add(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(finding.verdict);
        self.checks.push(finding);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        })
    }
}

/// One line per check.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.of)?;
        for Finding { check, verdict, seen, mend } in &self.checks {
            // What others say may have several lines.
            let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
            write!(formatter, "{verdict:7}  {check:18}  {seen}")?;
            match mend {
                Some(mend) => writeln!(formatter, "; to mend it: {mend}")?,
                None => writeln!(formatter)?,
            }
        }
        let count = |verdict| self.checks.iter().filter(|one| one.verdict == verdict).count();
        write!(
            formatter,
            "{} checks: {} ok, {} warnings, {} wrong",
            self.checks.len(),
            count(Verdict::Ok),
            count(Verdict::Warning),
            count(Verdict::Wrong)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_and_the_worst_one_counts() {
        let mut report = Report::new("x".to_owned());
        report.add(Finding::ok("one", "fine"));
        report.add(Finding::wrong("two", "a\n b", "do c"));
        report.add(Finding::warning("three", "d", "do e"));
        assert_eq!(report.verdict, Verdict::Wrong);
        let text = report.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("wrong    two                 a b; to mend it: do c\n"), "{text}");
        assert!(text.ends_with("3 checks: 1 ok, 1 warnings, 1 wrong"), "{text}");
    }
}
