//! What a token says: as it is made, and as it is read.

use std::fmt;

use natter_schemas::names::{DisplayName, Tenant, UserId};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The first second of the year 2100, before which all times of a token are: whoever names a later one has counted milliseconds.
pub const EXP_END: u64 = 4_102_444_800;

/// What a token says, for whoever makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// The application; says whose key the token is signed with.
    pub tenant: Tenant,
    /// The user's display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// When the token ends, in Unix seconds.
    pub exp: u64,
    /// Not valid earlier than this, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Whom the token is for, where the tenant's tokens have to say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// An operator's tool: may set sender and time, is slowed down instead of refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service: bool,
}

/// The same of a token that somebody shows. Claims that are not here (`iat`, `iss`, `jti`) are not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Presented {
    pub(super) sub: UserId,
    pub(super) tenant: Tenant,
    #[serde(default)]
    pub(super) name: Option<DisplayName>,
    #[serde(deserialize_with = "exp")]
    pub(super) exp: NumericDate,
    #[serde(default, deserialize_with = "nbf")]
    pub(super) nbf: Option<NumericDate>,
    #[serde(default)]
    pub(super) aud: Option<Audience>,
    #[serde(default)]
    pub(super) service: bool,
}

/// Seconds since 1970, with a fraction if need be (RFC 7519, 2), in milliseconds. What is before 1970 counts as 1970: it is
/// as long over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NumericDate {
    pub(super) unix_ms: u64,
}

/// Whom a token is for (RFC 7519, 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`aud` is neither a text nor a list of texts")]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(super) fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

fn exp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NumericDate, D::Error> {
    NumericDate::deserialize(deserializer).map_err(|error| D::Error::custom(format_args!("`exp`: {error}")))
}

fn nbf<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NumericDate>, D::Error> {
    Option::deserialize(deserializer).map_err(|error| D::Error::custom(format_args!("`nbf`: {error}")))
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Seconds)
    }
}

struct Seconds;

impl Visitor<'_> for Seconds {
    type Value = NumericDate;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of seconds since 1970")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
        if seconds >= EXP_END { Err(beyond(seconds)) } else { Ok(NumericDate { unix_ms: seconds * 1000 }) }
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
        self.visit_u64(u64::try_from(seconds).unwrap_or_default())
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
        #[expect(clippy::cast_precision_loss, reason = "10 digits")]
        if seconds >= EXP_END as f64 {
            return Err(beyond(seconds));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 13 digits")]
        Ok(NumericDate { unix_ms: (seconds.max(0.0) * 1000.0).round() as u64 })
    }
}

fn beyond<E: Error>(seconds: impl fmt::Debug) -> E {
    E::custom(format_args!("{seconds:?} is beyond the year 2100: seconds since 1970 are meant, not milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(json: &str) -> Result<u64, String> {
        serde_json::from_str::<NumericDate>(json).map(|date| date.unix_ms).map_err(|error| error.to_string())
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        for (json, unix_ms) in [
            ("1800000000", 1_800_000_000_000),
            ("1800000000.0", 1_800_000_000_000),
            ("1800000000.123", 1_800_000_000_123),
            ("1.8e9", 1_800_000_000_000),
            ("0", 0),
            ("-1", 0),
            ("-0.5", 0),
            ("-1e300", 0),
            ("4102444799.9994", 4_102_444_799_999),
        ] {
            assert_eq!(date(json), Ok(unix_ms), "{json}");
        }
    }

    #[test]
    fn what_is_no_number_of_seconds_is_refused() {
        for (json, says) in [
            ("1800000000000", "1800000000000 is beyond the year 2100: seconds since 1970 are meant, not milliseconds"),
            ("1800000000000.5", "1800000000000.5 is beyond the year 2100"),
            ("4102444800", "4102444800 is beyond the year 2100"),
            ("18446744073709551616", "1.8446744073709552e19 is beyond"),
            ("1e300", "1e300 is beyond"),
            ("1e400", "number out of range"),
            ("\"1800000000\"", "invalid type: string \"1800000000\", expected a number of seconds since 1970"),
            ("null", "invalid type: null, expected a number"),
            ("true", "invalid type: boolean"),
            ("[1800000000]", "invalid type: sequence"),
            ("NaN", "expected"),
        ] {
            let error = date(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
