//! One partition: the log in one pass, and the views at the positions that they claim.

use anyhow::Context;
use natter_nats::{Log, LogError};
use natter_projections::clickhouse::ClickHouse;
use natter_projections::redis::Redis;
use natter_schemas::subjects::outcome_stream;

use super::history::HistorySide;
use super::log::{Checker, Commands};
use super::model::{self, Modelled, Sampling, Stores};
use super::reading::Tail;
use super::redis::RedisSide;
use super::report::{Differences, Kind, Partition, Store};

/// A partition with what is known of it, which the next round goes on from.
pub(super) struct Auditor {
    log: Log,
    partition: u16,
    checker: Checker,
    commands: Commands,
    tail: Option<Tail>,
    redis: Option<RedisSide>,
    history: Option<HistorySide>,
    kept_max: usize,
    /// The log cannot be read further.
    is_broken: bool,
}

impl Auditor {
    pub(super) fn new(
        log: &Log,
        partition: u16,
        redis: Option<&Redis>,
        history: Option<&ClickHouse>,
        kept_max: usize,
    ) -> Self {
        Self {
            log: log.clone(),
            partition,
            checker: Checker::new(partition, log.partitions()),
            commands: Commands::new(log, partition),
            tail: None,
            redis: redis.map(|redis| RedisSide::new(log, partition, redis.clone(), kept_max)),
            history: history.map(|clickhouse| HistorySide::new(log, partition, clickhouse.clone())),
            kept_max,
            is_broken: false,
        }
    }

    /// Compares what is new since the last round; `full`: views wholly.
    pub(super) async fn round(&mut self, full: bool) -> anyhow::Result<(Partition, Differences)> {
        let mut found = Differences::of(Some(self.partition), self.kept_max);
        // Before the log's end: no view can be further than a log that was looked at later.
        let redis = match &self.redis {
            Some(side) => Some(side.watermark().await?),
            None => None,
        };
        let claim = match &mut self.history {
            Some(side) => Some(side.claim().await?),
            None => None,
        };
        let bounds = self.log.whole_bounds(&outcome_stream(self.partition)).await?;
        let (first, last) = (bounds.first, bounds.last);
        let next = self.checker.position + 1;
        if self.checker.position == 0 && first > 1 && last > 0 {
            let detail = format!("the stream begins at {first}, nothing of this partition can be compared");
            found.add(Store::Log, Kind::Missing, format!("{}:1", self.partition), detail);
            self.is_broken = true;
        } else if last + 1 < next {
            let detail = format!("the stream ends at {last}, it was read up to {}", next - 1);
            found.add(Store::Log, Kind::Missing, format!("{}:{}", self.partition, last + 1), detail);
            self.is_broken = true;
        }
        let redis_upto = redis.as_ref().map_or(0, |claimed| claimed.sequence);
        let history_upto = claim.as_ref().map_or(0, |claim| claim.complete);
        if !self.is_broken {
            self.pass(last, redis_upto, history_upto, &mut found).await?;
        }
        let mut report = Partition {
            partition: self.partition,
            batches: self.checker.position,
            outcomes: self.checker.outcomes,
            answered: self.checker.answered(),
            commands_compared: self.commands.compared,
            unanswered: self.commands.unanswered(self.checker.answered()).await?,
            conversations: self.checker.conversations,
            messages: self.checker.messages,
            redis: None,
            clickhouse: None,
            decided: None,
            model: None,
        };
        if self.is_broken {
            return Ok((report, found));
        }
        if let (Some(side), Some(claimed)) = (&mut self.redis, redis) {
            report.redis = side.compare(&claimed, last, full, &mut found).await?;
        }
        if let (Some(side), Some(claim)) = (&mut self.history, claim) {
            report.clickhouse = side.compare(&claim, last, full, &mut found).await?;
        }
        Ok((report, found))
    }

    /// Compares the views with a second fold; `None`: the log cannot be read.
    pub(super) async fn model(
        &self,
        stores: Stores<'_>,
        sampling: Sampling,
        found: &mut Differences,
    ) -> anyhow::Result<Option<Modelled>> {
        if self.is_broken {
            return Ok(None);
        }
        Ok(Some(model::compare(&self.log, self.partition, stores, sampling, found).await?))
    }

    /// Reads the log to `last`: once for all that look at it, as far as each may.
    async fn pass(
        &mut self,
        last: u64,
        redis_upto: u64,
        history_upto: u64,
        found: &mut Differences,
    ) -> anyhow::Result<()> {
        while self.checker.position < last {
            let stored = match self.next().await {
                Ok(stored) => stored,
                Err(LogError::Corrupt(reason)) => {
                    let place = format!("{}:{}", self.partition, self.checker.position + 1);
                    found.add(Store::Log, Kind::Missing, place, reason);
                    self.is_broken = true;
                    return Ok(());
                }
                Err(error) => return Err(error).context("cannot read the log"),
            };
            let Some(batch) = self.checker.read(&stored, found) else {
                self.is_broken = true;
                return Ok(());
            };
            let commands = self.commands.of(&batch.header.sources).await.context("cannot read the commands")?;
            self.checker.check(&stored, &batch, &commands, found);
            let (sequence, header) = (stored.sequence, &batch.header);
            if let Some(side) = &mut self.redis
                && sequence <= redis_upto
                && side.mirror.position().0 + 1 == sequence
            {
                side.mirror.fold(sequence, &batch.outcomes, None);
            }
            if let Some(side) = &mut self.history
                && sequence <= history_upto
                && side.sums.position + 1 == sequence
            {
                side.sums.fold(self.log.id(), self.partition, &stored, header, &batch.outcomes)?;
            }
        }
        self.checker.settle(found);
        Ok(())
    }

    async fn next(&mut self) -> Result<natter_nats::Stored, LogError> {
        let next = self.checker.position + 1;
        let mut tail = match self.tail.take() {
            Some(tail) if tail.next_sequence() == next => tail,
            _ => Tail::open(&self.log, &outcome_stream(self.partition), next).await?,
        };
        let stored = tail.next().await?;
        self.tail = Some(tail);
        Ok(stored)
    }
}
