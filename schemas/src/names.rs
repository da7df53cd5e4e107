//! Names and texts that were checked once. `TryFrom<&str>` is the only way in from outside; the type is the proof.
//!
//! Bytes read back from the log are not checked again: a limit that shrinks later must not make old records
//! unreadable.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{
    EXTERNAL_BYTES_MAX, NAME_SCALARS_MAX, REF_BYTES_MAX, TENANT_BYTES_MAX, TEXT_SCALARS_MAX, USER_BYTES_MAX,
};

/// Why a name or text was refused; the message names the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// Longer than allowed.
    #[error("has {actual} {unit}, at most {limit} are allowed")]
    TooLong {
        /// What was counted: `bytes` or `characters`.
        unit: &'static str,
        /// How many there are.
        actual: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A character that may not be in it.
    #[error("contains {0:?}, which is not allowed")]
    Character(char),
    /// The same, where so few may be that they are named.
    #[error("contains {0:?}: only {1} are allowed")]
    Outside(char, &'static str),
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        text_type! { $(#[$doc])* $name, as_it_is, $check }
    };
    ($(#[$doc:meta])* $name:ident, $written:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A text that this system wrote itself (log, views): not checked again.
            pub fn trusted(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                let written: fn(&str) -> Cow<'_, str> = $written;
                let check: fn(&str) -> Result<(), NameError> = $check;
                let text = written(text);
                check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::try_from(text.as_ref()).map_err(D::Error::custom)
            }
        }

        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.as_str().encode(encoder)
            }
        }

        impl<Context> Decode<Context> for $name {
            fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self(String::decode(decoder)?.into()))
            }
        }

        impl<'de, Context> BorrowDecode<'de, Context> for $name {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self(<&str>::borrow_decode(decoder)?.into()))
            }
        }
    };
}

text_type! {
    /// One application served by a deployment: `[a-z0-9-]{1,32}`.
    Tenant, |text| {
        bytes_within(text, TENANT_BYTES_MAX)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        text.chars().find(|c| !allowed(*c)).map_or(Ok(()), |c| Err(NameError::Outside(c, "a to z, 0 to 9 and -")))
    }
}
text_type! {
    /// A user's id, the host application's own: 1 to 128 bytes, no control characters.
    UserId, |text| {
        bytes_within(text, USER_BYTES_MAX)?;
        only(text, |c| !c.is_control())
    }
}
text_type! {
    /// A host application's own name of a conversation, unique in its tenant: 1 to 128 bytes, no control characters.
    ExternalId, |text| {
        bytes_within(text, EXTERNAL_BYTES_MAX)?;
        only(text, |c| !c.is_control())
    }
}
text_type! {
    /// A client's own name of a command (`ref`): 1 to 64 bytes of printable ASCII.
    Ref, |text| {
        bytes_within(text, REF_BYTES_MAX)?;
        only(text, |c| c.is_ascii_graphic())
    }
}
text_type! {
    /// A conversation's or a user's display name: 1 to 128 Unicode scalars, no control characters.
    DisplayName, |text| {
        scalars_within(text, NAME_SCALARS_MAX)?;
        only(text, |c| !c.is_control())
    }
}
text_type! {
    /// A message's text: 1 to 4,096 Unicode scalars, no C0 control characters but tab and newline. CR LF, and CR alone, is
    /// a newline.
    MessageText, with_newlines, |text| {
        scalars_within(text, TEXT_SCALARS_MAX)?;
        only(text, |c| c >= ' ' || c == '\t' || c == '\n')
    }
}

const fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn with_newlines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(text) }
}

fn bytes_within(text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        actual if actual > limit => Err(NameError::TooLong { unit: "bytes", actual, limit }),
        _ => Ok(()),
    }
}

fn scalars_within(text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    // Bytes bound scalars, so most texts are not counted.
    if text.len() <= limit {
        return Ok(());
    }
    match text.chars().count() {
        actual if actual > limit => Err(NameError::TooLong { unit: "characters", actual, limit }),
        _ => Ok(()),
    }
}

fn only(text: &str, allowed: fn(char) -> bool) -> Result<(), NameError> {
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants() {
        assert!(Tenant::try_from("acme-2").is_ok());
        assert_eq!(Tenant::try_from(""), Err(NameError::Empty));
        let said = Tenant::try_from("Acme").unwrap_err().to_string();
        assert_eq!(said, "contains 'A': only a to z, 0 to 9 and - are allowed");
        assert!(matches!(
            Tenant::try_from("a".repeat(33).as_str()),
            Err(NameError::TooLong { actual: 33, limit: 32, .. })
        ));
    }

    #[test]
    fn texts() {
        assert!(MessageText::try_from("a\tb\nc").is_ok());
        assert_eq!(MessageText::try_from("a\0b"), Err(NameError::Character('\0')));
        assert!(MessageText::try_from("é".repeat(4096).as_str()).is_ok());
        assert!(matches!(
            MessageText::try_from("é".repeat(4097).as_str()),
            Err(NameError::TooLong { unit: "characters", actual: 4097, limit: 4096 })
        ));
    }

    #[test]
    fn every_line_of_a_text_ends_with_a_newline() {
        for (sent, kept) in [
            ("a\r\nb", "a\nb"),
            ("a\rb\r", "a\nb\n"),
            ("a\r\r\nb\n\rc", "a\n\nb\n\nc"),
            ("\r\n", "\n"),
            ("a\nb", "a\nb"),
        ] {
            assert_eq!(MessageText::try_from(sent).unwrap().as_str(), kept);
        }
        // Counted as it is kept.
        assert!(MessageText::try_from("a\r\n".repeat(2048).as_str()).is_ok());
        assert_eq!(DisplayName::try_from("a\r"), Err(NameError::Character('\r')));
        let sent: MessageText = serde_json::from_str("\"a\\r\\nb\"").unwrap();
        assert_eq!(sent.as_str(), "a\nb");
    }

    #[test]
    fn json_goes_through_the_same_door() {
        assert!(serde_json::from_str::<UserId>("\"ada\"").is_ok());
        assert!(serde_json::from_str::<UserId>("\"a\\u0000\"").is_err());
    }
}
