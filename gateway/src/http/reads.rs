//! `GET /v1/…`: the views, as their readers answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use natter_projections::reads::{Asking, MessageRange};
use natter_schemas::command::Address;
use natter_schemas::limits::{PAGE_ITEMS_MAX, PAGE_MESSAGES_MAX};
use natter_schemas::position::Position;
use natter_schemas::wire::client::parse_address;
use natter_schemas::wire::server::ErrorBody;
use serde::Serialize;

use super::answer::{Refused, fresh};
use super::query::{Named, Params, invalid};
use crate::auth::Identity;
use crate::gateway::Gateway;

/// A page where nothing else was asked for.
const LIMIT_DEFAULT: u32 = 50;

type Read = Result<Response, Refused>;

/// `GET /v1/conversations?cursor&limit&min_position`
pub async fn conversations(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, uri: Uri) -> Read {
    let who = gateway.reader(&headers)?;
    let mut params = Params::of(&uri)?;
    let cursor = params.text("cursor");
    let limit = params.limit(LIMIT_DEFAULT, PAGE_ITEMS_MAX)?;
    let min = params.min_positions(gateway.partitions)?;
    params.finish()?;
    answer(gateway.reads.conversations(asking(&who, &min), cursor.as_deref(), limit).await)
}

/// `GET /v1/conversations/{id}?min_position`
pub async fn conversation(
    State(gateway): State<Arc<Gateway>>,
    Named(conversation): Named,
    headers: HeaderMap,
    uri: Uri,
) -> Read {
    let who = gateway.reader(&headers)?;
    let address = address(&conversation)?;
    let mut params = Params::of(&uri)?;
    let min = params.min_positions(gateway.partitions)?;
    params.finish()?;
    answer(gateway.reads.conversation(asking(&who, &min), &address).await)
}

/// `GET /v1/conversations/{id}/messages?before|after|around=<seq>|around_message=<id>&limit&as_of&min_position`
pub async fn messages(
    State(gateway): State<Arc<Gateway>>,
    Named(conversation): Named,
    headers: HeaderMap,
    uri: Uri,
) -> Read {
    let who = gateway.reader(&headers)?;
    let address = address(&conversation)?;
    let mut params = Params::of(&uri)?;
    let range = range(&mut params)?;
    let limit = params.limit(LIMIT_DEFAULT, PAGE_MESSAGES_MAX)?;
    let as_of = params.as_of(gateway.partitions)?;
    let min = params.min_positions(gateway.partitions)?;
    params.finish()?;
    answer(gateway.reads.messages(asking(&who, &min), &address, range, limit, as_of).await)
}

/// `GET /v1/conversations/{id}/events?after=<position>&limit&min_position`
pub async fn events(
    State(gateway): State<Arc<Gateway>>,
    Named(conversation): Named,
    headers: HeaderMap,
    uri: Uri,
) -> Read {
    let who = gateway.reader(&headers)?;
    let address = address(&conversation)?;
    let mut params = Params::of(&uri)?;
    let after = params.position("after", gateway.partitions)?;
    let limit = params.limit(LIMIT_DEFAULT, PAGE_ITEMS_MAX)?;
    let min = params.min_positions(gateway.partitions)?;
    params.finish()?;
    answer(gateway.reads.events(asking(&who, &min), &address, after, limit).await)
}

/// `GET /v1/conversations/{id}/members?cursor&limit&as_of&min_position`
pub async fn members(
    State(gateway): State<Arc<Gateway>>,
    Named(conversation): Named,
    headers: HeaderMap,
    uri: Uri,
) -> Read {
    let who = gateway.reader(&headers)?;
    let address = address(&conversation)?;
    let mut params = Params::of(&uri)?;
    let cursor = params.text("cursor");
    let limit = params.limit(LIMIT_DEFAULT, PAGE_ITEMS_MAX)?;
    let as_of = params.as_of(gateway.partitions)?;
    let min = params.min_positions(gateway.partitions)?;
    params.finish()?;
    answer(gateway.reads.members(asking(&who, &min), &address, cursor.as_deref(), limit, as_of).await)
}

const fn asking<'a>(who: &'a Identity, min: &'a [Position]) -> Asking<'a> {
    Asking { tenant: &who.tenant, user: &who.user, min }
}

fn answer<T: Serialize>(read: Result<T, ErrorBody>) -> Read {
    Ok(fresh(Json(read?)))
}

fn address(text: &str) -> Result<Address, ErrorBody> {
    parse_address("conversation", text).map_err(|error| ErrorBody::new(error.code, error.message))
}

/// Which messages are asked for: at most one of the parameters says.
fn range(params: &mut Params) -> Result<MessageRange, ErrorBody> {
    let asked = [
        params.seq("before")?.map(|seq| ("before", MessageRange::Before(seq))),
        params.seq("after")?.map(|seq| ("after", MessageRange::After(seq))),
        params.seq("around")?.map(|seq| ("around", MessageRange::Around(seq))),
        params.parsed("around_message")?.map(|id| ("around_message", MessageRange::AroundMessage(id))),
    ];
    let mut asked = asked.into_iter().flatten();
    let range = asked.next();
    match (range, asked.next()) {
        (Some((first, _)), Some((second, _))) => Err(invalid(second, format!("does not go with `{first}`"))),
        (Some((_, range)), None) => Ok(range),
        (None, _) => Ok(MessageRange::Newest),
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::error::ErrorCode;
    use natter_schemas::id::MessageId;

    use super::*;

    fn range_of(query: &str) -> Result<MessageRange, ErrorBody> {
        range(&mut Params::of(&format!("/x?{query}").parse().unwrap()).unwrap())
    }

    #[test]
    fn one_range_at_a_time() {
        assert!(matches!(range_of(""), Ok(MessageRange::Newest)));
        assert!(matches!(range_of("before=3"), Ok(MessageRange::Before(3))));
        assert!(matches!(range_of("after=0"), Ok(MessageRange::After(0))));
        assert!(matches!(range_of("around=9"), Ok(MessageRange::Around(9))));
        let by_id = range_of("around_message=7");
        assert!(matches!(by_id, Ok(MessageRange::AroundMessage(id)) if id == MessageId::from_raw(7)));
        let error = range_of("after=1&before=3").unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::InvalidField, "`after` does not go with `before`")
        );
    }

    #[test]
    fn conversations_are_named_by_id_or_external_id() {
        assert!(matches!(address("12"), Ok(Address::Id(_))));
        assert!(matches!(address("ext:#ubuntu"), Ok(Address::External(_))));
        assert_eq!(address("x").unwrap_err().code, ErrorCode::InvalidField);
    }
}
