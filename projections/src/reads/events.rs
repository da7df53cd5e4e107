//! Everything that happened in a conversation, by position: the history, then the log's end.

use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::limits::PAGE_MESSAGES_MAX;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::reads::EventsPage;
use natter_schemas::wire::server::{ErrorBody, EventFrame};

use super::{Reads, error_body};

impl Reads {
    /// A page of a conversation's events after `after` (from the first, where there is none).
    ///
    /// # Errors
    /// `not_found`, `not_member`, `invalid_field` for a position of another partition, `behind`, `history_behind`,
    /// `unavailable`.
    pub async fn events(
        &self,
        tenant: &Tenant,
        user: &UserId,
        address: &Address,
        after: Option<Position>,
        limit: u32,
        min: &[Position],
    ) -> Result<EventsPage, ErrorBody> {
        let limit = limit.clamp(1, PAGE_MESSAGES_MAX) as usize;
        let known = self.joined(tenant, user, address, min).await?;
        let after = after.unwrap_or(Position::batch(known.partition, 0));
        if after.partition != known.partition {
            let message = format!("`after` is of partition {}, the conversation's is {}", after.partition, known.partition);
            return Err(ErrorBody::new(ErrorCode::InvalidField, message));
        }
        let complete = self.tails.history(known.partition).await?.min(known.shows);
        let wanted = u32::try_from(limit + 1).unwrap_or(u32::MAX);
        let stored = self.history.events(tenant, known.id(), after, complete, wanted).await;
        let stored = stored.map_err(|error| error_body(&error))?;
        let mut events: Vec<EventFrame> = stored
            .into_iter()
            .map(|event| {
                let own = event.frame.sender == *user;
                EventFrame { reference: own.then_some(event.reference), ..event.frame }
            })
            .collect();
        let mut more = events.len() > limit;
        if !more && complete < known.shows {
            match self.tails.missing(known.partition, known.id(), known.shows).await {
                Ok(missing) => events.extend(missing.iter().filter_map(|placed| {
                    let event = placed.event()?;
                    let own = event.command.sender == *user;
                    let later = event.position.version() > after.version().max(Position::batch(0, complete).version());
                    let reference = own.then(|| event.command.reference.clone());
                    later.then(|| EventFrame { reference, ..EventFrame::of(&event) })
                })),
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
