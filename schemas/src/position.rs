//! Positions in the log: `partition:sequence`, and `partition:sequence:index` for one outcome of a batch.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::PARTITIONS_MAX;

/// A place in `EVT_p`. Without an index it means the whole batch: "after `3:501`" is after everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The partition `p`.
    pub partition: u16,
    /// The batch's sequence in `EVT_p`, from 1.
    pub sequence: u64,
    /// The outcome's index in its batch, from 0.
    pub index: Option<u32>,
}

impl Position {
    /// The whole batch at `sequence`.
    pub const fn batch(partition: u16, sequence: u64) -> Self {
        Self { partition, sequence, index: None }
    }

    /// One outcome of a batch.
    pub const fn outcome(partition: u16, sequence: u64, index: u32) -> Self {
        Self { partition, sequence, index: Some(index) }
    }

    /// Sequence and index as one number that rises with the position within a partition: a view row's version.
    pub fn version(self) -> u64 {
        version(self.sequence, self.index.unwrap_or(INDEX_MAX))
    }

    /// The position in `partition` with this [`Position::version`].
    pub fn from_version(partition: u16, version: u64) -> Self {
        let index = u32::try_from(version & u64::from(INDEX_MAX)).unwrap_or(INDEX_MAX);
        Self { partition, sequence: version >> INDEX_BITS, index: (index != INDEX_MAX).then_some(index) }
    }
}

/// Bits of a version that hold the index: a batch has at most 64 × 1,000 outcomes.
pub const INDEX_BITS: u32 = 17;
/// The index of a whole batch in a version.
pub const INDEX_MAX: u32 = (1 << INDEX_BITS) - 1;
const _: () =
    assert!(crate::limits::OUTCOME_BATCH_SOURCES_MAX * crate::limits::COMMAND_BATCH_RECORDS_MAX < INDEX_MAX as usize);

/// `sequence` and `index` folded into one rising number.
pub fn version(sequence: u64, index: u32) -> u64 {
    (sequence << INDEX_BITS) | u64::from(index.min(INDEX_MAX))
}

/// Why a text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position: `{0}` (partition:sequence or partition:sequence:index)")]
pub struct PositionError(String);

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.partition, self.sequence)?;
        match self.index {
            Some(index) => write!(formatter, ":{index}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let refused = || PositionError(text.chars().take(60).collect());
        let mut parts = text.split(':').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u64>().ok().filter(|_| digits)
        });
        let mut part = || parts.next();
        let (Some(Some(partition)), Some(Some(sequence))) = (part(), part()) else {
            return Err(refused());
        };
        let index = match part() {
            None => None,
            Some(Some(index)) => Some(u32::try_from(index).map_err(|_| refused())?),
            Some(None) => return Err(refused()),
        };
        let partition = u16::try_from(partition).ok().filter(|p| *p < PARTITIONS_MAX).ok_or_else(refused)?;
        if part().is_some() || sequence >> (64 - INDEX_BITS) != 0 {
            return Err(refused());
        }
        Ok(Self { partition, sequence, index })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_positions_are_refused() {
        for text in ["", "1", "1:", ":1", "1:2:", "1:2:3:4", "+1:2", "1024:1", "1:-2", "1:99999999999999999999"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_batch_comes_after_its_outcomes() {
        assert!(Position::batch(3, 501).version() > Position::outcome(3, 501, 63_999).version());
        assert!(Position::batch(3, 501).version() < Position::outcome(3, 502, 0).version());
    }

    proptest! {
        #[test]
        fn text_and_version_round_trip(p in 0..1024_u16, sequence in 0..1_u64 << 40, index in prop::option::of(0..64_000_u32)) {
            let position = Position { partition: p, sequence, index };
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
            prop_assert_eq!(Position::from_version(p, position.version()), position);
        }
    }
}
