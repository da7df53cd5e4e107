//! How far each imported source was taken, by conversation and by user.
//!
//! ```text
//! i:<tenant>:<conversation>   hash   source (16 bytes): highest line
//! iu:<tenant>:<user>          hash   source (16 bytes): highest line
//! ```

use std::collections::HashMap;

use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};

use super::operation::Operation;

/// The conversation's sources.
pub(crate) fn conversation_key(tenant: &Tenant, conversation: ConversationId) -> String {
    format!("i:{tenant}:{conversation}")
}

/// The user's sources.
pub(crate) fn user_key(tenant: &Tenant, user: &UserId) -> String {
    format!("iu:{tenant}:{user}")
}

/// The lines that a step takes.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    conversations: HashMap<(Tenant, ConversationId), HashMap<[u8; 16], u64>>,
    users: HashMap<(Tenant, UserId), HashMap<[u8; 16], u64>>,
}

impl Fold {
    pub(crate) fn conversation(&mut self, tenant: &Tenant, conversation: ConversationId, source: [u8; 16], line: u64) {
        self.conversations.entry((tenant.clone(), conversation)).or_default().insert(source, line);
    }

    pub(crate) fn user(&mut self, tenant: &Tenant, user: &UserId, source: [u8; 16], line: u64) {
        self.users.entry((tenant.clone(), user.clone())).or_default().insert(source, line);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        operations.extend(
            self.conversations.into_iter().map(|((tenant, id), lines)| set(conversation_key(&tenant, id), lines)),
        );
        operations.extend(self.users.into_iter().map(|((tenant, user), lines)| set(user_key(&tenant, &user), lines)));
    }
}

fn set(key: String, lines: HashMap<[u8; 16], u64>) -> Operation {
    let fields = lines.into_iter().map(|(source, line)| (source.to_vec(), line.to_string().into_bytes()));
    Operation::Set { key, fields: fields.collect() }
}
