//! The archive of a whole system: what was trimmed is read as if it were still there, whoever reads.

use std::time::Duration;

use natter::backends::S3;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::history::History;
use crate::import::import;
use crate::observed::{Reader, assert_holds};
use crate::process::Process;
use crate::servers::s3_client;

const LINES: usize = 4000;
/// For views that are built anew, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
/// Everything is archived and trimmed as soon as it may be.
const CONFIG: &str = "[archive]\nsegment_bytes = 65536\nsegment_seconds = 1\nkeep_seconds = 0\n";

struct System {
    process: Process,
    history: History,
    _folder: TempDir,
}

impl System {
    /// With an imported history of which NATS has nothing any more but each partition's last batch.
    async fn trimmed(seed: u64) -> System {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("natter.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let args = ["--port", "0", "--config", config.to_str().unwrap()];
        let process = Process::up_with(&folder.path().join("data"), &args).await;
        let history = History::generated(seed, LINES);
        let [file, _] = history.write(folder.path(), "history");
        import(&process, &file).await;
        let system = System { process, history, _folder: folder };
        system.until_trimmed().await;
        system
    }

    async fn partitions(&self) -> Vec<Value> {
        let status: Value = serde_json::from_str(&self.process.ask(&["archive status", "--json"]).await).unwrap();
        status["partitions"].as_array().unwrap().clone()
    }

    async fn until_trimmed(&self) {
        let trimmed = async {
            loop {
                let partitions = self.partitions().await;
                if partitions.iter().all(|of| of["waiting"] == 0 && of["kept_from"] == of["last"]) {
                    return;
                }
                sleep(LOOK).await;
            }
        };
        timeout(DEADLINE, trimmed).await.unwrap_or_else(|_| panic!("it is not trimmed: {}", self.process.log()));
    }

    /// What `natter audit` finds when the views had time to catch up.
    async fn assert_clean(&self) {
        let audited = self.process.run(&["audit", "--json", "--caught-up", "60s"]).await;
        let report: Value = serde_json::from_slice(&audited.stdout).unwrap();
        assert_eq!(report["clean"], true, "{report:#}");
        let logged: u64 =
            report["partitions"].as_array().unwrap().iter().map(|of| of["outcomes"].as_u64().unwrap()).sum();
        assert!(logged >= self.history.accepted(), "{logged} outcomes were looked at");
    }

    /// Every message of the largest room, by pages from its end to its begin.
    async fn assert_pages(&self) {
        let room = self.history.largest_rooms(1).remove(0);
        let reader = Reader::new(&self.process, &self.history, &room).await;
        assert_eq!(reader.backwards(90).await, self.history.rooms()[&room]);
    }

    async fn verify(&self) -> (bool, Value) {
        let ended = self.process.run(&["archive verify", "--json"]).await;
        (ended.status.success(), serde_json::from_slice(&ended.stdout).unwrap())
    }

    fn bucket(&self) -> aws_sdk_s3::Client {
        let url = self.process.run["s3"].as_str().unwrap();
        let (keys, address) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
        let (access_key, secret_key) = keys.split_once(':').unwrap();
        s3_client(&S3 {
            endpoint: format!("http://{address}"),
            region: "us-east-1".to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        })
    }
}

/// Log, history, pages and the audit are as they would be without an archive; and so they are when both views are lost and
/// built anew from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_read_as_if_it_were_still_there() {
    let system = System::trimmed(271).await;
    let System { process, history, .. } = &system;
    assert_holds(process, history).await;
    system.assert_pages().await;
    system.assert_clean().await;

    // Explained by the id alone, out of the archive.
    let id: u64 = process.clickhouse().query("SELECT min(message) FROM natter.messages").fetch_one().await.unwrap();
    let explained = process.ask(&["explain", &id.to_string(), "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&explained).unwrap()["stored"]["outcome"]["archived"],
        true,
        "{explained}"
    );

    // The hot views are lost: the projector reads everything again.
    let client = redis::Client::open(process.run["redis"].as_str().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    system.assert_clean().await;

    // Both are built anew beside the live ones, and compared.
    for report in process.ask(&["rebuild all", "--json"]).await.lines() {
        let report: Value = serde_json::from_str(report).unwrap();
        assert_eq!((&report["switched"], &report["differences_total"]), (&true.into(), &0.into()), "{report:#}");
    }
    assert_holds(process, history).await;

    // What is archived goes on behind what was.
    let before = system.partitions().await;
    let more = History::generated(272, 300);
    let folder = tempfile::tempdir().unwrap();
    import(process, &more.write(folder.path(), "more")[0]).await;
    system.until_trimmed().await;
    assert_ne!(before, system.partitions().await);
    let (is_right, verified) = system.verify().await;
    assert!(is_right && verified["wrong"].as_array().unwrap().is_empty(), "{verified:#}");
    system.assert_clean().await;
}

/// Each damage of the bucket is named, and what is damaged is read by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_and_not_believed() {
    let system = System::trimmed(273).await;
    let bucket = system.bucket();
    let listed = bucket.list_objects_v2().bucket("natter").prefix("archive/").send().await.unwrap();
    let keys: Vec<String> = listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
    // A partition of several segments, so that one has neighbours.
    let of = system.partitions().await.into_iter().max_by_key(|of| of["segments"].as_u64()).unwrap();
    let partition = of["partition"].as_u64().unwrap();
    let own: Vec<&String> = keys.iter().filter(|key| key.contains(&format!("/EVT_{partition}/"))).collect();
    let object = |number: usize| own.iter().filter(|key| key.ends_with(".parquet")).nth(number).unwrap().as_str();
    assert!(own.len() >= 6, "three segments and their manifests: {own:?}");
    let get = async |key: &str| {
        let got = bucket.get_object().bucket("natter").key(key).send().await.unwrap();
        got.body.collect().await.unwrap().into_bytes()
    };
    let put = async |key: &str, bytes: Vec<u8>| {
        bucket.put_object().bucket("natter").key(key).body(bytes.into()).send().await.unwrap();
    };
    let named = async |what: &str| {
        let (is_right, verified) = system.verify().await;
        let wrong = verified["wrong"].as_array().unwrap();
        assert!(!is_right && wrong.len() == 1, "{what}: {verified:#}");
        assert_eq!(wrong[0]["partition"], partition);
        assert!(wrong[0]["what"].as_str().unwrap().contains(what), "{what}: {verified:#}");
    };

    // One bit of an object.
    let key = object(1);
    let whole = get(key).await;
    let mut damaged = whole.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    put(key, damaged).await;
    named("the object is not what its manifest says").await;
    let refused = system.process.run(&["log cat", &format!("EVT_{partition}")]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the object is not what its manifest says"), "{said}");

    // Another segment's object.
    put(key, get(object(0)).await.to_vec()).await;
    named("the object is not what its manifest says").await;

    // A segment that is gone: its manifest first.
    put(key, whole.to_vec()).await;
    // An object's name ends in its digest, its manifest's does not.
    let manifest = format!("{}.json", key.rsplit_once('-').unwrap().0);
    let kept = get(&manifest).await;
    bucket.delete_object().bucket("natter").key(&manifest).send().await.unwrap();
    named("are in no segment before it").await;

    // A manifest that says something else.
    let mut other: Value = serde_json::from_slice(&kept).unwrap();
    other["log"] = "0".repeat(32).into();
    put(&manifest, other.to_string().into_bytes()).await;
    named("is that of another segment").await;

    put(&manifest, kept.to_vec()).await;
    let (is_right, verified) = system.verify().await;
    assert!(is_right, "{verified:#}");
}
