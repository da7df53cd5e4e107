//! What gateways read in Redis, against the model: each answer at its own position.

use std::collections::BTreeMap;

use anyhow::Context;
use natter_projections::error::ViewError;
use natter_projections::redis::inbox::{self, Seen};
use natter_projections::redis::members::{self, Members};
use natter_projections::redis::messages::{self, HotMessages};
use natter_projections::redis::{Redis, users, watermark};
use natter_schemas::id::ConversationId;
use natter_schemas::limits::{HOT_MESSAGES, RUNS_KEPT};
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::wire::reads::Message;

use super::fold::{self, Room, Said, text_hash};
use super::{FellBack, Folded, Things};
use crate::audit::report::{Differences, Kind, Store};

/// Members of a conversation by whose eyes it is looked at; the cursors of all are compared.
const READERS_MAX: usize = 4;
const MEMBERS_AT_ONCE: u32 = 200;
const USERS_AT_ONCE: usize = 100;

type Looked = anyhow::Result<Result<(), FellBack>>;

/// Goes on at what a read showed, or ends the look.
macro_rules! reached {
    ($folded:expr, $watermark:expr) => {
        if let Err(fell) = $folded.reach($watermark).await? {
            return Ok(Err(fell));
        }
    };
}

pub(super) async fn compare(folded: &mut Folded, redis: &Redis, found: &mut Differences) -> Looked {
    let stands = watermark(redis, folded.partition).await.context("cannot read the watermark of redis")?;
    if !stands.is_of(folded.forward.log().id()) {
        // The look at its keys says so.
        return Ok(Ok(()));
    }
    reached!(folded, &stands);
    let mut last = None;
    // Those that are made meanwhile are looked at too.
    while let Some(id) = next_after(&folded.model.rooms, last) {
        last = Some(id);
        if let Err(fell) = conversation(folded, redis, id, found).await? {
            return Ok(Err(fell));
        }
    }
    let all: Vec<(Tenant, UserId)> = folded.model.users.keys().cloned().collect();
    for some in all.chunks(USERS_AT_ONCE) {
        if let Err(fell) = people(folded, redis, some, found).await? {
            return Ok(Err(fell));
        }
    }
    Ok(Ok(()))
}

fn next_after(rooms: &BTreeMap<ConversationId, Room>, last: Option<ConversationId>) -> Option<ConversationId> {
    let first = last.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    rooms.range((first, std::ops::Bound::Unbounded)).next().map(|(id, _)| *id)
}

async fn conversation(folded: &mut Folded, redis: &Redis, id: ConversationId, found: &mut Differences) -> Looked {
    let partition = folded.partition;
    let Some(room) = folded.model.rooms.get(&id) else { return Ok(Ok(())) };
    let (tenant, readers) = (room.tenant.clone(), readers(room));
    for (number, reader) in readers.iter().enumerate() {
        match unless_corrupt(inbox::conversation(redis, partition, id, &tenant, reader).await)? {
            Err(reason) => things(folded, id, found).differs(Kind::Altered, "", reason),
            Ok((watermark, seen)) => {
                reached!(folded, &watermark);
                seen_by(folded, id, reader, seen, number == 0, found);
            }
        }
    }
    let Some(reader) = readers.first() else { return Ok(Ok(())) };
    let head = folded.model.rooms.get(&id).map_or(0, Room::head);
    let newest = (head + 1).saturating_sub(HOT_MESSAGES as u64).max(1)..=head.max(1);
    match unless_corrupt(messages::hot(redis, partition, id, newest, reader).await)? {
        Err(reason) => things(folded, id, found).differs(Kind::Altered, "newest messages", reason),
        Ok(hot) => {
            reached!(folded, &hot.watermark);
            newest_messages(folded, id, &hot, head, found);
        }
    }
    all_members(folded, redis, &tenant, id, found).await
}

/// Some members, the creator, and nobody more.
fn readers(room: &Room) -> Vec<UserId> {
    let others = room.members.keys().filter(|user| **user != room.creator);
    std::iter::once(&room.creator).chain(others).take(READERS_MAX).cloned().collect()
}

