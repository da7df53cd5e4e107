//! ClickHouse: the server when there is one on PATH, else the engine as a library behind the same HTTP interface.

use std::path::Path;

use anyhow::Context;
use natter_nats::server::Password;

use super::analysts::Analysts;
use super::credentials::Credentials;
use super::endpoints::ClickHouse;
use super::fetch::Program;
use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;
use super::users::{HistoryUser, engine_users, users_xml};
use crate::engine::Archive;

/// From 26.2 on the text index is no longer experimental.
pub const CANDIDATE: Candidate =
    Candidate { name: "clickhouse", version_args: &["server", "--version"], minimum: (26, 2, 0) };

const CONFIG: &str = "config.xml";
const USERS: &str = "users.xml";
const ENGINE_USERS: &str = "users.json";
const ENGINE_ARCHIVE: &str = "archive.json";

/// For this user.
pub fn endpoint(port: u16, user: HistoryUser, credentials: &Credentials) -> ClickHouse {
    ClickHouse {
        url: format!("http://127.0.0.1:{port}"),
        user: user.name().to_owned(),
        password: credentials.clickhouse(user).to_owned(),
    }
}

/// What its config says.
pub struct Told<'a> {
    pub port: u16,
    pub credentials: &'a Credentials,
    pub analysts: &'a Analysts,
    pub archive: &'a Archive,
}

/// Writes the config into `folder` and says how to start the server, or the engine's own process, there.
pub fn launch(program: &Program, shim: &Path, folder: &Path, told: &Told<'_>) -> anyhow::Result<Launch> {
    let Told { port, credentials, analysts, archive } = *told;
    let (program, args) = match program {
        Program::OnPath(server) => {
            let file = folder.join(CONFIG);
            write_private(&file, server_config(port, archive).as_bytes())?;
            write_private(&folder.join(USERS), server_users(credentials, analysts).as_bytes())?;
            (server.clone(), vec!["server".into(), "--config-file".into(), file.into()])
        }
        Program::Fetched(library) => {
            let file = folder.join(ENGINE_USERS);
            write_private(&file, &engine_users(|user| credentials.clickhouse(user), analysts)?)?;
            // A file, since arguments are seen by everybody on the machine.
            let objects = folder.join(ENGINE_ARCHIVE);
            write_private(&objects, &serde_json::to_vec(archive)?)?;
            let mut args =
                vec!["clickhouse-server".into(), "--library".into(), library.into(), "--data".into(), folder.into()];
            args.extend(["--port".into(), port.to_string().into(), "--users-file".into(), file.into()]);
            args.extend(["--archive-file".into(), objects.into()]);
            args.extend(["--views".into(), analysts.views.clone().into()]);
            (shim.to_owned(), args)
        }
    };
    Ok(Launch { program, args, folder: folder.to_owned(), litter: Vec::new() })
}

/// Writes the files of users that are in `folder` anew, which both kinds of server notice; `false`: there is none.
pub fn write_users(folder: &Path, credentials: &Credentials, analysts: &Analysts) -> anyhow::Result<bool> {
    let (server, engine) = (folder.join(USERS), folder.join(ENGINE_USERS));
    if server.exists() {
        write_private(&server, server_users(credentials, analysts).as_bytes())?;
    }
    if engine.exists() {
        write_private(&engine, &engine_users(|user| credentials.clickhouse(user), analysts)?)?;
    }
    Ok(server.exists() || engine.exists())
}

fn server_users(credentials: &Credentials, analysts: &Analysts) -> String {
    let users = HistoryUser::ALL.map(|user| (user, Password::Literal(credentials.clickhouse(user).to_owned())));
    users_xml("127.0.0.1", &users, analysts)
}

/// Config of a `clickhouse server`: HTTP on loopback only. Paths are relative to the folder in which it runs.
fn server_config(port: u16, archive: &Archive) -> String {
    let archive = archive.collection();
    // What the last two say is the default of newer servers; users without a policy are those who see every tenant.
    format!(
        "<!-- Written by natter at each start. -->
<clickhouse>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <path>./server/</path>
  <tmp_path>./server/tmp/</tmp_path>
  <user_files_path>./server/user_files/</user_files_path>
  <format_schema_path>./server/format_schemas/</format_schema_path>
  <mark_cache_size>268435456</mark_cache_size>
  <send_crash_reports><enabled>false</enabled></send_crash_reports>
  <user_directories><users_xml><path>{USERS}</path></users_xml></user_directories>
  {archive}
  <allow_named_collection_override_by_default>0</allow_named_collection_override_by_default>
  <access_control_improvements>
    <users_without_row_policies_can_read_rows>true</users_without_row_policies_can_read_rows>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
  </access_control_improvements>
</clickhouse>
"
    )
}

/// Whether the server answers a query of natter's user.
pub async fn check(endpoint: &ClickHouse) -> anyhow::Result<()> {
    let client = clickhouse::Client::default()
        .with_url(&endpoint.url)
        .with_user(&endpoint.user)
        .with_password(&endpoint.password);
    client.query("SELECT 1").execute().await.context("clickhouse does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::analysts;

    fn archive() -> Archive {
        Archive::new("http://127.0.0.1:1", "natter", "of clickhouse", "secret of clickhouse")
    }

    #[test]
    fn a_server_on_path_listens_on_loopback_with_its_users() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::OnPath("/usr/bin/clickhouse".into());
        let credentials = Credentials::example();
        let analysts = analysts::example(&[]);
        let archive = archive();
        let told = Told { port: 8123, credentials: &credentials, analysts: &analysts, archive: &archive };
        let launch = launch(&program, Path::new("/natter"), folder.path(), &told).unwrap();
        assert_eq!(launch.program, Path::new("/usr/bin/clickhouse"));
        assert_eq!(launch.args[0], "server");
        let config = std::fs::read_to_string(folder.path().join(CONFIG)).unwrap();
        assert!(config.contains("<listen_host>127.0.0.1</listen_host>"), "{config}");
        assert!(config.contains("<http_port>8123</http_port>") && !config.contains("tcp_port"), "{config}");
        let named = config.split("<natter_archive>").nth(1).and_then(|rest| rest.split("</natter_archive>").next());
        assert!(named.is_some_and(|named| named.contains("/natter/archive/*/EVT_*/*.parquet</url>")), "{config}");
        let users = std::fs::read_to_string(folder.path().join(USERS)).unwrap();
        for user in HistoryUser::ALL {
            assert!(users.contains(&format!("<{}>", user.name())), "{users}");
        }
        assert!(!users.contains("_password<"), "passwords are digests: {users}");
    }

    #[test]
    fn the_library_is_served_by_natter_itself() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::Fetched("/cache/libchdb.so".into());
        let credentials = Credentials::example();
        let analysts = analysts::example(&[]);
        let archive = archive();
        let told = Told { port: 8123, credentials: &credentials, analysts: &analysts, archive: &archive };
        let launch = launch(&program, Path::new("/natter"), folder.path(), &told).unwrap();
        assert_eq!(launch.program, Path::new("/natter"));
        assert_eq!(launch.args[..3], ["clickhouse-server", "--library", "/cache/libchdb.so"]);
        let secret = credentials.clickhouse(HistoryUser::Analyst);
        assert!(!launch.args.iter().any(|arg| arg == secret), "arguments are seen by every user of the machine");
        assert!(std::fs::read_to_string(folder.path().join(ENGINE_USERS)).unwrap().contains("analyst"));
    }
}
