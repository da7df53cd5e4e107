//! The publisher's tasks: one per partition that publishes, one that answers who waited too long, one that watches the
//! streams' free space.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::limits::PUBLISH_RETRY_MS_MAX;
use natter_schemas::subjects::{FILLING_HEADER, RECORDS_HEADER, command_subject, outcome_stream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Full, Waiter};
use super::lane::{Lane, Outgoing};
use super::slot::Slot;
use crate::backoff::Backoff;
use crate::connection::Log;
use crate::error::LogError;
use crate::space::{Room, filling};

const RETRY_MAX: Duration = Duration::from_millis(PUBLISH_RETRY_MS_MAX);
/// A partition waits at most so long for its turn: one that gets no acknowledgement must not hold up the others.
const TURN_WAIT_MAX: Duration = Duration::from_millis(10);
/// A stream whose leader died answers nobody, and its next one nobody who asked before: so ask again soon.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often those who waited too long are looked for; a publisher without a connection looks for one as often.
const TICK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Shared<W> {
    pub(super) log: Log,
    pub(super) slots: Box<[Slot<W>]>,
    pub(super) stopping: AtomicBool,
    /// Partitions that publish at a time.
    pub(super) turns: Semaphore,
    /// Somebody was answered.
    pub(super) progress: Notify,
}

impl<W: Waiter> Shared<W> {
    pub(super) fn slot(&self, partition: u16) -> &Slot<W> {
        &self.slots[usize::from(partition)]
    }

    pub(super) async fn publish_all(self: Arc<Self>, partition: u16) {
        let slot = self.slot(partition);
        loop {
            slot.wake.notified().await;
            while slot.with(|lane| lane.queued() > 0) {
                // What comes meanwhile comes along.
                let turn = timeout(TURN_WAIT_MAX, self.turns.acquire()).await;
                if let Some(batch) = slot.with(Lane::take) {
                    self.publish(partition, batch).await;
                }
                drop(turn);
            }
        }
    }

    /// Publishes one batch: until it is acknowledged, or seen on `live`, or too old.
    async fn publish(&self, partition: u16, batch: Outgoing) {
        let slot = self.slot(partition);
        slot.meters.batch.record(batch.records);
        let started = Instant::now();
        let deadline = batch.since + RETRY_MAX;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, batch.message_id.as_str());
        headers.insert(RECORDS_HEADER, batch.records.to_string());
        if let Some(filling) = filling(batch.records, batch.bytes.len()) {
            headers.insert(FILLING_HEADER, filling);
        }
        let payload = Bytes::from(batch.bytes);
        let mut connects = self.log.connects();
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            connects.mark_unchanged();
            let attempt = self.attempt(partition, headers.clone(), payload.clone());
            let failed = tokio::select! {
                biased;
                () = slot.passed(batch.number) => break,
                () = tokio::time::sleep_until(deadline) => return self.give_up(partition, batch.number),
                acknowledged = attempt => match acknowledged {
                    Ok(()) => break,
                    Err(error) => error,
                },
                // What was sent over the old connection may never be answered.
                _ = connects.changed() => "connected anew".to_owned(),
            };
            slot.meters.retries.increment(1);
            tracing::debug!(partition, number = batch.number, error = failed, "publishing again");
            tokio::select! {
                () = slot.passed(batch.number) => break,
                () = backoff.wait() => {}
            }
        }
        slot.meters.ack.record(started.elapsed());
    }

    async fn attempt(&self, partition: u16, headers: HeaderMap, payload: Bytes) -> Result<(), String> {
        if !self.log.is_connected() {
            // The client library would keep a copy of every try and send them all when it is back.
            tokio::time::sleep(TICK).await;
            return Err("not connected".into());
        }
        let stored = self.log.link().publish(command_subject(partition), headers, payload, ACK_TIMEOUT).await;
        stored.map(drop).map_err(|error| format!("{error:?}"))
    }

    fn give_up(&self, partition: u16, number: u64) {
        let slot = self.slot(partition);
        let waiters = slot.with(|lane| lane.remove(number)).unwrap_or_default();
        if !waiters.is_empty() {
            tracing::warn!(partition, number, commands = waiters.len(), "a batch could not be published in time");
        }
        self.answer_all(slot, waiters, &Answer::Unknown);
    }

    /// Answers those who waited too long.
    pub(super) async fn expire(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let now = ticks.tick().await;
            for slot in &self.slots {
                if let Some(before) = now.checked_sub(RETRY_MAX) {
                    let expired = slot.with(|lane| lane.expire(before));
                    self.answer_all(slot, expired.unsent, &Answer::Unsent);
                    self.answer_all(slot, expired.unknown, &Answer::Unknown);
                }
                slot.measure();
            }
        }
    }

    /// Refuses commands while a partition's streams are nearly full or too much is undecided (invariant 7).
    pub(super) async fn watch_space(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(2 * TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for partition in 0..self.log.partitions() {
                // Without an answer the last one counts.
                if let Ok(room) = self.room(partition).await {
                    let refusal = room.refuses();
                    if self.slot(partition).set_refusal(refusal) {
                        let (undecided, commands, outcomes) = (room.undecided, room.commands, room.outcomes);
                        tracing::warn!(partition, ?refusal, undecided, ?commands, ?outcomes, "room in the log");
                    }
                }
            }
        }
    }

    async fn room(&self, partition: u16) -> Result<Room, LogError> {
        let slot = self.slot(partition);
        let room = self.log.room(partition, slot.decided()).await?;
        if slot.decided() > 0 && room.refuses() != Some(Full::Behind) {
            return Ok(room);
        }
        // Nothing was live yet, or what was live is behind itself.
        if let Some(last) = self.log.last_from_leader(&outcome_stream(partition)).await? {
            slot.set_decided(OutcomeBatch::decode(&last.payload)?.header.command_sequence());
        }
        self.log.room(partition, slot.decided()).await
    }

    fn answer_all(&self, slot: &Slot<W>, waiters: Vec<W>, answer: &Answer) {
        if waiters.is_empty() {
            return;
        }
        slot.meters.unknown.increment(waiters.len() as u64);
        for waiter in waiters {
            waiter.answer(answer.clone());
        }
        self.progress.notify_waiters();
    }
}
