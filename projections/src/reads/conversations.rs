//! A user's conversations; one conversation; its members.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::PAGE_ITEMS_MAX;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::slot::Slot;
use natter_schemas::wire::reads::{ConversationRead, ConversationsPage, Member, MembersPage};
use natter_schemas::wire::server::ErrorBody;

use super::orders::Wanted;
use super::then::AsOf;
use super::{Asking, Memberships, Reads, error_body, least};
use crate::error::ViewError;
use crate::redis::inbox::{self, After};
use crate::redis::{members, users};

impl Reads {
    /// A page of the user's conversations, newest activity first. Each partition's part is read at once; together they
    /// make the page. A conversation in which something happens between two pages moves before the first one: who reads
    /// on hears of it by its events after the first page's positions.
    ///
    /// # Errors
    /// `invalid_field` for a cursor that is none; `behind`; `unavailable`.
    pub async fn conversations(
        &self,
        asking: Asking<'_>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<ConversationsPage, ErrorBody> {
        let Asking { tenant, user, .. } = asking;
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let after = cursor.map(parse_cursor).transpose()?;
        let parts = (0..self.partitions).map(|partition| {
            let least = asking.least(partition);
            let read = move |redis| async move {
                self.orders.page(&redis, &Wanted { partition, tenant, user, least, after, limit }).await
            };
            self.redis.at_least(partition, least, |part| &part.watermark, read)
        });
        let parts = try_join_all(parts).await.map_err(|error| error_body(&error))?;
        let positions = (0..self.partitions).zip(&parts).map(|(p, part)| Position::batch(p, part.watermark.sequence));
        let positions = positions.collect();
        // A part that is full may have more behind it.
        let mut more = parts.iter().any(|part| part.conversations.len() == limit as usize);
        let mut listed: Vec<_> = parts.into_iter().flat_map(|part| part.conversations).collect();
        listed.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        more |= listed.len() > limit as usize;
        listed.truncate(limit as usize);
        let last = listed.last().filter(|_| more);
        let next_cursor = last.map(|((active_at_ms, conversation), _)| format!("{active_at_ms}-{conversation}"));
        let conversations = listed.into_iter().map(|(_, seen)| seen.into_wire(user)).collect();
        Ok(ConversationsPage { conversations, next_cursor, positions })
    }

    /// One conversation.
    ///
    /// # Errors
    /// `not_found`, `behind`, `unavailable`.
    pub async fn conversation(&self, asking: Asking<'_>, address: &Address) -> Result<ConversationRead, ErrorBody> {
        let known = self.known(asking, address).await?;
        Ok(ConversationRead { position: known.position(), conversation: known.seen.into_wire(asking.user) })
    }

    /// A page of a conversation's members, by user id; of those that there were at a moment of the past, if one is named.
    ///
    /// # Errors
    /// `not_found`, `not_member`, `invalid_field` for a cursor that is no user id or a position of another partition,
    /// `behind`, `history_behind`, `unavailable`.
    pub async fn members(
        &self,
        asking: Asking<'_>,
        address: &Address,
        cursor: Option<&str>,
        limit: u32,
        as_of: Option<AsOf>,
    ) -> Result<MembersPage, ErrorBody> {
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let invalid = |error| ErrorBody::new(ErrorCode::InvalidField, format!("`cursor` {error}"));
        let after = cursor.map(UserId::try_from).transpose().map_err(invalid)?;
        if let Some(as_of) = as_of {
            let (_, then) = self.then(asking, address, as_of).await?;
            return self.members_then(asking, &then, after.as_ref(), limit).await;
        }
        let known = self.joined(asking, address).await?;
        let (partition, id, tenant) = (known.partition, known.id(), asking.tenant);
        let read = |redis| {
            let after = after.as_ref();
            async move { members::page(&redis, partition, tenant, id, after, limit).await }
        };
        let page = self.redis.at_least(partition, known.shows, |page| &page.watermark, read).await;
        let page = page.map_err(|error| error_body(&error))?;
        let ids: Vec<UserId> = page.members.iter().map(|member| member.user.clone()).collect();
        let mut names = self.names(asking, &ids).await.map_err(|error| error_body(&error))?;
        let full = page.members.len() == limit as usize;
        let next_cursor = ids.last().filter(|_| full).map(ToString::to_string);
        let member = |member: members::Member| Member {
            name: names.remove(&member.user),
            role: member.membership.role.name().to_owned(),
            joined_at: member.membership.joined_at_ms,
            read_seq: member.read_seq,
            user: member.user,
        };
        Ok(MembersPage {
            members: page.members.into_iter().map(member).collect(),
            next_cursor,
            member_count: page.member_count,
            position: Position::batch(partition, page.watermark.sequence),
        })
    }

    /// The ids of all the users' conversations, partition by partition, as of at least `min`: for sessions that open. One
    /// question to each partition as long as they are not in thousands of conversations, which come by further ones.
    ///
    /// # Errors
    /// `behind`, `unavailable`.
    pub async fn memberships(
        &self,
        users: &[(Tenant, UserId)],
        min: &[Position],
    ) -> Result<Vec<Memberships>, ErrorBody> {
        let parts = (0..self.partitions).map(|partition| async move {
            let read = move |redis| async move { inbox::memberships(&redis, partition, users).await };
            let least = least(min, partition);
            let (watermark, conversations) =
                self.redis.at_least(partition, least, |(watermark, _)| watermark, read).await?;
            Ok(Memberships { position: Position::batch(partition, watermark.sequence), conversations })
        });
        try_join_all(parts).await.map_err(|error: ViewError| error_body(&error))
    }

    /// Display names; each user's lies in the user's own partition.
    pub(super) async fn names(
        &self,
        asking: Asking<'_>,
        ids: &[UserId],
    ) -> Result<BTreeMap<UserId, DisplayName>, ViewError> {
        let tenant = asking.tenant;
        let mut by_partition: BTreeMap<u16, Vec<UserId>> = BTreeMap::new();
        for id in ids {
            by_partition.entry(Slot::of_user(tenant, id).partition(self.partitions)).or_default().push(id.clone());
        }
        let parts = by_partition.into_iter().map(|(partition, ids)| async move {
            let read = |redis| {
                let ids = &ids;
                async move { users::names(&redis, partition, tenant, ids).await }
            };
            let (_, names) =
                self.redis.at_least(partition, asking.least(partition), |(watermark, _)| watermark, read).await?;
            Ok::<_, ViewError>(ids.into_iter().zip(names))
        });
        let named = try_join_all(parts).await?.into_iter().flatten();
        Ok(named.filter_map(|(id, name)| Some((id, name?))).collect())
    }
}

/// `<active at, Unix ms>-<conversation>`.
fn parse_cursor(cursor: &str) -> Result<After, ErrorBody> {
    let parsed =
        cursor.split_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.parse::<ConversationId>().ok()?)));
    parsed.ok_or_else(|| ErrorBody::new(ErrorCode::InvalidField, "`cursor` is not one that was given out"))
}
