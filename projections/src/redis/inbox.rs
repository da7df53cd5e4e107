//! Each user's conversations of one partition. Nobody writes another partition's keys, so a user has one such index per
//! partition, and who reads all of them merges.
//!
//! ```text
//! u:<tenant>:<user>   set   conversations
//! ```
//!
//! It has no order, since that would have to be written for every member of a conversation with every message. The order of some
//! conversations is made by the script that reads them. Of many, parts are read by a script each, and the reader makes
//! the order: Redis stops for nobody's list, however long.

use std::collections::HashMap;
use std::sync::LazyLock;

use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::wire::reads::{Conversation, Message};

use super::connection::{Args, Redis, Script};
use super::members::{self, Membership};
use super::operation::Operation;
use super::query::{Answers, Query, answered, number};
use super::runs::{self, Runs};
use super::{conversations, messages};
use crate::error::ViewError;
use crate::watermark::Watermark;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("inbox.lua")));

/// Where the parts of a list begin and end.
pub const START: &str = "0";
/// So many conversations are put in order by one script; `inbox.lua` says the same. It looks at each (some 0.3 µs), reads a page
/// of them in full, and is one call.
pub const AT_ONCE: usize = 1000;

fn key(tenant: &Tenant, user: &UserId) -> String {
    format!("u:{tenant}:{user}")
}

/// The conversations that a step adds to and takes from users.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<(Tenant, UserId), HashMap<ConversationId, bool>>);

impl Fold {
    pub(crate) fn member(&mut self, tenant: &Tenant, user: &UserId, conversation: ConversationId, is_member: bool) {
        self.0.entry((tenant.clone(), user.clone())).or_default().insert(conversation, is_member);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        for ((tenant, user), changed) in self.0 {
            let key = key(&tenant, &user);
            let (came, left): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, is_member)| *is_member);
            let ids = |list: Vec<(ConversationId, bool)>| list.iter().map(|(id, _)| id.to_string()).collect();
            operations.push(Operation::Include { key: key.clone(), items: ids(came) });
            operations.push(Operation::Exclude { key, items: ids(left) });
        }
    }
}

/// A conversation as one user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What everybody sees.
    pub row: conversations::Row,
    /// Its last message.
    pub last_message: Option<Message>,
    /// The user's membership; `None`: not a member.
    pub membership: Option<Membership>,
    /// The user's cursor.
    pub read_seq: u64,
    /// Messages above the cursor that are no imported lines.
    pub unread: u64,
}

impl Seen {
    /// As `user`, who asked for it, gets it.
    pub fn into_wire(self, user: &UserId) -> Conversation {
        let Self { row, last_message, membership, read_seq, unread } = self;
        let fact = row.fact;
        let peer = if fact.creator == *user { fact.peer } else { fact.peer.map(|_| fact.creator) };
        Conversation {
            conversation: row.conversation,
            kind: fact.kind,
            visibility: fact.visibility,
            name: row.name,
            external: fact.external,
            peer,
            member: membership.is_some(),
            member_count: row.member_count,
            last_seq: row.last_seq,
            last_message,
            read_seq,
            unread,
            active_at: row.active_at_ms,
            version: row.version,
        }
    }
}

/// A conversation as `user` of `tenant` sees it; `None`: there is none with this id. Whether the user may see it at all (its
/// tenant, its visibility, the membership) is the caller's to judge.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn conversation(
    redis: &Redis,
    partition: u16,
    conversation: ConversationId,
    tenant: &Tenant,
    user: &UserId,
) -> Result<(Watermark, Option<Seen>), ViewError> {
    let (watermark, mut found) = some(redis, partition, &[conversation], tenant, user).await?;
    Ok((watermark, found.pop().flatten()))
}

/// These conversations, at most a page of them, as `user` of `tenant` sees them, each as by [`conversation`].
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn some(
    redis: &Redis,
    partition: u16,
    conversations: &[ConversationId],
    tenant: &Tenant,
    user: &UserId,
) -> Result<(Watermark, Vec<Option<Seen>>), ViewError> {
    let mut query = Query::default();
    for id in conversations {
        conversations::ask(&mut query, *id);
        query.last(&messages::key(*id));
        members::ask(&mut query, tenant, *id, user);
        query.fields(&members::cursors_key(tenant, *id), [user.as_str()].iter());
        runs::ask(&mut query, *id);
    }
    let (watermark, mut answers) = query.ask(redis, partition).await?;
    let found = conversations.iter().map(|id| {
        let row = conversations::row(partition, *id, &mut answers.many()?)?;
        let last_message = messages::message(partition, &mut answers, user)?;
        let membership = members::membership(&mut answers)?;
        let read_seq = answers.many()?.number()?.unwrap_or(0);
        let runs = Runs::read(&mut answers)?;
        Ok(row.map(|row| {
            let unread = runs.unread(read_seq, row.last_seq);
            Seen { row, last_message, membership, read_seq, unread }
        }))
    });
    Ok((watermark, found.collect::<Result<_, ViewError>>()?))
}

