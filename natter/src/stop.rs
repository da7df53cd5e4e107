//! Signals that end a process.

use tokio::signal::unix::{SignalKind, signal as on};
use tokio_util::sync::CancellationToken;

/// Cancelled at the first SIGINT or SIGTERM; the second ends the process at once, and its children with it.
///
/// # Errors
/// The signals cannot be had.
pub fn signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let cancelled = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            cancelled.cancel();
        }
    });
    Ok(stop)
}
