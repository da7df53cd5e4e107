//! The facts that decisions need, read from the views that hold them: one script, as long as lists are short.

use std::collections::HashMap;

use natter_nats::LogId;
use natter_schemas::codec;
use natter_schemas::id::ConversationId;
use natter_schemas::names::Tenant;

use super::connection::Redis;
use super::query::{Answers, FIELDS_MAX, Query, number};
use super::{addresses, conversations, lines, members, policies, refs, users};
use crate::error::ViewError;
use crate::facts::{Fact, FactKey};

/// Facts with the position that they show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The log that the views were built from; `None`: they are empty.
    pub log: Option<LogId>,
    /// The last sequence of `EVT_p` that is in the values; 0: none.
    pub watermark: u64,
    /// A value for each key that was asked for, in the same order.
    pub values: Vec<Option<Fact>>,
}

/// The facts under `keys`, all of one partition. Where lists of refs are long they come by several scripts: each value is then
/// of the watermark's moment or a later one, and what changed after the watermark is in the asker's overlay anyway.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn load(redis: &Redis, partition: u16, keys: &[FactKey]) -> Result<Loaded, ViewError> {
    let plan = Plan::of(keys);
    let (watermark, mut answers) = plan.query().ask_in_turns(redis, partition).await?;
    let mut values = vec![None; keys.len()];
    for (_, fields) in &plan.hashes {
        for some in fields.chunks(FIELDS_MAX) {
            let mut found = answers.many()?;
            for (place, _) in some {
                values[*place] = found.bytes()?.map(|bytes| hash_fact(&keys[*place], &bytes)).transpose()?;
            }
        }
    }
    for place in &plan.others {
        values[*place] = other_fact(&keys[*place], &mut answers)?;
    }
    Ok(Loaded { log: watermark.log, watermark: watermark.sequence, values })
}

/// A fact's place among those asked for, and the field that holds it.
type Asked = (usize, Vec<u8>);

/// Where the facts lie: fields of hashes, asked for together, and all else. Facts are named by their place.
#[derive(Default)]
struct Plan<'a> {
    keys: &'a [FactKey],
    hashes: Vec<(String, Vec<Asked>)>,
    others: Vec<usize>,
}

/// A hash that holds facts, before its key is spelt out.
#[derive(PartialEq, Eq, Hash)]
enum HashOf {
    Conversation(ConversationId),
    Cursors(Tenant, ConversationId),
    Key(String),
}

impl<'a> Plan<'a> {
    fn of(keys: &'a [FactKey]) -> Self {
        let mut plan = Self { keys, ..Self::default() };
        let mut known = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            let Some((hash, field)) = hash_field(key) else {
                plan.others.push(place);
                continue;
            };
            let index = *known.entry(hash).or_insert_with_key(|hash| {
                plan.hashes.push((hash.key(), Vec::new()));
                plan.hashes.len() - 1
            });
            plan.hashes[index].1.push((place, field));
        }
        plan
    }

    fn query(&self) -> Query {
        let mut query = Query::default();
        for (key, fields) in &self.hashes {
            for some in fields.chunks(FIELDS_MAX) {
                query.fields(key, some.iter().map(|(_, field)| field));
            }
        }
        for place in &self.others {
            match &self.keys[*place] {
                FactKey::Member(tenant, conversation, user) => {
                    members::ask(&mut query, tenant, *conversation, user);
                }
                FactKey::Refs(tenant, sender, scope) => refs::ask(&mut query, tenant, sender, scope),
                key => unreachable!("{key:?} lies in a hash"),
            }
        }
        query
    }
}

impl HashOf {
    fn key(&self) -> String {
        match self {
            Self::Conversation(id) => conversations::key(*id),
            Self::Cursors(tenant, id) => members::cursors_key(tenant, *id),
            Self::Key(key) => key.clone(),
        }
    }
}

fn hash_field(key: &FactKey) -> Option<(HashOf, Vec<u8>)> {
    let hash = |key: String| HashOf::Key(key);
    Some(match key {
        FactKey::Conversation(id) => (HashOf::Conversation(*id), conversations::FACT.into()),
        FactKey::Head(id) => (HashOf::Conversation(*id), conversations::HEAD.into()),
        FactKey::Run(id) => (HashOf::Conversation(*id), conversations::RUN.into()),
        FactKey::MemberCount(id) => (HashOf::Conversation(*id), conversations::MEMBER_COUNT.into()),
        FactKey::Cursor(tenant, id, user) => (HashOf::Cursors(tenant.clone(), *id), user.as_str().into()),
        FactKey::External(tenant, external) => (hash(addresses::external_key(tenant)), external.as_str().into()),
        FactKey::Direct(tenant, low, high) => (hash(addresses::direct_key(tenant)), addresses::pair(low, high)),
        FactKey::ConversationLine(tenant, id, source) => (hash(lines::conversation_key(tenant, *id)), source.to_vec()),
        FactKey::UserLine(tenant, user, source) => (hash(lines::user_key(tenant, user)), source.to_vec()),
        FactKey::NamedAt(tenant, user) => (hash(users::times_key(tenant)), user.as_str().into()),
        FactKey::Policy(tenant) => (hash(policies::KEY.into()), tenant.as_str().into()),
        FactKey::Member(..) | FactKey::Refs(..) => return None,
    })
}

fn hash_fact(key: &FactKey, bytes: &[u8]) -> Result<Fact, ViewError> {
    Ok(match key {
        FactKey::Conversation(_) => Fact::Conversation(codec::decode("a conversation in redis", bytes)?),
        FactKey::Head(_) => Fact::Head(number(bytes)?),
        FactKey::Run(_) => Fact::Run(codec::decode("a run in redis", bytes)?),
        FactKey::MemberCount(_) => Fact::MemberCount(number(bytes)?),
        FactKey::Cursor(..) => Fact::Cursor(number(bytes)?),
        FactKey::External(..) | FactKey::Direct(..) => Fact::Address(addresses::conversation(bytes)?),
        FactKey::ConversationLine(..) | FactKey::UserLine(..) => Fact::Line(number(bytes)?),
        FactKey::NamedAt(..) => Fact::NamedAt(number(bytes)?),
        FactKey::Policy(_) => Fact::Policy(policies::hash(bytes)?),
        FactKey::Member(..) | FactKey::Refs(..) => unreachable!("{key:?} does not lie in a hash"),
    })
}

fn other_fact(key: &FactKey, answers: &mut Answers) -> Result<Option<Fact>, ViewError> {
    Ok(match key {
        FactKey::Refs(..) => refs::refs(answers)?.map(Fact::Refs),
        _ => members::membership(answers)?.map(|membership| Fact::Member(membership.role)),
    })
}
