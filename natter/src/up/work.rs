//! The roles at work in this process.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::roles;

/// The roles in the order of the flow, and how long each may take to drain.
const FLOW: [(&str, Duration); 3] = [
    ("gateway", Duration::from_millis(4500)),
    ("processor", Duration::from_secs(1)),
    ("projector", Duration::from_millis(1500)),
];

/// The roles at work, in the order of the flow.
pub struct Work([Role; 3]);

struct Role {
    name: &'static str,
    drain_max: Duration,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Work {
    /// Lets gateway, processor and projector loose, each to be ended by its token.
    pub fn start(roles: [roles::Role; 3], shutdowns: [CancellationToken; 3]) -> Self {
        let mut parts = roles.into_iter().zip(shutdowns);
        Self(FLOW.map(|(name, drain_max)| {
            let (role, shutdown) = parts.next().expect("as many as there are in the flow");
            Role { name, drain_max, shutdown, task: tokio::spawn(role.work) }
        }))
    }

    /// Returns when a role has ended, which none should by itself.
    pub async fn broken(&mut self) -> anyhow::Error {
        let [gateway, processor, projector] = &mut self.0;
        tokio::select! {
            error = gateway.broken() => error,
            error = processor.broken() => error,
            error = projector.broken() => error,
        }
    }

    /// Ends one role after the other, as things flow: who writes before who reads it.
    pub async fn end(self, deadline: Instant) {
        for role in self.0 {
            role.end(deadline).await;
        }
    }
}

impl Role {
    async fn broken(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("the {} ended by itself", self.name),
            Ok(Err(error)) => error,
            Err(error) => anyhow::anyhow!("the {} broke: {error}", self.name),
        }
    }

    async fn end(self, deadline: Instant) {
        self.shutdown.cancel();
        if self.task.is_finished() {
            return;
        }
        let abort = self.task.abort_handle();
        let deadline = deadline.min(Instant::now() + self.drain_max);
        match timeout_at(deadline, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(role = self.name, error = format!("{error:#}"), "drained with an error");
            }
            Ok(Err(error)) => tracing::warn!(role = self.name, %error, "broke while it drained"),
            Err(_) => {
                tracing::warn!(role = self.name, "did not drain in time; nothing stored is lost");
                abort.abort();
            }
        }
    }
}
