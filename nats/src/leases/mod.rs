//! Leases: one worker per (role, partition), for efficiency. Correctness is compare-and-set on every write
//! (invariant 3): a lease may be lost without its holder knowing for a moment, and nothing breaks.
//!
//! A lease is a key with a time to live in a KV bucket, renewed by compare-and-set. Its revision when it was acquired
//! is the tenure's number in every batch written under it. Keys that the broker has forgotten to end are ended by who shares
//! the partitions (`watched.rs`).

mod share;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natter_schemas::subjects::{LEASES_BUCKET, lease_key};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bucket::Bucket;
use crate::connection::Log;
use crate::error::LogError;
use crate::telemetry;

pub use self::share::Leases;

/// The roles that work on partitions. The broker's users may hold leases of theirs only.
pub mod role {
    /// Decides.
    pub const PROCESSOR: &str = "processor";
    /// Writes the Redis views.
    pub const REDIS_PROJECTOR: &str = "projector-redis";
    /// Writes the ClickHouse history.
    pub const CLICKHOUSE_PROJECTOR: &str = "projector-clickhouse";
    /// Writes the archive and trims what is in it.
    pub const ARCHIVER: &str = "projector-archive";
}

/// How leases are kept.
#[derive(Debug, Clone, Copy)]
pub struct LeaseOptions {
    /// A holder that is silent so long has lost it; whole seconds.
    pub ttl: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How often others look for a free one.
    pub look: Duration,
    /// A key that stands still so long, while the bucket takes writes, is ended by those who look.
    pub dead: Duration,
}

/// A cluster elects the bucket's next leader within 9 s at most, and until then nobody can renew: a lease outlives that.
const TTL_IN_CLUSTER: Duration = Duration::from_secs(15);

impl LeaseOptions {
    /// The same for a log whose streams have so many replicas. Only the broker waits longer: those who look do not, and they see
    /// nothing while nobody can write.
    fn for_replicas(self, replicas: usize) -> Self {
        if replicas > 1 { Self { ttl: self.ttl.max(TTL_IN_CLUSTER), ..self } } else { self }
    }
}

impl Default for LeaseOptions {
    fn default() -> Self {
        // A killed holder's partitions move within 5 s: 3 s, a second's granularity of the broker, and a look.
        Self {
            ttl: Duration::from_secs(3),
            renew: Duration::from_secs(1),
            look: Duration::from_millis(500),
            dead: Duration::from_secs(4),
        }
    }
}

/// Why a worker must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Stop at once: somebody else may work on the partition already.
    Lost,
    /// Another process has too few: finish what is begun, then [`Lease::release`].
    Asked,
}

/// What stands in the bucket.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    holder: String,
    /// Random per tenure: a renewal whose acknowledgement was lost is recognised by it.
    tenure: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Held,
    Asked,
    /// The holder lets go; the keeper deletes the key.
    Releasing,
    Lost,
    Released,
}

/// The right to work on a partition in a role. Let go of by [`Lease::release`]; also, in the background, when dropped.
#[derive(Debug)]
pub struct Lease {
    role: Arc<str>,
    partition: u16,
    revision: u64,
    phase: Arc<watch::Sender<Phase>>,
}

/// Which partitions have a worker of `role`, as some replica knows it: for readiness checks.
///
/// # Errors
/// [`LogError::Transient`]: the broker does not answer.
pub async fn held(log: &Log, role: &str) -> Result<Vec<u16>, LogError> {
    let leases = Bucket::new(log, LEASES_BUCKET).matching(&[&format!("{role}.*")]).await?;
    Ok(leases.iter().filter_map(|(key, _)| key.rsplit_once('.')?.1.parse().ok()).collect())
}

