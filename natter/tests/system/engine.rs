//! ClickHouse's HTTP interface as Natter's clients use it: by the `clickhouse` crate, and by requests as `curl` sends them.

use std::process::Stdio;
use std::time::Duration;

use clickhouse::{Client, Compression, Row};
use natter::backends::{Backend, Backends, Status};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::raw_http::{address, authorized, basic, head, request};
use crate::servers::{self, clickhouse};

const ROWS: u64 = 100_000;
const NOBODY: &[(&str, &str)] = &[];
const TABLE: &str = "CREATE TABLE t (id UInt64, text String, note Nullable(String)) ENGINE = MergeTree ORDER BY id \
                     SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 100";

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Message {
    id: u64,
    text: String,
    note: Option<String>,
}

fn message(id: u64) -> Message {
    Message { id, text: format!("text {id} 'quoted' \0 雪"), note: id.is_multiple_of(3).then(|| "note".to_owned()) }
}

async fn insert(client: &Client, ids: impl Iterator<Item = u64>) {
    let mut insert = client.insert::<Message>("t").await.expect("the table is described");
    for id in ids {
        insert.write(&message(id)).await.expect("a row is taken");
    }
    insert.end().await.expect("the rows are stored");
}

async fn count(client: &Client) -> u64 {
    client.query("SELECT count() FROM t").fetch_one().await.expect("rows are counted")
}

#[tokio::test]
async fn rows_come_back_as_they_went_in() {
    let server = clickhouse().await;
    for (compression, validation) in [(Compression::Lz4, true), (Compression::None, true), (Compression::Lz4, false)] {
        let client = server.client().with_compression(compression).with_validation(validation);
        client.query("DROP TABLE IF EXISTS t SYNC").execute().await.expect("dropped");
        client.query(TABLE).execute().await.expect("made");
        insert(&client, 0..ROWS).await;
        assert_eq!(count(&client).await, ROWS);
        let rows: Vec<Message> = client.query("SELECT ?fields FROM t ORDER BY id").fetch_all().await.expect("rows");
        assert_eq!(rows.len(), usize::try_from(ROWS).expect("fits"));
        assert!(rows.iter().zip(0..).all(|(row, id)| *row == message(id)), "{compression:?}");
    }
}

#[tokio::test]
async fn a_large_result_comes_in_parts_without_a_seam() {
    let client = clickhouse().await.client();
    let mut cursor = client.query("SELECT number FROM numbers(1000000)").fetch::<u64>().expect("a cursor");
    let mut next = 0;
    while let Some(number) = cursor.next().await.expect("a row") {
        assert_eq!(number, next);
        next += 1;
    }
    assert_eq!(next, 1_000_000);
}

#[tokio::test]
async fn parameters_and_settings_reach_the_query() {
    let client = clickhouse().await.client();
    let texts = ["it's", "tab\tand\nline \\ \0", "雪", ""];
    for text in texts {
        let query = client.query("SELECT {text:String}, length({list:Array(UInt8)})").param("text", text);
        let row: (String, u64) = query.param("list", vec![1, 2, 3]).fetch_one().await.expect("a row");
        assert_eq!(row, (text.to_owned(), 3));
        let bound: String = client.query("SELECT ?").bind(text).fetch_one().await.expect("a row");
        assert_eq!(bound, text);
    }
    let threads: u64 = client
        .query("SELECT toUInt64(getSetting('max_threads'))")
        .with_setting("max_threads", "3")
        .fetch_one()
        .await
        .expect("a row");
    assert_eq!(threads, 3);
    let unknown = client.query("SELECT 1").with_setting("no_such_setting", "1").execute().await;
    assert!(unknown.expect_err("refused").to_string().contains("Code: 115."));
}

