//! The witness on a real system, shortly: the long form is `natter soak --minutes 30`.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// Runs `natter soak` and gives its exit code and its reports.
async fn soak(args: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.arg("soak").arg("--json").args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let reports = String::from_utf8(output.stdout).unwrap();
    let reports = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), reports, String::from_utf8(output.stderr).unwrap())
}

/// Roles apart, kills of everything, a full queue of links: what was answered is seen by all, once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_system_keeps_its_promises() {
    let results = tempfile::NamedTempFile::new().unwrap();
    let file = results.path().to_str().unwrap();
    let args = ["--seconds", "15", "--shape", "apart", "--seed", "2", "--rate", "100", "--results", file];
    let (code, reports, said) = soak(&args).await;
    assert_eq!(code, Some(0), "{reports:#?}\n{said}");
    let [report] = reports.as_slice() else { panic!("one round: {reports:#?}") };
    assert!(said.starts_with("natter soak --seed 2 --shape apart"), "the seed and the schedule come first: {said}");
    let count = |name: &str| report["clients"][name].as_u64().unwrap();
    assert!(count("messages") > 100 && count("live") > count("messages"), "{report:#}");
    assert!(report["faults"].as_object().unwrap().len() > 3, "{report:#}");

    // The file knows that the round is done.
    let (code, reports, _) = soak(&args).await;
    assert_eq!((code, reports.len()), (Some(0), 0));
}
