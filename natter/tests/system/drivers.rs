//! What foreign clients ask when they connect and when they list what there is, sent as a tenant's analyst and answered as they expect it.
//!
//! Taken from the clients' sources: clickhouse-go (under Grafana's plugin), the Java client and its JDBC driver (under DBeaver), clickhouse-connect.

use crate::process::Process;
use crate::raw_http::{Answer, basic, request};
use crate::servers::ClickHouse;
use crate::tenants::{self, server};

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
    ("JDBC before 0.8: hello", "database=default", "select currentUser() user, timezone() timezone, version() version, toInt8(ifnull((select value from system.settings where name = 'readonly'), '0')) as readonly", &["\t2\n"]),
    ("JDBC: types", "", "SELECT * FROM VALUES('a UInt8', (1), (2))", &["1\n2\n"]),
    ("JavaScript: an id", "default_format=JSONEachRow", "SELECT toUInt64(9007199254740993) AS id", &["\"id\":\"9007199254740993\""]),
    ("JavaScript: an id as a number", "default_format=JSONEachRow&output_format_json_quote_64bit_integers=0", "SELECT toUInt64(9007199254740993) AS id", &["\"id\":9007199254740993"]),
    ("JavaScript: a whole document", "default_format=json", "SELECT toUInt64(9007199254740993) AS id", &["\"id\": \"9007199254740993\""]),
    ("JDBC: schemas", "", "SELECT name AS TABLE_SCHEM, '' AS TABLE_CATALOG FROM system.databases WHERE name LIKE '%' ORDER BY TABLE_SCHEM", &["natter\t\n"]),
    ("JDBC: tables", "", "SELECT '' AS TABLE_CAT, t.database AS TABLE_SCHEM, t.name AS TABLE_NAME, if(t.is_temporary = 1, concat('Temporary', t.engine), t.engine) AS TABLE_TYPE, t.comment AS REMARKS, CAST(null as Nullable(String)) AS TYPE_CAT, d.engine AS TYPE_SCHEM FROM system.tables t JOIN system.databases d ON system.tables.database = system.databases.name WHERE t.database LIKE 'natter' AND t.name LIKE 'messages'", &["natter\tmessages\tView"]),
    ("JDBC: columns", "", "SELECT database AS TABLE_SCHEM, table AS TABLE_NAME, name AS COLUMN_NAME, type AS TYPE_NAME, comment AS REMARKS, position AS ORDINAL_POSITION FROM system.columns WHERE database LIKE 'natter' AND table LIKE 'users' ORDER BY TABLE_SCHEM, TABLE_NAME, ORDINAL_POSITION", &["natter\tusers\tname\tString\tThe display name\t3"]),
    ("DBeaver: types", "", "SELECT name, case_insensitive, alias_to FROM system.data_type_families ORDER BY name", &["String\t"]),
    ("DBeaver: functions", "", "SELECT name, is_aggregate FROM system.functions WHERE name = 'count'", &["count\t1"]),
    ("clickhouse-connect: hello", "", "SELECT version(), timezone()", &["\t"]),
    ("clickhouse-connect: settings", "", "SELECT name, readonly FROM system.settings WHERE name = 'max_threads'", &["max_threads\t0\n"]),
    ("clickhouse-connect: protocol", "client_protocol_version=54405", "SELECT 1 AS check FORMAT Native", &["\x01\x01\x05check\x05UInt8\x01"]),
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
    times_are_of_the_sessions_zone(&server).await;

    // Errors by number and name, which drivers turn into their own.
    for (sql, status, code) in
        [("SELECT nothing", 404, 47), ("SELEC 1", 400, 62), ("DROP TABLE natter.messages", 500, 164)]
    {
        let answer = ask("", sql).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{sql}: {}", answer.text());
    }
    for (url, sql, code) in [
        ("client_protocol_version=54404&default_format=Native", "SELECT 1", 48),
        ("client_protocol_version=new", "SELECT 1", 117),
        ("client_protocol_version=54460&default_format=native", "SELECT 1::Dynamic AS d", 48),
        ("session_timezone=Nowhere", "SELECT 1", 36),
    ] {
        let answer = ask(url, sql).await;
        assert_eq!(answer.code(), Some(code), "?{url}: {}", answer.text());
    }
    let wrong = [("Authorization", basic(&server.user, "wrong"))];
    assert_eq!(request(&server, "POST", "/", &wrong, b"SELECT 1").await.status, 403);
}

