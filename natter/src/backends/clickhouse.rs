//! ClickHouse: the server when there is one on PATH, else the engine as a library behind the same HTTP interface.

use std::path::Path;

use anyhow::Context;

use super::credentials::Credentials;
use super::endpoints::ClickHouse;
use super::fetch::Program;
use super::folder::write_private;
use super::program::Candidate;
use super::supervisor::Launch;

/// From 26.2 on the text index is no longer experimental.
pub const CANDIDATE: Candidate = Candidate { name: "clickhouse", version_args: &["server", "--version"], minimum: (26, 2, 0) };

const USER: &str = "default";
const CONFIG: &str = "config.xml";
const PASSWORD: &str = "password";

pub fn endpoint(port: u16, credentials: &Credentials) -> ClickHouse {
    ClickHouse {
        url: format!("http://127.0.0.1:{port}"),
        user: USER.to_owned(),
        password: credentials.clickhouse_password.clone(),
    }
}

/// Writes the config into `folder` and says how to start the server, or the engine's own process, there.
pub fn launch(program: &Program, shim: &Path, folder: &Path, port: u16, credentials: &Credentials) -> anyhow::Result<Launch> {
    let password = &credentials.clickhouse_password;
    let (program, args) = match program {
        Program::OnPath(server) => {
            let file = folder.join(CONFIG);
            write_private(&file, server_config(port, password).as_bytes())?;
            (server.clone(), vec!["server".into(), "--config-file".into(), file.into()])
        }
        Program::Fetched(library) => {
            let file = folder.join(PASSWORD);
            write_private(&file, password.as_bytes())?;
            // The library reads a config of this name in its working directory: it must find none of somebody else's.
            write_private(&folder.join(CONFIG), b"<clickhouse/>\n")?;
            let mut args = vec!["clickhouse-server".into(), "--library".into(), library.into(), "--data".into(), folder.into()];
            args.extend(["--port".into(), port.to_string().into(), "--password-file".into(), file.into()]);
            (shim.to_owned(), args)
        }
    };
    Ok(Launch { program, args, folder: folder.to_owned() })
}

/// Config of a `clickhouse server`: HTTP on loopback only, one user. Paths are relative to the folder in which it runs.
fn server_config(port: u16, password: &str) -> String {
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
  <users>
    <{USER}>
      <password>{password}</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <access_management>1</access_management>
    </{USER}>
  </users>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
</clickhouse>
"
    )
}

/// Whether the server answers a query of natter's user.
pub async fn check(endpoint: &ClickHouse) -> anyhow::Result<()> {
    let client = clickhouse::Client::default().with_url(&endpoint.url).with_user(&endpoint.user).with_password(&endpoint.password);
    client.query("SELECT 1").execute().await.context("clickhouse does not answer")
}