/// A page of a user's conversations in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// What it shows.
    pub watermark: Watermark,
    /// The user's conversations in this partition.
    pub total: usize,
    /// The page: by (active at, id), falling. Shorter than its limit: the last. `None`: the conversations are too many to be put
    /// in order by one script, and come by [`part`].
    pub conversations: Option<Vec<Seen>>,
}

/// Some of a user's conversations in one partition, in no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it shows.
    pub watermark: Watermark,
    /// Where the next part begins; [`START`]: this was the last.
    pub next: String,
    /// The conversations. One may come in two parts.
    pub conversations: Vec<After>,
}

/// Where a page begins: after this conversation, which was active at this time (Unix ms).
pub type After = (u64, ConversationId);

/// At most `limit` of the user's conversations in this partition, newest activity first.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn page(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    user: &UserId,
    after: Option<After>,
    limit: u32,
) -> Result<Inbox, ViewError> {
    let mut args = asking("page", tenant, user);
    args.number(limit);
    args.push(after.map(|(active_at_ms, _)| active_at_ms.to_string()).unwrap_or_default());
    args.push(after.map(|(_, conversation)| conversation.to_string()).unwrap_or_default());
    for field in conversations::FIELDS {
        args.push(field);
    }
    let (watermark, mut answers) = answered(redis.call(&SCRIPT, &redis.mark(partition), &args).await?)?;
    let total = usize::try_from(answers.number()?.unwrap_or(0)).unwrap_or(usize::MAX);
    if total > AT_ONCE {
        return Ok(Inbox { watermark, total, conversations: None });
    }
    let mut conversations = Vec::new();
    while answers.len() > 0 {
        conversations.push(seen(partition, user, &mut answers)?);
    }
    Ok(Inbox { watermark, total, conversations: Some(conversations) })
}

/// Some of the user's conversations in this partition, from a cursor on ([`START`] at first). One that the user is in from the
/// first part to the last is in one of them.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn part(
    redis: &Redis,
    partition: u16,
    tenant: &Tenant,
    user: &UserId,
    cursor: &str,
) -> Result<Part, ViewError> {
    let mut args = asking("part", tenant, user);
    args.push(cursor);
    let (watermark, mut answers) = answered(redis.call(&SCRIPT, &redis.mark(partition), &args).await?)?;
    let next = answers.text()?.unwrap_or_default();
    let mut conversations = Vec::with_capacity(answers.len() / 2);
    while answers.len() > 0 {
        let conversation = ConversationId::from_raw(answers.number()?.unwrap_or(0));
        conversations.push((answers.number()?.unwrap_or(0), conversation));
    }
    Ok(Part { watermark, next, conversations })
}

fn asking(what: &str, tenant: &Tenant, user: &UserId) -> Args {
    let mut args = Args::default();
    args.push(what);
    args.push(tenant.as_str());
    args.push(user.as_str());
    args
}

fn seen(partition: u16, user: &UserId, answers: &mut Answers) -> Result<Seen, ViewError> {
    let conversation = ConversationId::from_raw(answers.number()?.unwrap_or(0));
    let row = conversations::row(partition, conversation, &mut answers.many()?)?;
    let row = row.ok_or_else(|| {
        ViewError::Corrupt(format!("{user} is in conversation {conversation}, which is not in redis"))
    })?;
    let last_message = messages::message(partition, answers, user)?;
    let membership = members::membership(answers)?;
    let read_seq = answers.number()?.unwrap_or(0);
    let unread = Runs::read(answers)?.unread(read_seq, row.last_seq);
    Ok(Seen { row, last_message, membership, read_seq, unread })
}

/// The ids of users' conversations in this partition: one list for each user, rising. However long the lists are, each script
/// reads a bounded part of them; what changed between two parts is to be heard from the log after the watermark.
///
/// # Errors
/// [`ViewError::Transient`] or [`ViewError::Corrupt`].
pub async fn memberships(
    redis: &Redis,
    partition: u16,
    users: &[(Tenant, UserId)],
) -> Result<(Watermark, Vec<Vec<ConversationId>>), ViewError> {
    let mut lists = vec![Vec::new(); users.len()];
    let mut open: Vec<(usize, String)> = (0..users.len()).map(|place| (place, START.to_owned())).collect();
    let mut shown: Option<Watermark> = None;
    while !open.is_empty() || shown.is_none() {
        let mut query = Query::default();
        for (place, cursor) in &open {
            let (tenant, user) = &users[*place];
            query.some(&key(tenant, user), cursor);
        }
        let (watermark, mut answers) = query.ask_some(redis, partition).await?;
        shown = Some(shown.map_or(Ok(watermark.clone()), |shown| shown.earlier(watermark))?);
        // Those behind what one script reads are asked again, and those that go on.
        let mut rest = open.split_off(answers.len());
        for (place, _) in open {
            let mut found = answers.many()?;
            let next = found.text()?.unwrap_or_default();
            while found.len() > 0 {
                lists[place].push(ConversationId::from_raw(number(&found.bytes()?.unwrap_or_default())?));
            }
            rest.extend((next != START).then_some((place, next)));
        }
        open = rest;
    }
    for list in &mut lists {
        list.sort_unstable();
        list.dedup();
    }
    Ok((shown.unwrap_or_default(), lists))
}
