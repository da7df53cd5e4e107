//! Everything that happened in a conversation, by position: the history, then the log's end.

use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::limits::PAGE_ITEMS_MAX;
use natter_schemas::names::{Ref, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::reads::EventsPage;
use natter_schemas::wire::server::{ErrorBody, EventFrame};

use super::tail::Complete;
use super::{Asking, Reads, error_body};

impl Reads {
    /// A page of a conversation's events after `after` (from the first, where there is none). Who names a position has
    /// seen it: the page shows at least that.
    ///
    /// # Errors
    /// `not_found`, `not_member`, `invalid_field` for a position of another partition, `behind`, `history_behind`,
    /// `unavailable`.
    pub async fn events(
        &self,
        asking: Asking<'_>,
        address: &Address,
        after: Option<Position>,
        limit: u32,
    ) -> Result<EventsPage, ErrorBody> {
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let Asking { tenant, user, min } = asking;
        let min: Vec<Position> = min.iter().copied().chain(after).collect();
        let known = self.joined(Asking { tenant, user, min: &min }, address).await?;
        let (partition, id) = (known.partition, known.id());
        let after = after.unwrap_or(Position::batch(partition, 0));
        if after.partition != partition {
            let message = format!("`after` is of partition {}, the conversation's is {partition}", after.partition);
            return Err(ErrorBody::new(ErrorCode::InvalidField, message));
        }
        let Complete { history, upto } = self.tails.history(partition).await?;
        let complete = upto.min(known.shows);
        // One more than the page holds says whether there is a next one.
        let stored = history.events(tenant, id, after, complete, limit + 1).await;
        let stored = stored.map_err(|error| error_body(&error))?;
        let mut events: Vec<EventFrame> =
            stored.into_iter().map(|event| seen_by(user, event.frame, &event.reference)).collect();
        let limit = limit as usize;
        let mut more = events.len() > limit;
        if !more && complete < known.shows {
            match self.tails.above(partition, id, complete, known.shows).await {
                Ok(above) => events.extend(above.iter().filter_map(|placed| frame_of(user, placed, after))),
                // What is there is shown; the next page says what is the matter.
                Err(_) if !events.is_empty() => more = true,
                Err(error) => return Err(error),
            }
        }
        more |= events.len() > limit;
        events.truncate(limit);
        let next_after = events.last().filter(|_| more).map(|event| event.position);
        Ok(EventsPage { events, next_after, position: known.position() })
    }
}

/// An event of the log's end, as `reader` sees it, where it comes after `after`.
fn frame_of(reader: &UserId, placed: &Placed, after: Position) -> Option<EventFrame> {
    let event = placed.event().filter(|event| event.position.version() > after.version())?;
    Some(seen_by(reader, EventFrame::of(&event), &event.command.reference))
}

/// The `ref` is its sender's own.
fn seen_by(reader: &UserId, frame: EventFrame, reference: &Ref) -> EventFrame {
    let own = frame.sender == *reader;
    EventFrame { reference: own.then(|| reference.clone()), ..frame }
}
