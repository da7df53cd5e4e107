//! The history's tables against the model, at the position that the history is complete up to. Rows of later batches may
//! be there or not; one that has taken the place of what is due is passed over.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use clickhouse::Row;
use natter_projections::clickhouse::{ClickHouse, claim};
use natter_schemas::id::ConversationId;
use natter_schemas::names::DisplayName;
use natter_schemas::position::{INDEX_MAX, version};
use serde::Deserialize;

use super::fold::{Room, User};
use super::{Folded, Things};
use crate::audit::report::{Differences, Kind, Store};

/// Events of the conversations that are asked for at once.
const EVENTS_AT_ONCE: usize = 20_000;
const CONVERSATIONS_AT_ONCE: usize = 500;
const USERS_AT_ONCE: usize = 500;

#[derive(Row, Deserialize)]
struct Message {
    tenant: String,
    conversation: u64,
    seq: u64,
    message: u64,
    sender: String,
    at: i64,
    text_hash: u64,
    masked: bool,
    version: u64,
}

#[derive(Row, Deserialize)]
struct Event {
    tenant: String,
    conversation: u64,
    sequence: u64,
    idx: u32,
    event: String,
}

#[derive(Row, Deserialize)]
struct Aspect {
    tenant: String,
    conversation: u64,
    aspect: String,
    kind: String,
    visibility: String,
    external: String,
    creator: String,
    name: String,
    value: u64,
    version: u64,
}

#[derive(Row, Deserialize)]
struct Membership {
    tenant: String,
    conversation: u64,
    user: String,
    aspect: String,
    present: bool,
    role: String,
    read_seq: u64,
    version: u64,
}

#[derive(Row, Deserialize)]
struct Name {
    tenant: String,
    user: String,
    name: String,
    version: u64,
}

pub(super) async fn compare(folded: &mut Folded, history: &ClickHouse, found: &mut Differences) -> anyhow::Result<()> {
    let live = history.live().await.context("cannot see which generation of the history is live")?;
    let claimed = claim(&live, folded.partition).await.context("cannot read the watermark of the history")?;
    let last = folded.forward.log().bounds(&natter_schemas::subjects::outcome_stream(folded.partition)).await?.last;
    folded.fold_to(claimed.complete.min(last)).await?;
    let look = Look { history: &live, folded, newest: version(folded.model.position, INDEX_MAX) };
    let (mut some, mut events) = (Vec::new(), 0);
    for (id, room) in &folded.model.rooms {
        events += room.events.len();
        some.push(*id);
        if events >= EVENTS_AT_ONCE || some.len() >= CONVERSATIONS_AT_ONCE {
            look.conversations(&some, found).await?;
            (some, events) = (Vec::new(), 0);
        }
    }
    if !some.is_empty() {
        look.conversations(&some, found).await?;
    }
    look.names(found).await
}

/// A look at one moment of the history.
struct Look<'a> {
    history: &'a ClickHouse,
    folded: &'a Folded,
    /// What is above this version may be there or not.
    newest: u64,
}

