//! The rules of the house, as tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's crates and which of them each may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("schemas", &[]),
    ("nats", &["schemas"]),
    ("projections", &["schemas", "nats"]),
    ("processors", &["schemas", "nats", "projections"]),
    ("gateway", &["schemas", "nats", "projections"]),
    ("natter", &["schemas", "nats", "projections", "processors", "gateway"]),
];

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("a readable entry").path()) {
        let skipped = ["target", "node_modules", "fuzz"].iter().any(|name| entry.ends_with(name));
        if entry.is_dir() && !skipped {
            files(&entry, extension, found);
        } else if entry.extension().is_some_and(|found| found == extension) {
            found.push(entry);
        }
    }
}

/// Every Rust file of the workspace: (path from the root, text without its unit tests).
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    for (name, _) in MAY_USE {
        files(&root.join(name), "rs", &mut paths);
    }
    let sources: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable source");
            let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            (path.strip_prefix(&root).expect("below the root").display().to_string(), own)
        })
        .collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

#[test]
fn crates_depend_in_the_direction_of_the_flow() {
    for (name, may_use) in MAY_USE {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("a manifest");
        let used = manifest["dependencies"].as_table().expect("dependencies").keys();
        for used in used.filter_map(|key| key.strip_prefix("natter-")) {
            assert!(may_use.contains(&used), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !path.contains("/tests/"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "split by responsibility: {long:?}");
}

#[test]
fn folders_have_names_that_say_something() {
    for (path, _) in sources() {
        for part in Path::new(&path).with_extension("").components() {
            let part = part.as_os_str().to_string_lossy();
            assert!(!["utils", "util", "common", "helpers", "misc", "models"].contains(&&*part), "{path}");
        }
    }
}

#[test]
fn subjects_are_named_in_one_file() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !path.contains("/tests/")) {
        if path == "schemas/src/subjects.rs" {
            continue;
        }
        for stray in ["\"cmd.{", "\"evt.{", "\"live.{", "\"signal.{", "\"CMD_{", "\"EVT_{"] {
            assert!(!text.contains(stray), "{path} makes a subject of its own: {stray}");
        }
    }
}

#[test]
fn every_metric_is_documented() {
    let documented = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let mut named = BTreeSet::new();
    for (_, text) in sources().into_iter().filter(|(path, _)| !path.contains("/tests/")) {
        for literal in text.split('"').filter(|literal| literal.starts_with("natter_")) {
            let is_metric =
                literal.split('_').count() > 2 && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let is_crate = MAY_USE.iter().any(|(name, _)| literal == format!("natter_{name}"));
            if is_metric && !is_crate {
                named.insert(literal.to_owned());
            }
        }
    }
    assert!(named.len() > 15, "the metrics were not found");
    let missing: Vec<_> = named.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not describe {missing:?}");
}

#[test]
fn alerts_go_by_metrics_that_there_are() {
    let documented = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let operating = fs::read_to_string(root().join("docs/operating.md")).expect("docs/operating.md");
    let alerts = fs::read_to_string(root().join("deploy/alerts.yml")).expect("deploy/alerts.yml");
    let mut metrics = BTreeSet::new();
    for line in alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        metrics.extend(words.filter(|word| word.starts_with("natter_")).map(|word| word.trim_end_matches("_bucket")));
    }
    assert!(metrics.len() > 8, "the alerts' metrics were not found: {metrics:?}");
    let unknown: Vec<_> = metrics.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "docs/metrics.md does not know {unknown:?}");
    // Each names a section of the operator's page.
    let headings: BTreeSet<_> =
        operating.lines().filter_map(|line| Some(line.strip_prefix("## ")?.to_lowercase().replace(' ', "-"))).collect();
    for anchor in alerts.lines().filter_map(|line| line.split_once("docs/operating.md#")).map(|(_, anchor)| anchor) {
        assert!(headings.contains(anchor), "docs/operating.md has no section {anchor}: {headings:?}");
    }
}

#[test]
fn invariants_have_their_tests() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut paths = Vec::new();
    for (name, _) in MAY_USE {
        files(&root().join(name), "rs", &mut paths);
    }
    let all: String = paths.iter().map(|path| fs::read_to_string(path).expect("a readable source")).collect();
    // In the table of invariants, tests stand as `name_of_the_test`.
    let table = architecture.split("## Invariants").nth(1).and_then(|rest| rest.split("\n## ").next());
    let table = table.expect("ARCHITECTURE.md has a section on invariants");
    let tests: Vec<_> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('_') && !name.contains(['.', '/', ':', '(']))
        .collect();
    assert!(tests.len() >= 13, "each invariant names a test that holds it: {tests:?}");
    for test in tests {
        assert!(all.contains(&format!("fn {test}(")), "there is no test {test}");
    }
}

#[test]
fn the_tables_of_codes_in_the_documentation_are_the_code() {
    use natter_schemas::error::{CloseCode, ErrorCode};
    let documented = fs::read_to_string(root().join("docs/protocol.md")).expect("docs/protocol.md");
    for code in ErrorCode::ALL {
        let again = if code.retryable() { "yes" } else { "no" };
        let row = format!("| `{}` | {} | {again} | {} |", code.name(), code.http_status(), code.description());
        assert!(documented.contains(&row), "docs/protocol.md lacks: {row}");
    }
    for code in CloseCode::ALL {
        let again = if code.reconnect() { "yes" } else { "no" };
        let row = format!("| {} | `{}` | {again} | {} |", code.number(), code.name(), code.description());
        assert!(documented.contains(&row), "docs/protocol.md lacks: {row}");
    }
}
