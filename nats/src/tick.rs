//! Ticks: command batches without commands, by which log time moves on where nobody says anything (invariant 16).

use std::time::Duration;

use async_nats::HeaderMap;
use natter_schemas::codec::CommandBatchWriter;
use natter_schemas::subjects::{RECORDS_HEADER, command_subject};

use crate::connection::Log;
use crate::error::LogError;

const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Names no publisher: nobody waits for what comes of a tick.
const PUBLISHER: u64 = 0;

impl Log {
    /// Publishes a tick to `CMD_partition`. One too many does no harm.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not acknowledge it.
    pub async fn publish_tick(&self, partition: u16) -> Result<(), LogError> {
        let (header, bytes) = CommandBatchWriter::default().finish(PUBLISHER, 0);
        let mut headers = HeaderMap::new();
        headers.insert(RECORDS_HEADER, header.records.to_string());
        let stored = self.link().publish(command_subject(partition), headers, bytes.into(), ACK_TIMEOUT).await;
        stored.map(drop).map_err(|error| error.into_transient(format!("publishing a tick of partition {partition}")))
    }
}
