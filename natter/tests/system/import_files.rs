//! `natter import` of files that are not as they should be: their bytes, their lines, and what they share with other files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::observed::logged;
use crate::process::Process;

/// A system and a folder for files.
pub struct Case {
    folder: TempDir,
    pub process: Process,
}

/// How `natter import --json` ended.
pub struct Imported {
    pub status: Option<i32>,
    pub said: String,
    pub summary: Value,
}

impl Imported {
    /// Lines accepted, duplicates, and refused.
    pub fn counts(&self) -> (u64, u64, u64) {
        let count = |name: &str| self.summary[name].as_u64().unwrap();
        let refused = self.summary["rejected"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        (count("accepted"), count("duplicates"), refused)
    }
}

impl Case {
    pub async fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::up(&folder.path().join("data")).await;
        Case { folder, process }
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub async fn import(&self, path: &Path, options: &[&str]) -> Imported {
        let ended = self.process.run(&[&["import", "--json", path.to_str().unwrap()], options].concat()).await;
        Imported {
            status: ended.status.code(),
            said: String::from_utf8(ended.stderr).unwrap(),
            summary: serde_json::from_slice(&ended.stdout).unwrap_or_default(),
        }
    }

    /// `user: text` of each message in the room, in order.
    pub async fn said_in(&self, room: &str) -> Vec<String> {
        let rooms = logged(&self.process).await;
        let messages = rooms.get(room).map(Vec::as_slice).unwrap_or_default();
        messages.iter().map(|message| format!("{}: {}", message.user, message.text)).collect()
    }
}

fn line(room: &str, user: &str, second: u64, text: &str) -> Value {
    json!({ "room": room, "user": user, "at": format!("2004-12-25T09:14:{second:02}Z"), "text": text })
}

fn with_id(id: u64, mut line: Value) -> Value {
    line["id"] = json!(id);
    line
}

fn lines(lines: &[Value]) -> String {
    lines.iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect()
}

#[tokio::test]
async fn lines_that_are_not_utf_8_are_refused_or_converted() {
    let case = Case::new().await;
    let raw = br#"{"room":"r","user":"ada","at":"2004-12-25T09:14:00Z","text":"first"}
{"room":"r","user":"ren_","at":"2004-12-25T09:14:01Z","text":"one"}
{"room":"r","user":"ren~","at":"2004-12-25T09:14:02Z","text":"two"}
"#;
    let latin: Vec<u8> = raw
        .iter()
        .map(|byte| match byte {
            b'_' => 0xE9,
            b'~' => 0xE8,
            byte => *byte,
        })
        .collect();
    let file = case.file("old.jsonl", &latin);
    let imported = case.import(&file, &[]).await;
    assert_eq!((imported.status, imported.counts()), (Some(0), (1, 0, 2)), "{}", imported.said);
    for said in
        ["line 2: invalid_frame: not UTF-8: byte 0xE9 at offset 23", "line 3: invalid_frame: not UTF-8: byte 0xE8"]
    {
        assert!(imported.said.contains(said), "{}", imported.said);
    }
    let unknown = case.import(&file, &["--encoding", "klingon"]).await;
    assert!(
        unknown.status == Some(2) && unknown.said.contains("`klingon` is no encoding that is known"),
        "{}",
        unknown.said
    );
    let file = case.file("two.jsonl", &latin[latin.iter().position(|byte| *byte == b'\n').unwrap() + 1..]);
    assert_eq!(case.import(&file, &["--encoding", "windows-1252"]).await.counts(), (2, 0, 0));
    assert_eq!(case.said_in("r").await, ["ada: first", "ren\u{e9}: one", "ren\u{e8}: two"]);
}

#[tokio::test]
async fn a_byte_order_mark_changes_nothing() {
    let case = Case::new().await;
    let text = lines(&[line("r", "zoé", 0, "one"), line("r", "zoé", 1, "two")]);
    let marked = case.file("marked.jsonl", format!("\u{feff}{text}"));
    assert_eq!(case.import(&marked, &[]).await.counts(), (2, 0, 0));
    let wide: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, options) in [
        ("plain.jsonl", text.as_bytes(), &[][..]),
        ("wide.jsonl", &wide, &[]),
        ("wide-unmarked.jsonl", &wide[2..], &["--encoding", "utf-16le"]),
    ] {
        assert_eq!(case.import(&case.file(name, bytes), options).await.counts(), (0, 2, 0), "{name}");
    }
    assert_eq!(case.said_in("r").await, ["zoé: one", "zoé: two"]);
}

