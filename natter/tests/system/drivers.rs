//! What foreign clients ask when they connect and when they list what there is, sent as a tenant's analyst and answered as they expect it.
//!
//! Taken from the clients' sources: clickhouse-go (under Grafana's plugin), the Java client and its JDBC driver (under DBeaver), clickhouse-connect.

use crate::process::Process;
use crate::raw_http::{Answer, basic, request};
use crate::tenants::server;

/// Who asks, the URL's query, the statement, and what must stand in the answer.
type Asked = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ASKED: &[Asked] = &[
    ("clickhouse-go: hello", "client_protocol_version=54485&database=natter&default_format=Native", "SELECT displayName(), version(), revision(), timezone()", &["displayName()", "timezone()", "UInt32"]),
    ("clickhouse-go: ping", "client_protocol_version=54485&default_format=Native", "SELECT 1", &["UInt8"]),
    ("Grafana: databases", "default_format=JSON", "SHOW DATABASES", &["\"natter\""]),
    ("Grafana: tables", "default_format=JSON", "SHOW TABLES FROM `natter`", &["\"messages\"", "\"messages_by_hour\""]),
    ("Grafana: columns", "default_format=JSON", "DESC TABLE \"natter\".\"messages\"", &["\"text\"", "The text as everybody sees it"]),
    ("Grafana: a panel", "default_format=JSON", "SELECT hour AS time, messages FROM natter.messages_by_hour WHERE time >= toDateTime(0) AND time <= toDateTime(4000000000) ORDER BY time ASC LIMIT 1000", &["\"time\"", "\"messages\""]),
    ("JDBC: hello", "default_format=RowBinaryWithNamesAndTypes&wait_end_of_query=1", "SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1", &["timezone", "String"]),
    ("JDBC: hello, compressed", "default_format=RowBinaryWithNamesAndTypes&compress=1", "SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1", &[]),
    ("JDBC before 0.8: hello", "database=default", "select currentUser() user, timezone() timezone, version() version, toInt8(ifnull((select value from system.settings where name = 'readonly'), '0')) as readonly", &["\t1\n"]),
    ("JDBC: schemas", "", "SELECT name AS TABLE_SCHEM, '' AS TABLE_CATALOG FROM system.databases WHERE name LIKE '%' ORDER BY TABLE_SCHEM", &["natter\t\n"]),
    ("JDBC: tables", "", "SELECT '' AS TABLE_CAT, t.database AS TABLE_SCHEM, t.name AS TABLE_NAME, if(t.is_temporary = 1, concat('Temporary', t.engine), t.engine) AS TABLE_TYPE, t.comment AS REMARKS, CAST(null as Nullable(String)) AS TYPE_CAT, d.engine AS TYPE_SCHEM FROM system.tables t JOIN system.databases d ON system.tables.database = system.databases.name WHERE t.database LIKE 'natter' AND t.name LIKE 'messages'", &["natter\tmessages\tView"]),
    ("JDBC: columns", "", "SELECT database AS TABLE_SCHEM, table AS TABLE_NAME, name AS COLUMN_NAME, type AS TYPE_NAME, comment AS REMARKS, position AS ORDINAL_POSITION FROM system.columns WHERE database LIKE 'natter' AND table LIKE 'users' ORDER BY TABLE_SCHEM, TABLE_NAME, ORDINAL_POSITION", &["natter\tusers\tname\tString\tThe display name\t3"]),
    ("DBeaver: types", "", "SELECT name, case_insensitive, alias_to FROM system.data_type_families ORDER BY name", &["String\t"]),
    ("DBeaver: functions", "", "SELECT name, is_aggregate FROM system.functions WHERE name = 'count'", &["count\t1"]),
    ("clickhouse-connect: hello", "", "SELECT version(), timezone()", &["\t"]),
    ("clickhouse-connect: settings", "", "SELECT name, value, readonly FROM system.settings LIMIT 10000", &["max_threads\t"]),
    ("curl", "query=SELECT%20count()%20FROM%20natter.messages", "", &["0\n"]),
];

/// Settings and headers that drivers send by habit, and that must not make a statement fail.
const HABITS: [&str; 6] = [
    "session_id=s&session_timeout=60&session_check=0",
    "enable_http_compression=1&http_zlib_compression_level=1&send_progress_in_http_headers=1&http_headers_progress_interval_ms=120000",
    "max_execution_time=60&max_result_rows=0&readonly=0&extremes=0",
    "date_time_input_format=best_effort&output_format_native_use_flattened_dynamic_and_json_serialization=1",
    "query_id=11111111-2222-3333-4444-555555555555&wait_end_of_query=1&cancel_http_readonly_queries_on_client_close=1",
    "role=analyst&quota_key=q&log_comment=dashboard&workload=w&join_use_nulls=1",
];

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_find_what_they_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let server = server(&process.ask(&["analyst add", "--tenant", "demo"]).await);
    let ask = async |url: &str, sql: &str| -> Answer {
        let headers = [
            ("X-ClickHouse-User", server.user.clone()),
            ("X-ClickHouse-Key", server.password.clone()),
            ("User-Agent", "a driver".to_owned()),
            ("Accept-Encoding", "lz4, gzip".to_owned()),
        ];
        request(&server, "POST", &format!("/?{url}"), &headers, sql.as_bytes()).await
    };
    let mut wrong = Vec::new();
    for (who, url, sql, wanted) in ASKED {
        let answer = ask(url, sql).await;
        let text = answer.text();
        if answer.status != 200 || answer.body.is_empty() || !wanted.iter().all(|wanted| text.contains(wanted)) {
            wrong.push(format!("{who}: {} {text}", answer.status));
        }
    }
    for habit in HABITS {
        let answer = ask(habit, "SELECT 42").await;
        if answer.text() != "42\n" {
            wrong.push(format!("?{habit}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Errors by number and name, which drivers turn into their own.
    for (sql, status, code) in
        [("SELECT nothing", 404, 47), ("SELEC 1", 400, 62), ("DROP TABLE natter.messages", 500, 164)]
    {
        let answer = ask("", sql).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{sql}: {}", answer.text());
    }
    let wrong = [("Authorization", basic(&server.user, "wrong"))];
    assert_eq!(request(&server, "POST", "/", &wrong, b"SELECT 1").await.status, 403);
}