impl Lease {
    /// Takes the lease of (`role`, `partition`) if nobody has it, and keeps it until it is released or lost.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn acquire(
        log: &Log,
        role: &str,
        partition: u16,
        holder: &str,
        options: LeaseOptions,
    ) -> Result<Option<Self>, LogError> {
        let options = options.for_replicas(log.replicas());
        let bucket = Bucket::new(log, LEASES_BUCKET);
        let key = lease_key(role, partition);
        let expected = match bucket.entry(&key).await? {
            Some(entry) if entry.value.is_some() => return Ok(None),
            Some(entry) => entry.revision,
            None => 0,
        };
        let tenure = getrandom::u64().map_err(|error| LogError::transient("no random bytes for a tenure", error))?;
        let value = Holder { holder: holder.to_owned(), tenure: format!("{tenure:016x}") };
        let value = Bytes::from(serde_json::to_vec(&value).map_err(|error| LogError::transient("lease", error))?);
        let asked = Instant::now();
        let Some(revision) = bucket.put_if(&key, value.clone(), expected, Some(options.ttl)).await? else {
            return Ok(None);
        };
        let phase = Arc::new(watch::Sender::new(Phase::Held));
        let role: Arc<str> = role.into();
        let keeper = Keeper {
            bucket,
            key,
            value,
            revision,
            valid_until: asked + options.ttl,
            options,
            role: Arc::clone(&role),
            phase: Arc::clone(&phase),
        };
        tokio::spawn(keeper.keep());
        tracing::info!(role = &*role, partition, revision, "lease acquired");
        Ok(Some(Self { role, partition, revision, phase }))
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The partition.
    pub const fn partition(&self) -> u16 {
        self.partition
    }

    /// The tenure's number: the key's revision when it was acquired.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it is lost; cheap.
    pub fn is_lost(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Lost)
    }

    /// Waits until the worker must stop, and says how. Cancel-safe; where it was asked to and goes on, call
    /// [`Lease::lost`].
    pub async fn ended(&self) -> LeaseEnd {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as this lease.
        match phase.wait_for(|phase| *phase != Phase::Held).await.map(|phase| *phase) {
            Ok(Phase::Asked) => LeaseEnd::Asked,
            _ => LeaseEnd::Lost,
        }
    }

    /// Waits until it is lost. Cancel-safe.
    pub async fn lost(&self) {
        let mut phase = self.phase.subscribe();
        phase.wait_for(|phase| *phase == Phase::Lost).await.ok();
    }

    /// Lets go of it, so that another can have it at once. Returns when that is done or can no longer be.
    pub async fn release(self) {
        let mut phase = self.phase.subscribe();
        self.let_go();
        phase.wait_for(|phase| matches!(phase, Phase::Lost | Phase::Released)).await.ok();
    }

    fn let_go(&self) {
        self.phase.send_if_modified(|phase| {
            let held = matches!(phase, Phase::Held | Phase::Asked);
            if held {
                *phase = Phase::Releasing;
            }
            held
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Renews a lease until it ends.
struct Keeper {
    bucket: Bucket,
    key: String,
    value: Bytes,
    /// Of the last renewal.
    revision: u64,
    valid_until: Instant,
    options: LeaseOptions,
    role: Arc<str>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Keeper {
    async fn keep(mut self) {
        let held = metrics::gauge!(telemetry::LEASES_HELD, "role" => self.role.to_string());
        held.increment(1.0);
        let mut phase = self.phase.subscribe();
        let mut renewals = tokio::time::interval_at(Instant::now() + self.options.renew, self.options.renew);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            let tried = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Releasing) => break Phase::Released,
                () = tokio::time::sleep_until(self.valid_until) => break Phase::Lost,
                tried = async {
                    renewals.tick().await;
                    // What was asked on a link that broke is never answered: there is time for another try.
                    let late = |late| Err(LogError::transient("renewing a lease", late));
                    tokio::time::timeout(self.options.renew, self.renew()).await.unwrap_or_else(late)
                } => tried,
            };
            match tried {
                Ok(Some((revision, valid_until))) => (self.revision, self.valid_until) = (revision, valid_until),
                Ok(None) => break Phase::Lost,
                // As long as it is valid it is tried again.
                Err(error) => tracing::debug!(key = self.key, %error, "renewing again"),
            }
        };
        held.decrement(1.0);
        if end == Phase::Released {
            self.delete().await;
        } else {
            metrics::counter!(telemetry::LEASES_LOST, "role" => self.role.to_string()).increment(1);
            tracing::warn!(key = self.key, "lease lost");
        }
        self.phase.send_replace(end);
    }

    /// The new revision and how long it is valid; `None`: another holder has it.
    async fn renew(&self) -> Result<Option<(u64, Instant)>, LogError> {
        let valid_until = Instant::now() + self.options.ttl;
        let value = self.value.clone();
        if let Some(revision) = self.bucket.put_if(&self.key, value, self.revision, Some(self.options.ttl)).await? {
            return Ok(Some((revision, valid_until)));
        }
        // A renewal whose acknowledgement was lost stands there too.
        match self.bucket.entry(&self.key).await? {
            Some(entry) if entry.value.as_ref() == Some(&self.value) => Ok(Some((entry.revision, self.valid_until))),
            _ => Ok(None),
        }
    }

    async fn delete(&self) {
        match self.bucket.delete(&self.key, Some(self.revision)).await {
            Ok(true) => tracing::info!(key = self.key, "lease released"),
            // A renewal was under way; it expires by itself.
            Ok(false) => self.delete_renewed().await,
            Err(error) => tracing::debug!(key = self.key, %error, "a lease is left to expire"),
        }
    }

    async fn delete_renewed(&self) {
        if let Ok(Some(entry)) = self.bucket.entry(&self.key).await
            && entry.value.as_ref() == Some(&self.value)
            && let Err(error) = self.bucket.delete(&self.key, Some(entry.revision)).await
        {
            tracing::debug!(key = self.key, %error, "a lease is left to expire");
        }
    }
}
