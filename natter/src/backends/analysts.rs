//! Analysts who see the rows of one tenant: kept in the data folder, made while the system runs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use natter_schemas::names::Tenant;
use serde::{Deserialize, Serialize};

use super::clickhouse;
use super::credentials::{Credentials, random_hex};
use super::endpoints::ClickHouse;
use super::folder::{Folder, read_json, write_private};
use super::ports::Ports;
use super::users::tenant_file;
use crate::analysts::Quota;

const FILE: &str = "analysts.json";
/// Held while the file is changed.
const LOCK: &str = "analysts.lock";

/// Who there is, by tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analysts {
    /// The analysts' database as of the last start; the tables lie in `<views>_store`.
    pub views: String,
    tenants: BTreeMap<Tenant, Analyst>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analyst {
    password: String,
    /// What a statement may take.
    pub quota: Quota,
}

impl std::fmt::Debug for Analyst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analyst").field("quota", &self.quota).finish_non_exhaustive()
    }
}

/// Who is made for a ClickHouse that natter does not start.
pub struct Foreign {
    /// What its administrator puts into `users.d`.
    pub file: String,
    /// By which the analyst connects then; the password stands nowhere else.
    pub endpoint: ClickHouse,
}

/// Makes a tenant's analyst for a ClickHouse at `url` whose users are its administrator's.
///
/// # Errors
/// The system gives no random bytes.
pub fn foreign(url: &str, views: &str, tenant: &Tenant, quota: Quota) -> anyhow::Result<Foreign> {
    let analyst = Analyst { password: random_hex()?, quota };
    // Whence a user may come is for the server's own doors to say.
    let file = tenant_file(views, "::/0", tenant, &analyst);
    Ok(Foreign { file, endpoint: ClickHouse { url: url.to_owned(), user: user(tenant), password: analyst.password } })
}

/// The name of the tenant's user.
pub fn user(tenant: &Tenant) -> String {
    format!("analyst-{tenant}")
}

impl Analysts {
    /// Those of the data folder, for a start with this database.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn load(folder: &Folder, views: &str) -> anyhow::Result<Self> {
        let kept: Self = folder.read_json(FILE)?.unwrap_or_default();
        let now = Self { views: views.to_owned(), ..kept.clone() };
        if now != kept {
            folder.write_json(FILE, &now)?;
        }
        Ok(now)
    }

    /// Those of a data folder that another process may have.
    ///
    /// # Errors
    /// No system ever started there.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        read_json(&data.join(FILE))?.with_context(|| {
            let data = data.display();
            format!("no system has run in {data}: start one with `natter up --data {data}`, or name its data folder with --data")
        })
    }

    /// Changes them, and tells a server that runs: it knows within two seconds.
    ///
    /// # Errors
    /// No system ever started there, or its ClickHouse is not natter's own.
    pub fn change<T>(data: &Path, change: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        Self::read(data)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(data.join(LOCK));
        let lock = lock.with_context(|| format!("cannot write {LOCK}"))?;
        lock.lock().with_context(|| format!("cannot lock {LOCK}"))?;
        let mut analysts = Self::read(data)?;
        let changed = change(&mut analysts)?;
        let credentials = Credentials::read(data)?.context("the data folder has no credentials")?;
        // Who is in no file of users yet is no analyst either.
        if !clickhouse::write_users(&data.join("clickhouse"), &credentials, &analysts)? {
            bail!(
                "the ClickHouse of this system is not one that natter starts: with --config instead of --data, `natter analyst add` prints what its administrator puts into users.d"
            );
        }
        write_private(&data.join(FILE), &serde_json::to_vec_pretty(&analysts)?)?;
        Ok(changed)
    }

    /// Makes the tenant's analyst; one who is there keeps the password and gets this quota.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn add(&mut self, tenant: &Tenant, quota: Quota) -> anyhow::Result<()> {
        let password = match self.tenants.get(tenant) {
            Some(known) => known.password.clone(),
            None => random_hex()?,
        };
        self.tenants.insert(tenant.clone(), Analyst { password, quota });
        Ok(())
    }

    /// Forgets the tenant's analyst, and says whether there was one.
    pub fn remove(&mut self, tenant: &Tenant) -> bool {
        self.tenants.remove(tenant).is_some()
    }

    /// All of them, in the order of their tenants' names.
    pub fn all(&self) -> impl Iterator<Item = (&Tenant, &Analyst)> {
        self.tenants.iter()
    }

    /// How the tenant's analyst reaches the history of the data folder.
    ///
    /// # Errors
    /// There is none.
    pub fn endpoint(&self, data: &Path, tenant: &Tenant) -> anyhow::Result<ClickHouse> {
        let analyst = self.tenants.get(tenant).with_context(|| {
            format!("tenant {tenant} has no analyst: make one with `natter analyst add --tenant {tenant}`")
        })?;
        let ports = Ports::read(data)?.context("the data folder has no ports")?;
        let url = format!("http://127.0.0.1:{}", ports.clickhouse);
        Ok(ClickHouse { url, user: user(tenant), password: analyst.password.clone() })
    }
}

