//! `natter sql`: statements to a running system's history, its formats, and what it refuses.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::moderation::{send, with_room};
use crate::observed::until_history_is_complete;
use crate::process::Process;

async fn refused(process: &Process, args: &[&str]) -> (Option<i32>, String, String) {
    let output = process.run(&[&["sql"], args].concat()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn analysts_ask_the_history_from_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    let ada = process.http("ada").await;
    for (reference, text) in [("a", "good morning"), ("b", "really?"), ("c", "it's \"fine\"")] {
        assert!(send(&ada, reference, text).await["ok"]["seq"].is_u64());
    }
    until_history_is_complete(&process).await;
    let ask = |args: Vec<String>| {
        let process = &process;
        async move { process.ask(&args.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let sql = |args: &[&str]| ask(std::iter::once("sql").chain(args.iter().copied()).map(str::to_owned).collect());

    // To a program, values and nothing else; the analysts' tables go by their names.
    let texts = "SELECT seq, text FROM messages ORDER BY seq";
    assert_eq!(sql(&[texts]).await, "1\tgood morning\n2\treally?\n3\tit\\'s \"fine\"\n");
    assert_eq!(sql(&["SELECT text FROM natter.messages WHERE text LIKE '%?' -- what?\n;"]).await, "really?\n");
    let rows: Vec<Value> =
        sql(&["--json", texts]).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["text"]), (3, &json!("really?")));
    let csv = sql(&["--format", "CSVWithNames", texts]).await;
    assert_eq!(csv.lines().take(2).collect::<Vec<_>>(), ["\"seq\",\"text\"", "1,\"good morning\""]);
    let table = sql(&["--format", "PrettyCompact", texts]).await;
    assert!(table.contains("┌─seq─┬─text") && table.contains("│   2 │ really?"), "{table}");
    assert_eq!(sql(&["--json", "SELECT 1 FORMAT TSV"]).await, "1\n", "the statement's own format goes over");
    // Larger than what is answered as a whole, and to its end.
    let many = sql(&["SELECT number, repeat('x', 20) FROM numbers(200000)"]).await;
    assert_eq!((many.lines().count(), many.lines().last().unwrap().starts_with("199999\t")), (200_000, true));

    let of_tenant = "SELECT count() FROM messages WHERE tenant = {tenant:String}";
    assert_eq!(sql(&["--tenant", "demo", of_tenant]).await, "3\n");
    assert_eq!(sql(&["--tenant", "other", of_tenant]).await, "0\n");
    assert_eq!(sql(&["--tenant", "other", "SELECT count() FROM messages"]).await, "3\n", "a parameter, no fence");

    let file = folder.path().join("ask.sql");
    std::fs::write(&file, format!("{texts} LIMIT 1;\n")).unwrap();
    assert_eq!(sql(&["--file", file.to_str().unwrap()]).await, "1\tgood morning\n");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_natter"))
        .args(["sql", "-", "--data", folder.path().join("data").to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 6 * 7").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"42\n"[..]));

    what_is_refused(&process).await;
}

async fn what_is_refused(process: &Process) {
    // In ClickHouse's own words.
    for (statement, code, name) in [
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT nothing FROM messages", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT {tenant:String}", 456, "UNKNOWN_QUERY_PARAMETER"),
        ("DROP TABLE messages", 164, "READONLY"),
        ("INSERT INTO natter_store.users (user) VALUES ('eve')", 164, "READONLY"),
        ("SELECT file('/etc/passwd')", 164, "READONLY"),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", 164, "READONLY"),
        // Where settings are shown nothing else may be reached.
        ("SELECT 1 FROM system.settings AS s, url('http://127.0.0.1:1/', 'CSV', 'a String') AS u", 164, "READONLY"),
        (
            "SELECT 1 FROM system.settings WHERE name IN (SELECT a FROM url('http://a/', 'CSV', 'a String'))",
            164,
            "READONLY",
        ),
        ("SELECT 1 FROM system.settings SETTINGS log_comment = 'x'", 164, "READONLY"),
    ] {
        let (status, stdout, stderr) = refused(process, &[statement]).await;
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{statement}: {stderr}");
        assert!(stderr.starts_with(&format!("Code: {code}. DB::Exception: ")) && stderr.contains(name), "{stderr}");
    }
    let (status, _, stderr) = refused(process, &["SELECT 1", "--format", "Nothing"]).await;
    assert!(status == Some(1) && stderr.contains("UNKNOWN_FORMAT"), "{stderr}");
    // After rows have come.
    let late = "SELECT number, repeat('x', 100), throwIf(number = 900000) FROM numbers(1000000)";
    let (status, stdout, stderr) = refused(process, &[late]).await;
    assert!(status == Some(1) && stderr.contains("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"), "{stderr}");
    assert!(stdout.lines().count() > 10_000, "what came before is shown");

    for (args, code, why) in [
        (vec![""], 1, "the statement is empty"),
        (vec!["--file", "/nowhere.sql"], 1, "cannot read /nowhere.sql"),
        (vec!["SELECT 1", "--file", "/nowhere.sql"], 2, "cannot be used with"),
        (vec![], 2, "required"),
        (vec!["SELECT 1", "--json", "--format", "CSV"], 2, "cannot be used with"),
    ] {
        let (status, _, stderr) = refused(process, &args).await;
        assert!(status == Some(code) && stderr.contains(why), "{args:?}: {status:?} {stderr}");
    }
    let away = tokio::process::Command::new(env!("CARGO_BIN_EXE_natter"))
        .args(["sql", "SELECT 1", "--config", "/dev/null"])
        .env("NATTER_CLICKHOUSE_URL", "http://127.0.0.1:1")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(away.stderr).unwrap();
    assert!(away.status.code() == Some(1) && said.contains("cannot ask ClickHouse"), "{said}");
}
