//! Times on the wire: RFC 3339, UTC, milliseconds.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// `2026-01-02T03:04:05.678Z` for Unix milliseconds.
pub fn rfc3339(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
        return "9999-12-31T23:59:59.999Z".to_owned();
    };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, milli) = at.time().as_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

/// Unix milliseconds of an RFC 3339 time with any offset; `None` where it is none or before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// `serde(with = …)`: Unix milliseconds in code, RFC 3339 on the wire.
pub mod as_rfc3339 {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the time.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*unix_ms))
    }

    /// Reads the time.
    ///
    /// # Errors
    /// Not an RFC 3339 time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        assert_eq!(rfc3339(1_735_689_600_007), "2025-01-01T00:00:00.007Z");
        assert_eq!(parse_rfc3339("2025-01-01T01:00:00.007+01:00"), Some(1_735_689_600_007));
        assert_eq!(parse_rfc3339("2004-11-15T11:22"), None);
    }
}
