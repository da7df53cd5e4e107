//! Users' display names, each in the user's own partition.
//!
//! ```text
//! n:<tenant>   hash   user: name
//! t:<tenant>   hash   user: from when on the name counts (Unix ms). Decisions read this, and no name
//! ```

use std::collections::HashMap;

use natter_schemas::command::Body;
use natter_schemas::event::Event;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::outcome::Accepted;

use super::connection::Redis;
use super::operation::Operation;
use super::query::{FIELDS_MAX, Query};
use crate::error::ViewError;
use crate::watermark::Watermark;

fn key(tenant: &Tenant) -> String {
    format!("n:{tenant}")
}

/// From when on names count.
pub(crate) fn times_key(tenant: &Tenant) -> String {
    format!("t:{tenant}")
}

/// The names that a step changes.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    names: HashMap<Tenant, HashMap<UserId, DisplayName>>,
    times: HashMap<Tenant, HashMap<UserId, u64>>,
}

impl Fold {
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if let (Body::UpdateUser { name }, Accepted::UserUpdated) = (&event.command.body, event.accepted) {
            let command = event.command;
            self.names.entry(command.tenant.clone()).or_default().insert(command.sender.clone(), name.clone());
        }
    }

    pub(crate) fn named_at(&mut self, tenant: &Tenant, user: &UserId, at_ms: u64) {
        self.times.entry(tenant.clone()).or_default().insert(user.clone(), at_ms);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        for (tenant, times) in self.times {
            let fields = times.into_iter().map(|(user, at_ms)| (user.as_str().into(), at_ms.to_string().into_bytes()));
            operations.push(Operation::Set { key: times_key(&tenant), fields: fields.collect() });
        }
        for (tenant, names) in self.names {
            let fields = names.into_iter().map(|(user, name)| (user.as_str().into(), name.as_str().into()));
            operations.push(Operation::Set { key: key(&tenant), fields: fields.collect() });
        }
    }
}

/// The names of users whose own partition this is; `None`: none was set.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn names(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    users: &[UserId],
) -> Result<(Watermark, Vec<Option<DisplayName>>), ViewError> {
    let mut query = Query::default();
    for some in users.chunks(FIELDS_MAX) {
        query.fields(&key(tenant), some.iter().map(UserId::as_str));
    }
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    let mut names = Vec::with_capacity(users.len());
    while answers.len() > 0 {
        let mut some = answers.many()?;
        while some.len() > 0 {
            names.push(some.text()?.map(|name| DisplayName::trusted(&name)));
        }
    }
    Ok((watermark, names))
}
