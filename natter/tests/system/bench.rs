//! `natter bench`: every mode in a tiny form against real servers. Its counts are right; times are for quiet machines.

use serde_json::Value;
use tokio::process::Command;

use crate::process::Process;
use crate::up::in_history;

/// A second of warm-up and one that is measured.
const SHORT: [&str; 5] = ["--json", "--warm-up", "1", "--seconds", "1"];

async fn report(system: &Process, mode: &str, args: &[&str]) -> Value {
    let mode = format!("bench {mode}");
    let printed = system.ask(&[&[mode.as_str()], args].concat()).await;
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no report: {printed}"))
}

/// The report of a mode that has a system of its own, of which nothing is left.
async fn own_report(args: &[&str]) -> Value {
    let outer = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_natter"));
    bench.arg("bench").args(args).current_dir(outer.path()).env("TMPDIR", outer.path());
    let output = bench.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 0, "servers and data are gone");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

/// Everything that went out was accepted and reached `members` sessions, in order.
fn assert_all_arrived(run: &Value, sent: u64, members: u64) {
    let counts =
        ["sent", "accepted", "delivered", "unanswered", "undelivered", "out_of_order"].map(|key| count(&run[key]));
    assert_eq!(counts, [sent, sent, sent * members, 0, 0, 0], "{run}");
    for empty in ["refused", "ended"] {
        assert_eq!(run[empty], Value::Object(serde_json::Map::new()), "{run}");
    }
    assert!(
        run["frames_per_read"].as_f64().unwrap() >= 1.0 && run["writes_per_delivery"].as_f64().unwrap() > 0.0,
        "{run}"
    );
    for server in ["natter", "nats", "redis", "clickhouse"] {
        assert!(run["servers"]["cpu_seconds"][server].is_f64(), "{server}: {run}");
    }
    for view in run["views"].as_array().unwrap() {
        assert!(view["caught_up_after_seconds"].is_f64(), "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_counts_right() {
    let outer = tempfile::tempdir().unwrap();
    let system = Process::up(&outer.path().join("data")).await;
    let written = [sockets(&system).await, room(&system).await, history(&system).await];
    idle(&system).await;
    connect(&system).await;
    // What the reports call accepted is what there is.
    in_history(&system, usize::try_from(written.iter().sum::<u64>()).unwrap()).await;
    assert!(system.term().await.success());
}

async fn sockets(system: &Process) -> u64 {
    let report = report(system, "sockets", &[&SHORT[..], &["--sessions", "4", "--rate", "100,200"]].concat()).await;
    let machine = &report["machine"];
    assert_eq!(
        (&report["mode"], &machine["fsync"], count(&machine["partitions"])),
        (&"sockets".into(), &"always".into(), 4)
    );
    let backends: Vec<_> =
        machine["backends"].as_array().unwrap().iter().map(|named| named[0].as_str().unwrap()).collect();
    assert_eq!(backends, ["nats", "redis", "clickhouse"]);
    let [one, other] = report["runs"].as_array().unwrap().as_slice() else { panic!("{report}") };
    for (run, rate) in [(one, 100), (other, 200)] {
        assert_all_arrived(run, 2 * rate, 2);
        // Half of them are measured, each at its sender and at its peer.
        assert_eq!([&run["answered"], &run["delivery"]].map(|measured| count(&measured["count"])), [rate, rate]);
        assert!(run["bare"]["frames_per_second"].as_f64().unwrap() > 0.0, "{run}");
    }
    let odd = system.run(&["bench sockets", "--sessions", "3"]).await;
    assert!(!odd.status.success() && String::from_utf8_lossy(&odd.stderr).contains("no pairs"), "{odd:?}");
    600
}

async fn room(system: &Process) -> u64 {
    let args = ["--members", "5", "--look", "2", "--rate", "50"];
    let report = report(system, "room", &[&SHORT[..], &args].concat()).await;
    let run = &report["runs"][0];
    assert_all_arrived(run, 100, 5);
    assert_eq!((count(&run["looked"]), count(&run["answered"]["count"])), (2, 50));
    // The two that look do not count what they wrote themselves, a fifth each.
    assert_eq!(count(&run["delivery"]["count"]), 80);
    assert!(run["gateway_micros_per_delivery"].is_f64() && run["ratio_to_bare"].as_f64().unwrap() > 0.0, "{run}");
    100
}

async fn history(system: &Process) -> u64 {
    let args = ["--messages", "1000", "--limit", "20", "--reads", "40", "--rate", "50", "--sessions", "2"];
    let report = report(system, "history", &[&SHORT[..], &args].concat()).await;
    let run = &report["runs"][0];
    assert_eq!((&run["wrong"], count(&run["missing"])), (&Value::Object(serde_json::Map::new()), 0), "{run}");
    assert_eq!([&run["newest"], &run["deep"]].map(|measured| count(&measured["count"])), [20, 20]);
    assert_all_arrived(&run["writes"], 100, 2);
    1100
}

async fn idle(system: &Process) {
    let report = report(system, "idle", &["--json", "--sessions", "30", "--seconds", "1"]).await;
    let run = &report["runs"][0];
    assert_eq!((count(&run["sessions"]), count(&run["open_at_end"])), (30, 30), "{run}");
    assert!(count(&run["resident_bytes_before"]) > 0, "{run}");
}

async fn connect(system: &Process) {
    let args = ["--users", "7", "--at-once", "4", "--rate", "0,50"];
    let report = report(system, "connect", &[&SHORT[..], &args].concat()).await;
    let [taken, paced] = report["runs"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert!(count(&taken["opening"]["count"]) > 0 && count(&taken["opened"]) > 0, "{taken}");
    assert_eq!((count(&paced["opened"]), count(&paced["opening"]["count"])), (100, 50), "{paced}");
    for run in [taken, paced] {
        assert_eq!(run["failed"], Value::Object(serde_json::Map::new()), "{run}");
    }
}

/// Small, so that a rebuild is over soon.
const ROOM: [&str; 9] = ["rebuild", "--json", "--room", "600", "--limit", "20", "--seconds", "1", "--reads"];

/// Both views, on a system of the bench's own: nothing differs, reads are what they should be, and killed rebuilds go on.
#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_are_measured_and_killed() {
    let report = own_report(&[&ROOM[..], &["40", "--messages", "3000", "--kills", "4", "--seed", "3"]].concat()).await;
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["view"].as_str().unwrap()).collect::<Vec<_>>(), ["redis", "clickhouse"]);
    for run in runs {
        assert_eq!((&run["switched"], count(&run["differences"])), (&true.into(), 0), "{run}");
        // Messages, and what made their rooms.
        assert!(count(&run["records"]) > 3600 && run["records_per_second"].as_f64().unwrap() > 0.0, "{run}");
        let memory = ["first_quarter_mib", "last_quarter_mib", "build_max_mib"].map(|key| count(&run["memory"][key]));
        assert!(memory.iter().all(|mib| (1..1000).contains(mib)), "{run}");
        for pages in ["before", "during"].map(|when| &run["reads"][when]) {
            assert_eq!(
                (&pages["wrong"], count(&pages["missing"])),
                (&Value::Object(serde_json::Map::new()), 0),
                "{run}"
            );
            assert!(["newest", "deep"].iter().all(|kind| count(&pages[kind]["count"]) > 0), "{run}");
        }
        let kills = &run["kills"];
        let made: u64 = ["begin", "build", "compare", "switch"].iter().map(|step| count(&kills[step])).sum();
        assert_eq!(["differences", "audit_differences"].map(|key| count(&kills[key])), [0, 0], "{kills}");
        assert!(made == 4 && count(&kills["rebuilds"]) > 0, "{kills}");
    }
}