async fn times_are_of_the_sessions_zone(server: &ClickHouse) {
    for (url, zone, hour) in [("", "UTC", "1\n"), ("session_timezone=Asia/Kolkata", "Asia/Kolkata", "6\n")] {
        let answer = tenants::ask(server, &format!("/?{url}"), "SELECT toHour(toDateTime(3600))").await;
        assert!(
            answer.head.contains(&format!("x-clickhouse-timezone: {}\r\n", zone.to_lowercase())),
            "{}",
            answer.head
        );
        assert_eq!(answer.text(), hour, "{url}");
    }
}

/// Every type that has a length of its own, in one row.
const TYPES: &str = "SELECT 1 AS a, 'text' AS b, [1, 2] AS c, toLowCardinality('low') AS d, toNullable(1.5) AS e, map('k', [toLowCardinality('v')]) AS f, \
                     tuple(1, 'two') AS g, toDecimal128(1, 2) AS h, CAST('b', 'Enum8(\\'a (\\' = 1, \\'b\\' = 2)') AS i, now64(3) AS j, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS k, \
                     CAST(toUInt64(1), 'Variant(String, UInt64)') AS l, '{\"a\":1}'::JSON AS m, CAST([], 'Array(LowCardinality(String))') AS n, toIntervalDay(1) AS o, NULL AS p, (1., 2.)::Point AS q, tuple() AS r, \
                     toFixedString('abc', 3) AS s, toInt256(1) AS t, 'the end' AS z";

#[tokio::test(flavor = "multi_thread")]
async fn native_blocks_are_of_the_revision_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::up(&folder.path().join("data")).await;
    let server = server(&process.ask(&["analyst add", "--tenant", "demo"]).await);
    let ask = async |revision: &str, sql: &str| {
        let url = format!("/?default_format=Native&output_format_native_write_json_as_string=1{revision}");
        let answer = tenants::ask(&server, &url, sql).await;
        assert_eq!(answer.status, 200, "{revision}: {}", answer.text());
        answer.body
    };
    let columns = TYPES.matches(" AS ").count();
    let plain = ask("", TYPES).await;
    // A BlockInfo, and from 54454 on a byte for each column.
    let (bare, announced) = (&b"String\x07the end"[..], &b"String\x00\x07the end"[..]);
    for (revision, added, end) in
        [("54405", 8, bare), ("54460", 8 + columns, announced), ("54485", 10 + columns, announced)]
    {
        let revised = ask(&format!("&client_protocol_version={revision}"), TYPES).await;
        assert_eq!(revised.len(), plain.len() + added, "{revision}");
        assert!(revised.starts_with(b"\x01\x00\x02\xff\xff\xff\xff") && revised.ends_with(end), "{revision}");
    }
    // Of many blocks each has its own.
    let many = "SELECT number, toString(number) AS text FROM numbers(200000)";
    let (plain, revised) = (ask("", many).await, ask("&client_protocol_version=54460", many).await);
    let added = revised.len() - plain.len();
    assert!(added.is_multiple_of(10) && added > 10, "{added}");
    assert_eq!(ask("&client_protocol_version=54460", "SELECT 1 WHERE 0").await.len(), 0, "nothing is no block");
    let compressed = ask("&client_protocol_version=54460&compress=1", many).await;
    assert!(compressed.len() < revised.len());
}
