//! `docs/sql.md`: its questions, as it has them, asked by a tenant's analyst of generated data and counted again by hand (what it prints as their results, of a
//! real history, `.ci/verify-guide` compares); its reference of the columns, rendered from their comments: `NATTER_WRITE_DOCS=1 cargo test -p natter --test system guide` writes it anew.

mod by_hand;
mod data;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use natter_projections::clickhouse::show_archive;
use serde_json::Value;

use self::data::Data;
use crate::history_view;
use crate::process::Process;
use crate::tenants::{ask, server};

const MARK: &str = "<!-- from here on written by the tests -->\n";
/// The guide promises so many.
const QUESTIONS: usize = 20;

fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md")
}

/// Number, title and query of each question.
fn questions(document: &str) -> Vec<(usize, String, String)> {
    let parts = document.split("\n### ").skip(1);
    let questions = parts.filter_map(|part| {
        let (title, rest) = part.split_once('\n')?;
        let (number, title) = title.split_once(". ")?;
        let (_, query) = rest.split_once("```sql\n")?;
        let (query, rest) = query.split_once("```")?;
        assert!(!rest.contains("```sql"), "{title}: one query a question");
        assert!(prints_a_result(rest), "{title}: below its query stand its result and its time");
        Some((number.parse().unwrap(), title.to_owned(), query.to_owned()))
    });
    questions.collect()
}

/// As `.ci/verify-guide` writes it: a block of text, and a line such as `10 rows in 0.044 s`.
fn prints_a_result(below: &str) -> bool {
    let Some((rows, rest)) = below.strip_prefix("\n\n```text\n").and_then(|rest| rest.split_once("\n```\n\n")) else {
        return false;
    };
    let time = rest.lines().next().unwrap_or_default();
    rows.lines().count() > 1 && time.contains(" in ") && time.ends_with(" s")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_queries_say_what_is_counted_by_hand() {
    let document = std::fs::read_to_string(documentation()).unwrap();
    let questions = questions(&document);
    let numbers: Vec<_> = questions.iter().map(|(number, ..)| *number).collect();
    assert!(numbers.iter().copied().eq(1..=QUESTIONS), "{numbers:?}");

    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let data = Data::generated("demo", 7, 4000);
    let admin = server(process.run["clickhouse"].as_str().unwrap());
    for (table, rows) in [&data, &Data::generated("other", 8, 3000)].into_iter().flat_map(Data::rows) {
        let sql = format!("INSERT INTO natter_store.{table} FORMAT JSONEachRow\n{rows}");
        let stored = ask(&admin, "/", &sql).await;
        assert_eq!(stored.status, 200, "{table}: {}", stored.text());
    }
    let server = server(&process.ask(&["analyst add", "--tenant", "demo"]).await);
    let analyst =
        clickhouse::Client::default().with_url(&server.url).with_user(&server.user).with_password(&server.password);
    let mut answers = Vec::new();
    for (zone, ahead) in [("UTC", 0), ("Asia/Kolkata", 5 * HOUR_MS + HOUR_MS / 2)] {
        // Numbers as the counting by hand has them.
        let analyst = analyst
            .clone()
            .with_setting("session_timezone", zone)
            .with_setting("output_format_json_quote_64bit_integers", "0");
        answers.push(right_answers(&analyst, &questions, &data.on_clocks_ahead(ahead), zone).await);
    }
    // What no clock has to do with is the same in both.
    for number in [7, 8, 9, 10, 11, 19] {
        assert_eq!(answers[0][&number], answers[1][&number], "question {number}");
    }
    for number in [1, 3, 4, 18] {
        assert_ne!(answers[0][&number], answers[1][&number], "question {number} is of the session's zone");
    }
}

const HOUR_MS: u64 = 3_600_000;

/// The answers to all questions, which are what is counted by hand of this.
async fn right_answers(
    analyst: &clickhouse::Client,
    questions: &[(usize, String, String)],
    data: &Data,
    zone: &str,
) -> BTreeMap<usize, Vec<Value>> {
    let (mut wrong, mut counted, mut answers) = (Vec::new(), 0, BTreeMap::new());
    for (number, title, query) in questions {
        // The crate reads `?` as a parameter.
        let answer = match analyst.query(&query.replace('?', "??")).fetch_bytes("JSONEachRow") {
            Ok(mut answer) => answer.collect().await,
            Err(error) => Err(error),
        };
        let text = match answer {
            Ok(text) if !text.is_empty() => String::from_utf8(text.to_vec()).unwrap(),
            nothing => {
                wrong.push(format!("{number}. {title}: {nothing:?}"));
                continue;
            }
        };
        assert!(!text.contains("other-"), "{number}. {title} shows another tenant: {text}");
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if let Some(by_hand) = by_hand::answer(*number, data) {
            counted += 1;
            if rows != by_hand {
                wrong.push(format!("{number}. {title}: {rows:?} instead of {by_hand:?}"));
            }
        }
        answers.insert(*number, rows);
    }
    assert!(wrong.is_empty(), "in {zone}, {} questions:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counted >= 15, "{counted} are counted by hand");
    answers
}

#[tokio::test]
async fn the_reference_is_what_the_columns_say() {
    let history = history_view::history().await;
    show_archive(&history, &"a".repeat(32).parse().unwrap()).await.unwrap();
    let views = history.views().to_owned();
    let client = history.client();
    let sql = "SELECT name, comment FROM system.tables WHERE database = ?";
    let tables: BTreeMap<String, String> =
        client.query(sql).bind(&views).fetch_all::<(String, String)>().await.unwrap().into_iter().collect();
    let sql = "SELECT table, name, type, comment FROM system.columns WHERE database = ? ORDER BY table, position";
    let columns: Vec<(String, String, String, String)> = client.query(sql).bind(&views).fetch_all().await.unwrap();
    let mut rendered = String::new();
    for (table, comment) in tables {
        write!(rendered, "\n### natter.{table}\n\n{comment}.\n\n| column | type | |\n| --- | --- | --- |\n").unwrap();
        for (_, name, kind, comment) in columns.iter().filter(|(of, ..)| *of == table) {
            writeln!(rendered, "| `{name}` | `{kind}` | {comment} |").unwrap();
        }
    }
    let written = std::fs::read_to_string(documentation()).unwrap();
    let (head, reference) =
        written.split_once(MARK).expect("docs/sql.md has the line behind which the reference stands");
    if std::env::var_os("NATTER_WRITE_DOCS").is_some() {
        std::fs::write(documentation(), format!("{head}{MARK}{rendered}")).unwrap();
    } else {
        assert_eq!(reference, rendered, "docs/sql.md is not what the columns' comments say; see the head of this file");
    }
}
