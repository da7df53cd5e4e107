//! What the folds make of a fixed log, committed as text: a fold that gives something else has another version.
//!
//! `goldens/VERSIONS` lists every version that there ever was with the SHA-256 of its golden, whose file is named by both.
//! Nothing that was committed there may change: so a fold that changed without its version fails, and so does the golden of
//! an old version that was written anew. `NATTER_GOLDENS=write cargo test -p natter-projections golden` adds the golden of
//! a version that is not listed yet.

mod log;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use natter_nats::LogId;
use natter_schemas::event::placed;
use sha2::{Digest, Sha256};

use crate::clickhouse::fold::Rows;
use crate::redis::{fold::Step, operation::Operation};
use crate::{clickhouse, redis};

const LIST: &str = "goldens/VERSIONS";

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Version {
    view: String,
    number: u32,
    digest: String,
}

impl Version {
    fn of(view: &str, number: u32, golden: &str) -> Self {
        Self { view: view.to_owned(), number, digest: hex::encode(Sha256::digest(golden.as_bytes())) }
    }

    fn all(list: &str) -> Vec<Self> {
        let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [view, number, digest] => {
                    let number = number.parse().expect("a version's number");
                    Self { view: view.to_owned(), number, digest: digest.to_owned() }
                }
                _ => panic!("{LIST}: `{line}` is not `view version digest`"),
            })
            .collect()
    }

    fn path(&self) -> PathBuf {
        let Self { view, number, digest } = self;
        root().join("goldens").join(format!("{view}-{number}-{}.txt", &digest[..12]))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn listed() -> Vec<Version> {
    Version::all(&fs::read_to_string(root().join(LIST)).expect("goldens/VERSIONS"))
}

/// What the folds of this binary give: (view, version, golden).
fn given() -> [(&'static str, u32, String); 2] {
    [("redis", redis::FOLD_VERSION, operations()), ("clickhouse", clickhouse::FOLD_VERSION, rows())]
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The operations of each batch by itself, and of all in one step.
fn operations() -> String {
    let (mut text, mut whole) = (String::new(), Step::default());
    for (sequence, bytes) in log::batches() {
        let mut step = Step::default();
        for outcome in placed(0, sequence, &bytes).expect("an outcome batch") {
            step.outcome(&outcome);
            whole.outcome(&outcome);
        }
        text += &section(&format!("batch {sequence}"), step.operations().iter().map(operation).collect());
    }
    text + &section("all in one step", whole.operations().iter().map(operation).collect())
}

fn section(title: &str, mut lines: Vec<String>) -> String {
    lines.retain(|line| !line.is_empty());
    lines.sort_unstable();
    lines.push(String::new());
    format!("# {title}\n{}\n", lines.join("\n"))
}

/// One operation; empty: it has no items, so it is not sent. Only lists have an order.
fn operation(operation: &Operation) -> String {
    let pair = |(one, other): (&[u8], &[u8])| format!("{}={}", shown(one), shown(other));
    let line = |name: &str, key: &str, items: Vec<String>| {
        if items.is_empty() { String::new() } else { format!("{name} {key} {}", items.join(" ")) }
    };
    let sorted = |mut items: Vec<String>| {
        items.sort_unstable();
        items
    };
    match operation {
        Operation::Set { key, fields } => {
            line("set", key, sorted(fields.iter().map(|(field, value)| pair((field, value))).collect()))
        }
        Operation::Unset { key, fields } => {
            line("unset", key, sorted(fields.iter().map(|field| shown(field)).collect()))
        }
        Operation::Include { key, items } => line("include", key, sorted(items.clone())),
        Operation::Exclude { key, items } => line("exclude", key, sorted(items.clone())),
        Operation::Enrol { key, items } => {
            let items = items.iter().map(|(user, rest)| pair((user.as_bytes(), rest.as_bytes())));
            line("enrol", key, sorted(items.collect()))
        }
        Operation::Strike { key, users } => line("strike", key, sorted(users.clone())),
        Operation::Messages { key, items } => line("messages", key, items.iter().map(|item| shown(item)).collect()),
        Operation::Refs { key, items } => line("refs", key, items.iter().map(|item| shown(item)).collect()),
        Operation::Ref { items } => {
            line("ref", "", sorted(items.iter().map(|(key, item)| pair((key.as_bytes(), item))).collect()))
        }
    }
}

/// The rows of all batches, and the newest of each key.
fn rows() -> String {
    let log: LogId = "1".repeat(32).parse().expect("a log id");
    let mut rows = Rows::default();
    for (sequence, bytes) in log::batches() {
        rows.fold(&log, 0, sequence, &bytes).expect("an outcome batch");
    }
    let Rows { events, batches, messages, conversations, members, users, watermarks } = &rows;
    section("events", lines(events))
        + &section("batches", lines(batches))
        + &section("messages", lines(messages))
        + &section("conversations", lines(conversations.values()))
        + &section("members", lines(members.values()))
        + &section("users", lines(users.values()))
        + &section("watermarks", lines(watermarks.values()))
}

fn lines<T: std::fmt::Debug>(rows: impl IntoIterator<Item = T>) -> Vec<String> {
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

/// Adds what is not listed yet, where that was asked for.
fn write() {
    if env::var_os("NATTER_GOLDENS").is_none_or(|wish| wish != "write") {
        return;
    }
    let mut list = fs::read_to_string(root().join(LIST)).unwrap_or_default();
    for (view, number, golden) in given() {
        let version = Version::of(view, number, &golden);
        if Version::all(&list).iter().any(|known| known.view == view && known.number == number) {
            continue;
        }
        fs::write(version.path(), &golden).expect("goldens can be written");
        writeln!(list, "{view} {number} {}", version.digest).expect("memory");
        fs::write(root().join(LIST), &list).expect("goldens can be written");
    }
}

#[test]
fn the_fixed_log_has_every_outcome() {
    assert_eq!(log::missing(), Vec::<&str>::new(), "these do not occur in the log of the goldens");
}

#[test]
fn a_changed_fold_has_another_version() {
    write();
    for (view, number, golden) in given() {
        let newest = listed().into_iter().rfind(|version| version.view == view).expect("a version");
        let found = Version::of(view, number, &golden);
        assert_eq!(
            (newest.number, &newest.digest),
            (found.number, &found.digest),
            "the fold of {view} gives something else than {}: raise its FOLD_VERSION, then \
             NATTER_GOLDENS=write cargo test -p natter-projections golden",
            newest.path().display()
        );
    }
}

#[test]
fn every_version_ever_keeps_its_golden() {
    let (mut digests, mut newest) = (HashSet::new(), std::collections::HashMap::new());
    for version in listed() {
        let golden = fs::read_to_string(version.path()).unwrap_or_else(|error| panic!("{version:?}: {error}"));
        assert_eq!(Version::of(&version.view, version.number, &golden), version, "the golden is not what is listed");
        assert!(digests.insert((version.view.clone(), version.digest.clone())), "{version:?} is the one before");
        let before = newest.insert(version.view.clone(), version.number);
        assert!(before.is_none_or(|before| before < version.number), "{version:?} is not newer than {before:?}");
    }
    assert_eq!(newest.len(), 2, "both views have goldens");
}

/// What was committed once is not written anew. Where there is no history (a download), only the list itself holds.
#[test]
fn a_version_once_committed_stays() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let now = listed();
    let commits = git(&["log", "--first-parent", "--format=%H", "--", LIST]).unwrap_or_default();
    for commit in commits.lines() {
        let Some(then) = git(&["show", &format!("{commit}:./{LIST}")]) else { continue };
        for version in Version::all(&then) {
            assert!(now.contains(&version), "{commit} has {version:?}: raise FOLD_VERSION instead of writing it anew");
        }
    }
}
