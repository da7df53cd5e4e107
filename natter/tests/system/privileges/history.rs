//! ClickHouse.

use crate::raw_http::{Answer, basic, request};
use crate::servers::ClickHouse;

use super::System;

const READONLY: u32 = 164;

/// What nobody but the administrator may run.
const FOR_NOBODY: [&str; 33] = [
    "CREATE DATABASE no",
    "CREATE TABLE natter.no (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE no (a UInt8)",
    "CREATE FUNCTION no AS x -> x",
    "CREATE USER no",
    "GRANT ALL ON *.* TO no",
    "DROP TABLE natter_store.messages",
    "DROP DATABASE natter",
    "TRUNCATE TABLE natter_store.events",
    "RENAME TABLE natter_store.events TO natter_store.no",
    "ALTER TABLE natter_store.messages DELETE WHERE 1",
    "OPTIMIZE TABLE natter_store.messages FINAL",
    "SYSTEM STOP MERGES",
    "KILL QUERY WHERE 1",
    "BACKUP TABLE natter_store.messages TO File('/tmp/natter-no')",
    "SET max_threads = 1",
    "USE system",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a/b.csv')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM executable('no', 'TSV', 'a String')",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM `/etc/hostname`",
    "SELECT file('/etc/hostname')",
    "SELECT `fi\\x6ce`('/etc/hostname')",
    "SELECT arrayMap(file, ['/etc/hostname'])",
    "SELECT $a$'$a$, file('/etc/hostname') -- '",
    "SHOW TABLES WHERE file('/etc/hostname') != ''",
    "DESCRIBE TABLE url('http://127.0.0.1:1/', 'CSV')",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') PARTITION BY a",
    "SELECT 1 INTO OUTFILE '/tmp/natter-no'",
    "SELECT $a$'$a$, 1 INTO\u{a0}OUTFILE '/tmp/natter-no' -- '",
];

/// Inserts that not even the projector may run; the last is its own.
const INSERTS: [&str; 7] = [
    "INSERT INTO natter.messages FORMAT TSV",
    "INSERT INTO system.one FORMAT TSV",
    "INSERT INTO FUNCTION file('/tmp/natter-no', 'TSV', 'a UInt8') FORMAT TSV\n1",
    "INSERT INTO natter_store.messages SELECT * FROM natter_store.messages",
    "INSERT INTO natter_store.users SETTINGS log_comment = 'x' FORMAT TSV",
    "INSERT INTO natter_store.users (* EXCEPT (name)) FORMAT TSV",
    "INSERT INTO natter_store.users FORMAT TSV",
];

fn server(system: &System, user: &str) -> ClickHouse {
    ClickHouse {
        url: format!("http://127.0.0.1:{}", system.port("clickhouse")),
        user: user.to_owned(),
        password: system.password("clickhouse", user).to_owned(),
        database: "natter".to_owned(),
    }
}

async fn ask(server: &ClickHouse, path: &str, sql: &str) -> Answer {
    let headers = [("Authorization", basic(&server.user, &server.password))];
    request(server, "POST", path, &headers, sql.as_bytes()).await
}

pub async fn readers_only_read_and_the_projector_only_inserts(system: &System) {
    for user in ["gateway", "processor", "projector", "auditor", "analyst"] {
        let server = server(system, user);
        for sql in FOR_NOBODY {
            // Whatever a URL asks for besides.
            let answer = ask(&server, "/?readonly=0&allow_ddl=1&dialect=clickhouse&log_comment=x", sql).await;
            assert_ne!(answer.status, 200, "{user}: {sql}: {}", answer.text());
            let is_refusal = answer.code() == Some(READONLY)
                || answer.text().contains("BAD_ARGUMENTS")
                || answer.text().contains("INTO OUTFILE");
            assert!(is_refusal, "{user}: {sql}: {}", answer.text());
        }
        let [refused @ .., own] = INSERTS;
        for sql in refused {
            let answer = ask(&server, "/", sql).await;
            assert_eq!(answer.code(), Some(READONLY), "{user}: {sql}: {}", answer.text());
        }
        let inserts = ask(&server, "/", own).await.status == 200;
        assert_eq!(inserts, user == "projector", "{user}: {own}");
        let reads = [
            "SELECT count() FROM natter_store.messages",
            "SELECT 'file' FROM natter.messages WHERE sender != 'a\\'b' LIMIT 1",
        ];
        for sql in reads.into_iter().chain(["DESCRIBE TABLE natter_store.messages", "SHOW TABLES FROM natter"]) {
            let answer = ask(&server, "/?max_threads=1", sql).await;
            assert_eq!(answer.status, 200, "{user} may not even {sql}: {}", answer.text());
        }
        // A setting that names a file for the engine to write is dropped.
        ask(&server, "/?output_format_schema=/tmp/natter-no", "SELECT 1 AS a FORMAT Protobuf").await;
        let path = "/?param_f=file";
        let answer = ask(&server, path, "SELECT arrayMap({f:Identifier}, ['/etc/hostname'])").await;
        assert_ne!(answer.status, 200, "{user}: {}", answer.text());
    }
    assert!(!std::path::Path::new("/tmp/natter-no").exists(), "a file was written");
    let mut stranger = server(system, "analyst");
    stranger.password = system.password("clickhouse", "gateway").to_owned();
    assert_eq!(ask(&stranger, "/", "SELECT 1").await.status, 403);
}