/// What cannot be read is a finding, what is away is not.
fn unless_corrupt<T>(read: Result<T, ViewError>) -> anyhow::Result<Result<T, String>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_transient() => Err(error).context("cannot read redis"),
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn things<'a>(folded: &Folded, id: ConversationId, found: &'a mut Differences) -> Things<'a> {
    let at = folded.at(folded.model.rooms.get(&id).map_or(0, Room::version));
    Things { store: Store::Redis, place: format!("conversation {id}"), at, found }
}

/// A conversation as `reader` sees it; `whole`: also what everybody sees of it.
fn seen_by(
    folded: &Folded,
    id: ConversationId,
    reader: &UserId,
    seen: Option<Seen>,
    whole: bool,
    found: &mut Differences,
) {
    let Some(room) = folded.model.rooms.get(&id) else { return };
    let mut things = things(folded, id, found);
    let Some(seen) = seen else {
        if whole {
            things.differs(Kind::Missing, "", "there is no such conversation");
        }
        return;
    };
    let (tenant, last) = (seen.row.fact.tenant.clone(), seen.last_message.clone());
    let (row_version, role) = (seen.row.version.version(), seen.membership.map(|member| member.role.name()));
    let shown = seen.into_wire(reader);
    let is_right = !whole
        || [
            things.compare("tenant", &tenant, &room.tenant),
            things.compare("kind", &fold::word_of_kind(shown.kind), &room.kind),
            things.compare("visibility", &fold::word_of_visibility(shown.visibility), &room.visibility),
            things.compare("name", &shown.name, &room.name),
            things.compare("external id", &shown.external, &room.external),
            things.compare("member count", &u64::from(shown.member_count), &(room.members.len() as u64)),
            things.compare("last seq", &shown.last_seq, &room.head()),
            things.compare("active at", &shown.active_at, &room.active_at_ms),
            things.compare("version", &row_version, &room.version()),
            last_message(&mut things, last.as_ref(), room.messages.last()),
        ]
        .iter()
        .all(|right| *right);
    let peer =
        if *reader == room.creator { room.peer.clone() } else { room.peer.as_ref().map(|_| room.creator.clone()) };
    things.compare(&format!("peer of {reader}"), &shown.peer, &peer);
    let member = room.members.get(reader);
    let is_member = things.compare(&format!("member {reader} role"), &role, &member.map(|member| member.role));
    let is_read = things.compare(&format!("cursor of {reader}"), &shown.read_seq, &room.cursor(reader));
    // Of more runs of imported lines than are kept some are taken to be unread, or read: by design not exact.
    if is_read && is_right && is_member && room.runs() <= RUNS_KEPT {
        things.compare(&format!("unread of {reader}"), &shown.unread, &room.unread(reader));
    }
}

fn last_message(things: &mut Things<'_>, there: Option<&Message>, due: Option<&Said>) -> bool {
    // What is in it, is compared with the newest messages.
    things.compare("last message", &there.map(|message| message.message), &due.map(|said| said.message))
}

fn newest_messages(folded: &Folded, id: ConversationId, hot: &HotMessages, asked_to: u64, found: &mut Differences) {
    let Some(room) = folded.model.rooms.get(&id) else { return };
    let by_seq: BTreeMap<u64, &Message> = hot.messages.iter().map(|message| (message.seq, message)).collect();
    for seq in hot.first_hot_seq..=asked_to {
        let Some(due) = room.message(seq) else { break };
        let (what, at) = (format!("seq {seq}"), folded.at(due.version));
        let mut things = Things { at, ..things(folded, id, found) };
        match by_seq.get(&seq) {
            None => things.differs(Kind::Missing, &what, "there is no such message"),
            Some(there) => message(&mut things, &what, there, due),
        }
    }
    for seq in by_seq.keys().filter(|seq| room.message(**seq).is_none()) {
        things(folded, id, found).differs(Kind::Unexpected, &format!("seq {seq}"), "nobody said that");
    }
}

fn message(things: &mut Things<'_>, what: &str, there: &Message, due: &Said) {
    let is_right = [
        things.compare(&format!("{what} id"), &there.message, &due.message),
        things.compare(&format!("{what} sender"), &there.sender, &due.sender),
        things.compare(&format!("{what} time"), &there.at, &due.at_ms),
        things.compare(&format!("{what} version"), &there.position.version(), &due.version),
    ];
    if is_right.contains(&false) {
        return;
    }
    if text_hash(&there.text) == due.text {
        things.compare(&format!("{what} masked"), &there.masked, &due.masked);
    } else {
        things.differs(Kind::Altered, &format!("{what} text"), "it is not the text that everybody must see");
    }
}