#[tokio::test]
async fn a_deduplication_token_holds_between_inserts() {
    let client = clickhouse().await.client();
    client.query(TABLE).execute().await.expect("made");
    let tokened = client.clone().with_setting("insert_deduplication_token", "batch-1");
    insert(&tokened, 0..10).await;
    insert(&tokened, 0..10).await;
    assert_eq!(count(&client).await, 10);
    insert(&client.with_setting("insert_deduplication_token", "batch-2"), 10..20).await;
    assert_eq!(count(&tokened).await, 20);
}

#[tokio::test]
async fn errors_have_clickhouses_codes() {
    let server = clickhouse().await;
    let client = server.client();
    for (sql, code) in [
        ("SELECT * FROM no_such_table", 60),
        ("SELEC 1 +", 62),
        ("SELECT no_such_column", 47),
        ("CREATE DATABASE system", 82),
        ("SELECT throwIf(number = 3) FROM numbers(10)", 395),
        // Fails after megabytes of it were sent.
        ("SELECT number, throwIf(number = 2000000) FROM numbers(5000000)", 395),
    ] {
        let mut rows = client.query(sql).fetch_bytes("TabSeparated").expect("a cursor");
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{sql}: it ended well"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains(&format!("Code: {code}. DB::Exception: ")), "{sql}: {error}");
    }
    let elsewhere = server.admin().with_database("no_such_database");
    let error = elsewhere.query("SELECT 1").execute().await.expect_err("refused");
    assert!(error.to_string().contains("Code: 81."), "{error}");
}

