//! SeaweedFS as the S3 server: master, volume server, filer and S3 gateway in one process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use natter_projections::objects::{Objects, ObjectsConfig};
use serde_json::json;
use tokio::net::TcpStream;

use super::credentials::{Credentials, KeyPair};
use super::endpoints::S3;
use super::folder::write_private;
use super::ports::S3Ports;
use super::program::Candidate;
use super::supervisor::Launch;

/// Older ones lack flags that are given here.
pub const CANDIDATE: Candidate = Candidate { name: "weed", version_args: &["version"], minimum: (4, 48, 0) };

pub const REGION: &str = "us-east-1";

/// A bucket grows by one volume at a time: the default of seven takes seconds from the first write.
const MASTER: &str = "[master.volume_growth]\ncopy_1 = 1\n";

/// For the user with these keys.
pub fn endpoint(ports: S3Ports, keys: &KeyPair<'_>) -> S3 {
    S3 {
        endpoint: format!("http://127.0.0.1:{}", ports.s3),
        region: REGION.to_owned(),
        access_key: keys.access_key.to_owned(),
        secret_key: keys.secret_key.to_owned(),
    }
}

/// Writes the configs into `folder` and says how to start the server there.
pub fn launch(
    program: &Path,
    folder: &Path,
    ports: S3Ports,
    bucket: &str,
    credentials: &Credentials,
) -> anyhow::Result<Launch> {
    write_private(&folder.join("s3.json"), &identities(bucket, credentials)?)?;
    // These two are found by their names in the working directory.
    write_private(&folder.join("security.toml"), security(credentials.s3_internal()).as_bytes())?;
    write_private(&folder.join("master.toml"), MASTER.as_bytes())?;
    Ok(Launch { program: program.to_owned(), args: args(ports), folder: folder.to_owned(), litter: sockets(ports) })
}

/// Where its gRPC interfaces also listen, which no flag changes.
fn sockets(ports: S3Ports) -> Vec<PathBuf> {
    let sockets = [
        ("master", ports.master_grpc),
        ("volume", ports.volume_grpc),
        ("filer", ports.filer_grpc),
        ("s3", ports.s3_grpc),
    ];
    sockets.map(|(name, port)| format!("/tmp/seaweedfs-{name}-grpc-{port}.sock").into()).into()
}

/// The users of the S3 interface: one who may do everything, the gateways', who may read natter's bucket and write media, the
/// projectors', who may read it and write the archive, and ClickHouse's, who may read it.
fn identities(bucket: &str, credentials: &Credentials) -> anyhow::Result<Vec<u8>> {
    let identity = |name: &str, keys: KeyPair<'_>, actions: &[String]| {
        let keys = json!({ "accessKey": keys.access_key, "secretKey": keys.secret_key });
        json!({ "name": name, "credentials": [keys], "actions": actions })
    };
    let all = ["Admin", "Read", "Write", "List", "Tagging"].map(str::to_owned);
    let own = |folder: &str| [format!("Read:{bucket}"), format!("List:{bucket}"), format!("Write:{bucket}/{folder}/*")];
    let reads = [format!("Read:{bucket}"), format!("List:{bucket}")];
    let identities = [
        identity("natter", credentials.s3(), &all),
        identity("gateway", credentials.s3_gateway(), &own("media")),
        identity("projector", credentials.s3_projector(), &own("archive")),
        identity("clickhouse", credentials.s3_clickhouse(), &reads),
    ];
    Ok(serde_json::to_vec(&json!({ "identities": identities }))?)
}

/// What is left of the inner HTTP interfaces answers only what the S3 gateway has signed.
fn security(key: &str) -> String {
    ["jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"]
        .map(|section| format!("[{section}]\nkey = \"{key}\"\n"))
        .concat()
}

/// Paths are relative to the folder in which the server runs.
fn args(ports: S3Ports) -> Vec<OsString> {
    let mut args: Vec<String> = [
        // Else it writes the same into files in the folder for temporary ones as well.
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-dir=.",
        "-filer",
        "-s3",
        "-s3.config=s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        // By default these lie in /tmp; a socket's path is short, so a relative one.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        // Else a web page in the operator's browser could delete collections at the master.
        "-disableHttp",
        "-master.telemetry=false",
        // A master alone leads at once. Otherwise it may elect itself only after the volume server has looked for it, which looks
        // again 5 s later.
        "-master.peers=none",
        // Small volumes, as many as the disk has room for, none allocated in advance.
        "-master.volumeSizeLimitMB=256",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
    ]
    .map(str::to_owned)
    .into();
    let ports = [
        ("s3.port", ports.s3),
        ("s3.port.grpc", ports.s3_grpc),
        ("filer.port", ports.filer),
        ("filer.port.grpc", ports.filer_grpc),
        ("volume.port", ports.volume),
        ("volume.port.grpc", ports.volume_grpc),
        ("master.port", ports.master),
        ("master.port.grpc", ports.master_grpc),
    ];
    args.extend(ports.map(|(flag, port)| format!("-{flag}={port}")));
    args.into_iter().map(OsString::from).collect()
}

/// Whether the service answers at all, were it by a refusal; whoever uses a bucket checks that bucket.
pub async fn check(endpoint: &S3) -> anyhow::Result<()> {
    let url: Uri = endpoint.endpoint.parse().with_context(|| format!("{} is not a URL", endpoint.endpoint))?;
    if url.scheme() == Some(&Scheme::HTTPS) {
        let port = url.port_u16().unwrap_or(443);
        TcpStream::connect((url.host().unwrap_or_default(), port)).await.context("s3 does not answer")?;
        return Ok(());
    }
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let status = client.get(url).await.context("s3 does not answer")?.status();
    ensure!(!status.is_server_error(), "s3 answers {status}");
    Ok(())
}

/// Whether it can look for a bucket. After a SIGTERM it goes on to answer who has no credentials, with nothing behind it.
pub async fn probe(endpoint: &S3) -> anyhow::Result<()> {
    let objects = Objects::new(&ObjectsConfig {
        endpoint: endpoint.endpoint.clone(),
        region: endpoint.region.clone(),
        bucket: "natter".to_owned(),
        access_key: endpoint.access_key.clone(),
        secret_key: endpoint.secret_key.clone(),
    });
    Ok(objects.answers().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: S3Ports =
        S3Ports { s3: 1, s3_grpc: 2, filer: 3, filer_grpc: 4, volume: 5, volume_grpc: 6, master: 7, master_grpc: 8 };

    #[test]
    fn every_interface_has_its_port_and_listens_on_loopback_only() {
        let args = args(PORTS);
        let flags = ["s3", "filer", "volume", "master"];
        for (number, flag) in
            flags.iter().flat_map(|flag| [format!("{flag}.port"), format!("{flag}.port.grpc")]).enumerate()
        {
            assert!(args.contains(&OsString::from(format!("-{flag}={}", number + 1))), "{flag}");
        }
        assert!(args.contains(&OsString::from("-ip.bind=127.0.0.1")));
    }

    #[test]
    fn every_inner_interface_has_a_key() {
        let parsed: toml::Table = security("0123456789abcdef").parse().unwrap();
        let jwt = &parsed["jwt"];
        for section in [&jwt["signing"], &jwt["signing"]["read"], &jwt["filer_signing"], &jwt["filer_signing"]["read"]]
        {
            assert_eq!(section["key"].as_str(), Some("0123456789abcdef"));
        }
    }
}
