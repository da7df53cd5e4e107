//! Resident memory of a process over time.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bench::processes::resident_bytes;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// When it was looked at, and how many bytes there were.
pub type Samples = Vec<(Instant, u64)>;

/// Looks at a process until it has gone.
pub fn watch(pid: u32) -> JoinHandle<Samples> {
    tokio::spawn(async move {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut samples = Samples::new();
        loop {
            looks.tick().await;
            // A process that has ended and is not waited for has no memory any more.
            let Some(bytes) = resident_bytes(pid) else { return samples };
            samples.push((Instant::now(), bytes));
        }
    })
}
