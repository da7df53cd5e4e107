//! One partition's commands on their way: gathering, published, answered. Pure: no I/O, no clock.

use std::collections::VecDeque;

use natter_schemas::codec::{CommandBatchWriter, OutcomeHeader};
use natter_schemas::limits::{COMMAND_BATCH_BYTES_MAX, COMMAND_BATCH_RECORDS_MAX, PUBLISHER_QUEUE_MAX};
use tokio::time::Instant;

/// Bytes of commands that wait for one partition's publisher.
pub const PUBLISHER_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a record adds to a batch beside its own bytes, and a batch's header: both generously.
const RECORD_OVERHEAD: usize = 4;
const HEADER_BYTES: usize = 64;

/// Commands of one partition, each with who waits for its outcome.
pub(super) struct Lane<W> {
    /// Random per lane and life; the batches are numbered within it.
    publisher: u64,
    next_number: u64,
    gathering: VecDeque<Gathering<W>>,
    /// Published or being published; the numbers rise.
    published: VecDeque<Published<W>>,
    queued: usize,
    queued_bytes: usize,
    unanswered: usize,
}

struct Gathering<W> {
    batch: CommandBatchWriter,
    waiters: Vec<W>,
    since: Instant,
}

struct Published<W> {
    number: u64,
    waiters: Vec<W>,
    since: Instant,
}

/// A batch that is to be published.
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) message_id: String,
    pub(super) records: u32,
    pub(super) bytes: Vec<u8>,
    /// When its first command came.
    pub(super) since: Instant,
}

/// Who waits for the outcomes of one of our batches, in the order of its commands.
#[derive(Debug)]
pub struct Claimed<W> {
    /// Index, in the outcome batch, of the first of them.
    pub first_index: u32,
    /// One per outcome from there on.
    pub waiters: Vec<W>,
}

/// Those who waited too long.
pub(super) struct Expired<W> {
    /// Their commands were never published.
    pub(super) unsent: Vec<W>,
    /// Their commands may be in the log.
    pub(super) unknown: Vec<W>,
}

impl<W> Lane<W> {
    pub(super) const fn new(publisher: u64) -> Self {
        Self {
            publisher,
            next_number: 1,
            gathering: VecDeque::new(),
            published: VecDeque::new(),
            queued: 0,
            queued_bytes: 0,
            unanswered: 0,
        }
    }

    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Appends a command. `Ok(true)`: nothing was queued before, the publisher is to be woken. `Err`: full.
    pub(super) fn push(&mut self, encoded: &[u8], waiter: W, now: Instant) -> Result<bool, ()> {
        if self.unanswered >= PUBLISHER_QUEUE_MAX || self.queued_bytes + encoded.len() > PUBLISHER_QUEUE_BYTES_MAX {
            return Err(());
        }
        let wake = self.gathering.is_empty();
        let size = RECORD_OVERHEAD + encoded.len();
        match self.gathering.back_mut() {
            Some(last) if last.has_room(size) => last.push(encoded, waiter),
            _ => {
                let mut batch = Gathering { batch: CommandBatchWriter::default(), waiters: Vec::new(), since: now };
                batch.push(encoded, waiter);
                self.gathering.push_back(batch);
            }
        }
        self.queued += 1;
        self.queued_bytes += encoded.len();
        self.unanswered += 1;
        Ok(wake)
    }

    /// The oldest batch that gathered, now to be published.
    pub(super) fn take(&mut self) -> Option<Outgoing> {
        let Gathering { batch, waiters, since } = self.gathering.pop_front()?;
        self.forget_queued(&batch);
        let number = self.next_number;
        self.next_number += 1;
        self.published.push_back(Published { number, waiters, since });
        let (header, bytes) = batch.finish(self.publisher, number);
        Some(Outgoing { number, message_id: header.message_id(), records: header.records, bytes, since })
    }

    /// Takes out who waits for the outcomes of this batch, and says the highest of our batch numbers in it.
    pub(super) fn claim(&mut self, header: &OutcomeHeader) -> (Vec<Claimed<W>>, Option<u64>) {
        let mut claimed = Vec::new();
        let mut highest = None;
        let mut first_index = 0;
        for source in &header.sources {
            if source.publisher == self.publisher {
                highest = highest.max(Some(source.number));
                if let Some(waiters) = self.remove(source.number) {
                    claimed.push(Claimed { first_index, waiters });
                }
            }
            first_index += source.records;
        }
        (claimed, highest)
    }

    /// Takes out everybody whose batch began before `before`.
    pub(super) fn expire(&mut self, before: Instant) -> Expired<W> {
        let mut expired = Expired { unsent: Vec::new(), unknown: Vec::new() };
        while self.published.front().is_some_and(|batch| batch.since < before) {
            let Some(batch) = self.published.pop_front() else { break };
            expired.unknown.extend(batch.waiters);
        }
        while self.gathering.front().is_some_and(|batch| batch.since < before) {
            let Some(batch) = self.gathering.pop_front() else { break };
            self.forget_queued(&batch.batch);
            expired.unsent.extend(batch.waiters);
        }
        self.unanswered -= expired.unsent.len() + expired.unknown.len();
        expired
    }

    /// Takes out who waits for batch `number`; `None`: answered or expired before.
    pub(super) fn remove(&mut self, number: u64) -> Option<Vec<W>> {
        let at = self.published.binary_search_by_key(&number, |batch| batch.number).ok()?;
        let waiters = self.published.remove(at)?.waiters;
        self.unanswered -= waiters.len();
        Some(waiters)
    }