#[tokio::test]
async fn overlapping_files_come_in_once_in_either_order() {
    let case = Case::new().await;
    let days = |room: &str, range: std::ops::Range<u64>, has_ids: bool| {
        let day = |day: u64| {
            // Two say the same in one moment, and one says it twice.
            let said = [("ada", "hi"), ("bob", "hi"), ("ada", "hi"), ("ada", "ho")];
            let room = room.to_owned();
            said.into_iter().zip(0..).map(move |((user, text), index)| {
                let line = line(&room, user, day, text);
                if has_ids { with_id(day * 10 + index, line) } else { line }
            })
        };
        lines(&range.flat_map(day).collect::<Vec<_>>())
    };
    let day = ["ada: hi", "bob: hi", "ada: hi", "ada: ho"];
    for (room, has_ids, swapped) in [("a", true, false), ("b", true, true), ("c", false, false), ("d", false, true)] {
        let options: &[&str] = if has_ids { &[] } else { &["--identify", "room,user,at,text"] };
        let early = case.file(&format!("{room}-early.jsonl"), days(room, 0..3, has_ids));
        let late = case.file(&format!("{room}-late.jsonl"), days(room, 1..4, has_ids));
        let [first, second] = if swapped { [&late, &early] } else { [&early, &late] };
        assert_eq!(case.import(first, options).await.counts(), (12, 0, 0), "{room}");
        assert_eq!(case.import(second, options).await.counts(), (4, 8, 0), "{room}");
        for file in [first, second] {
            assert_eq!(case.import(file, options).await.counts(), (0, 12, 0), "{room} again");
        }
        assert_eq!(case.said_in(room).await, [day, day, day, day].concat(), "{room}");
    }
    let wrong = case.import(&case.file("x.jsonl", "{}"), &["--identify", "room,when"]).await;
    assert!(
        wrong.status == Some(2) && wrong.said.contains("`when` is no field that identifies a line"),
        "{}",
        wrong.said
    );
    let without = case.import(&case.file("x.jsonl", lines(&[line("e", "ada", 0, "hi")])), &["--identify", "id"]).await;
    assert!(without.said.contains("line 1: invalid_field: `id` is missing"), "{}", without.said);
}

/// Two imports at once that share lines: each room takes each line once, in order.
#[tokio::test]
async fn overlapping_files_at_once_come_in_once() {
    let case = Case::new().await;
    let said = |range: std::ops::Range<u64>| {
        let said = |number: u64| with_id(number, line("r", "ada", number % 60, &number.to_string()));
        lines(&range.map(said).collect::<Vec<_>>())
    };
    let [whole, part] = [case.file("whole.jsonl", said(0..3000)), case.file("part.jsonl", said(1000..2000))];
    let (first, second) =
        tokio::join!(case.import(&whole, &["--window", "64"]), case.import(&part, &["--window", "16"]));
    let (accepted, duplicates) = (first.counts().0 + second.counts().0, first.counts().1 + second.counts().1);
    assert_eq!((accepted, duplicates), (3000, 1000), "{} {}", first.said, second.said);
    let mut numbers: Vec<u64> =
        case.said_in("r").await.iter().map(|said| said["ada: ".len()..].parse().unwrap()).collect();
    // Each file's lines are in its own order.
    let shared: Vec<u64> = numbers.iter().copied().filter(|number| (1000..2000).contains(number)).collect();
    assert!(shared.is_sorted());
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_line_beyond_a_mebibyte_is_refused_alone() {
    let case = Case::new().await;
    let long = line("r", "ada", 1, &"x".repeat(3 << 20));
    let file = case.file("old.jsonl", lines(&[line("r", "ada", 0, "one"), long, line("r", "ada", 2, "two")]));
    let imported = case.import(&file, &[]).await;
    assert_eq!(imported.counts(), (2, 0, 1));
    assert!(imported.said.contains("line 2: too_large: the line has 3145"), "{}", imported.said);
    assert!(imported.said.contains("at most 1048576 are allowed"), "{}", imported.said);
    assert_eq!(case.said_in("r").await, ["ada: one", "ada: two"]);
}

#[tokio::test]
async fn line_ends_become_newlines_at_both_doors() {
    let case = Case::new().await;
    let file = case.file("old.jsonl", lines(&[line("r", "ada", 0, "a\r\nb\rc\n\r\nd")]).replace('\n', "\r\n"));
    assert_eq!(case.import(&file, &[]).await.counts(), (1, 0, 0));
    let http = case.process.http("ada").await;
    let send = json!({ "id": "1", "cmd": "message.send", "ref": "s", "conversation": "ext:r", "text": "e\r\nf\rg" });
    let answer = http.post("/v1/commands", send.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let path =
        format!("/v1/conversations/ext:r/messages?min_position={}", answer.json()["ok"]["position"].as_str().unwrap());
    let page = http.get(&path).await.json();
    let texts: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["a\nb\nc\n\nd", "e\nf\ng"], "{page}");
}

#[tokio::test]
async fn control_characters_are_refused_or_dropped_and_counted() {
    let case = Case::new().await;
    let dirty = line("r", "ada", 0, "a\u{0}b\u{7}");
    let mut raw = lines(&[dirty, line("r", "ada", 1, "two"), line("r", "ada", 2, "RAW")]).replace("RAW", "th\u{1}ree");
    raw.push_str(&lines(&[line("r", "b\u{1b}ob", 3, "four")]));
    let file = case.file("old.jsonl", raw);
    let imported = case.import(&file, &[]).await;
    assert_eq!(imported.counts(), (1, 0, 3));
    for said in [
        "line 1: invalid_field: `text` contains '\\0'",
        "line 3: invalid_frame: not JSON: control character",
        "line 4: invalid_field: `user`",
    ] {
        assert!(imported.said.contains(said), "{}", imported.said);
    }
    assert!(imported.said.contains("--clean"), "{}", imported.said);
    // What was refused comes in when it is clean; what came in does not come again.
    let cleaned = case.import(&file, &["--clean"]).await;
    assert_eq!(cleaned.counts(), (3, 1, 0), "{}", cleaned.said);
    assert_eq!(cleaned.summary["lost"]["control characters, dropped by --clean"], 4);
    assert_eq!(case.import(&file, &["--clean"]).await.counts(), (0, 4, 0));
    let mut said = case.said_in("r").await;
    said.sort();
    assert_eq!(said, ["ada: ab", "ada: three", "ada: two", "bob: four"]);
}
