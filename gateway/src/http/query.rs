//! Names in paths, and query parameters, strictly: one that is unknown, malformed or said twice is refused by name, because a typo must not
//! be ignored.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use natter_projections::reads::AsOf;
use natter_schemas::error::ErrorCode;
use natter_schemas::position::Position;
use natter_schemas::wire::server::ErrorBody;
use natter_schemas::wire::times::parse_rfc3339;

use super::answer::Refused;

/// A name in a request's path.
#[derive(Debug)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ErrorBody::new(ErrorCode::InvalidField, "the path is not UTF-8").into()),
        }
    }
}

/// The parameters of a request that have not been taken yet.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

/// `name` and what is wrong with it.
pub fn invalid(name: &str, reason: impl Display) -> ErrorBody {
    let name: String = name.chars().take(40).collect();
    ErrorBody::new(ErrorCode::InvalidField, format!("`{name}` {reason}"))
}

impl Params {
    /// The parameters of `uri`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`]: one of them is there twice.
    pub fn of(uri: &Uri) -> Result<Self, ErrorBody> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ErrorBody::new(ErrorCode::InvalidField, format!("the query cannot be read: {error}")))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return Err(invalid(name, "is there twice"));
            }
        }
        Ok(Self(pairs))
    }

    /// Takes the parameter `name` as it stands.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the parameter `name`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`] with the reason.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, ErrorBody> {
        self.text(name).map(|text| text.parse().map_err(|error| invalid(name, format!("is {error}")))).transpose()
    }

    /// Takes `limit`: 1 to `max`, or `default`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`] with the limit.
    pub fn limit(&mut self, default: u32, max: u32) -> Result<u32, ErrorBody> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| invalid("limit", format!("is not a number from 1 to {max}")))
    }

    /// Takes a seq.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`]: no number.
    pub fn seq(&mut self, name: &str) -> Result<Option<u64>, ErrorBody> {
        let parse = |text: String| text.parse().map_err(|_| invalid(name, "is not a seq (0, 1, 2 …)"));
        self.text(name).map(parse).transpose()
    }

    /// Takes `min_position`: one or more, separated by commas.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`]: not positions, or of a partition that there is not.
    pub fn min_positions(&mut self, partitions: u16) -> Result<Vec<Position>, ErrorBody> {
        let Some(text) = self.text("min_position") else { return Ok(Vec::new()) };
        let parse = |text: &str| position("min_position", text, partitions);
        let positions: Vec<Position> = text.split(',').map(parse).collect::<Result<_, _>>()?;
        if positions.len() > usize::from(partitions) {
            return Err(invalid(
                "min_position",
                format!("has more than {partitions} positions: one per partition is enough"),
            ));
        }
        Ok(positions)
    }

    /// Takes a position.
    ///
    /// # Errors
    /// As [`Params::min_positions`].
    pub fn position(&mut self, name: &str, partitions: u16) -> Result<Option<Position>, ErrorBody> {
        self.text(name).map(|text| position(name, &text, partitions)).transpose()
    }

    /// Takes `as_of`: a position, or a time (RFC 3339).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`]: neither, or a position of a partition that there is not.
    pub fn as_of(&mut self, partitions: u16) -> Result<Option<AsOf>, ErrorBody> {
        let Some(text) = self.text("as_of") else { return Ok(None) };
        if let Some(log_ms) = parse_rfc3339(&text) {
            return Ok(Some(AsOf::LogTime(log_ms)));
        }
        if text.parse::<Position>().is_err() {
            return Err(invalid(
                "as_of",
                "is neither a position (partition:sequence or partition:sequence:index) nor a time (RFC 3339)",
            ));
        }
        position("as_of", &text, partitions).map(|position| Some(AsOf::Position(position)))
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`] naming a parameter that nobody took.
    pub fn finish(self) -> Result<(), ErrorBody> {
        match self.0.first() {
            Some((name, _)) => Err(invalid(name, "is not a parameter of this read")),
            None => Ok(()),
        }
    }
}

fn position(name: &str, text: &str, partitions: u16) -> Result<Position, ErrorBody> {
    let position: Position = text.parse().map_err(|error| invalid(name, format!("is {error}")))?;
    if position.partition >= partitions {
        return Err(invalid(name, format!("names partition {}, there are {partitions}", position.partition)));
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use natter_schemas::id::MessageId;

    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/v1/x?{query}").parse().unwrap()).unwrap()
    }

    fn message<T: std::fmt::Debug>(result: Result<T, ErrorBody>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidField);
        error.message
    }

    #[test]
    fn parameters_are_taken_by_name() {
        let mut params = params("limit=5&before=12&cursor=a%2Fb+c&min_position=1:2,3:4:5&around_message=77");
        assert_eq!(params.limit(50, 200), Ok(5));
        assert_eq!(params.seq("before"), Ok(Some(12)));
        assert_eq!(params.text("cursor").as_deref(), Some("a/b c"));
        assert_eq!(params.min_positions(4), Ok(vec![Position::batch(1, 2), Position::outcome(3, 4, 5)]));
        assert_eq!(params.parsed("around_message"), Ok(Some(MessageId::from_raw(77))));
        assert_eq!(params.finish(), Ok(()));
    }

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        let as_of = |text: &str| params(&format!("as_of={text}")).as_of(4);
        assert_eq!(as_of("1:2:3"), Ok(Some(AsOf::Position(Position::outcome(1, 2, 3)))));
        assert_eq!(as_of("2025-01-01T01:00:00%2B01:00"), Ok(Some(AsOf::LogTime(1_735_689_600_000))));
        assert!(message(as_of("yesterday")).starts_with("`as_of` is neither a position"));
        assert!(message(as_of("4:1")).contains("partition 4, there are 4"));
    }

    #[test]
    fn absent_ones_have_their_defaults() {
        let mut params = params("");
        assert_eq!((params.limit(50, 200), params.seq("before")), (Ok(50), Ok(None)));
        assert_eq!((params.min_positions(4), params.position("after", 4)), (Ok(vec![]), Ok(None)));
    }

    #[test]
    fn unknown_malformed_and_doubled_ones_are_refused_by_name() {
        assert_eq!(message(params("limt=5").finish()), "`limt` is not a parameter of this read");
        for wrong in ["0", "201", "-1", "x", "", "1e2"] {
            let refused = message(params(&format!("limit={wrong}")).limit(50, 200));
            assert_eq!(refused, "`limit` is not a number from 1 to 200");
        }
        assert!(message(params("before=-3").seq("before")).starts_with("`before`"));
        assert!(
            message(params("around_message=0").parsed::<MessageId>("around_message")).starts_with("`around_message`")
        );
        assert!(message(params("min_position=1:2,").min_positions(4)).starts_with("`min_position`"));
        assert!(message(params("min_position=4:2").min_positions(4)).contains("partition 4, there are 4"));
        assert!(message(params("min_position=0:1,0:2,0:3").min_positions(2)).contains("more than 2"));
        let twice = Params::of(&"/v1/x?limit=1&limit=2".parse().unwrap());
        assert_eq!(message(twice), "`limit` is there twice");
    }
}
