//! Members of each conversation, by user id, and how far each user has read.
//!
//! ```text
//! m:<tenant>:<conversation>   sorted set, all scores 0   user, NUL, role (one letter), joined at (Unix ms)
//! k:<tenant>:<conversation>   hash                       user: cursor. Kept when a member leaves
//! ```
//!
//! The tenant stands in the keys, so that a user finds himself in no conversation of another tenant that has a user of the
//! same name. A user id holds no control character, so NUL ends it, and a range of the set finds a user as well as a page.

use std::collections::HashMap;

use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};

use super::connection::Redis;
use super::conversations;
use super::operation::Operation;
use super::query::{Answers, Query, number};
use crate::error::ViewError;
use crate::facts::Role;
use crate::watermark::Watermark;

/// The conversation's members.
pub(crate) fn key(tenant: &Tenant, conversation: ConversationId) -> String {
    format!("m:{tenant}:{conversation}")
}

/// The conversation's cursors.
pub(crate) fn cursors_key(tenant: &Tenant, conversation: ConversationId) -> String {
    format!("k:{tenant}:{conversation}")
}

/// What a step changes about members and cursors.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    members: HashMap<(Tenant, ConversationId), HashMap<UserId, Option<Membership>>>,
    cursors: HashMap<(Tenant, ConversationId), HashMap<UserId, u64>>,
}

/// That a user is in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What the user may do.
    pub role: Role,
    /// When the user came, in Unix milliseconds.
    pub joined_at_ms: u64,
}

impl Fold {
    pub(crate) fn member(
        &mut self,
        tenant: &Tenant,
        conversation: ConversationId,
        user: &UserId,
        membership: Option<Membership>,
    ) {
        self.members.entry((tenant.clone(), conversation)).or_default().insert(user.clone(), membership);
    }

    pub(crate) fn cursor(&mut self, tenant: &Tenant, conversation: ConversationId, user: &UserId, seq: u64) {
        self.cursors.entry((tenant.clone(), conversation)).or_default().insert(user.clone(), seq);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        for ((tenant, conversation), changed) in self.members {
            let (mut items, mut users) = (Vec::new(), Vec::new());
            for (user, membership) in changed {
                match membership {
                    Some(membership) => items.push((user.as_str().to_owned(), membership.encode())),
                    None => users.push(user.as_str().to_owned()),
                }
            }
            operations.push(Operation::Enrol { key: key(&tenant, conversation), items });
            operations.push(Operation::Strike { key: key(&tenant, conversation), users });
        }
        for ((tenant, conversation), cursors) in self.cursors {
            let fields = cursors.into_iter().map(|(user, seq)| (user.as_str().into(), seq.to_string().into_bytes()));
            operations.push(Operation::Set { key: cursors_key(&tenant, conversation), fields: fields.collect() });
        }
    }
}

impl Membership {
    fn encode(self) -> String {
        let role = match self.role {
            Role::Owner => 'o',
            Role::Member => 'm',
        };
        format!("{role}{}", self.joined_at_ms)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ViewError> {
        let (role, joined) = match bytes {
            [b'o', joined @ ..] => (Role::Owner, joined),
            [b'm', joined @ ..] => (Role::Member, joined),
            _ => return Err(ViewError::Corrupt("a member in redis without a role".into())),
        };
        Ok(Self { role, joined_at_ms: number(joined)? })
    }
}

/// Asks for one user's [`Membership`].
pub(crate) fn ask(query: &mut Query, tenant: &Tenant, conversation: ConversationId, user: &UserId) {
    query.user(&key(tenant, conversation), user.as_str());
}

/// The [`Membership`] that was asked for.
pub(crate) fn membership(answers: &mut Answers) -> Result<Option<Membership>, ViewError> {
    answers.bytes()?.map(|entry| split(&entry).map(|(_, membership)| membership)).transpose()
}

fn split(entry: &[u8]) -> Result<(UserId, Membership), ViewError> {
    let broken = || ViewError::Corrupt("a member in redis that cannot be read".into());
    let end = entry.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
    let user = std::str::from_utf8(&entry[..end]).map_err(|_| broken())?;
    Ok((UserId::trusted(user), Membership::decode(&entry[end + 1..])?))
}

/// A member of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// Role and time of joining.
    pub membership: Membership,
    /// The user has read up to here.
    pub read_seq: u64,
}

/// A page of a conversation's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// What it shows.
    pub watermark: Watermark,
    /// Members in all.
    pub member_count: u32,
    /// The page, by user id, rising. Shorter than its limit: the last.
    pub members: Vec<Member>,
}

/// At most `limit` members whose user ids come after `after`. Who comes or goes between two pages moves nobody else.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn page(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    conversation: ConversationId,
    after: Option<&UserId>,
    limit: u32,
) -> Result<Members, ViewError> {
    let mut query = Query::default();
    query.fields(&conversations::key(conversation), [conversations::MEMBER_COUNT].iter());
    query.users(&key(tenant, conversation), after.map(UserId::as_str), limit, &cursors_key(tenant, conversation));
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    let member_count = answers.many()?.bytes()?.map_or(Ok(0), |count| number(&count))?;
    let mut found = answers.many()?;
    let mut members = Vec::with_capacity(found.len() / 2);
    while found.len() > 0 {
        let (user, membership) = split(&found.bytes()?.unwrap_or_default())?;
        members.push(Member { user, membership, read_seq: found.number()?.unwrap_or(0) });
    }
    Ok(Members { watermark, member_count, members })
}

/// Whether `user` is a member.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn is_member(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    conversation: ConversationId,
    user: &UserId,
) -> Result<(Watermark, bool), ViewError> {
    let mut query = Query::default();
    ask(&mut query, tenant, conversation, user);
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    Ok((watermark, membership(&mut answers)?.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_round_trip() {
        for role in [Role::Owner, Role::Member] {
            let membership = Membership { role, joined_at_ms: 1_735_689_600_007 };
            assert_eq!(Membership::decode(membership.encode().as_bytes()), Ok(membership));
        }
        assert!(Membership::decode(b"x1").is_err());
        assert!(Membership::decode(b"o").is_err());
    }
}
