//! An analyst of one tenant: sees the tenant's rows, and by no way another's.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::gateway::client::Http;
use crate::moderation::with_room;
use crate::observed::until_history_is_complete;
use crate::process::Process;
use crate::raw_http::{Answer, basic, request};
use crate::servers::ClickHouse;

const DEADLINE: Duration = Duration::from_secs(30);
/// Stands in everything that the other tenant has: names, texts, refs, rooms.
const FOREIGN: &str = "walrus";

/// What must come of a way to see more than one should.
enum Outcome {
    /// An error of ClickHouse's kind: by the front (164), or because the engine knows no such thing for this user.
    Refused,
    /// These rows, and so nothing of another tenant.
    Shows(&'static str),
}
use Outcome::{Refused, Shows};

/// Everything by which somebody might come to see another tenant's rows, count them, watch others at work, reach files or the network, or change anything.
#[rustfmt::skip]
const WAYS: &[(&str, &str, Outcome)] = &[
    ("a condition", "SELECT count() FROM natter.messages WHERE tenant != 'demo'", Shows("0")),
    ("a condition that fails at the first foreign row", "SELECT max(throwIf(tenant != 'demo' OR text LIKE '%walrus%')) FROM natter.messages", Shows("0")),
    ("every view", "SELECT uniqExact(tenant) FROM (SELECT tenant FROM natter.messages UNION ALL SELECT tenant FROM natter.events UNION ALL SELECT tenant FROM natter.conversations UNION ALL SELECT tenant FROM natter.members UNION ALL SELECT tenant FROM natter.users)", Shows("1")),
    ("the outcomes of another", "SELECT count() FROM natter.events WHERE sender LIKE '%walrus%' OR detail LIKE '%walrus%'", Shows("0")),
    ("a join", "SELECT count() FROM natter.messages AS m INNER JOIN natter.conversations AS c ON m.conversation = c.conversation WHERE c.tenant != 'demo'", Shows("0")),
    ("a CTE", "WITH all AS (SELECT * FROM natter.messages) SELECT count() FROM all WHERE tenant != 'demo'", Shows("0")),
    ("a CTE called as a table of the store", "WITH messages AS (SELECT * FROM natter_store.messages) SELECT * FROM messages", Refused),
    ("the store", "SELECT * FROM natter_store.messages", Refused),
    ("the store, quoted", "SELECT * FROM `natter_store`.\"messages\"", Refused),
    ("the store, with escapes", "SELECT * FROM `natter\\x5fstore`.messages", Refused),
    ("the store in a union", "SELECT text FROM natter.messages UNION ALL SELECT text FROM natter_store.messages", Refused),
    ("the store in a join", "SELECT s.text FROM natter.messages AS m RIGHT JOIN natter_store.messages AS s ON 0", Refused),
    ("the store as a set", "SELECT count() FROM natter.messages WHERE (tenant, conversation) IN natter_store.conversations", Refused),
    ("the store in a scalar", "SELECT (SELECT groupArray(text) FROM natter_store.messages)", Refused),
    ("the store behind an alias", "SELECT system.text FROM natter_store.messages AS system", Refused),
    ("the store without its database", "SELECT * FROM `natter_store.messages`", Refused),
    ("where the view gets its rows", "SELECT * FROM natter.`.inner.messages`", Refused),
    ("merge()", "SELECT * FROM merge('natter_store', '.*')", Refused),
    ("merge() of the views", "SELECT tenant, text FROM merge('natter', '^messages$')", Refused),
    ("merge() by expression", "SELECT * FROM merge(REGEXP('nat.*'), '^messages$')", Refused),
    ("mergeTreeIndex()", "SELECT * FROM mergeTreeIndex('natter_store', 'messages', with_marks = true)", Refused),
    ("mergeTreeProjection()", "SELECT * FROM mergeTreeProjection('natter_store', 'messages', 'p')", Refused),
    ("mergeTreeTextIndex()", "SELECT * FROM mergeTreeTextIndex('natter_store', 'messages', 'words')", Refused),
    ("mergeTreeAnalyzeIndexes()", "SELECT * FROM mergeTreeAnalyzeIndexes('natter_store', 'messages')", Refused),
    ("loop()", "SELECT * FROM loop('natter_store', 'messages') LIMIT 1", Refused),
    ("view()", "SELECT * FROM view(SELECT * FROM natter_store.messages)", Refused),
    ("viewIfPermitted()", "SELECT * FROM viewIfPermitted(SELECT text FROM natter_store.messages ELSE null('text String'))", Refused),
    ("cluster()", "SELECT * FROM cluster('default', natter_store.messages)", Refused),
    ("remote()", "SELECT * FROM remote('127.0.0.1:1', natter_store.messages)", Refused),
    ("SETTINGS of the statement", "SELECT * FROM natter.messages SETTINGS log_comment = 'other'", Refused),
    ("SETTINGS of a sub-query", "SELECT * FROM (SELECT * FROM natter.messages SETTINGS log_comment = ':')", Refused),
    ("SETTINGS of a sub-query, another tenant", "SELECT * FROM (SELECT * FROM natter.messages SETTINGS log_comment = '0000000000000000000000000000000000000000000000000000000000000000:other')", Refused),
    ("additional_table_filters", "SELECT * FROM (SELECT * FROM natter.messages SETTINGS additional_table_filters = {'natter_store.messages': '1'})", Refused),
    ("SETTINGS that lift the quota", "SELECT count() FROM (SELECT number FROM numbers(10) SETTINGS max_result_rows = 0)", Refused),
    ("SETTINGS in a lambda", "SELECT * APPLY(x -> x IN (SELECT text FROM natter.messages SETTINGS log_comment = 'x')) FROM natter.messages", Refused),
    ("a lambda that is in no tree", "SELECT * APPLY(x -> (x, (SELECT groupArray(text) FROM merge('natter_store', 'messages')))) FROM numbers(1)", Refused),
    ("SET", "SET log_comment = 'other'", Refused),
    ("USE", "USE natter_store", Refused),
    ("one's own proof", "SELECT getSetting('log_comment')", Refused),
    ("one's own proof, not called", "SELECT arrayMap(getSetting, ['log_comment'])", Refused),
    ("joinGet()", "SELECT joinGet('natter_store.messages', 'text', 1)", Refused),
    ("dictGet()", "SELECT dictGet('natter_store.messages', 'text', 1)", Refused),
    ("dictionary()", "SELECT * FROM dictionary('natter_store.messages')", Refused),
    ("whether a column is there", "SELECT hasColumnInTable('natter_store', 'messages', 'text')", Refused),
    ("what others ask", "SELECT query FROM system.processes", Refused),
    ("what others ask, shown", "SHOW PROCESSLIST", Refused),
    ("what others asked", "SELECT query FROM system.query_log", Refused),
    ("how much there is", "SELECT sum(rows) FROM system.parts", Refused),
    ("how much there is, by column", "SELECT * FROM system.parts_columns", Refused),
    ("how much there is, in the list of tables", "SELECT count() FROM system.tables WHERE total_rows > 0 OR database LIKE '%store%'", Shows("0")),
    ("how much there is, in the list of columns", "SELECT count() FROM system.columns WHERE data_compressed_bytes > 0 OR database LIKE '%store%'", Shows("0")),
    ("how much there is, as others name it", "SELECT table_name, table_rows FROM INFORMATION_SCHEMA.TABLES", Refused),
    ("the same, as a set", "SELECT 1 WHERE ('a', 1) IN information_schema.tables", Refused),
    ("who is let in how", "SELECT * FROM system.row_policies", Refused),
    ("users", "SELECT * FROM system.users", Refused),
    ("what one may", "SHOW GRANTS", Refused),
    ("what is set", "SELECT count() FROM system.settings WHERE value LIKE '%walrus%'", Shows("0")),
    ("the server's own tables", "SELECT * FROM system.server_settings", Refused),
    ("disks", "SELECT path FROM system.disks", Refused),
    ("EXPLAIN", "EXPLAIN indexes = 1 SELECT * FROM natter.messages", Refused),
    ("EXPLAIN ESTIMATE", "EXPLAIN ESTIMATE SELECT * FROM natter.messages", Refused),
    ("EXPLAIN as a table", "SELECT * FROM (EXPLAIN actions = 1 SELECT * FROM natter.messages)", Refused),
    ("viewExplain()", "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))", Refused),
    ("DESCRIBE of a table function", "DESCRIBE TABLE url('http://127.0.0.1:1/', 'CSV')", Refused),
    ("DESCRIBE of the store", "DESCRIBE TABLE natter_store.messages", Refused),
    ("SHOW CREATE", "SHOW CREATE TABLE natter_store.messages", Refused),
    ("SHOW TABLES of the store", "SHOW TABLES FROM natter_store", Shows("")),
    ("EXISTS", "EXISTS TABLE natter_store.messages", Refused),
    ("url()", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", Refused),
    ("s3()", "SELECT * FROM s3('http://127.0.0.1:1/a/b.csv')", Refused),
    ("file()", "SELECT * FROM file('/etc/hostname', 'LineAsString')", Refused),
    ("the function file()", "SELECT file('/etc/hostname')", Refused),
    ("a file as a table", "SELECT * FROM `/etc/hostname`", Refused),
    ("format() as a table", "SELECT * FROM format('JSONEachRow', '{}')", Refused),
    ("executable()", "SELECT * FROM executable('no', 'TSV', 'a String')", Refused),
    ("a model that asks the network", "SELECT AIGenerate('x')", Refused),
    ("INTO OUTFILE", "SELECT * FROM natter.messages INTO OUTFILE '/tmp/natter-no'", Refused),
    ("a format with a file of its own", "SELECT 1 FORMAT Template SETTINGS format_template_row = '/etc/hostname'", Refused),
    ("KILL QUERY", "KILL QUERY WHERE 1", Refused),
    ("CREATE", "CREATE TABLE natter.mine AS natter_store.messages", Refused),
    ("CREATE TEMPORARY", "CREATE TEMPORARY TABLE mine AS SELECT * FROM natter_store.messages", Refused),
    ("a view by another name", "CREATE VIEW natter.mine AS SELECT * FROM natter_store.messages", Refused),
    ("INSERT", "INSERT INTO natter_store.users (user) VALUES ('walrus')", Refused),
    ("INSERT into a function", "INSERT INTO FUNCTION file('/tmp/natter-no', 'TSV', 'a UInt8') SELECT 1", Refused),
    ("a name as a parameter", "SELECT * FROM {d:Identifier}.messages", Refused),
    ("two statements", "SELECT 1; SELECT * FROM natter_store.messages", Refused),
    ("a comment that hides", "SELECT /* ' */ text FROM natter_store.messages -- '", Refused),
];

/// Ways through the request itself: what the URL asks for, and what must be seen then of `SELECT count() FROM messages WHERE tenant != 'demo'` (or an error).
const URLS: [(&str, Option<&str>); 11] = [
    ("log_comment=:", Some("0\n")),
    ("log_comment=0000000000000000000000000000000000000000000000000000000000000000:other", Some("0\n")),
    ("additional_table_filters={'natter_store.messages':'1'}", Some("0\n")),
    ("readonly=0&allow_ddl=1", Some("0\n")),
    ("database=default", Some("0\n")),
    ("database=natter_store", None),
    ("database=system", None),
    ("role=default&user=default", Some("0\n")),
    ("param_d=natter_store", Some("0\n")),
    ("max_rows_to_read=1", Some("0\n")),
    ("output_format_schema=/tmp/natter-no", Some("0\n")),
];

/// A tenant's analyst, as a client sees the history.
pub fn server(url: &str) -> ClickHouse {
    let (credentials, host) = url.strip_prefix("http://").and_then(|url| url.split_once('@')).expect("credentials");
    let (user, password) = credentials.split_once(':').expect("a password");
    ClickHouse {
        url: format!("http://{}", host.trim().trim_end_matches('/')),
        user: user.to_owned(),
        password: password.to_owned(),
        database: "natter".to_owned(),
    }
}

pub async fn ask(server: &ClickHouse, path: &str, sql: &str) -> Answer {
    request(server, "POST", path, &[("Authorization", basic(&server.user, &server.password))], sql.as_bytes()).await
}

pub async fn http_of(process: &Process, tenant: &str, user: &str) -> Http {
    let token = process.ask(&["token", "--tenant", tenant, "--user", user]).await;
    Http { address: process.address(), token: Some(token.trim().to_owned()) }
}

/// Two tenants with a room each; the other's is full of [`FOREIGN`].
async fn two_tenants(process: &Process) {
    for (tenant, sender, room, texts) in [
        ("demo", "ada", "room", ["good morning", "really?", "so it is"]),
        ("other", "walrus-eve", "walrus-pool", ["walrus one", "walrus two", "walrus three"]),
    ] {
        let http = http_of(process, tenant, sender).await;
        let create = json!({ "cmd": "conversation.create", "ref": "made", "kind": "group", "external": room });
        let named = json!({ "cmd": "user.update", "ref": "named", "name": sender });
        let said = texts.map(|text| json!({ "cmd": "message.send", "conversation": format!("ext:{room}"), "ref": text.replace(' ', "-"), "text": text }));
        // The room of `demo` is there.
        let commands = [create].into_iter().filter(|_| tenant != "demo").chain([named]).chain(said);
        for mut command in commands {
            command["id"] = json!("1");
            let done = http.post("/v1/commands", command.to_string()).await.json();
            assert!(done["ok"].is_object(), "{tenant}: {command}: {done}");
        }
    }
    until_history_is_complete(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_analyst_sees_the_tenants_rows_and_by_no_way_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let process = with_room(&folder.path().join("data")).await;
    two_tenants(&process).await;
    let server = server(&process.ask(&["analyst add", "--tenant", "demo"]).await);

    // Who sees every tenant, so that there is something to be seen.
    let all = process.ask(&["sql", "SELECT tenant, count() FROM messages GROUP BY tenant ORDER BY tenant"]).await;
    assert_eq!(all, "demo\t3\nother\t3\n");
    for (view, rows) in [("messages", "3"), ("events", "5"), ("conversations", "1"), ("members", "2"), ("users", "1")] {
        let own = ask(&server, "/", &format!("SELECT count() FROM {view}")).await;
        let everything = process.ask(&["sql", &format!("SELECT count() FROM {view}")]).await;
        assert_eq!(own.text().trim(), rows, "{view} of demo");
        assert!(everything.trim().parse::<u64>().unwrap() > rows.parse().unwrap(), "{view} has rows of both");
    }
    let fresh = ask(&server, "/", "SELECT sum(log_last - applied) < 10 FROM natter.watermarks").await;
    assert_eq!(fresh.text(), "1\n", "how fresh it is, everybody may know");

    let mut wrong = Vec::new();
    for (name, sql, outcome) in WAYS {
        let answer = ask(&server, "/?max_threads=1", sql).await;
        let text = answer.text();
        let fits = match outcome {
            Refused => answer.status != 200 && !text.contains("good morning"),
            Shows(rows) => answer.status == 200 && text.trim() == *rows,
        };
        if !fits || (text.contains(FOREIGN) && !sql.contains(FOREIGN)) || text.contains("UNKNOWN_EXCEPTION") {
            wrong.push(format!("{name}: {sql}: {} {text}", answer.status));
        }
    }
    for (url, seen) in URLS {
        let path = format!("/?{}", url.replace('{', "%7B").replace('}', "%7D").replace('\'', "%27"));
        let answer = ask(&server, &path, "SELECT count() FROM messages WHERE tenant != 'demo'").await;
        if (answer.status == 200).then(|| answer.text()).as_deref() != seen {
            wrong.push(format!("?{url}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} ways:\n{}", wrong.len(), WAYS.len() + URLS.len(), wrong.join("\n"));
    assert!(WAYS.len() >= 20 && !std::path::Path::new("/tmp/natter-no").exists());

    what_is_read_is_not_counted_to_others(&server).await;
    chat_finds_a_place_beside_them(&process, &server).await;
    quotas_hold(&process, &server).await;
    analysts_come_and_go(&process, &server).await;
}

/// The outcomes of all tenants lie together: how many were read for one's own says something of the others.
async fn what_is_read_is_not_counted_to_others(server: &ClickHouse) {
    // Nor can it be found out by asking for less.
    let less = ask(server, "/?max_rows_to_read=1&max_bytes_to_read=1", "SELECT count() FROM events").await;
    assert_eq!(less.text(), "5\n");
    for path in ["/", "/?output_format_write_statistics=1"] {
        let answer = ask(server, path, "SELECT seq FROM events ORDER BY seq FORMAT JSON").await;
        assert!(answer.head.contains("\"read_rows\":\"0\",\"read_bytes\":\"0\""), "{}", answer.head);
        assert!(answer.status == 200 && !answer.text().contains("rows_read"), "{}", answer.text());
    }
}

/// However much analysts ask at once: of the engine's places they get a few, those of tenants and the one of all each their own.
async fn chat_finds_a_place_beside_them(process: &Process, analyst: &ClickHouse) {
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let analyst = ClickHouse {
            url: analyst.url.clone(),
            user: analyst.user.clone(),
            password: analyst.password.clone(),
            database: analyst.database.clone(),
        };
        asking.spawn(async move {
            ask(&analyst, "/?max_block_size=1", "SELECT count() FROM numbers(8) WHERE sleepEachRow(1) = 0").await.status
        });
    }
    let running =
        "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(1)%' AND query NOT LIKE '%processes%'";
    let admin = process.clickhouse();
    while admin.query(running).fetch_one::<u64>().await.unwrap() < 4 {
        assert!(asking.try_join_next().is_none(), "an answer came before anybody else could ask anything");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.ask(&["sql", "SELECT 1"]).await, "1\n");
    assert!(asking.try_join_next().is_none(), "the others' answer had to wait for theirs");
}

async fn quotas_hold(process: &Process, server: &ClickHouse) {
    let more = "seconds-max=5 memory-mib-max=64 rows-read-max=2000000 result-rows-max=1000 result-mib-max=1";
    let mut args = vec!["analyst add", "--tenant", "demo"];
    args.extend(more.split([' ', '=']));
    let args: Vec<String> =
        args.into_iter().map(|arg| if arg.ends_with("-max") { format!("--{arg}") } else { arg.to_owned() }).collect();
    let url = process.ask(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(url.contains(&format!("{}:{}@", server.user, server.password)), "the same user");
    let listed = process.ask(&["analyst list"]).await;
    assert_eq!(listed, "demo: 5 s, 64 MiB of memory, 2000000 rows read, a result of 1000 rows and 1 MiB\n");
    for (sql, name) in [
        ("SELECT sum(number) FROM numbers(3000000)", "TOO_MANY_ROWS"),
        ("SELECT number FROM numbers(100000)", "TOO_MANY_ROWS_OR_BYTES"),
        ("SELECT repeat('x', 200000) FROM numbers(20)", "TOO_MANY_ROWS_OR_BYTES"),
        ("SELECT length(groupArray(repeat('x', 1000))) FROM numbers(500000)", "MEMORY_LIMIT_EXCEEDED"),
        ("SELECT count() FROM numbers(100) WHERE sleepEachRow(0.1) = 0", "TIMEOUT_EXCEEDED"),
    ] {
        // Whatever the URL asks for.
        let path = "/?max_execution_time=0&max_rows_to_read=0&max_result_rows=1000000&max_result_bytes=0&max_memory_usage=0&max_block_size=10";
        let path = if name == "TIMEOUT_EXCEEDED" { path } else { path.trim_end_matches("&max_block_size=10") };
        let answer = ask(server, path, sql).await;
        // Where rows were under way already, it follows them.
        assert!(answer.text().contains(name), "{sql}: {}, {} bytes", answer.status, answer.body.len());
        assert!(!answer.text().contains("3.00 million"), "{sql}: how many there are is said");
    }
    let less = ask(server, "/?max_result_rows=10", "SELECT number FROM numbers(11)").await;
    assert!(less.text().contains("TOO_MANY_ROWS_OR_BYTES"), "less may be asked for: {}", less.text());
}

async fn analysts_come_and_go(process: &Process, demo: &ClickHouse) {
    let refused = process.run(&["sql", "--as-tenant", "other", "SELECT 1"]).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("natter analyst add --tenant other"), "{said}");
    process.ask(&["analyst add", "--tenant", "other"]).await;
    let count = "SELECT groupUniqArray(tenant), count() FROM messages";
    assert_eq!(process.ask(&["sql", "--as-tenant", "other", count]).await, "['other']\t3\n");
    assert_eq!(process.ask(&["sql", "--as-tenant", "demo", count]).await, "['demo']\t3\n");

    // A restart of the engine changes the proofs, and nothing that anybody sees.
    let engine = process.backend("clickhouse-server");
    crate::servers::signal(engine, rustix::process::Signal::KILL);
    let again = async {
        while !process.run(&["sql", "--as-tenant", "demo", count]).await.status.success() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, again).await.expect("the engine comes back");
    assert_eq!(process.ask(&["sql", "--as-tenant", "other", count]).await, "['other']\t3\n");

    assert_eq!(process.ask(&["analyst url", "--tenant", "demo"]).await.matches(&demo.password).count(), 1);
    assert_eq!(ask(demo, "/", "SELECT 1").await.text(), "1\n");
    process.ask(&["analyst remove", "--tenant", "demo"]).await;
    assert_eq!(ask(demo, "/", "SELECT 1").await.status, 403, "the next statement is refused");
    let again = process.run(&["analyst remove", "--tenant", "demo"]).await;
    assert!(!again.status.success(), "there is none any more");
    assert!(process.ask(&["analyst list"]).await.starts_with("other: "));
}
