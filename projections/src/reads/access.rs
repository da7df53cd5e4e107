//! Which conversation is meant, and whether the reader may see it.

use natter_schemas::command::{Address, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::position::Position;
use natter_schemas::wire::server::ErrorBody;

use super::{Asking, Reads, error_body};
use crate::redis::addresses;
use crate::redis::inbox::{self, Seen};

/// A conversation that the reader may know of.
pub(super) struct Known {
    pub(super) partition: u16,
    pub(super) seen: Seen,
    /// The sequence that was read.
    pub(super) shows: u64,
}

impl Known {
    pub(super) const fn id(&self) -> ConversationId {
        self.seen.row.conversation
    }

    pub(super) const fn position(&self) -> Position {
        Position::batch(self.partition, self.shows)
    }
}

impl Reads {
    /// The conversation at `address`, if the reader is a member or it is public; else `not_found`, as if it were not there.
    pub(super) async fn known(&self, asking: Asking<'_>, address: &Address) -> Result<Known, ErrorBody> {
        let Asking { tenant, user, .. } = asking;
        let partition = address.slot(tenant).partition(self.partitions);
        let least = asking.least(partition);
        let id = match address {
            Address::Id(id) => *id,
            Address::External(external) => {
                let read = |redis| async move { addresses::external(&redis, partition, tenant, external).await };
                let found = self.redis.at_least(partition, least, |(watermark, _)| watermark, read).await;
                found.map_err(|error| error_body(&error))?.1.ok_or_else(not_found)?
            }
        };
        let read = |redis| async move { inbox::conversation(&redis, partition, id, tenant, user).await };
        let found = self.redis.at_least(partition, least, |(watermark, _)| watermark, read).await;
        let (watermark, seen) = found.map_err(|error| error_body(&error))?;
        let mut seen = seen.filter(|seen| seen.row.fact.tenant == *tenant).ok_or_else(not_found)?;
        if seen.membership.is_none() {
            // A stranger may know of a public conversation, not what is said in it.
            seen.last_message = None;
        }
        let may_know = seen.membership.is_some() || seen.row.fact.visibility == Visibility::Public;
        may_know.then_some(Known { partition, seen, shows: watermark.sequence }).ok_or_else(not_found)
    }

    /// The conversation at `address`, if the reader is a member.
    pub(super) async fn joined(&self, asking: Asking<'_>, address: &Address) -> Result<Known, ErrorBody> {
        let known = self.known(asking, address).await?;
        if known.seen.membership.is_some() { Ok(known) } else { Err(ErrorBody::of(ErrorCode::NotMember)) }
    }
}

pub(super) fn not_found() -> ErrorBody {
    ErrorBody::of(ErrorCode::NotFound)
}