impl Analyst {
    /// Of the user.
    pub fn password(&self) -> &str {
        &self.password
    }
}

#[cfg(test)]
pub fn example(tenants: &[&str]) -> Analysts {
    let analyst = |tenant: &str| Analyst { password: format!("of {tenant}"), quota: crate::analysts::quota::EXAMPLE };
    let tenants = tenants.iter().map(|tenant| (Tenant::trusted(tenant), analyst(tenant))).collect();
    Analysts { views: "natter".to_owned(), tenants }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysts::quota::EXAMPLE;

    #[test]
    fn a_foreign_server_is_told_the_digest_and_the_analyst_the_password() {
        let acme = Tenant::trusted("acme");
        let made = || foreign("http://history:8123", "chat", &acme, EXAMPLE).unwrap();
        let Foreign { file, endpoint: ClickHouse { url, user, password } } = made();
        assert_eq!((&*url, &*user, password.len()), ("http://history:8123", "analyst-acme", 32));
        assert!(!file.contains(&password) && file.contains("<query>GRANT SELECT, SHOW ON chat.*</query>"), "{file}");
        assert_ne!(made().endpoint.password, password);
    }

    #[tokio::test]
    async fn they_stay_and_keep_their_passwords() {
        let outer = tempfile::tempdir().unwrap();
        let data = outer.path().join("data");
        let error = Analysts::change(&data, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("natter up --data"), "{error}");

        let folder = Folder::open(&data).await.unwrap();
        Analysts::load(&folder, "natter").unwrap();
        Credentials::load_or_make(&folder).unwrap();
        Ports::load_or_choose(&folder).unwrap();
        let acme = Tenant::trusted("acme");
        let error = Analysts::change(&data, |analysts| analysts.add(&acme, EXAMPLE)).unwrap_err().to_string();
        assert!(error.contains("not one that natter starts"), "{error}");
        assert_eq!(Analysts::read(&data).unwrap().all().count(), 0, "nobody has half an analyst");

        let users = folder.subfolder("clickhouse").unwrap().join("users.json");
        std::fs::write(&users, "").unwrap();
        Analysts::change(&data, |analysts| analysts.add(&acme, EXAMPLE)).unwrap();
        let first = Analysts::read(&data).unwrap().endpoint(&data, &acme).unwrap();
        let less = Quota { seconds: 1, ..EXAMPLE };
        Analysts::change(&data, |analysts| analysts.add(&acme, less)).unwrap();
        let analysts = Analysts::load(&folder, "other").unwrap();
        assert!(analysts.endpoint(&data, &acme).unwrap() == first && analysts.views == "other");
        assert!(std::fs::read_to_string(&users).unwrap().contains("\"analyst-acme\""));
        assert!(Analysts::change(&data, |analysts| Ok(analysts.remove(&acme))).unwrap());
        assert!(!std::fs::read_to_string(&users).unwrap().contains("\"analyst-acme\""));
        let error = Analysts::read(&data).unwrap().endpoint(&data, &acme).unwrap_err().to_string();
        assert!(error.contains("natter analyst add --tenant acme"), "{error}");
    }
}
