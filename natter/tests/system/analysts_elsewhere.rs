//! `natter analyst` for a ClickHouse that natter does not start: a file for its administrator, and a password that is in nobody's file.
//! What ClickHouse makes of the file is tried by `.ci/verify-server-users`.

use std::path::Path;
use std::process::Output;

use hex::encode;
use sha2::{Digest, Sha256};
use tokio::process::Command;

async fn analyst(config: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.arg("analyst").args(args).arg("--config").arg(config);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn the_administrator_of_a_foreign_clickhouse_gets_a_file_and_the_analyst_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("natter.toml");
    std::fs::write(&config, "[clickhouse]\nurl = \"https://history:8443\"\ndatabase = \"chat\"\n").unwrap();
    let add = ["add", "--tenant", "acme", "--seconds-max", "5"];
    let (code, file, notes) = analyst(&config, &add).await;
    assert_eq!(code, Some(0), "{notes}");
    let url = notes.lines().last().unwrap();
    let password = url.strip_prefix("https://analyst-acme:").and_then(|rest| rest.strip_suffix("@history:8443"));
    let password = password.unwrap_or_else(|| panic!("{notes}"));
    for part in [
        format!("<password_sha256_hex>{}</password_sha256_hex>", encode(Sha256::digest(password))),
        "<query>GRANT SELECT, SHOW ON chat.*</query>".to_owned(),
        "<max_execution_time>5</max_execution_time>".to_owned(),
    ] {
        assert!(file.contains(&part), "{part}: {file}");
    }
    assert!(file.starts_with("<!--") && file.ends_with("</clickhouse>\n") && !file.contains(password), "{file}");
    assert_ne!(analyst(&config, &add).await.2, notes, "nobody has the password of another time");
}

#[tokio::test]
async fn what_natter_does_not_keep_it_does_not_make_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("natter.toml");
    std::fs::write(&config, "[clickhouse]\nurl = \"http://history:8123\"\n").unwrap();
    for args in [&["list"][..], &["url", "--tenant", "acme"], &["remove", "--tenant", "acme"]] {
        let (code, said, why) = analyst(&config, args).await;
        assert_eq!((code, &*said), (Some(1), ""), "{why}");
        assert!(why.contains("users.d"), "{why}");
    }
    std::fs::write(&config, "").unwrap();
    let (code, said, why) = analyst(&config, &["add", "--tenant", "acme"]).await;
    assert_eq!((code, &*said), (Some(64), ""), "{why}");
    assert!(why.contains("clickhouse.url is missing"), "{why}");
}
