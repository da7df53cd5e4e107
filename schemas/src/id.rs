//! Snowflake ids as a function of the log.
//!
//! Layout of the 63 bits: 41 bits of milliseconds since [`EPOCH_MS`], 10 bits of slot, 12 bits of counter. The
//! milliseconds and the counter are folded over the partition ([`IdState`]), so deciding the same log again gives
//! the same ids whatever any clock says.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::slot::Slot;

/// 2025-01-01T00:00:00Z in Unix milliseconds. Part of every id ever made: never changes.
pub const EPOCH_MS: u64 = 1_735_689_600_000;

const COUNTER_BITS: u32 = 12;
const SLOT_BITS: u32 = 10;
const COUNTER_MAX: u16 = (1 << COUNTER_BITS) - 1;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: `{0}` (a decimal string of 1 to 9223372036854775807)")]
pub struct IdError(String);

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
        pub struct $name(u64);

        impl $name {
            /// The id with these 63 bits.
            pub const fn from_raw(raw: u64) -> Self {
                Self(raw)
            }

            /// The 63 bits.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The slot in the id.
            pub const fn slot(self) -> Slot {
                Slot::from_bits(self.0 >> COUNTER_BITS)
            }

            /// The id's log time, in Unix milliseconds.
            pub const fn unix_ms(self) -> u64 {
                (self.0 >> (COUNTER_BITS + SLOT_BITS)) + EPOCH_MS
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse::<i64>() {
                    Ok(raw) if digits && raw > 0 && !text.starts_with('0') => Ok(Self(raw.unsigned_abs())),
                    _ => Err(IdError(text.chars().take(40).collect())),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

id_type! {
    /// A conversation's id; in JSON a decimal string.
    ConversationId
}
id_type! {
    /// A message's id; in JSON a decimal string. Its slot is its conversation's.
    MessageId
}

/// The id fold of one partition: the newest id's milliseconds (since [`EPOCH_MS`]) and counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct IdState {
    ms: u64,
    counter: u16,
}

impl IdState {
    /// Takes a batch's stored time (Unix milliseconds) in: time never goes back, whatever the broker's clock does.
    pub fn advance(&mut self, stored_ms: u64) {
        let ms = stored_ms.saturating_sub(EPOCH_MS);
        if ms > self.ms {
            *self = Self { ms, counter: 0 };
        }
    }

    /// The next id's bits for an aggregate in `slot`. A counter that overflows carries into the milliseconds.
    pub fn next(&mut self, slot: Slot) -> u64 {
        if self.counter == COUNTER_MAX {
            self.ms += 1;
            self.counter = 0;
        } else {
            self.counter += 1;
        }
        (self.ms << (COUNTER_BITS + SLOT_BITS)) | (u64::from(slot.get()) << COUNTER_BITS) | u64::from(self.counter)
    }

    /// The fold's time, in Unix milliseconds.
    pub const fn unix_ms(self) -> u64 {
        self.ms + EPOCH_MS
    }

    /// The fold just after it made the id with these bits. The fold never goes back, so a batch that ends below this came before the id was made, and the
    /// first that does not is the one that made it, if any did.
    pub const fn after(id: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "twelve bits are left")]
        let counter = (id & COUNTER_MAX as u64) as u16;
        Self { ms: id >> (COUNTER_BITS + SLOT_BITS), counter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_layout() {
        let mut state = IdState::default();
        state.advance(EPOCH_MS + 5);
        let id = MessageId::from_raw(state.next(Slot::from_bits(1023)));
        assert_eq!(id.get(), (5 << 22) | (1023 << 12) | 1);
        assert_eq!(id.slot().get(), 1023);
        assert_eq!(id.unix_ms(), EPOCH_MS + 5);
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "0", "-1", "+1", "01", "1.0", "9223372036854775808", "x", " 1"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
        assert_eq!("9223372036854775807".parse(), Ok(MessageId::from_raw(i64::MAX as u64)));
    }

    proptest! {
        /// Invariant 2: ids rise within a slot and are unique over slots, whatever the broker's clock does.
        #[test]
        fn ids_rise_whatever_the_clock(times in prop::collection::vec(0..EPOCH_MS * 2, 1..40), per_batch in 1..6000_usize) {
            let mut state = IdState::default();
            let mut last = 0;
            for stored_ms in times {
                state.advance(stored_ms);
                for _ in 0..per_batch.min(200) {
                    let id = state.next(Slot::from_bits(7));
                    prop_assert!(id > last && id < 1 << 63);
                    prop_assert_eq!(IdState::after(id), state);
                    last = id;
                }
            }
        }
    }
}
