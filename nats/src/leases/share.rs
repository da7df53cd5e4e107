//! How the partitions of a role are shared among the processes that play it: each at most `ceil(P / processes)`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use natter_schemas::subjects::{LEASES_BUCKET, lease_key};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::watched::Watched;
use super::{Lease, LeaseOptions, Phase};
use crate::bucket::{Bucket, value};
use crate::connection::Log;
use crate::error::LogError;
use crate::telemetry;

/// Acquires leases for one process in one role, and hands some over when another process comes.
#[derive(Debug)]
pub struct Leases {
    stop: oneshot::Sender<oneshot::Sender<()>>,
}

impl Leases {
    /// Starts to acquire leases of `role` for a process called `name`. Each comes out of the receiver once acquired; the
    /// worker keeps it, stops when [`Lease::ended`], and releases it.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn start(
        log: &Log,
        role: &str,
        name: &str,
        options: LeaseOptions,
    ) -> Result<(Self, mpsc::Receiver<Lease>), LogError> {
        let options = options.for_replicas(log.replicas());
        let random =
            getrandom::u64().map_err(|error| LogError::transient("no random bytes for a holder's name", error))?;
        let holder = format!("{}-{random:016x}", key_token(name));
        let bucket = Bucket::new(log, LEASES_BUCKET);
        let hints = log.client().subscribe(bucket.subject(&format!("{role}.*"))).await;
        let hints = hints.map_err(|error| LogError::transient("cannot subscribe to leases", error))?;
        let (acquired, leases) = mpsc::channel(usize::from(log.partitions()));
        let (stop, stopped) = oneshot::channel();
        let sharer = Sharer {
            log: log.clone(),
            bucket,
            role: role.to_owned(),
            presence: format!("presence.{role}.{holder}"),
            first: u16::try_from(random % u64::from(log.partitions())).unwrap_or(0),
            holder,
            options,
            watched: Watched::new(options.dead, 4 * options.look),
            held: Vec::new(),
            acquired,
        };
        tokio::spawn(sharer.run(hints, stopped));
        Ok((Self { stop }, leases))
    }

    /// Acquires no more; the receiver ends. Leases that are held stay so until their workers release them.
    pub async fn stop(self) {
        let (done, gone) = oneshot::channel();
        if self.stop.send(done).is_ok() {
            gone.await.ok();
        }
    }
}

struct Sharer {
    log: Log,
    bucket: Bucket,
    role: String,
    holder: String,
    /// The key that says that this process plays the role.
    presence: String,
    /// Where to begin looking, so that processes do not all race for the same partitions.
    first: u16,
    options: LeaseOptions,
    watched: Watched,
    held: Vec<(u16, Arc<watch::Sender<Phase>>)>,
    acquired: mpsc::Sender<Lease>,
}

impl Sharer {
    async fn run(mut self, mut hints: Subscriber, mut stopped: oneshot::Receiver<oneshot::Sender<()>>) {
        let mut looks = tokio::time::interval(self.options.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Option<Instant> = None;
        loop {
            tokio::select! {
                // Also when the handle is dropped.
                done = &mut stopped => return self.leave(done.ok()).await,
                _ = looks.tick() => {}
                hint = hints.next() => {
                    let Some(hint) = hint else { return };
                    // A value is a renewal. What ends a lease is published before it is stored, so this is a hint only.
                    if value(hint.headers.as_ref(), Bytes::new()).is_some() {
                        continue;
                    }
                }
            }
            let round = async {
                if shown.is_none_or(|shown| shown.elapsed() >= self.options.renew) {
                    let present = Bytes::from_static(b"1");
                    self.bucket.put(&self.presence, present, self.options.ttl.max(Duration::from_secs(3))).await?;
                    shown = Some(Instant::now());
                }
                self.look().await
            };
            if let Err(error) = round.await {
                self.watched.failed();
                tracing::debug!(role = self.role, %error, "looking for leases again");
            }
        }
    }

    async fn look(&mut self) -> Result<(), LogError> {
        self.held.retain(|(_, phase)| !matches!(*phase.borrow(), Phase::Lost | Phase::Released));
        let (presences, leases) = (format!("presence.{}.", self.role), format!("{}.", self.role));
        let filters = [format!("{presences}*"), format!("{leases}*")];
        let mut keys = self.bucket.matching(&filters.each_ref().map(String::as_str)).await?;
        let dead = self.watched.take_dead(Instant::now(), &mut keys);
        self.bury(dead).await?;
        let is_other = |key: &str| key.starts_with(&presences) && key != self.presence;
        let processes = 1 + keys.iter().filter(|(key, _)| is_other(key)).count();
        let share = usize::from(self.log.partitions()).div_ceil(processes);
        if self.held.len() > share {
            self.ask(self.held.len() - share);
        } else if self.held.len() < share {
            let taken = keys.into_iter().map(|(key, _)| key).filter(|key| key.starts_with(&leases)).collect();
            self.acquire(share - self.held.len(), &taken).await?;
        }
        Ok(())
    }

    /// Ends keys that nobody keeps alive.
    async fn bury(&self, dead: Vec<(String, u64)>) -> Result<(), LogError> {
        for (key, revision) in dead {
            // Whoever it belongs to may have moved it at this very moment, or another process was faster.
            if self.bucket.delete(&key, Some(revision)).await? {
                metrics::counter!(telemetry::LEASES_BURIED, "role" => self.role.clone()).increment(1);
                tracing::warn!(key, "nobody renews it, and the broker does not end it: ended");
            }
        }
        Ok(())
    }

    /// Asks `surplus` of the workers here to hand over.
    fn ask(&self, surplus: usize) {
        let asked = self.held.iter().filter(|(_, phase)| *phase.borrow() != Phase::Held).count();
        let held = self.held.iter().filter(|(_, phase)| *phase.borrow() == Phase::Held);
        for (partition, phase) in held.take(surplus.saturating_sub(asked)) {
            tracing::info!(role = self.role, partition, "handing over to another process");
            phase.send_if_modified(|phase| {
                *phase == Phase::Held && std::mem::replace(phase, Phase::Asked) == Phase::Held
            });
        }
    }

    /// Acquires up to `wanted` leases that are not `taken`.
    async fn acquire(&mut self, wanted: usize, taken: &HashSet<String>) -> Result<(), LogError> {
        let partitions = self.log.partitions();
        let free = (0..partitions).map(|offset| (self.first + offset) % partitions);
        let free: Vec<u16> = free.filter(|partition| !taken.contains(&lease_key(&self.role, *partition))).collect();
        let mut left = wanted;
        for partition in free {
            if left == 0 {
                break;
            }
            let lease = Lease::acquire(&self.log, &self.role, partition, &self.holder, self.options).await?;
            let Some(lease) = lease else { continue };
            left -= 1;
            self.held.push((partition, Arc::clone(&lease.phase)));
            // There is room for all; where nobody listens any more the lease is dropped and so released.
            self.acquired.send(lease).await.ok();
        }
        Ok(())
    }

    async fn leave(self, done: Option<oneshot::Sender<()>>) {
        if let Err(error) = self.bucket.delete(&self.presence, None).await {
            tracing::debug!(role = self.role, %error, "a presence is left to expire");
        }
        if let Some(done) = done {
            done.send(()).ok();
        }
    }
}

/// `name` as one token of a key.
fn key_token(name: &str) -> String {
    let token = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' });
    token.take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tokens() {
        assert_eq!(key_token("host.example.org:7 *"), "host-example-org-7--");
    }
}