async fn all_members(
    folded: &mut Folded,
    redis: &Redis,
    tenant: &Tenant,
    id: ConversationId,
    found: &mut Differences,
) -> Looked {
    let mut after: Option<UserId> = None;
    loop {
        let read = members::page(redis, folded.partition, tenant, id, after.as_ref(), MEMBERS_AT_ONCE).await;
        let page = match unless_corrupt(read)? {
            Ok(page) => page,
            Err(reason) => {
                things(folded, id, found).differs(Kind::Altered, "members", reason);
                return Ok(Ok(()));
            }
        };
        reached!(folded, &page.watermark);
        let is_last = page.members.len() < MEMBERS_AT_ONCE as usize;
        let next = page.members.last().map(|member| member.user.clone());
        some_members(folded, id, &page, after.as_ref(), next.as_ref().filter(|_| !is_last), found);
        if is_last {
            return Ok(Ok(()));
        }
        after = next;
    }
}

/// The members after `after` up to `last`; `None`: from the first, to the last.
fn some_members(
    folded: &Folded,
    id: ConversationId,
    page: &Members,
    after: Option<&UserId>,
    last: Option<&UserId>,
    found: &mut Differences,
) {
    let Some(room) = folded.model.rooms.get(&id) else { return };
    let mut things = things(folded, id, found);
    let is_asked = |user: &UserId| after.is_none_or(|after| user > after) && last.is_none_or(|last| user <= last);
    let mut there: BTreeMap<&UserId, _> = page.members.iter().map(|member| (&member.user, member)).collect();
    for (user, due) in room.members.iter().filter(|(user, _)| is_asked(user)) {
        let Some(there) = there.remove(user) else {
            things.differs(Kind::Missing, &format!("member {user}"), "not among the members");
            continue;
        };
        things.compare(&format!("member {user} role"), &there.membership.role.name(), &due.role);
        things.compare(&format!("member {user} since"), &there.membership.joined_at_ms, &due.since_ms);
        things.compare(&format!("member {user} cursor"), &there.read_seq, &room.cursor(user));
    }
    for user in there.into_keys() {
        things.differs(Kind::Unexpected, &format!("member {user}"), "no member");
    }
}

async fn people(folded: &mut Folded, redis: &Redis, some: &[(Tenant, UserId)], found: &mut Differences) -> Looked {
    let partition = folded.partition;
    let read = inbox::memberships(redis, partition, some).await;
    let (watermark, lists) = read.context("cannot read users' conversations")?;
    reached!(folded, &watermark);
    for (user, there) in some.iter().zip(lists) {
        let due = folded.model.users.get(user).map(|user| &user.conversations);
        let due: Vec<ConversationId> = due.into_iter().flatten().copied().collect();
        let mut things = of_user(folded, user, found);
        for id in due.iter().filter(|id| !there.contains(id)) {
            things.differs(Kind::Missing, &format!("conversation {id}"), "not among the user's conversations");
        }
        for id in there.iter().filter(|id| !due.contains(id)) {
            things.differs(Kind::Unexpected, &format!("conversation {id}"), "not a conversation of this user");
        }
    }
    // Of one tenant at a time, as they are asked for; users come sorted.
    for some in some.chunk_by(|one, other| one.0 == other.0) {
        let names: Vec<UserId> = some.iter().map(|(_, user)| user.clone()).collect();
        let read = users::names(redis, partition, &some[0].0, &names).await;
        let (watermark, there) = read.context("cannot read users' names")?;
        reached!(folded, &watermark);
        for (user, there) in some.iter().zip(there) {
            let due: Option<DisplayName> = folded.model.users.get(user).and_then(|user| user.name.clone());
            of_user(folded, user, found).compare("name", &there, &due);
        }
    }
    Ok(Ok(()))
}

fn of_user<'a>(folded: &Folded, (tenant, user): &(Tenant, UserId), found: &'a mut Differences) -> Things<'a> {
    let version = folded.model.users.get(&(tenant.clone(), user.clone())).map_or(0, |user| user.version);
    Things { store: Store::Redis, place: format!("user {tenant} {user}"), at: folded.at(version), found }
}
