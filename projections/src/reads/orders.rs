//! The order of a user's conversations, newest activity first, where one script of Redis cannot make it in bounded time.
//!
//! Then it is made here: parts of the user's list are read one after the other, each by a script of its own, put in order, and
//! kept for a while, so that the pages that follow cost a script each. What happened meanwhile does not move a conversation
//! in an order that is kept: its client hears of it by its events.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use tokio::time::Instant;

use crate::error::ViewError;
use crate::redis::Redis;
use crate::redis::inbox::{self, After, Inbox, Part, START, Seen};
use crate::watermark::Watermark;

/// Pages that follow the first read the order that it made, as long as that is not older.
const KEPT: Duration = Duration::from_mins(1);
/// Conversations in all orders that are kept: 16 bytes each.
const CONVERSATIONS_MAX: usize = 1_000_000;

/// Orders that were made lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct Orders {
    kept: Mutex<VecDeque<Arc<Order>>>,
    /// One is made at a time, which is all that is asked of Redis for long lists.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Order {
    partition: u16,
    tenant: Tenant,
    user: UserId,
    shows: Watermark,
    made_at: Instant,
    /// Newest activity first.
    conversations: Vec<After>,
}

/// A page that is wanted of a user's conversations in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) partition: u16,
    pub(super) tenant: &'a Tenant,
    pub(super) user: &'a UserId,
    /// The sequence that it must show.
    pub(super) least: u64,
    pub(super) after: Option<After>,
    pub(super) limit: u32,
}

/// A page of a user's conversations in one partition.
#[derive(Debug)]
pub(super) struct Page {
    /// What it shows surely; some of it may be newer.
    pub(super) watermark: Watermark,
    /// Each with its place in the order, falling. Shorter than its limit: the last.
    pub(super) conversations: Vec<(After, Seen)>,
}

impl Orders {
    /// The page: by one script for nearly everybody.
    ///
    /// # Errors
    /// [`ViewError::Transient`] or [`ViewError::Corrupt`].
    pub(super) async fn page(&self, redis: &Redis, wanted: &Wanted<'_>) -> Result<Page, ViewError> {
        let Wanted { partition, tenant, user, after, limit, .. } = *wanted;
        let Inbox { watermark, conversations, .. } = inbox::page(redis, partition, tenant, user, after, limit).await?;
        if let Some(conversations) = conversations {
            let place = |seen: Seen| ((seen.row.active_at_ms, seen.row.conversation), seen);
            return Ok(Page { watermark, conversations: conversations.into_iter().map(place).collect() });
        }
        let order = match self.find(wanted, &watermark) {
            Some(order) => order,
            None => self.make(redis, wanted, &watermark).await?,
        };
        fill(redis, wanted, &order).await
    }

    fn find(&self, wanted: &Wanted<'_>, now: &Watermark) -> Option<Arc<Order>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|order| order.serves(wanted, now)).cloned()
    }

    async fn make(&self, redis: &Redis, wanted: &Wanted<'_>, now: &Watermark) -> Result<Arc<Order>, ViewError> {
        let _one = self.making.lock().await;
        // Perhaps it was made while this one waited.
        if let Some(order) = self.find(wanted, now) {
            return Ok(order);
        }
        let order = Arc::new(Order::read(redis, wanted).await?);
        self.keep(Arc::clone(&order));
        Ok(order)
    }

    fn keep(&self, order: Arc<Order>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|other| !other.is_of(order.partition, &order.tenant, &order.user) && !other.is_old());
        kept.push_back(order);
        let mut conversations = kept.iter().map(|order| order.conversations.len()).sum::<usize>();
        while conversations > CONVERSATIONS_MAX
            && let Some(oldest) = kept.pop_front()
        {
            conversations -= oldest.conversations.len();
        }
    }
}

impl Order {
    async fn read(redis: &Redis, wanted: &Wanted<'_>) -> Result<Self, ViewError> {
        let Wanted { partition, tenant, user, .. } = *wanted;
        let (mut cursor, mut shows, mut conversations) = (START.to_owned(), None::<Watermark>, Vec::new());
        let shows = loop {
            let Part { watermark, next, conversations: some } =
                inbox::part(redis, partition, tenant, user, &cursor).await?;
            conversations.extend(some);
            let earliest = shows.take().map_or(Ok(watermark.clone()), |shown| shown.earlier(watermark))?;
            if next == START {
                break earliest;
            }
            (cursor, shows) = (next, Some(earliest));
        };
        // One that came twice was active between, perhaps: its later place counts.
        conversations.sort_unstable_by_key(|(active_at_ms, id)| (*id, Reverse(*active_at_ms)));
        conversations.dedup_by_key(|(_, id)| *id);
        conversations.sort_unstable_by_key(|place| Reverse(*place));
        let (tenant, user) = (tenant.clone(), user.clone());
        Ok(Self { partition, tenant, user, shows, made_at: Instant::now(), conversations })
    }

    fn is_of(&self, partition: u16, tenant: &Tenant, user: &UserId) -> bool {
        self.partition == partition && self.user == *user && self.tenant == *tenant
    }

    fn is_old(&self) -> bool {
        self.made_at.elapsed() > KEPT
    }

    /// A first page shows what is now; those that follow it go on in the order that it was of.
    fn serves(&self, wanted: &Wanted<'_>, now: &Watermark) -> bool {
        let least = if wanted.after.is_some() { wanted.least } else { wanted.least.max(now.sequence) };
        let shows = self.shows.log == now.log && self.shows.sequence >= least;
        shows && !self.is_old() && self.is_of(wanted.partition, wanted.tenant, wanted.user)
    }
}

/// Reads what the order says that the page holds, and goes on where the user is not in a conversation any more.
async fn fill(redis: &Redis, wanted: &Wanted<'_>, order: &Order) -> Result<Page, ViewError> {
    let Wanted { partition, tenant, user, after, limit, .. } = *wanted;
    let limit = limit as usize;
    let begin = order.conversations.partition_point(|place| after.is_some_and(|after| *place >= after));
    let mut page = Page { watermark: order.shows.clone(), conversations: Vec::with_capacity(limit) };
    for places in order.conversations[begin..].chunks(limit.max(1)) {
        let ids: Vec<ConversationId> = places.iter().map(|(_, id)| *id).collect();
        let (watermark, found) = inbox::some(redis, partition, &ids, tenant, user).await?;
        page.watermark = page.watermark.earlier(watermark)?;
        let listed = places.iter().zip(found).filter_map(|(place, seen)| Some((*place, seen?)));
        // What became active since the page before this one has moved before it.
        let stays = |seen: &Seen| after.is_none_or(|after| (seen.row.active_at_ms, seen.row.conversation) < after);
        page.conversations.extend(listed.filter(|(_, seen)| seen.membership.is_some() && stays(seen)));
        if page.conversations.len() >= limit {
            break;
        }
    }
    page.conversations.truncate(limit);
    Ok(page)
}
