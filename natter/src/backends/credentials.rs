//! Passwords and keys of the backends: random, made at the first start, kept in the data folder.
//!
//! One for each user of each server, so that what one process knows opens no other's door.

use std::collections::BTreeMap;
use std::path::Path;

use natter_nats::server::ServerRole;

use super::folder::{Folder, read_json};
use super::users::HistoryUser;

const FILE: &str = "credentials.json";

const S3_ACCESS_KEY: &str = "s3_access_key";
const S3_SECRET_KEY: &str = "s3_secret_key";
const S3_GATEWAY_ACCESS_KEY: &str = "s3_gateway_access_key";
const S3_GATEWAY_SECRET_KEY: &str = "s3_gateway_secret_key";
const S3_PROJECTOR_ACCESS_KEY: &str = "s3_projector_access_key";
const S3_PROJECTOR_SECRET_KEY: &str = "s3_projector_secret_key";
const S3_CLICKHOUSE_ACCESS_KEY: &str = "s3_clickhouse_access_key";
const S3_CLICKHOUSE_SECRET_KEY: &str = "s3_clickhouse_secret_key";
const S3_INTERNAL_KEY: &str = "s3_internal_key";

/// Secrets by name. All are letters and digits, so they go into URLs and config files as they are.
#[derive(Clone)]
pub struct Credentials(BTreeMap<String, String>);

/// A key pair of S3.
pub struct KeyPair<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a str,
}

impl Credentials {
    /// Those of the data folder. What it lacks, at the first start all of them, is made.
    pub fn load_or_make(folder: &Folder) -> anyhow::Result<Credentials> {
        let kept: BTreeMap<String, String> = folder.read_json(FILE)?.unwrap_or_default();
        let mut all = BTreeMap::new();
        for name in names() {
            let secret = kept.get(&name).cloned().map_or_else(random_hex, Ok)?;
            all.insert(name, secret);
        }
        if all != kept {
            folder.write_json(FILE, &all)?;
        }
        Ok(Self(all))
    }

    /// Those of a data folder that another process may have; `None`: there are none.
    pub fn read(data: &Path) -> anyhow::Result<Option<Credentials>> {
        let kept: Option<BTreeMap<String, String>> = read_json(&data.join(FILE))?;
        Ok(kept.filter(|kept| names().all(|name| kept.contains_key(&name))).map(Self))
    }

    /// The password of a role's user of NATS.
    pub fn nats(&self, role: ServerRole) -> &str {
        self.secret(&nats(role))
    }

    /// The password of a role's user of Redis.
    pub fn redis(&self, role: ServerRole) -> &str {
        self.secret(&redis(role))
    }

    /// The password of a user of ClickHouse.
    pub fn clickhouse(&self, user: HistoryUser) -> &str {
        self.secret(&clickhouse(user))
    }

    /// The keys of the S3 user who may do everything.
    pub fn s3(&self) -> KeyPair<'_> {
        KeyPair { access_key: self.secret(S3_ACCESS_KEY), secret_key: self.secret(S3_SECRET_KEY) }
    }

    /// The keys of the gateways' S3 user.
    pub fn s3_gateway(&self) -> KeyPair<'_> {
        KeyPair { access_key: self.secret(S3_GATEWAY_ACCESS_KEY), secret_key: self.secret(S3_GATEWAY_SECRET_KEY) }
    }

    /// The keys of the projectors' S3 user.
    pub fn s3_projector(&self) -> KeyPair<'_> {
        KeyPair { access_key: self.secret(S3_PROJECTOR_ACCESS_KEY), secret_key: self.secret(S3_PROJECTOR_SECRET_KEY) }
    }

    /// The keys of ClickHouse's S3 user, who reads the archive.
    pub fn s3_clickhouse(&self) -> KeyPair<'_> {
        KeyPair { access_key: self.secret(S3_CLICKHOUSE_ACCESS_KEY), secret_key: self.secret(S3_CLICKHOUSE_SECRET_KEY) }
    }

    /// Signs what the parts of the S3 server ask of each other.
    pub fn s3_internal(&self) -> &str {
        self.secret(S3_INTERNAL_KEY)
    }

    fn secret(&self, name: &str) -> &str {
        self.0.get(name).expect("every secret of `names` was made")
    }
}

fn nats(role: ServerRole) -> String {
    format!("nats_{}_password", role.user())
}

fn redis(role: ServerRole) -> String {
    format!("redis_{}_password", role.user())
}

fn clickhouse(user: HistoryUser) -> String {
    format!("clickhouse_{}_password", user.name())
}

/// Every secret that there must be.
fn names() -> impl Iterator<Item = String> {
    let s3 = [
        S3_ACCESS_KEY,
        S3_SECRET_KEY,
        S3_GATEWAY_ACCESS_KEY,
        S3_GATEWAY_SECRET_KEY,
        S3_PROJECTOR_ACCESS_KEY,
        S3_PROJECTOR_SECRET_KEY,
        S3_CLICKHOUSE_ACCESS_KEY,
        S3_CLICKHOUSE_SECRET_KEY,
        S3_INTERNAL_KEY,
    ];
    let roles = ServerRole::ALL.into_iter().flat_map(|role| [nats(role), redis(role)]);
    roles.chain(HistoryUser::ALL.map(clickhouse)).chain(s3.map(str::to_owned))
}

/// 16 random bytes of the system in lower-case hex.
pub fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
impl Credentials {
    /// Each secret is its own name, for tests of the servers' configs.
    pub fn example() -> Credentials {
        Self(names().map(|name| (name.clone(), name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_made_once_and_differ_between_users_and_folders() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("a")).await.unwrap();
        let first = Credentials::load_or_make(&folder).unwrap();
        let again = Credentials::load_or_make(&folder).unwrap();
        assert_eq!(first.0, again.0);
        let distinct: std::collections::BTreeSet<_> = first.0.values().collect();
        assert_eq!(distinct.len(), names().count());
        assert!(first.0.values().all(|secret| secret.len() == 32));
        let other = Credentials::load_or_make(&Folder::open(&outer.path().join("b")).await.unwrap()).unwrap();
        assert_ne!(first.redis(ServerRole::Admin), other.redis(ServerRole::Admin));
    }

    #[tokio::test]
    async fn a_folder_of_an_older_natter_keeps_what_it_has_and_gets_what_it_lacks() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("a")).await.unwrap();
        let old = BTreeMap::from([(S3_SECRET_KEY, "kept"), ("redis_password", "of a user who is gone")]);
        folder.write_json(FILE, &old).unwrap();
        let made = Credentials::load_or_make(&folder).unwrap();
        assert_eq!(made.s3().secret_key, "kept");
        assert!(!made.0.contains_key("redis_password") && !made.redis(ServerRole::Gateway).is_empty());
    }
}
