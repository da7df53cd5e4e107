//! A line as its format tells it, and the one way from there to a [`Line`].

use std::borrow::Cow;

use natter_schemas::limits::IMPORT_AT_MS_MAX;
use natter_schemas::names::{DisplayName, NameError};
use natter_schemas::wire::client::{ImportTimeError, import_time};
use natter_schemas::wire::times::{parse_rfc3339, rfc3339};
use serde::Serialize;

use super::identity::{Identified, Identifier};
use super::line::{Line, Refusal, What};

/// What a format tells of a line; nothing in it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// Where; of a rename nothing.
    pub room: Option<String>,
    /// Who, by id.
    pub user: String,
    /// What the source calls the user; `None`: by the id.
    pub called: Option<String>,
    /// When.
    pub at: At,
    /// What the source itself calls the line.
    pub id: Option<String>,
    /// What.
    pub what: DraftWhat,
    /// Whether control characters were dropped before it could be read at all.
    pub is_cleaned: bool,
}

/// What a draft tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DraftWhat {
    /// A message of this text.
    Message(Option<String>),
    /// Another display name.
    Rename(Option<String>),
}

impl Default for DraftWhat {
    fn default() -> Self {
        Self::Message(None)
    }
}

/// When something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum At {
    /// As it is written (RFC 3339).
    Written(String),
    /// Unix milliseconds.
    Ms(i64),
}

impl Default for At {
    fn default() -> Self {
        Self::Ms(0)
    }
}

/// Makes lines of drafts: cleans, checks and identifies.
#[derive(Debug)]
pub struct Drafting {
    clean: bool,
    identifier: Identifier,
    /// Control characters that were dropped.
    dropped: u64,
}

impl Drafting {
    /// With `clean`, control characters are dropped instead of refused.
    pub const fn new(clean: bool, identifier: Identifier) -> Self {
        Self { clean, identifier, dropped: 0 }
    }

    /// Control characters that were dropped so far.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The line of a draft.
    ///
    /// # Errors
    /// A field is missing or beyond its limit.
    pub fn line(&mut self, number: u64, draft: Draft) -> Result<Line, Refusal> {
        let dropped = self.dropped;
        let Draft { room, user, called, at, id, what, is_cleaned } = draft;
        let at_ms = moment(&at).map_err(|error| Refusal::field(format!("`at` {error}")))?;
        let what = match what {
            DraftWhat::Message(text) => {
                What::Message { room: self.field("room", room, is_name)?, text: self.field("text", text, is_text)? }
            }
            DraftWhat::Rename(to) => What::Rename { to: self.field("to", to, is_name)? },
        };
        let user = self.field("user", Some(user), is_name)?;
        let called = called.as_deref().and_then(name_of);
        let identified = Identified {
            number,
            user: &user,
            at_ms,
            id: id.as_deref(),
            what: &what,
            is_cleaned: is_cleaned || dropped != self.dropped,
        };
        let identity = self.identifier.identity(&identified)?;
        let at = match at {
            At::Written(at) => at,
            At::Ms(_) => rfc3339(at_ms),
        };
        Ok(Line { number, user, called, at, what, identity })
    }

    fn field<T>(&mut self, name: &str, value: Option<String>, is_allowed: fn(char) -> bool) -> Result<T, Refusal>
    where
        T: for<'t> TryFrom<&'t str, Error = NameError>,
    {
        let value = value.ok_or_else(|| Refusal::field(format!("`{name}` is missing")))?;
        let value = if self.clean { self.cleaned(&value, is_allowed) } else { Cow::Borrowed(value.as_str()) };
        T::try_from(&value).map_err(|error| match error {
            NameError::Character(c) if c.is_control() => {
                Refusal::field(format!("`{name}` {error}; --clean drops control characters"))
            }
            error => Refusal::field(format!("`{name}` {error}")),
        })
    }

    fn cleaned<'t>(&mut self, value: &'t str, is_allowed: fn(char) -> bool) -> Cow<'t, str> {
        let dropped = value.chars().filter(|c| !is_allowed(*c)).count();
        if dropped == 0 {
            return Cow::Borrowed(value);
        }
        self.dropped += dropped as u64;
        Cow::Owned(value.chars().filter(|c| is_allowed(*c)).collect())
    }
}

/// What the name of somebody is where a source has one: without control characters, and no longer than a name may be.
fn name_of(called: &str) -> Option<DisplayName> {
    let name: String = called.chars().filter(|c| is_name(*c)).take(natter_schemas::limits::NAME_SCALARS_MAX).collect();
    DisplayName::try_from(name.trim()).ok()
}

fn is_name(c: char) -> bool {
    !c.is_control()
}

fn is_text(c: char) -> bool {
    c >= ' ' || matches!(c, '\t' | '\n' | '\r')
}

fn moment(at: &At) -> Result<u64, ImportTimeError> {
    match at {
        At::Written(at) => {
            import_time(at)?;
            parse_rfc3339(at).ok_or(ImportTimeError::Unreadable)
        }
        At::Ms(ms) => match u64::try_from(*ms) {
            Err(_) => Err(ImportTimeError::Unreadable),
            Ok(ms) if ms > IMPORT_AT_MS_MAX => Err(ImportTimeError::TooLate),
            Ok(ms) => Ok(ms),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Draft {
        Draft {
            room: Some("r".to_owned()),
            user: "u\u{1}".to_owned(),
            at: At::Ms(5),
            what: DraftWhat::Message(Some(text.to_owned())),
            ..Draft::default()
        }
    }

    #[test]
    fn control_characters_are_refused_or_dropped_and_counted() {
        let mut strict = Drafting::new(false, Identifier::new(None, [0; 16]));
        let refusal = strict.line(1, draft("a\0b")).unwrap_err();
        assert!(
            refusal.message.contains("`text` contains '\\0'") && refusal.message.contains("--clean"),
            "{refusal:?}"
        );
        let mut cleaning = Drafting::new(true, Identifier::new(None, [0; 16]));
        let line = cleaning.line(1, draft("a\0b\r\nc\u{1b}\td")).unwrap();
        assert!(matches!(&line.what, What::Message { text, .. } if text.as_str() == "ab\nc\td"), "{line:?}");
        assert_eq!((line.user.as_str(), cleaning.dropped()), ("u", 3));
        assert!(line.identity.is_some(), "it was refused without --clean, and others taken after it");
        assert!(cleaning.line(2, draft("\0")).unwrap_err().message.contains("`text` is empty"));
    }

    #[test]
    fn times_are_of_the_history() {
        let mut drafting = Drafting::new(false, Identifier::new(None, [0; 16]));
        for (at, says) in [
            (At::Ms(-1), "`at` is not an RFC 3339 time since 1970"),
            (At::Ms(i64::MAX), "`at` is after 2299-12-31"),
            (At::Written("yesterday".to_owned()), "`at` is not an RFC 3339 time since 1970"),
        ] {
            let refusal = drafting.line(1, Draft { at, ..draft("hi") }).unwrap_err();
            assert!(refusal.message.contains(says), "{refusal:?}");
        }
    }
}
