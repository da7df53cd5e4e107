//! The backends' loopback ports: chosen once, kept in the data folder.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, read_json};

const FILE: &str = "ports.json";

/// Below Linux's range for outgoing connections: none of those can take a port between our look and a server's bind, or while a
/// server is down for a moment.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
const TRIES_MAX: u32 = 1_000;

/// Given out by this process already, though perhaps not bound yet.
static GIVEN_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// One port per interface that a backend opens, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    pub nats: u16,
    pub redis: u16,
    pub clickhouse: u16,
    pub s3: S3Ports,
}

/// The S3 server is four servers in one process, each with an HTTP and a gRPC port.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct S3Ports {
    pub s3: u16,
    pub s3_grpc: u16,
    pub filer: u16,
    pub filer_grpc: u16,
    pub volume: u16,
    pub volume_grpc: u16,
    pub master: u16,
    pub master_grpc: u16,
}

impl Ports {
    /// Those of a data folder that another process may have; `None`: there are none.
    pub fn read(data: &Path) -> anyhow::Result<Option<Ports>> {
        read_json(&data.join(FILE))
    }

    /// Those of the data folder, each as long as it is free; others for the rest. What is chosen is kept.
    pub fn load_or_choose(folder: &Folder) -> anyhow::Result<Ports> {
        let kept: Option<Ports> = folder.read_json(FILE)?;
        let keep = |port: fn(&Ports) -> u16| -> anyhow::Result<u16> {
            match kept.as_ref().map(port) {
                Some(port) if is_free(port) => Ok(port),
                _ => free_port(),
            }
        };
        let ports = Ports {
            nats: keep(|p| p.nats)?,
            redis: keep(|p| p.redis)?,
            clickhouse: keep(|p| p.clickhouse)?,
            s3: S3Ports {
                s3: keep(|p| p.s3.s3)?,
                s3_grpc: keep(|p| p.s3.s3_grpc)?,
                filer: keep(|p| p.s3.filer)?,
                filer_grpc: keep(|p| p.s3.filer_grpc)?,
                volume: keep(|p| p.s3.volume)?,
                volume_grpc: keep(|p| p.s3.volume_grpc)?,
                master: keep(|p| p.s3.master)?,
                master_grpc: keep(|p| p.s3.master_grpc)?,
            },
        };
        if kept != Some(ports) {
            folder.write_json(FILE, &ports)?;
        }
        Ok(ports)
    }
}

/// A port of 127.0.0.1 that nobody listens on and that this process has not given out before.
///
/// # Errors
/// When a thousand random ones are taken.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..TRIES_MAX {
        let random = getrandom::u32().map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        let offset = u16::try_from(random % u32::from(RANGE.end - RANGE.start)).context("the range is one of ports")?;
        let port = RANGE.start + offset;
        let is_new = GIVEN_OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new && is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ports_are_kept_but_a_taken_one_is_chosen_anew() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("data")).await.unwrap();
        let first = Ports::load_or_choose(&folder).unwrap();
        assert_eq!(Ports::load_or_choose(&folder).unwrap(), first);

        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.redis)).unwrap();
        let second = Ports::load_or_choose(&folder).unwrap();
        assert_ne!(second.redis, first.redis);
        assert_eq!(Ports { redis: first.redis, ..second }, first);
        drop(taken);
        assert_eq!(Ports::load_or_choose(&folder).unwrap(), second);
    }

    #[test]
    fn no_port_is_given_out_twice() {
        let mut ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
