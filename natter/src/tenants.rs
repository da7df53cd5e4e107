//! Whose tokens a system takes: the tenants' keys that `up` keeps in its data folder, and tokens made with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use natter_gateway::auth::{Claims, TenantKeys, mint};
use natter_nats::clock::{Clock, SystemClock};
use natter_schemas::names::{DisplayName, Tenant, UserId};
use serde::{Deserialize, Serialize};

use crate::backends::Folder;
use crate::config::{Secret, TenantsSection};

/// The file's name in the data folder.
const FILE: &str = "tenants.json";

/// What stands in the file. Whoever has it can sign in as anybody.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Made at the first start; derives the key of every tenant that has none of its own.
    master: String,
    /// What the configuration of the last start said, which goes over it.
    #[serde(default)]
    configured: Configured,
}

#[derive(Default, Serialize, Deserialize)]
struct Configured {
    master: Option<String>,
    keys: BTreeMap<String, String>,
}

impl Kept {
    fn in_force(self) -> TenantsSection {
        let Configured { master, keys } = self.configured;
        TenantsSection {
            master: Some(Secret::new(master.unwrap_or(self.master))),
            keys: keys.into_iter().map(|(tenant, key)| (tenant, Secret::new(key))).collect(),
        }
    }
}

/// The keys in force for a system that starts in `folder`: the configured ones, and a master secret of the folder's own
/// where none is configured. They are kept there for [`read`].
///
/// # Errors
/// The folder cannot be read or written.
pub fn keep(folder: &Folder, section: &TenantsSection) -> anyhow::Result<TenantsSection> {
    let kept: Option<Kept> = folder.read_json(FILE)?;
    let exposed = |secret: &Secret| secret.expose().to_owned();
    let kept = Kept {
        master: kept.map_or_else(random_master, |kept| Ok(kept.master))?,
        configured: Configured {
            master: section.master.as_ref().map(exposed),
            keys: section.keys.iter().map(|(tenant, key)| (tenant.clone(), exposed(key))).collect(),
        },
    };
    folder.write_json(FILE, &kept)?;
    Ok(kept.in_force())
}

fn random_master() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

/// The keys in force of the system that runs, or ran last, in `data`.
///
/// # Errors
/// None ever ran there.
pub fn read(data: &Path) -> anyhow::Result<TenantsSection> {
    let path = data.join(FILE);
    let bytes = std::fs::read(&path).with_context(|| {
        let data = data.display();
        format!(
            "no system has run in {data}: start one with `natter up --data {data}`, or name its data folder with --data"
        )
    })?;
    let kept: Kept =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not what natter wrote", path.display()))?;
    Ok(kept.in_force())
}

/// A token for `user`, valid from now for `ttl`.
///
/// # Errors
/// The tenant has no key.
pub fn token(
    keys: &TenantKeys,
    tenant: &Tenant,
    user: &UserId,
    name: Option<DisplayName>,
    ttl: Duration,
    service: bool,
) -> anyhow::Result<String> {
    let key =
        keys.key(tenant).with_context(|| format!("tenant {tenant} has no key: set tenants.keys or tenants.master"))?;
    let exp = (SystemClock.now_ms() / 1000).saturating_add(ttl.as_secs());
    let claims = Claims { sub: user.clone(), tenant: tenant.clone(), name, exp, nbf: None, service };
    mint(&claims, &key).context("cannot sign the token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_folders_own_master_stays_and_what_is_configured_goes_over_it() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("data")).await.unwrap();
        let own = keep(&folder, &TenantsSection::default()).unwrap().master.unwrap();
        assert_eq!(own.expose().len(), 64);

        let master = Some(Secret::new("configured".repeat(4)));
        let keys = BTreeMap::from([("acme".to_owned(), Secret::new("k".repeat(32)))]);
        keep(&folder, &TenantsSection { master: master.clone(), keys: keys.clone() }).unwrap();
        let in_force = read(folder.path()).unwrap();
        assert!(in_force.master == master && in_force.keys == keys);

        keep(&folder, &TenantsSection::default()).unwrap();
        assert!(read(folder.path()).unwrap().master == Some(own));
    }

    #[test]
    fn a_folder_where_nothing_ran_is_named() {
        let error = read(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(error.contains("/nowhere") && error.contains("--data"), "{error}");
    }
}
