//! The policy in force of each tenant in this partition.
//!
//! ```text
//! policies   hash   tenant: the policy's hash (32 bytes)
//! ```

use std::collections::HashMap;

use natter_schemas::names::Tenant;
use natter_schemas::policy::PolicyHash;

use super::operation::Operation;
use crate::error::ViewError;

/// All tenants' policies.
pub(crate) const KEY: &str = "policies";

/// The policies that a step changes.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<Tenant, Option<PolicyHash>>);

impl Fold {
    pub(crate) fn policy(&mut self, tenant: &Tenant, hash: Option<PolicyHash>) {
        self.0.insert(tenant.clone(), hash);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        let (mut set, mut unset) = (Vec::new(), Vec::new());
        for (tenant, hash) in self.0 {
            let field = tenant.as_str().as_bytes().to_vec();
            match hash {
                Some(PolicyHash(hash)) => set.push((field, hash.to_vec())),
                None => unset.push(field),
            }
        }
        operations.push(Operation::Set { key: KEY.into(), fields: set });
        operations.push(Operation::Unset { key: KEY.into(), fields: unset });
    }
}

/// A stored policy hash.
pub(crate) fn hash(bytes: &[u8]) -> Result<PolicyHash, ViewError> {
    let hash = bytes
        .try_into()
        .map_err(|_| ViewError::Corrupt(format!("a policy's hash in redis has {} bytes", bytes.len())))?;
    Ok(PolicyHash(hash))
}
