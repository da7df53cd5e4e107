//! Partitions whose log this gateway cannot read on: each stops, loudly, and the others go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::ErrorBody;
use tokio::sync::watch;

use crate::telemetry;

/// The stopped partitions of a gateway. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StoppedPartitions(Arc<watch::Sender<BTreeMap<u16, String>>>);

impl StoppedPartitions {
    /// Each with the reason, now and as they stop: for the readiness check.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<u16, String>> {
        self.0.subscribe()
    }

    /// This one stops. It is taken up again by a gateway that starts after somebody has mended what the reason names.
    pub(crate) fn stop(&self, partition: u16, reason: String) {
        tracing::error!(partition, reason, "the gateway stops this partition: no events, no commands");
        metrics::gauge!(telemetry::STOPPED, "partition" => partition.to_string()).set(1.0);
        self.0.send_modify(|stopped| drop(stopped.insert(partition, reason)));
    }

    /// Whether commands of this partition are taken.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`]: its outcomes cannot be read, so nobody would be answered.
    pub(crate) fn admit(&self, partition: u16) -> Result<(), ErrorBody> {
        if self.0.borrow().contains_key(&partition) {
            return Err(ErrorBody::new(ErrorCode::Unavailable, format!("partition {partition} has stopped")));
        }
        Ok(())
    }
}
