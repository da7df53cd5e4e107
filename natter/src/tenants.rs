//! Whose tokens a system takes: the tenants' keys that `up` keeps in its data folder, and tokens made with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use natter_gateway::auth::{Claims, EXP_END, TenantKeys, mint};
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
#[serde(default)]
struct Configured {
    master: Option<String>,
    keys: BTreeMap<String, String>,
    audience: Option<String>,
    audiences: BTreeMap<String, String>,
}

impl Kept {
    fn in_force(self) -> TenantsSection {
        let Configured { master, keys, audience, audiences } = self.configured;
        TenantsSection {
            master: Some(Secret::new(master.unwrap_or(self.master))),
            keys: keys.into_iter().map(|(tenant, key)| (tenant, Secret::new(key))).collect(),
            audience,
            audiences,
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
            audience: section.audience.clone(),
            audiences: section.audiences.clone(),
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

/// A token for `user`, valid from now for `ttl`, for the audience that the tenant's tokens have to be for.
///
/// # Errors
/// The tenant has no key, or the token would be valid for too long.
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
    ensure!(exp < EXP_END, "a token cannot be valid beyond the year 2100");
    let aud = keys.audience(tenant).map(str::to_owned);
    let claims = Claims { sub: user.clone(), tenant: tenant.clone(), name, exp, nbf: None, aud, service };
    mint(&claims, &key).context("cannot sign the token")
}

#[cfg(test)]
mod tests {
    use natter_gateway::auth::authenticate;

    use super::*;

    #[tokio::test]
    async fn the_folders_own_master_stays_and_what_is_configured_goes_over_it() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("data")).await.unwrap();
        let own = keep(&folder, &TenantsSection::default()).unwrap().master.unwrap();
        assert_eq!(own.expose().len(), 64);

        let master = Some(Secret::new("configured".repeat(4)));
        let keys = BTreeMap::from([("acme".to_owned(), Secret::new("k".repeat(32)))]);
        let audience = Some("https://chat.example".to_owned());
        let audiences = BTreeMap::from([("acme".to_owned(), "https://acme.example".to_owned())]);
        let section = TenantsSection { master, keys, audience, audiences };
        keep(&folder, &section).unwrap();
        let in_force = read(folder.path()).unwrap();
        assert!(in_force.master == section.master && in_force.keys == section.keys);
        assert_eq!((in_force.audience, in_force.audiences), (section.audience, section.audiences));

        keep(&folder, &TenantsSection::default()).unwrap();
        assert!(read(folder.path()).unwrap().master == Some(own));
    }

    #[test]
    fn a_token_is_for_whom_the_tenants_tokens_have_to_be() {
        let (acme, user) = (Tenant::try_from("acme").unwrap(), UserId::try_from("ada").unwrap());
        let keys = TenantKeys::new([], Some(vec![7; 32])).unwrap().with_audiences([], Some("chat".to_owned()));
        let ttl = Duration::from_mins(10);
        let token = token(&keys, &acme, &user, None, ttl, false).unwrap();
        assert!(authenticate(&token, &keys, SystemClock.now_ms()).is_ok());
    }

    #[test]
    fn a_token_that_would_outlive_the_century_is_not_made() {
        let (acme, user) = (Tenant::try_from("acme").unwrap(), UserId::try_from("ada").unwrap());
        let keys = TenantKeys::new([], Some(vec![7; 32])).unwrap();
        let error = token(&keys, &acme, &user, None, Duration::from_secs(4_102_444_800), false).unwrap_err();
        assert!(error.to_string().contains("2100"), "{error}");
    }

    #[test]
    fn a_folder_where_nothing_ran_is_named() {
        let error = read(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(error.contains("/nowhere") && error.contains("--data"), "{error}");
    }
}
