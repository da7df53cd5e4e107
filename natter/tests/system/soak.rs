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

/// The history is away for a while: who chats goes on, and when it is back it catches up and is exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_away_is_waited_for_by_nobody() {
    let args = ["--seconds", "20", "--seed", "5", "--rate", "100", "--outage", "clickhouse", "--outage-seconds", "5"];
    let (code, reports, said) = soak(&args).await;
    assert_eq!(code, Some(0), "{reports:#?}\n{said}");
    let [report] = reports.as_slice() else { panic!("one round, roles apart: {reports:#?}") };
    assert_eq!((&report["shape"], &report["faults"]), (&"apart".into(), &serde_json::json!({})), "{report:#}");
    let outage = &report["outage"];
    assert_eq!(outage["server"], "clickhouse");
    assert!((5000..9000).contains(&outage["lasted_ms"].as_u64().unwrap()), "{outage:#}");
    assert!(outage["caught_up_after_ms"].is_u64(), "{outage:#}");
    for span in ["before", "away", "after"] {
        assert!(outage[span]["answered"].as_u64().unwrap() > 50, "{span}: {outage:#}");
    }
    // Whoever waited for the history would have waited until it was back.
    assert!(outage["away"]["wait_ms"]["p50"].as_u64().unwrap() < 2500, "{outage:#}");
}

/// The same for what is lost in Redis and for the objects, in one process where that can be; what cannot be is refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn other_outages_heal_too_or_are_refused() {
    for (server, more) in [("redis", ["--shape", "one"]), ("s3", ["--outage-seconds", "2"])] {
        let args = ["--seconds", "12", "--seed", "6", "--rate", "50", "--outage", server];
        let (code, reports, said) = soak(&[&args[..], &more].concat()).await;
        assert_eq!(code, Some(0), "{reports:#?}\n{said}");
        let outage = &reports[0]["outage"];
        assert!(outage["server"] == server && outage["caught_up_after_ms"].is_u64(), "{outage:#}");
    }
    for (refused, why) in [
        (&["--shape", "one", "--outage", "s3"][..], "--shape apart"),
        (&["--seconds", "30", "--outage", "clickhouse", "--outage-seconds", "30"], "at least 36 s"),
        (&["--outage-seconds", "30"], "--outage"),
    ] {
        let (code, reports, said) = soak(refused).await;
        assert!(code != Some(0) && reports.is_empty() && said.contains(why), "{refused:?}: {said}");
    }
}
