//! Users' display names, each in the user's own partition.
//!
//! ```text
//! n:<tenant>   hash   user: name
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

/// The names that a step changes.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<Tenant, HashMap<UserId, DisplayName>>);

impl Fold {
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if let (Body::UpdateUser { name }, Accepted::UserUpdated) = (&event.command.body, event.accepted) {
            let command = event.command;
            self.0.entry(command.tenant.clone()).or_default().insert(command.sender.clone(), name.clone());
        }
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        for (tenant, names) in self.0 {
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