#[tokio::test]
async fn a_failed_insert_says_why() {
    let server = clickhouse().await;
    let client = server.client();
    client.query(TABLE).execute().await.expect("made");
    // Many rows behind the one that is refused: the answer must not be lost for them.
    let mut insert = client.insert_formatted_with("INSERT INTO t (id, text) FORMAT CSV").buffered();
    let mut outcome = insert.write_all(b"1,a\nnot a number,b\n").await;
    for _ in 0..200_000 {
        if outcome.is_err() {
            break;
        }
        outcome = insert.write_all(b"2,0123456789012345678901234567890123456789\n").await;
    }
    let error = match outcome {
        Ok(()) => insert.end().await.expect_err("refused").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("Code: 27."), "{error}");
    assert_eq!(count(&client).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_inserts_run_beside_each_other() {
    let client = clickhouse().await.client();
    client.query(TABLE).execute().await.expect("made");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8_u64 {
        let client = client.clone();
        tasks.spawn(async move {
            for batch in 0..5 {
                let start = (writer * 5 + batch) * 1000;
                insert(&client, start..start + 1000).await;
            }
        });
    }
    // More at once than the engine has threads for requests.
    for _ in 0..40 {
        let client = client.clone();
        tasks.spawn(async move {
            let (rows, distinct): (u64, u64) =
                client.query("SELECT count(), uniqExact(id) FROM t").fetch_one().await.expect("a row");
            assert_eq!(rows, distinct);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a reader or writer");
    }
    assert_eq!(count(&client).await, 40_000);
}

#[tokio::test]
async fn curl_gets_what_it_asks_for() {
    let server = clickhouse().await;
    let ask = async |path: &str, body: &[u8]| request(&server, "POST", path, &authorized(&server), body).await;
    let path = |rest: &str| format!("/?database={}&{rest}", server.database);
    assert_eq!(request(&server, "GET", "/ping", NOBODY, b"").await.text(), "Ok.\n");

    let answer = request(&server, "GET", "/?query=SELECT+1", &authorized(&server), b"").await;
    assert_eq!((answer.status, answer.text()), (200, "1\n".to_owned()));
    for part in
        ["x-clickhouse-format: TabSeparated", "x-clickhouse-summary: {\"read_rows\":\"1\"", "x-clickhouse-query-id: "]
    {
        assert!(answer.head.contains(part), "{part}: {}", answer.head);
    }
    let login = format!("/?query=SELECT+1&user={}&password={}", server.user, server.password);
    assert_eq!(request(&server, "GET", &login, NOBODY, b"").await.text(), "1\n");

    assert_eq!(ask(&path(""), b"CREATE TABLE c (a UInt64) ENGINE = MergeTree ORDER BY a").await.status, 200);
    let answer = ask(&path("query=INSERT+INTO+c+FORMAT+RowBinary"), &[7, 0, 0, 0, 0, 0, 0, 0]).await;
    assert!(answer.head.contains("\"written_rows\":\"1\""), "{}", answer.head);
    assert_eq!(ask(&path(""), b"INSERT INTO c FORMAT CSV\n8\n9\n").await.status, 200);
    assert_eq!(ask(&path(""), b"INSERT INTO c VALUES (10), (11)").await.status, 200);
    assert_eq!(ask(&path("query=INSERT+INTO+c"), b"SELECT number + 12 FROM numbers(2)").await.status, 200);
    let all = ask(&path("query=SELECT+groupArray(a)+FROM+(SELECT+a+FROM+c+ORDER+BY+a)"), b"").await;
    assert_eq!(all.text(), "[7,8,9,10,11,12,13]\n");
    assert_eq!(
        ask(&path("param_a=13"), b"SELECT count() FROM c WHERE a = {a:UInt64} FORMAT JSONCompactEachRow").await.text(),
        "[\"1\"]\n"
    );

    // A compressed answer is a compressed body.
    let compressed = ask(&path("compress=1&query=SELECT+number+FROM+numbers(500000)+FORMAT+RowBinary"), b"").await;
    assert_eq!(ask(&path(""), b"TRUNCATE TABLE c").await.status, 200);
    let answer = ask(&path("decompress=1&query=INSERT+INTO+c+FORMAT+RowBinary"), &compressed.body).await;
    assert!(answer.head.contains("\"written_rows\":\"500000\""), "{}", answer.head);
    assert_eq!(ask(&path("query=SELECT+sum(a)+FROM+c"), b"").await.text(), "124999750000\n");
    let mut flipped = compressed.body;
    flipped[1000] ^= 1;
    let answer = ask(&path("decompress=1&query=INSERT+INTO+c+FORMAT+RowBinary"), &flipped).await;
    assert_eq!((answer.status, answer.code()), (400, Some(271)));
}

#[tokio::test]
async fn a_get_only_reads() {
    let server = clickhouse().await;
    for query in [
        "CREATE+DATABASE+no",
        "INSERT+INTO+FUNCTION+null('a+UInt8')+VALUES+(1)",
        "INSERT+INTO+FUNCTION+file('no.csv','CSV','a+UInt8')+SELECT+1",
        "SET+readonly=0",
        "SYSTEM+FLUSH+LOGS",
    ] {
        let answer = request(&server, "GET", &format!("/?query={query}&readonly=0"), &authorized(&server), b"").await;
        assert_eq!((answer.status, answer.code()), (500, Some(164)), "{query}: {}", answer.text());
    }
    let answer = request(&server, "POST", "/", &authorized(&server), b"SELECT 1 INTO OUTFILE '/tmp/natter'").await;
    assert_eq!(answer.code(), Some(48));
    let answer = request(&server, "POST", "/", &authorized(&server), b"SELECT 1; SELECT 2").await;
    assert_eq!(answer.code(), Some(62));
}

#[tokio::test]
async fn strangers_and_foreign_pages_are_refused() {
    let server = clickhouse().await;
    let answer = request(&server, "GET", "/?query=SELECT+1", NOBODY, b"").await;
    assert_eq!((answer.status, answer.code()), (401, Some(516)));
    let wrong = basic(&server.user, "wrong");
    let answer = request(&server, "GET", "/?query=SELECT+1", &[("Authorization", &wrong)], b"").await;
    assert_eq!((answer.status, answer.code()), (403, Some(516)));
    let crate_error = server.client().with_password("wrong").query("SELECT 1").execute().await.expect_err("refused");
    assert!(crate_error.to_string().contains("AUTHENTICATION_FAILED"), "{crate_error}");

    let right = basic(&server.user, &server.password);
    for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example"), ("Origin", "null")] {
        let headers = [("Authorization", right.as_str()), (name, value)];
        assert_eq!(request(&server, "GET", "/?query=SELECT+1", &headers, b"").await.status, 403, "{name}: {value}");
        assert_eq!(request(&server, "GET", "/ping", &headers, b"").await.status, 403, "{name}: {value}");
    }
    let own = format!("http://{}", address(&server));
    let headers = [("Authorization", right.as_str()), ("Origin", own.as_str())];
    assert_eq!(request(&server, "GET", "/?query=SELECT+1", &headers, b"").await.status, 200);
}

#[tokio::test]
async fn an_insert_that_breaks_off_stores_nothing() {
    let server = clickhouse().await;
    let client = server.client();
    client.query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.expect("made");
    let mut socket = TcpStream::connect(address(&server)).await.expect("connected");
    let path = format!("/?database={}&query=INSERT+INTO+t+FORMAT+RowBinary", server.database);
    let head = head(&server, "POST", &path, &authorized(&server), "Transfer-Encoding: chunked");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.write_all(b"8\r\n\x01\0\0\0\0\0\0\0\r\n").await.expect("sent");
    socket.shutdown().await.expect("closed");
    let mut answer = String::new();
    // The server answers that the body broke off, or closes; either way its thread is done with the insert then.
    socket.read_to_string(&mut answer).await.ok();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(count(&client).await, 0);
}

#[tokio::test]
async fn answered_rows_survive_a_kill_and_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let backends = servers::start(data.path(), vec![Backend::ClickHouse]).await;
    let endpoint = backends.endpoints().clickhouse.clone();
    let client = Client::default().with_url(&endpoint.url).with_user(&endpoint.user).with_password(&endpoint.password);
    client.query(TABLE).execute().await.expect("made");
    insert(&client, 0..ROWS).await;
    kill(&backends).await;
    assert_eq!(count(&client).await, ROWS);
    insert(&client, [ROWS].into_iter()).await;
    backends.stop_one(Backend::ClickHouse, Duration::from_secs(10)).await.expect("stopped");
    backends.start_one(Backend::ClickHouse).expect("started");
    wait_ready(&backends, None).await;
    assert_eq!(count(&client).await, ROWS + 1);
    assert_refused_twice(&backends).await;
    assert_eq!(count(&client).await, ROWS + 1);
    backends.stop(Duration::from_secs(10)).await;
}

/// A second process on the folder of a running one is refused, and says why.
async fn assert_refused_twice(backends: &Backends) {
    let pid = backends.state(Backend::ClickHouse).and_then(|state| state.borrow().pid).expect("it runs");
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).expect("its command line");
    let mut words: Vec<String> =
        command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    words.pop();
    if let Some(port) = words.iter().position(|word| word == "--port") {
        "0".clone_into(&mut words[port + 1]);
    }
    let mut second = tokio::process::Command::new(&words[0]);
    second.args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
    second.current_dir(std::fs::read_link(format!("/proc/{pid}/cwd")).expect("its folder"));
    let ended = timeout(Duration::from_mins(1), second.output()).await.expect("it ends at once").expect("it starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{said}");
    if words.iter().any(|word| word == "clickhouse-server") {
        assert!(said.contains("is in use by another clickhouse engine"), "{said}");
    }
}

async fn kill(backends: &Backends) {
    let pid = backends.state(Backend::ClickHouse).and_then(|state| state.borrow().pid).expect("it runs");
    servers::signal(pid, Signal::KILL);
    wait_ready(backends, Some(pid)).await;
}

async fn wait_ready(backends: &Backends, old: Option<u32>) {
    let mut state = backends.state(Backend::ClickHouse).expect("it was started");
    let ready = state.wait_for(|state| state.status == Status::Ready && (old.is_none() || state.pid != old));
    timeout(Duration::from_mins(1), ready).await.expect("it comes back in time").expect("it is supervised");
}
