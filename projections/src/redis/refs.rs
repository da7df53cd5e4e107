//! Remembered refs of each sender.
//!
//! ```text
//! r:<tenant>:<conversation>:<user>              list   in a conversation; oldest first; each: version and log time (8 bytes each, big endian), the entry
//! ru:<tenant>:<user>                            list   of commands about the user
//! rd:<tenant>:<bytes of user>:<user>:<peer>     list   of creates of a direct chat
//! rx:<tenant>:<bytes of user>:<user>:<external> list   of creates with an external id
//! rc:<tenant>:<user>                            list   of other creates
//! ```
//!
//! A list keeps what [`Refs`] shows, and up to a lot more: which of them are visible is a function of the log.

use std::collections::HashMap;

use natter_schemas::codec;
use natter_schemas::event::RefScope;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position;

use super::operation::Operation;
use super::query::{Answers, Query};
use crate::error::ViewError;
use crate::facts::{RefEntry, Refs};

/// Bytes before the entry.
const PREFIX: usize = 16;

/// The list of one sender in one scope.
pub(crate) fn key(tenant: &Tenant, sender: &UserId, scope: &RefScope) -> String {
    match scope {
        RefScope::Conversation(conversation) => format!("r:{tenant}:{conversation}:{sender}"),
        RefScope::User => format!("ru:{tenant}:{sender}"),
        RefScope::Direct(peer) => format!("rd:{tenant}:{}:{sender}:{peer}", sender.as_str().len()),
        RefScope::External(external) => format!("rx:{tenant}:{}:{sender}:{external}", sender.as_str().len()),
        RefScope::Created => format!("rc:{tenant}:{sender}"),
    }
}

/// The refs that a step adds.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<(Tenant, UserId, RefScope), List>);

#[derive(Debug, Default)]
struct List {
    newest: u64,
    items: Vec<Vec<u8>>,
}

impl Fold {
    pub(crate) fn push(&mut self, tenant: &Tenant, sender: &UserId, scope: &RefScope, entry: &RefEntry) {
        let list = self.0.entry((tenant.clone(), sender.clone(), scope.clone())).or_default();
        let version = position::version(entry.answered.sequence, entry.answered.index);
        if version <= list.newest {
            return;
        }
        list.newest = version;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&entry.answered.log_ms.to_be_bytes());
        bytes.extend(codec::encode(entry));
        list.items.push(bytes);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        let mut single = Vec::new();
        for ((tenant, sender, scope), List { mut items, .. }) in self.0 {
            let key = key(&tenant, &sender, &scope);
            match items.len() {
                1 => single.extend(items.pop().map(|item| (key, item))),
                _ => operations.push(Operation::Refs { key, items }),
            }
        }
        operations.push(Operation::Ref { items: single });
    }
}

/// Asks for all of a list.
pub(crate) fn ask(query: &mut Query, tenant: &Tenant, sender: &UserId, scope: &RefScope) {
    query.list(&key(tenant, sender, scope));
}

/// The list that was asked for; `None`: nothing is remembered.
pub(crate) fn refs(answers: &mut Answers) -> Result<Option<Refs>, ViewError> {
    let mut found = answers.many()?;
    let mut refs = Refs::default();
    while found.len() > 0 {
        let bytes = found.bytes()?.unwrap_or_default();
        let entry = bytes.get(PREFIX..).ok_or_else(|| ViewError::Corrupt("a ref in redis is too short".into()))?;
        refs.extend([codec::decode::<RefEntry>("a ref in redis", entry)?]);
    }
    Ok((!refs.is_empty()).then_some(refs))
}
