//! The master secret of `up`, and tokens.

use std::time::Duration;

use anyhow::Context;
use natter_gateway::auth::{Claims, TenantKeys, mint};
use natter_nats::clock::{Clock, SystemClock};
use natter_schemas::names::{DisplayName, Tenant, UserId};
use serde::{Deserialize, Serialize};

use crate::backends::Folder;

/// The file's name in the data folder.
const FILE: &str = "tenants.json";

/// Derives the key of any tenant. Whoever has it can sign in as anybody.
#[derive(Serialize, Deserialize)]
pub struct Master {
    master: String,
}

impl Master {
    /// Reads the data folder's master secret; makes one where there is none.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn load_or_make(folder: &Folder) -> anyhow::Result<Self> {
        if let Some(master) = folder.read_json(FILE)? {
            return Ok(master);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        let master = Self { master: hex::encode(bytes) };
        folder.write_json(FILE, &master)?;
        Ok(master)
    }

    /// Reads the master secret of the system whose data folder this is.
    ///
    /// # Errors
    /// There is none.
    pub fn read(data: &std::path::Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let bytes = std::fs::read(&path).with_context(|| {
            format!("cannot read {}: start a system with `natter up`, or name its data folder with --data", path.display())
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not what natter wrote", path.display()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.master
    }

    /// The keys that it gives.
    ///
    /// # Errors
    /// It is too short.
    pub fn keys(&self) -> anyhow::Result<TenantKeys> {
        Ok(TenantKeys::new([], Some(self.master.as_bytes().to_vec()))?)
    }

    /// A token of one of its tenants.
    ///
    /// # Errors
    /// The tenant has no key.
    pub fn token(
        &self,
        tenant: &Tenant,
        user: &UserId,
        name: Option<DisplayName>,
        ttl: Duration,
        service: bool,
    ) -> anyhow::Result<String> {
        token(&self.keys()?, tenant, user, name, ttl, service)
    }
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
    let key = keys.key(tenant).with_context(|| format!("tenant {tenant} has no key: set tenants.keys or tenants.master"))?;
    let exp = SystemClock.now_ms() / 1000 + ttl.as_secs();
    let claims = Claims { sub: user.clone(), tenant: tenant.clone(), name, exp, nbf: None, service };
    mint(&claims, &key).context("cannot sign the token")
}
