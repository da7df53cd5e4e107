//! Which conversation has an external id, and which is the direct chat of a pair.
//!
//! ```text
//! x:<tenant>   hash   external id: conversation
//! d:<tenant>   hash   lower user id, NUL, higher user id: conversation
//! ```

use std::collections::HashMap;

use natter_schemas::id::ConversationId;
use natter_schemas::names::{ExternalId, Tenant, UserId};

use super::connection::Redis;
use super::operation::{Fields, Operation};
use super::query::{Query, number};
use crate::error::ViewError;
use crate::watermark::Watermark;

/// The tenant's external ids.
pub(crate) fn external_key(tenant: &Tenant) -> String {
    format!("x:{tenant}")
}

/// The tenant's direct chats.
pub(crate) fn direct_key(tenant: &Tenant) -> String {
    format!("d:{tenant}")
}

/// The field of a pair, lower user id first.
pub(crate) fn pair(low: &UserId, high: &UserId) -> Vec<u8> {
    format!("{low}\0{high}").into_bytes()
}

/// The addresses that a step adds.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<String, Fields>);

impl Fold {
    pub(crate) fn external(&mut self, tenant: &Tenant, external: &ExternalId, conversation: ConversationId) {
        self.push(external_key(tenant), external.as_str().into(), conversation);
    }

    pub(crate) fn direct(&mut self, tenant: &Tenant, low: &UserId, high: &UserId, conversation: ConversationId) {
        self.push(direct_key(tenant), pair(low, high), conversation);
    }

    fn push(&mut self, key: String, field: Vec<u8>, conversation: ConversationId) {
        self.0.entry(key).or_default().push((field, conversation.to_string().into_bytes()));
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        operations.extend(self.0.into_iter().map(|(key, fields)| Operation::Set { key, fields }));
    }
}

/// A stored address.
pub(crate) fn conversation(bytes: &[u8]) -> Result<ConversationId, ViewError> {
    number(bytes).map(ConversationId::from_raw)
}

/// The conversation with an external id.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn external(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    external: &ExternalId,
) -> Result<(Watermark, Option<ConversationId>), ViewError> {
    let mut query = Query::default();
    query.fields(&external_key(tenant), [external.as_str()].iter());
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    let found = answers.many()?.bytes()?.map(|bytes| conversation(&bytes)).transpose()?;
    Ok((watermark, found))
}