/// A view with something in it that the log does not have: counted, not switched, and exit code 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_differs_is_told_by_the_exit_code() {
    let outer = tempfile::tempdir().unwrap();
    let system = Process::up(&outer.path().join("data")).await;
    let redis = redis::Client::open(system.run["redis"].as_str().unwrap()).unwrap();
    let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("HSET").arg(&["{0}:0:n:demo", "zoe", "Zoe"]).query_async::<()>(&mut redis).await.unwrap();
    let bench = ["bench rebuild", "--views", "redis", "--kills", "1"];
    let output = system.run(&[&bench[..], &ROOM[1..], &["20"]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [run] = report["runs"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&run["switched"], count(&run["differences"])), (&false.into(), 1), "{run}");
    assert_eq!(run["kills"], Value::Null, "what differs already is not killed: {run}");
    assert!(system.term().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_are_measured_one_after_another() {
    let report = own_report(&["start", "--messages", "1500", "--json"]).await;
    let runs: Vec<_> =
        report["runs"].as_array().unwrap().iter().map(|run| (&run["after"], count(&run["messages"]))).collect();
    let wanted = [
        ("SIGTERM", 2),
        ("SIGTERM", 1503),
        ("SIGKILL", 1504),
        ("FLUSHALL while it runs", 1505),
        ("FLUSHALL and SIGKILL", 1506),
    ];
    let wanted: Vec<_> = wanted.map(|(after, messages)| (Value::from(after), messages)).into();
    assert_eq!(runs, wanted.iter().map(|(after, messages)| (after, *messages)).collect::<Vec<_>>());
    for run in report["runs"].as_array().unwrap() {
        let [answer, views] = ["first_answer_seconds", "views_seconds"].map(|key| run[key].as_f64().unwrap());
        assert!(run["ready_seconds"].as_f64().is_none_or(|ready| ready <= answer) && answer <= views, "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_counts_right() {
    let args = ["pipeline", "--rate", "500", "--window", "100", "--gateways", "2", "--partitions", "2"];
    let more = ["--projections", "on", "--bare", "--conversations", "8"];
    let report = own_report(&[&args[..], &more, &SHORT].concat()).await;
    let [bare, decided] = report["runs"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&bare["bare"], &decided["bare"], &decided["projections"]), (&true.into(), &false.into(), &true.into()));
    for run in [bare, decided] {
        let [paced, taken] = run["loads"].as_array().unwrap().as_slice() else { panic!("{run}") };
        assert_eq!((count(&paced["sent"]), count(&paced["answered"]["count"])), (1000, 500), "{paced}");
        assert!(count(&taken["sent"]) > 100 && taken["records_per_second"].as_f64().unwrap() > 0.0, "{taken}");
        for load in [paced, taken] {
            assert_eq!(["unanswered", "rejected"].map(|key| count(&load[key])), [0, 0], "{load}");
            assert!(load["records_per_command_batch"].as_f64().unwrap() >= 1.0, "{load}");
        }
    }
    let batch = |run: &Value| run["loads"][1]["records_per_outcome_batch"].as_f64().unwrap();
    assert!(batch(bare) == 0.0 && batch(decided) >= 1.0, "only one of them decides");
    assert!(decided["ratio_to_bare"].as_f64().unwrap() > 0.0);
}
