//! Whether everything that a process needs is there, by name.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use natter_gateway::{Dependency, Readiness};
use natter_nats::{Log, held, role};
use natter_projections::clickhouse::ClickHouse;
use natter_projections::objects::Objects;
use natter_projections::redis::Redis;
use tokio::sync::watch;
use tokio::time::timeout;

/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// What a process depends on. What it has no part in is absent.
#[derive(Clone, Default)]
pub struct Dependencies {
    /// It has not reached yet what it needs; the process's log says what it waits for.
    pub starting: bool,
    /// NATS.
    pub log: Option<Log>,
    /// Whether every partition must have a processor somewhere.
    pub processors: bool,
    /// The views.
    pub redis: Option<Redis>,
    /// The history; away is degraded.
    pub clickhouse: Option<ClickHouse>,
    /// Objects; away is degraded.
    pub objects: Option<Objects>,
    /// The partitions on which this process works.
    pub work: Vec<Work>,
}

/// The partitions on which a role of this process works.
#[derive(Clone)]
pub struct Work {
    /// The role's name.
    pub name: &'static str,
    /// Whether a partition that stopped makes the process unready; else it is degraded.
    pub required: bool,
    /// Partitions that have stopped, each with the reason.
    pub stopped: watch::Receiver<BTreeMap<u16, String>>,
}

impl Dependencies {
    /// Of a process that has reached nothing yet.
    pub fn starting() -> Self {
        Self { starting: true, ..Self::default() }
    }
}

impl Readiness for Dependencies {
    fn check(&self) -> BoxFuture<'_, Vec<Dependency>> {
        async {
            let mut checks: Vec<BoxFuture<'_, Dependency>> = Vec::new();
            if self.starting {
                checks
                    .push(dependency("start", true, || async { Err("waits for what it needs: see its log") }).boxed());
            }
            if let Some(log) = &self.log {
                checks.push(dependency("nats", true, || nats(log)).boxed());
                if self.processors {
                    checks.push(dependency("processors", true, || processors(log)).boxed());
                }
            }
            if let Some(redis) = &self.redis {
                checks.push(dependency("redis", true, || redis.ping()).boxed());
            }
            if let Some(clickhouse) = &self.clickhouse {
                checks.push(dependency("clickhouse", false, || clickhouse.ping()).boxed());
            }
            if let Some(objects) = &self.objects {
                checks.push(dependency("s3", false, || objects.check()).boxed());
            }
            let mut all = join_all(checks).await;
            all.extend(self.work.iter().map(Work::dependency));
            all
        }
        .boxed()
    }
}

impl Work {
    /// Why its partitions have stopped, where some have.
    pub fn stopped_for_good(&self) -> Option<String> {
        let Dependency { name, ready, required, detail } = self.dependency();
        (required && !ready).then(|| format!("{name}: {}", detail.unwrap_or_default()))
    }

    fn dependency(&self) -> Dependency {
        let stopped: Vec<_> = self
            .stopped
            .borrow()
            .iter()
            .map(|(partition, reason)| format!("partition {partition}: {reason}"))
            .collect();
        let detail = (!stopped.is_empty()).then(|| stopped.join("; "));
        Dependency { name: self.name.to_owned(), ready: detail.is_none(), required: self.required, detail }
    }
}

/// Asks; and once more where that failed at once, because a server that was restarted is noticed by the first question only.
async fn dependency<E: Display, F: Future<Output = Result<(), E>>>(
    name: &str,
    required: bool,
    ask: impl Fn() -> F,
) -> Dependency {
    let asked = async {
        match ask().await {
            Err(_) => ask().await,
            answered => answered,
        }
    };
    let detail = match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    };
    Dependency { name: name.to_owned(), ready: detail.is_none(), required, detail }
}

async fn nats(log: &Log) -> Result<(), String> {
    log.client().flush().await.map_err(|error| error.to_string())?;
    if log.is_connected() { Ok(()) } else { Err("not connected".to_owned()) }
}

async fn processors(log: &Log) -> Result<(), String> {
    let held = held(log, role::PROCESSOR).await.map_err(|error| error.to_string())?;
    let missing: Vec<_> = (0..log.partitions()).filter(|p| !held.contains(p)).map(|p| p.to_string()).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no processor for partition(s) {}", missing.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_partition_that_stopped_shows_with_its_reason() {
        let (stopped, receiver) = watch::channel(BTreeMap::new());
        let work = vec![Work { name: "processor", required: true, stopped: receiver }];
        let dependencies = Dependencies { work, ..Dependencies::default() };
        assert!(dependencies.check().await.iter().all(|one| one.ready));
        stopped.send_replace(BTreeMap::from([(3, "a hole".to_owned())]));
        let [one] = dependencies.check().await.try_into().unwrap();
        assert!(!one.ready && one.required && one.name == "processor");
        assert_eq!(one.detail.as_deref(), Some("partition 3: a hole"));
        assert_eq!(dependencies.work[0].stopped_for_good().as_deref(), Some("processor: partition 3: a hole"));
    }

    #[tokio::test]
    async fn a_first_refusal_is_not_the_answer() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let ask = || async {
            match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Err("broken pipe"),
                _ => Ok(()),
            }
        };
        assert!(dependency("redis", true, ask).await.ready);
    }
}
