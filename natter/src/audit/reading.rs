//! Reading a stream to where it is known to reach.

use std::time::Duration;

use natter_nats::{Log, LogError, Reader, ReaderOptions, Stored};
use tokio::time::timeout;

/// A message that is known to be stored comes within this, or the broker is away.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// Reads a stream in order.
pub(super) struct Tail {
    reader: Reader,
    stream: String,
}

impl Tail {
    pub(super) async fn open(log: &Log, stream: &str, from: u64) -> Result<Self, LogError> {
        let reader = Reader::open(log, stream, from, ReaderOptions::default()).await?;
        Ok(Self { reader, stream: stream.to_owned() })
    }

    pub(super) const fn next_sequence(&self) -> u64 {
        self.reader.next_sequence()
    }

    /// The next message, which is known to be there.
    pub(super) async fn next(&mut self) -> Result<Stored, LogError> {
        let next = self.reader.next_sequence();
        timeout(COMES_WITHIN, self.reader.next()).await.unwrap_or_else(|_| {
            let seconds = COMES_WITHIN.as_secs();
            Err(LogError::Transient(format!("message {next} of {} did not come within {seconds} s", self.stream)))
        })
    }
}
