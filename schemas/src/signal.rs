//! Signals as gateways send them to each other: packed, over core NATS, at most once. Never stored.
//!
//! `version u8 | bincode of a list of signals`. A gateway that does not know the version passes the batch over.

use bincode::{Decode, Encode};

use crate::codec::{self, CodecError};
use crate::id::ConversationId;
use crate::names::{Tenant, UserId};
use crate::wire::client::Signal;

/// The version that this binary writes and reads.
pub const VERSION: u8 = 1;

/// A signal with its sender and place.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PlacedSignal {
    /// The application.
    pub tenant: Tenant,
    /// In which conversation.
    pub conversation: ConversationId,
    /// Who signals.
    pub user: UserId,
    /// What.
    pub signal: Signal,
}

/// Many signals as one message.
pub fn pack(signals: &Vec<PlacedSignal>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&codec::encode(signals));
    bytes
}

/// The signals in a message.
///
/// # Errors
/// Another version, or no signals.
pub fn unpack(bytes: &[u8]) -> Result<Vec<PlacedSignal>, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Truncated("version")),
        Some((&VERSION, signals)) => codec::decode("signals", signals),
        Some((found, _)) => Err(CodecError::Version { found: *found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_signals_come_out_again() {
        let signal = PlacedSignal {
            tenant: Tenant::trusted("demo"),
            conversation: ConversationId::from_raw(77),
            user: UserId::trusted("ada"),
            signal: Signal::Typing,
        };
        let signals = vec![signal.clone(), PlacedSignal { user: UserId::trusted("bob"), ..signal }];
        let bytes = pack(&signals);
        assert_eq!(unpack(&bytes), Ok(signals));
        for end in 0..bytes.len() {
            assert!(unpack(&bytes[..end]).is_err());
        }
        assert_eq!(unpack(&[2, 0]), Err(CodecError::Version { found: 2 }));
    }
}
