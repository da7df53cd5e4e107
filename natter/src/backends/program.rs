//! Which program serves a backend: the one on PATH when it is new enough, else the pinned one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Major, minor and patch; a missing patch is 0.
pub type Version = (u32, u32, u32);

/// A program that may be on PATH, and from which version on it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub name: &'static str,
    pub version_args: &'static [&'static str],
    pub minimum: Version,
}

impl Candidate {
    /// The first program of this name on PATH, if it is new enough. One that does not answer within 5 s counts as absent.
    pub async fn on_path(&self) -> Option<PathBuf> {
        let program = find_on_path(self.name)?;
        let mut asked = Command::new(&program);
        asked.args(self.version_args).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(5), asked.output()).await.ok()?.ok()?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout));
        if version.is_some_and(|version| version >= self.minimum) {
            return Some(program);
        }
        tracing::info!(program = %program.display(), ?version, minimum = ?self.minimum, "not used: too old");
        None
    }
}

/// The first executable file of this name in the folders of `PATH`.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The first word of a `--version` answer that is a dotted number, with or without `v` or `v=` before it.
fn parse_version(answer: &str) -> Option<Version> {
    answer.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches("v=").trim_start_matches('v');
        let mut numbers = word.split(['.', '-', '+']).map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_each_server_prints_them() {
        for (answer, version) in [
            ("nats-server: v2.15.1\n", Some((2, 15, 1))),
            ("nats-server: v2.14.0-RC.1\n", Some((2, 14, 0))),
            (
                "Redis server v=6.2.5 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64 build=135cf79b58e84c2a",
                Some((6, 2, 5)),
            ),
            ("version 8000GB 4.48 pypi linux amd64", Some((4, 48, 0))),
            ("ClickHouse server version 26.7.3.1 (official build).", Some((26, 7, 3))),
            ("command not found", None),
            ("", None),
        ] {
            assert_eq!(parse_version(answer), version, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_too_old_or_absent_is_not_taken() {
        let shell = Candidate { name: "cargo", version_args: &["--version"], minimum: (1, 0, 0) };
        assert!(shell.on_path().await.is_some());
        assert_eq!(Candidate { minimum: (999, 0, 0), ..shell }.on_path().await, None);
        assert_eq!(Candidate { name: "natter-no-such-program", ..shell }.on_path().await, None);
    }
}