impl Look<'_> {
    async fn conversations(&self, some: &[ConversationId], found: &mut Differences) -> anyhow::Result<()> {
        let mut messages: Groups<Message> = grouped(self.messages(some).await?, |row| row.conversation);
        let mut events: Groups<Event> = grouped(self.events(some).await?, |row| row.conversation);
        let mut aspects: Groups<Aspect> = grouped(self.aspects(some).await?, |row| row.conversation);
        let mut members: Groups<Membership> = grouped(self.members(some).await?, |row| row.conversation);
        for id in some {
            let Some(room) = self.folded.model.rooms.get(id) else { continue };
            let of = id.get();
            self.compare_messages(*id, room, messages.remove(&of).unwrap_or_default(), found);
            self.compare_events(*id, room, events.remove(&of).unwrap_or_default(), found);
            self.compare_aspects(*id, room, &aspects.remove(&of).unwrap_or_default(), found);
            self.compare_members(*id, room, &members.remove(&of).unwrap_or_default(), found);
        }
        Ok(())
    }

    fn things<'f>(&self, id: ConversationId, version: u64, found: &'f mut Differences) -> Things<'f> {
        let at = self.folded.at(version);
        Things { store: Store::ClickHouse, place: format!("conversation {id}"), at, found }
    }

    fn compare_messages(&self, id: ConversationId, room: &Room, rows: Vec<Message>, found: &mut Differences) {
        let mut missing: BTreeSet<u64> = (1..=room.head()).collect();
        for row in rows {
            let what = format!("seq {}", row.seq);
            let Some(due) = room.message(row.seq) else {
                self.things(id, room.version(), found).differs(Kind::Unexpected, &what, "nobody said that");
                continue;
            };
            let mut things = self.things(id, due.version, found);
            if !missing.remove(&row.seq) {
                things.differs(Kind::Doubled, &what, format_args!("there is one more, of tenant {}", row.tenant));
                continue;
            }
            let is_right = [
                things.compare(&format!("{what} tenant"), &row.tenant.as_str(), &room.tenant.as_str()),
                things.compare(&format!("{what} id"), &row.message, &due.message.get()),
                things.compare(&format!("{what} sender"), &row.sender.as_str(), &due.sender.as_str()),
                things.compare(&format!("{what} time"), &row.at, &milliseconds(due.at_ms)),
                things.compare(&format!("{what} version"), &row.version, &due.version),
            ];
            if !is_right.contains(&false) && row.text_hash != due.text {
                things.differs(Kind::Altered, &format!("{what} text"), "it is not the text that everybody must see");
            } else if !is_right.contains(&false) {
                things.compare(&format!("{what} masked"), &row.masked, &due.masked);
            }
        }
        for seq in missing {
            let version = room.message(seq).map_or(0, |said| said.version);
            self.things(id, version, found).differs(Kind::Missing, &format!("seq {seq}"), "there is no such row");
        }
    }

    fn compare_events(&self, id: ConversationId, room: &Room, rows: Vec<Event>, found: &mut Differences) {
        let mut due = room.events.clone();
        for row in rows {
            let at = version(row.sequence, row.idx);
            let mut things = self.things(id, at, found);
            match due.remove(&at) {
                None => things.differs(Kind::Unexpected, "event", format_args!("{} did not happen", row.event)),
                Some(event) => {
                    things.compare("event", &row.event.as_str(), &event);
                    things.compare("event's tenant", &row.tenant.as_str(), &room.tenant.as_str());
                }
            }
        }
        for (at, event) in due {
            self.things(id, at, found).differs(Kind::Missing, "event", format_args!("there is no row of {event}"));
        }
    }

    fn compare_aspects(&self, id: ConversationId, room: &Room, rows: &[Aspect], found: &mut Differences) {
        let mut things = self.things(id, room.version(), found);
        let mut due: BTreeSet<&str> = ["created", "members"].into();
        due.extend(room.name.as_ref().map(|_| "name"));
        due.extend((room.head() > 0).then_some("head"));
        for row in rows {
            let is_due = due.remove(row.aspect.as_str());
            if row.version > self.newest {
                continue;
            }
            if !is_due {
                let what = format!("{} of tenant {}", row.aspect, row.tenant);
                things.differs(Kind::Unexpected, &what, "there is no such thing to tell");
                continue;
            }
            things.compare(&format!("{}'s tenant", row.aspect), &row.tenant.as_str(), &room.tenant.as_str());
            match row.aspect.as_str() {
                "created" => {
                    let external = room.external.as_ref().map_or("", |external| external.as_str());
                    things.compare("kind", &row.kind.as_str(), &room.kind);
                    things.compare("visibility", &row.visibility.as_str(), &room.visibility);
                    things.compare("external id", &row.external.as_str(), &external);
                    things.compare("creator", &row.creator.as_str(), &room.creator.as_str());
                }
                "name" => {
                    let name = room.name.as_ref().map(DisplayName::as_str);
                    things.compare("name", &Some(row.name.as_str()), &name);
                }
                "members" => {
                    things.compare("member count", &row.value, &(room.members.len() as u64));
                }
                _ => {
                    things.compare("last seq", &row.value, &room.head());
                }
            }
        }
        for aspect in due {
            things.differs(Kind::Missing, aspect, "there is no such row");
        }
    }

    fn compare_members(&self, id: ConversationId, room: &Room, rows: &[Membership], found: &mut Differences) {
        let mut things = self.things(id, room.version(), found);
        let aspects = |user| [(user, "membership"), (user, "cursor")];
        let mut due: BTreeSet<(&str, &str)> = room.cursors.keys().flat_map(|user| aspects(user.as_str())).collect();
        for row in rows {
            let is_due = due.remove(&(row.user.as_str(), row.aspect.as_str()));
            if row.version > self.newest {
                continue;
            }
            let what = format!("member {}", row.user);
            if !is_due {
                let detail = format!("{} of somebody who was never in it (tenant {})", row.aspect, row.tenant);
                things.differs(Kind::Unexpected, &what, detail);
                continue;
            }
            things.compare(&format!("{what} tenant"), &row.tenant.as_str(), &room.tenant.as_str());
            let user = natter_schemas::names::UserId::trusted(&row.user);
            if row.aspect == "cursor" {
                things.compare(&format!("{what} cursor"), &row.read_seq, &room.cursor(&user));
                continue;
            }
            let member = room.members.get(&user);
            let is_right = things.compare(&format!("{what} present"), &row.present, &member.is_some());
            if let (Some(member), true) = (member, is_right) {
                things.compare(&format!("{what} role"), &row.role.as_str(), &member.role);
            }
        }
        for (user, aspect) in due {
            things.differs(Kind::Missing, &format!("member {user} {aspect}"), "there is no such row");
        }
    }

    async fn messages(&self, some: &[ConversationId]) -> anyhow::Result<Vec<Message>> {
        let sql = format!(
            "SELECT tenant, conversation, seq, message, sender, at, xxh3(text) AS text_hash, masked, version \
             FROM {} FINAL WHERE partition = ? AND conversation IN ? AND version <= ?",
            self.history.table("messages")
        );
        self.rows(&sql, some).await
    }

    async fn events(&self, some: &[ConversationId]) -> anyhow::Result<Vec<Event>> {
        let sql = format!(
            "SELECT tenant, conversation, sequence, idx, event FROM {} FINAL \
             WHERE partition = ? AND conversation IN ? AND event != '' AND sequence <= bitShiftRight(?, 17)",
            self.history.table("events")
        );
        self.rows(&sql, some).await
    }

    async fn aspects(&self, some: &[ConversationId]) -> anyhow::Result<Vec<Aspect>> {
        let sql = format!(
            "SELECT tenant, conversation, aspect, kind, visibility, external, creator, name, value, version \
             FROM {} FINAL WHERE partition = ? AND conversation IN ? AND ? > 0",
            self.history.table("conversations")
        );
        self.rows(&sql, some).await
    }

    async fn members(&self, some: &[ConversationId]) -> anyhow::Result<Vec<Membership>> {
        let sql = format!(
            "SELECT tenant, conversation, user, aspect, present, role, read_seq, version \
             FROM {} FINAL WHERE partition = ? AND conversation IN ? AND ? > 0",
            self.history.table("members")
        );
        self.rows(&sql, some).await
    }

    async fn rows<R>(&self, sql: &str, some: &[ConversationId]) -> anyhow::Result<Vec<R>>
    where
        R: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let ids: Vec<u64> = some.iter().map(|id| id.get()).collect();
        let query = self.history.client().query(sql).bind(self.folded.partition).bind(ids).bind(self.newest);
        query.fetch_all().await.context("cannot read the history")
    }

    async fn names(&self, found: &mut Differences) -> anyhow::Result<()> {
        let all: Vec<_> = self.folded.model.users.iter().filter(|(_, user)| user.name.is_some()).collect();
        for some in all.chunks(USERS_AT_ONCE) {
            let pairs: Vec<(&str, &str)> =
                some.iter().map(|((tenant, user), _)| (tenant.as_str(), user.as_str())).collect();
            let sql = format!(
                "SELECT tenant, user, name, version FROM {} FINAL WHERE partition = ? AND (tenant, user) IN ?",
                self.history.table("users")
            );
            let query = self.history.client().query(&sql).bind(self.folded.partition).bind(pairs);
            let rows: Vec<Name> = query.fetch_all().await.context("cannot read the history")?;
            let rows: BTreeMap<(String, String), Name> =
                rows.into_iter().map(|row| ((row.tenant.clone(), row.user.clone()), row)).collect();
            for ((tenant, user), due) in some {
                let row = rows.get(&(tenant.to_string(), user.to_string()));
                let (place, at) = (format!("user {tenant} {user}"), self.folded.at(due.version));
                self.name(&mut Things { store: Store::ClickHouse, place, at, found }, row, due);
            }
        }
        Ok(())
    }

    fn name(&self, things: &mut Things<'_>, row: Option<&Name>, due: &User) {
        match row {
            None => things.differs(Kind::Missing, "name", "there is no such row"),
            Some(row) if row.version > self.newest => {}
            Some(row) => {
                let due = due.name.as_ref().map_or("", |name| name.as_str());
                things.compare("name", &row.name.as_str(), &due);
            }
        }
    }
}

type Groups<R> = BTreeMap<u64, Vec<R>>;

fn grouped<R>(rows: Vec<R>, of: impl Fn(&R) -> u64) -> Groups<R> {
    let mut groups: Groups<R> = BTreeMap::new();
    for row in rows {
        groups.entry(of(&row)).or_default().push(row);
    }
    groups
}

/// The columns are `DateTime64(3)`.
fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}
