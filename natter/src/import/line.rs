//! One line of an existing history.

use natter_schemas::error::ErrorCode;
use natter_schemas::names::{DisplayName, ExternalId, MessageText, UserId};
use natter_schemas::wire::client::import_time;
use serde::Deserialize;

/// A line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Who.
    pub user: UserId,
    /// When, as it stands in the file (RFC 3339).
    pub at: String,
    /// What.
    pub what: What,
}

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The user wrote something in a room.
    Message {
        /// The room's name; becomes the conversation's external id.
        room: ExternalId,
        /// What was written.
        text: MessageText,
    },
    /// The user took another name.
    Rename {
        /// Which.
        to: DisplayName,
    },
}

/// Why a line is refused before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As in the table of errors.
    pub code: ErrorCode,
    /// What exactly.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `room`, `user`, `at` and `text`")]
struct Raw {
    #[serde(default)]
    room: Option<String>,
    user: String,
    at: String,
    #[serde(default = "message")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

fn message() -> String {
    "message".to_owned()
}

impl Line {
    /// Parses line `number`: `{"room","user","at","text"}` or `{"user","at","kind":"rename","to"}`. Other fields are
    /// passed over, as exports of other systems have many.
    ///
    /// # Errors
    /// Not JSON, a field that is missing or beyond its limit, a kind that is not known.
    pub fn parse(number: u64, text: &str) -> Result<Self, Refusal> {
        let refuse = |code, message: String| Refusal { code, message };
        let raw: Raw = serde_json::from_str(text).map_err(|error| {
            // Its number among the file's lines is said already.
            let said = error.to_string();
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
            if error.is_data() {
                refuse(ErrorCode::InvalidField, said.to_owned())
            } else {
                refuse(ErrorCode::InvalidFrame, format!("not JSON: {said} at character {}", error.column()))
            }
        })?;
        import_time(&raw.at).map_err(|error| refuse(ErrorCode::InvalidField, format!("`at` {error}")))?;
        let what = match raw.kind.as_str() {
            "message" => {
                What::Message { room: field("room", raw.room.as_deref())?, text: field("text", raw.text.as_deref())? }
            }
            "rename" => What::Rename { to: field("to", raw.to.as_deref())? },
            other => {
                let kind: String = other.chars().take(40).collect();
                return Err(refuse(
                    ErrorCode::InvalidField,
                    format!("`kind` is `{kind}`; there are message and rename"),
                ));
            }
        };
        Ok(Self { number, user: field("user", Some(&raw.user))?, at: raw.at, what })
    }
}

fn field<'t, T>(name: &str, value: Option<&'t str>) -> Result<T, Refusal>
where
    T: TryFrom<&'t str, Error = natter_schemas::names::NameError>,
{
    let refuse = |message| Refusal { code: ErrorCode::InvalidField, message };
    let value = value.ok_or_else(|| refuse(format!("`{name}` is missing")))?;
    T::try_from(value).map_err(|error| refuse(format!("`{name}` {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_renames() {
        let line = Line::parse(7, r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":"hi","x":1}"#).unwrap();
        assert!(matches!(line.what, What::Message { .. }) && line.number == 7);
        let line = Line::parse(8, r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","kind":"rename","to":"v"}"#);
        assert!(matches!(line.unwrap().what, What::Rename { .. }));
    }

    #[test]
    fn refusals_name_the_field() {
        for (text, part) in [
            ("not json", "not JSON: expected ident at character 2"),
            ("7", "invalid type: integer `7`, expected an object with `room`, `user`, `at` and `text`"),
            (r#"{"at":"2004-12-25T09:14:00Z","user":"u","text":"hi"}"#, "`room` is missing"),
            (r#"{"room":"a","at":"yesterday","user":"u","text":"hi"}"#, "`at`"),
            (
                r#"{"room":"a","at":"2300-01-01T00:00:00Z","user":"u","text":"hi"}"#,
                "`at` is after 2299-12-31T23:59:59.999Z",
            ),
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":""}"#, "`text` is empty"),
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","kind":"poke"}"#, "`kind` is `poke`"),
        ] {
            let refusal = Line::parse(1, text).unwrap_err();
            assert!(refusal.message.contains(part), "{refusal:?}");
        }
    }
}
