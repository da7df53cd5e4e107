//! One message of a stream, whichever way it was read.

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use natter_schemas::subjects::{LEASE_HEADER, RECORDS_HEADER};

use crate::error::LogError;

/// One message of a stream: a record batch with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the broker stored it, in Unix milliseconds.
    pub stored_ms: u64,
    /// Revision of the lease under which it was written, of an outcome batch.
    pub lease: Option<u64>,
    /// How many records it holds, as its header says.
    pub records: Option<u32>,
    /// Messages of the stream that came after it when it was read; 0 where it was not asked for.
    pub behind: u64,
    /// The record batch.
    pub payload: Bytes,
}

impl Stored {
    /// A message as a consumer delivers it.
    pub(crate) fn from_consumer(message: jetstream::Message) -> Result<Self, LogError> {
        let info = message.info().map_err(|error| LogError::transient("a message without a reply subject", error))?;
        let (sequence, behind) = (info.stream_sequence, info.pending);
        let stored_ms = unix_ms(info.published.unix_timestamp_nanos());
        let headers = message.message.headers.as_ref();
        let (lease, records) = (number(headers, LEASE_HEADER), number(headers, RECORDS_HEADER));
        Ok(Self { sequence, stored_ms, lease, records, behind, payload: message.message.payload })
    }

    /// A message as direct get answers it.
    pub(crate) fn from_direct(message: async_nats::Message) -> Result<Self, LogError> {
        let behind = number(message.headers.as_ref(), "Nats-Num-Pending").unwrap_or(0);
        let message = StreamMessage::try_from(message).map_err(|error| LogError::transient("direct get", error))?;
        Ok(Self { behind, ..Self::from(message) })
    }
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            stored_ms: unix_ms(message.time.unix_timestamp_nanos()),
            lease: number(Some(&message.headers), LEASE_HEADER),
            records: number(Some(&message.headers), RECORDS_HEADER),
            behind: 0,
            payload: message.payload,
        }
    }
}

/// The number in a header, where there is one.
pub(crate) fn number<T: std::str::FromStr>(headers: Option<&HeaderMap>, name: &str) -> Option<T> {
    headers?.get(name)?.as_str().parse().ok()
}

fn unix_ms(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}