    fn forget_queued(&mut self, batch: &CommandBatchWriter) {
        self.queued -= batch.len();
        self.queued_bytes -= batch.bytes() - batch.len() * RECORD_OVERHEAD;
    }
}

impl<W> Gathering<W> {
    fn has_room(&self, size: usize) -> bool {
        self.batch.len() < COMMAND_BATCH_RECORDS_MAX
            && self.batch.bytes() + size + HEADER_BYTES <= COMMAND_BATCH_BYTES_MAX
    }

    fn push(&mut self, encoded: &[u8], waiter: W) {
        self.batch.push(encoded);
        self.waiters.push(waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter_schemas::codec::{CommandBatch, Source};
    use natter_schemas::id::IdState;
    use std::time::Duration;

    fn lane() -> Lane<u32> {
        Lane::new(7)
    }

    fn answers(publisher: u64, batches: &[(u64, u32)]) -> OutcomeHeader {
        let sources = batches.iter().map(|(number, records)| Source {
            sequence: 0,
            stored_ms: 0,
            log_ms: 0,
            before_ms: 0,
            publisher,
            number: *number,
            records: *records,
        });
        OutcomeHeader {
            lease: 1,
            sources: sources.collect(),
            ids: IdState::default(),
            policies: vec![],
            conversations: vec![],
            users: vec![],
        }
    }

    #[test]
    fn what_gathers_goes_out_in_order_within_the_limits() {
        let (mut lane, now) = (lane(), Instant::now());
        for waiter in 0..2500 {
            assert_eq!(lane.push(b"command", waiter, now), Ok(waiter == 0));
        }
        let mut sizes = Vec::new();
        while let Some(out) = lane.take() {
            assert!(out.bytes.len() <= COMMAND_BATCH_BYTES_MAX);
            sizes.push((out.number, out.records));
        }
        assert_eq!(sizes, [(1, 1000), (2, 1000), (3, 500)]);
        assert_eq!((lane.queued(), lane.queued_bytes, lane.unanswered()), (0, 0, 2500));
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_a_single_command_always_fits() {
        let (mut lane, now) = (lane(), Instant::now());
        for waiter in 0..5 {
            assert!(lane.push(&vec![0; 64 * 1024], waiter, now).is_ok());
        }
        let sizes: Vec<_> = std::iter::from_fn(|| lane.take()).map(|out| (out.records, out.bytes.len())).collect();
        assert_eq!(sizes.iter().map(|(records, _)| *records).collect::<Vec<_>>(), [3, 2]);
        assert!(sizes.iter().all(|(_, bytes)| *bytes <= COMMAND_BATCH_BYTES_MAX));
    }

    #[test]
    fn bytes_carry_publisher_and_number() {
        let (mut lane, now) = (lane(), Instant::now());
        lane.push(b"not a command", 0, now).unwrap();
        let out = lane.take().unwrap();
        let read = CommandBatch::decode(&out.bytes).unwrap();
        assert_eq!((read.header.publisher, read.header.number, read.header.records), (7, 1, 1));
        assert_eq!(read.commands, [Err(b"not a command".to_vec())]);
        assert_eq!(out.message_id, read.header.message_id());
    }

    #[test]
    fn outcomes_find_who_waits_by_publisher_number_and_index() {
        let (mut lane, now) = (lane(), Instant::now());
        for waiter in 0..3 {
            lane.push(b"x", waiter, now).unwrap();
            lane.take().unwrap();
        }
        let mut header = answers(8, &[(1, 10)]);
        header.sources.extend(answers(7, &[(2, 1), (3, 1)]).sources);
        let (claimed, highest) = lane.claim(&header);
        assert_eq!(highest, Some(3));
        let claimed: Vec<_> = claimed.into_iter().map(|claimed| (claimed.first_index, claimed.waiters)).collect();
        assert_eq!(claimed, [(10, vec![1]), (11, vec![2])]);
        assert_eq!(lane.unanswered(), 1);
        assert!(lane.claim(&header).0.is_empty(), "an outcome is seen once");
    }

    #[test]
    fn a_full_lane_refuses_until_it_is_answered() {
        let (mut lane, now) = (lane(), Instant::now());
        for waiter in 0..u32::try_from(PUBLISHER_QUEUE_MAX).unwrap() {
            lane.push(b"x", waiter, now).unwrap();
        }
        assert_eq!(lane.push(b"x", 0, now), Err(()));
        lane.take().unwrap();
        assert_eq!(lane.push(b"x", 0, now), Err(()), "published is not answered");
        lane.claim(&answers(7, &[(1, 1000)]));
        assert_eq!(lane.push(b"x", 0, now), Ok(false));
    }

    #[test]
    fn who_waits_too_long_is_told_whether_the_command_went_out() {
        let (mut lane, now) = (lane(), Instant::now());
        lane.push(b"x", 1, now).unwrap();
        lane.take().unwrap();
        lane.push(b"x", 2, now).unwrap();
        let later = now + Duration::from_secs(1);
        lane.take().unwrap();
        lane.push(b"x", 3, now).unwrap();
        lane.push(b"x", 4, later).unwrap();
        let none = lane.expire(now);
        assert!(none.unsent.is_empty() && none.unknown.is_empty());
        let expired = lane.expire(later);
        assert_eq!((expired.unknown, expired.unsent), (vec![1, 2], vec![3, 4]));
        assert_eq!((lane.unanswered(), lane.queued(), lane.queued_bytes), (0, 0, 0));
    }
}
