//! Two people who chat on, whatever happens around them.

use std::fmt;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::system::System;
use crate::gateway::client::Client;

/// Below the limit of a session's rate.
const EVERY: Duration = Duration::from_millis(25);

pub struct Bystander {
    stop: CancellationToken,
    chat: JoinHandle<Latencies>,
}

/// From the sending of a message to its arrival at the other.
pub struct Latencies(Vec<Duration>);

impl Bystander {
    pub async fn start(system: &System) -> Bystander {
        let mut carol = Client::open(system.address, &System::token("carol")).await;
        let mut dave = Client::open(system.address, &System::token("dave")).await;
        let create = json!({ "cmd": "conversation.create", "kind": "direct", "members": ["dave"], "ref": "chat" });
        let chat = carol.ok(create).await["conversation"].clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let chat = tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut pace = interval(EVERY);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stopped.is_cancelled() {
                let (count, sent) = (latencies.len() + 1, Instant::now());
                let message = json!({ "cmd": "message.send", "conversation": chat, "ref": count.to_string(), "text": "still here" });
                let answer = carol.ok(message).await;
                assert_eq!(answer["seq"], count, "no seq is missing");
                while dave.pushed().await["message"] != answer["message"] {}
                latencies.push(sent.elapsed());
                // Both read while they wait, so pings are answered.
                let waited = tokio::select! {
                    _ = pace.tick() => None,
                    frame = carol.frame() => Some(frame),
                    frame = dave.frame() => Some(frame),
                };
                assert!(waited.is_none_or(|frame| frame.is_ok()), "a session of the bystander's ended");
            }
            Latencies(latencies)
        });
        Bystander { stop, chat }
    }

    pub async fn stop(self) -> Latencies {
        self.stop.cancel();
        self.chat.await.expect("all went well")
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |share: usize| sorted[(sorted.len() - 1) * share / 100];
        write!(formatter, "{} messages: p50 {:?}, p99 {:?}, longest {:?}", sorted.len(), at(50), at(99), at(100))
    }
}
