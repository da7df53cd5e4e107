//! Before the first start: whether `natter up` can have what it needs.

use std::net::TcpListener;
use std::path::Path;

use super::finding::{Finding, Report};
use crate::backends::{self, Backend, Folder};
use crate::config::Config;
use crate::up::wanted;

/// Room that four empty servers and their packages take.
const DISK_BYTES_MIN: u64 = 4 << 30;

/// What would be started from where, and what would be in the way.
pub async fn examine(config: &Config, data: &Path, report: &mut Report) {
    let given = wanted::given(config);
    for backend in Backend::ALL {
        report.add(if given.contains(backend) {
            Finding::ok(name(backend), "is given by the configuration and not started")
        } else {
            match backends::source(backend).await {
                Ok(source) => Finding::ok(name(backend), source),
                Err(error) => Finding::wrong(
                    name(backend),
                    format_args!("{error:#}"),
                    "install that client, put the server on PATH, name a running one in natter.toml, or use compose.yaml",
                ),
            }
        });
    }
    report.add(port(&config.gateway.listen));
    report.add(folder(data).await);
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Nats => "nats",
        Backend::Redis => "redis",
        Backend::S3 => "s3",
        Backend::ClickHouse => "clickhouse",
    }
}

fn port(listen: &str) -> Finding {
    let mend = "end what listens there, or `natter up --port N`";
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok("gateway port", format_args!("{listen} is free")),
        Err(error) => Finding::wrong("gateway port", format_args!("{listen}: {error}"), mend),
    }
}

/// Whether the data folder can be made and is nobody's; where there is none yet, its parent is looked at.
async fn folder(data: &Path) -> Finding {
    const CHECK: &str = "data folder";
    let mend = "name another with --data";
    if data.exists() {
        // Opening it says who has it.
        return match Folder::open(data).await {
            Ok(_) => Finding::ok(CHECK, format_args!("{} is here from an earlier start", data.display())),
            Err(error) => Finding::wrong(CHECK, format_args!("{error:#}"), mend),
        };
    }
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(parent) {
        Ok(disk) if disk.f_bavail * disk.f_frsize < DISK_BYTES_MIN => {
            Finding::wrong(CHECK, format_args!("the disk of {} has less than 4 GiB free", parent.display()), mend)
        }
        Ok(_) => Finding::ok(CHECK, format_args!("{} is made at the start", data.display())),
        Err(error) => Finding::wrong(CHECK, format_args!("{}: {error}", parent.display()), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[tokio::test]
    async fn what_is_in_the_way_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = port(&taken.local_addr().unwrap().to_string());
        assert_eq!(found.verdict, Verdict::Wrong, "{found:?}");
        let outer = tempfile::tempdir().unwrap();
        assert_eq!(folder(&outer.path().join("none/below")).await.verdict, Verdict::Wrong);
        let held = Folder::open(&outer.path().join("data")).await.unwrap();
        let found = folder(held.path()).await;
        assert_eq!(found.verdict, Verdict::Wrong, "{found:?}");
        assert!(found.seen.contains("--data"), "{found:?}");
    }
}
