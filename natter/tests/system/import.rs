//! `natter import` from end to end: whatever is stopped or killed meanwhile, and however often the file comes again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::history::History;
use crate::observed::assert_holds;
use crate::process::Process;

const LINES: usize = 5000;
/// For an import of that many lines, on a busy machine and with a restart in the middle.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(5);
/// Few lines on their way at once: such an import can be caught in the middle.
const SLOW: [&str; 2] = ["--window", "32"];

/// What `natter import --json` says at the end.
#[derive(Debug, Deserialize)]
pub struct Summary {
    pub read: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: BTreeMap<String, u64>,
}

impl Summary {
    pub fn of(printed: &str) -> Summary {
        serde_json::from_str(printed).unwrap_or_else(|_| panic!("no summary: {printed}"))
    }

    /// The file's lines are all accounted for, `duplicates` of them as such.
    fn assert_is(&self, history: &History, duplicates: u64) {
        assert_eq!(self.rejected, history.rejected());
        assert_eq!((self.read, self.duplicates), (history.read(), duplicates));
        assert_eq!(self.accepted + self.duplicates, history.accepted());
        assert_eq!(self.accepted + self.duplicates + self.rejected.values().sum::<u64>(), self.read);
    }
}

/// Imports a file to its end.
pub async fn import(process: &Process, file: &Path) -> Summary {
    Summary::of(&process.ask(&["import", "--json", file.to_str().unwrap()]).await)
}

struct Case {
    folder: TempDir,
    history: History,
    files: [PathBuf; 2],
}

impl Case {
    fn new(seed: u64) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let history = History::generated(seed, LINES);
        let files = history.write(folder.path(), "history");
        Case { folder, history, files }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts an import that takes its time.
    fn start_import(&self, process: &Process) -> Child {
        process.start(&["import", "--json", SLOW[0], SLOW[1], self.files[0].to_str().unwrap()])
    }

    /// Some of the lines in a file of their own, from `begin` percent to `end`.
    fn part(&self, begin: usize, end: usize) -> PathBuf {
        let text = std::fs::read_to_string(&self.files[0]).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let path = self.folder.path().join(format!("{begin}-{end}.jsonl"));
        std::fs::write(&path, lines[lines.len() * begin / 100..lines.len() * end / 100].concat()).unwrap();
        path
    }

    /// Waits until so many of the messages of the largest room are there.
    async fn until_imported(&self, process: &Process, percent: usize) {
        let room = &self.history.largest_rooms(1)[0];
        let wanted = (self.history.rooms()[room].len() * percent / 100) as u64;
        let http = process.http("somebody").await;
        let imported = async {
            loop {
                let answer = http.get("/v1/conversations/ext:%23ubuntu").await;
                if answer.status == 200 && answer.json()["last_seq"].as_u64().unwrap() >= wanted {
                    return;
                }
                sleep(LOOK).await;
            }
        };
        assert_eq!(room, "#ubuntu");
        timeout(DEADLINE, imported).await.expect("the import goes on");
    }
}

async fn summary(import: Child) -> Summary {
    let ended = timeout(DEADLINE, import.wait_with_output()).await.expect("the import ends in time").unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Summary::of(&String::from_utf8(ended.stdout).unwrap())
}

#[tokio::test]
async fn an_imported_line_is_a_duplicate_for_ever_however_often_the_file_comes_again() {
    let case = Case::new(1);
    let process = Process::up(&case.data()).await;
    let [plain, packed] = &case.files;
    import(&process, plain).await.assert_is(&case.history, 0);
    assert_holds(&process, &case.history).await;

    import(&process, packed).await.assert_is(&case.history, case.history.accepted());
    assert_holds(&process, &case.history).await;

    assert!(process.term().await.success());
    let process = Process::up(&case.data()).await;
    import(&process, packed).await.assert_is(&case.history, case.history.accepted());
    import(&process, plain).await.assert_is(&case.history, case.history.accepted());
    assert_holds(&process, &case.history).await;
}

#[tokio::test]
async fn refused_lines_are_listed_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let line = |text: &str| format!(r#"{{"room":"r","user":"u","at":"2004-12-25T09:14:00Z","text":"{text}"}}"#);
    std::fs::write(&file, [line("one"), String::new(), line(""), "no json".to_owned(), line("two")].join("\n"))
        .unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let ended = process.run(&["import", file.to_str().unwrap()]).await;
    assert!(ended.status.success());
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(
        printed.starts_with("4 lines in ") && printed.contains(": 2 accepted, 0 duplicates, 2 rejected"),
        "{printed}"
    );
    assert!(printed.contains("  invalid_field: 1\n") && printed.contains("  invalid_frame: 1\n"), "{printed}");
    let refused = String::from_utf8(ended.stderr).unwrap();
    assert!(refused.contains("line 3: invalid_field: `text` is empty"), "{refused}");
    assert!(refused.contains("line 4: invalid_frame: "), "{refused}");

    std::fs::write(&file, "room,user,at,text\nr,u,2004-12-25T09:14:00Z,hi\n").unwrap();
    let ended = process.run(&["import", file.to_str().unwrap()]).await;
    assert_eq!(ended.status.code(), Some(1), "none of it is history");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("line 2: invalid_frame: not JSON") && said.contains("no line could be taken"), "{said}");
}

#[tokio::test]
async fn a_system_that_is_killed_in_the_middle_of_an_import_ends_as_if_it_had_not_been() {
    let case = Case::new(2);
    let mut process = Process::up(&case.data()).await;
    let import = case.start_import(&process);
    for percent in [20, 60] {
        case.until_imported(&process, percent).await;
        let port = process.address().port();
        process.kill().await;
        process = Process::up_at(&case.data(), port).await;
    }
    let summary = summary(import).await;
    // Lines whose answers went down with the system are duplicates when they are sent again.
    summary.assert_is(&case.history, summary.duplicates);
    assert_holds(&process, &case.history).await;
}

#[tokio::test]
async fn a_system_that_is_stopped_and_an_importer_that_is_killed_leave_no_trace() {
    let case = Case::new(3);
    let process = Process::up(&case.data()).await;
    let import = case.start_import(&process);
    case.until_imported(&process, 20).await;
    let port = process.address().port();
    assert!(process.term().await.success());
    let process = Process::up_at(&case.data(), port).await;
    case.until_imported(&process, 50).await;
    // Now the importer goes, with answers under way, and another one takes the file from its first line.
    drop(import);
    let second = case.start_import(&process);
    let second = summary(second).await;
    // How far the first one came is a matter of speed; together they bring every line once.
    assert!(second.duplicates > 0, "{second:?}");
    second.assert_is(&case.history, second.duplicates);
    assert_holds(&process, &case.history).await;
}

#[tokio::test]
async fn two_importers_of_one_file_import_it_once() {
    let case = Case::new(4);
    let process = Process::up(&case.data()).await;
    let [first, second] = [case.start_import(&process), case.start_import(&process)];
    let [first, second] = [summary(first).await, summary(second).await];
    assert_eq!(first.accepted + second.accepted, case.history.accepted(), "{first:?} {second:?}");
    assert_holds(&process, &case.history).await;
}

#[tokio::test]
async fn overlapping_parts_come_in_once_whatever_is_killed() {
    const IDENTIFY: [&str; 2] = ["--identify", "room,user,at,text"];
    let case = Case::new(5);
    let mut process = Process::up(&case.data()).await;
    let (first, second) = (case.part(0, 70), case.part(30, 100));
    let [first, second] = [&first, &second].map(|path| path.to_str().unwrap());
    let import = process.start(&["import", "--json", SLOW[0], SLOW[1], IDENTIFY[0], IDENTIFY[1], first]);
    case.until_imported(&process, 20).await;
    let port = process.address().port();
    process.kill().await;
    process = Process::up_at(&case.data(), port).await;
    case.until_imported(&process, 40).await;
    // The importer goes too, and the first part comes again, then the other, then both.
    drop(import);
    let again = ["import", "--json", IDENTIFY[0], IDENTIFY[1]];
    let import = async |file| Summary::of(&process.ask(&[&again[..], &[file]].concat()).await);
    let resumed = import(first).await;
    assert!(resumed.duplicates > 0, "{resumed:?}");
    let other = import(second).await;
    assert!(other.duplicates > 0 && other.accepted > 0, "{other:?}");
    for file in [first, second] {
        assert_eq!(import(file).await.accepted, 0);
    }
    assert_holds(&process, &case.history).await;
}
