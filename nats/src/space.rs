//! Room in the log: what the streams have left, and why no command is taken (invariants 1 and 7).
//!
//! `EVT_p` has room for the outcomes of every command that `CMD_p` may take, by the broker's own bound and whatever gateways do: the
//! sizes are set so ([`StreamBytes::check`]), and trim makes no more room in `CMD_p` than `EVT_p` has outcomes' room for (`trim.rs`).

use natter_schemas::limits::{COMMAND_BATCH_BYTES_MAX, COMMAND_BATCH_RECORDS_MAX, OUTCOME_EXTRA_BYTES};
use natter_schemas::subjects::{command_stream, outcome_stream};

use crate::connection::Log;
use crate::direct::Bounds;
use crate::error::LogError;
use crate::publisher::Full;
use crate::stored::Stored;
use crate::streams::StreamBytes;
use crate::telemetry;

/// Below this share of free bytes in a partition's streams no command is taken.
pub const FREE_SHARE_MIN: f64 = 0.1;
/// With more of `CMD_p` undecided, no command is taken: the rest is for what is decided and may not go yet.
pub const UNDECIDED_SHARE_MAX: f64 = 0.5;

/// Bytes of `CMD_p` that each command of a batch takes at least. Publishers fill up batches of shorter ones: what an outcome adds is
/// bounded by a number of bytes, and the broker counts bytes.
const COMMAND_ROOM_MIN: usize = 80;
/// Bytes that the outcomes of a byte of `CMD_p` take at most: twice the command, and what an outcome holds beside it.
pub const OUTCOME_GROWTH_MAX: u64 = (2 + OUTCOME_EXTRA_BYTES.div_ceil(COMMAND_ROOM_MIN)) as u64;
/// What the broker stores beside a batch: its subject, headers, lengths and sums, generously.
const STORED_EXTRA_BYTES: usize = 512;
/// Bytes of `CMD_p` that a batch takes at most.
const COMMANDS_STORED_MAX: u64 = (COMMAND_BATCH_BYTES_MAX + STORED_EXTRA_BYTES) as u64;
/// The broker takes headers of so many bytes.
const HEADERS_BYTES_MAX: usize = 65_535;
/// Bytes of the shortest record, with its length.
const COMMAND_RECORD_MIN: usize = 24;

const _: () = assert!(
    COMMAND_BATCH_RECORDS_MAX * (COMMAND_ROOM_MIN - COMMAND_RECORD_MIN) + STORED_EXTRA_BYTES < HEADERS_BYTES_MAX,
    "what a batch is filled up with fits into a header"
);
const _: () = assert!(COMMAND_BATCH_RECORDS_MAX * COMMAND_ROOM_MIN < COMMAND_BATCH_BYTES_MAX);

/// What a command batch of so many records and bytes is to be filled up with, if it is short.
pub(crate) fn filling(records: u32, bytes: usize) -> Option<String> {
    let least = records as usize * COMMAND_ROOM_MIN;
    let most = HEADERS_BYTES_MAX - STORED_EXTRA_BYTES;
    (least > bytes).then(|| ".".repeat((least - bytes).min(most)))
}

/// Bytes that a command batch takes in `CMD_p`, or less.
pub(crate) fn stored_bytes(batch: &Stored) -> u64 {
    let least = batch.records.unwrap_or(0) as usize * COMMAND_ROOM_MIN;
    (batch.payload.len().max(least) + STORED_EXTRA_BYTES) as u64
}

impl StreamBytes {
    /// Whether the outcomes of a whole `CMD_p` fit into an empty `EVT_p`.
    ///
    /// # Errors
    /// [`LogError::Mismatch`]: they do not; says both sizes.
    pub fn check(&self) -> Result<(), LogError> {
        let Self { commands, outcomes } = *self;
        if commands.saturating_mul(OUTCOME_GROWTH_MAX) <= outcomes {
            return Ok(());
        }
        Err(LogError::Mismatch(format!(
            "log.outcome_bytes_max is {outcomes}, less than {OUTCOME_GROWTH_MAX} times log.command_bytes_max, which is {commands}: the outcomes of a full CMD would not fit into EVT"
        )))
    }
}

/// The room of one partition.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// `CMD_p`.
    pub commands: Bounds,
    /// `EVT_p`.
    pub outcomes: Bounds,
    /// Bytes of `CMD_p` behind the last decided batch, by the mean size of its batches.
    pub undecided: u64,
}

impl Room {
    /// Which part of `CMD_p` is undecided, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn undecided_share(&self) -> f64 {
        if self.commands.bytes_max == 0 { 0.0 } else { self.undecided as f64 / self.commands.bytes_max as f64 }
    }

    /// Why no command is to be taken, if none is.
    pub fn refuses(&self) -> Option<Full> {
        if self.undecided_share() > UNDECIDED_SHARE_MAX {
            return Some(Full::Behind);
        }
        let free = self.commands.free_share().min(self.outcomes.free_share());
        (free < FREE_SHARE_MIN).then_some(Full::Log)
    }
}

/// Bytes of commands that may still come before `CMD_p` is full and is not trimmed, those undecided behind `processed` included. No
/// batch's size is known here, so each counts as the largest.
pub(crate) fn may_come(commands: &Bounds, processed: u64) -> u64 {
    let behind = commands.last.saturating_sub(processed).saturating_mul(COMMANDS_STORED_MAX);
    commands.free_bytes().saturating_add(behind.min(commands.bytes))
}

impl Log {
    /// The room of `partition`, whose commands are decided up to the batch `decided` of `CMD_p`.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the broker does not answer.
    pub async fn room(&self, partition: u16, decided: u64) -> Result<Room, LogError> {
        let commands = self.bounds(&command_stream(partition)).await?;
        let outcomes = self.bounds(&outcome_stream(partition)).await?;
        let behind = commands.last.saturating_sub(decided).min(commands.messages());
        let undecided = u128::from(commands.bytes) * u128::from(behind) / u128::from(commands.messages().max(1));
        let room = Room { commands, outcomes, undecided: u64::try_from(undecided).unwrap_or(u64::MAX) };
        for (stream, bounds) in [("commands", &commands), ("outcomes", &outcomes)] {
            metrics::gauge!(telemetry::FREE_SHARE, "partition" => partition.to_string(), "stream" => stream)
                .set(bounds.free_share());
        }
        metrics::gauge!(telemetry::UNDECIDED_SHARE, "partition" => partition.to_string()).set(room.undecided_share());
        Ok(room)
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::codec::{CommandBatchWriter, encode};
    use natter_schemas::command::{Body, Command, Origin};
    use natter_schemas::names::{DisplayName, Ref, Tenant, UserId};

    use super::*;

    fn bounds(last: u64, bytes: u64) -> Bounds {
        Bounds { first: 1, last, bytes, bytes_max: 1000 }
    }

    fn room(commands: u64, outcomes: u64, undecided: u64) -> Room {
        Room { commands: bounds(10, commands), outcomes: bounds(10, outcomes), undecided }
    }

    #[test]
    fn behind_and_full_are_told_apart() {
        for (room, refused) in [
            (room(850, 850, 0), None),
            (room(850, 0, 500), None),
            (room(950, 0, 100), Some(Full::Log)),
            (room(0, 950, 0), Some(Full::Log)),
            (room(950, 0, 501), Some(Full::Behind)),
            (room(600, 0, 600), Some(Full::Behind)),
        ] {
            assert_eq!(room.refuses(), refused, "{room:?}");
        }
    }

    /// The bound that the sizes of the streams stand on.
    #[test]
    fn no_batch_grows_beyond_the_bound() {
        let shortest = encode(&Command {
            tenant: Tenant::trusted("a"),
            sender: UserId::trusted("b"),
            session: 0,
            received_ms: 1_700_000_000_000,
            reference: Ref::trusted("c"),
            origin: Origin::Client,
            body: Body::UpdateUser { name: DisplayName::trusted("d") },
            evidence: Vec::new(),
        });
        for (filler, records) in [(0, 1), (0, COMMAND_BATCH_RECORDS_MAX), (50, 1000), (200, 1000), (60_000, 4)] {
            let mut writer = CommandBatchWriter::default();
            let command = [&shortest[..], &vec![0; filler]].concat();
            (0..records).for_each(|_| writer.push(&command));
            let (header, bytes) = writer.finish(1, 1);
            let filled = filling(header.records, bytes.len()).map_or(0, |filling| filling.len());
            assert!(filled + STORED_EXTRA_BYTES <= HEADERS_BYTES_MAX);
            let outcomes = 2 * bytes.len() + records * OUTCOME_EXTRA_BYTES;
            let room = (bytes.len() + filled) as u64 * OUTCOME_GROWTH_MAX;
            assert!(outcomes as u64 <= room, "{records} commands of {} bytes", command.len());
        }
    }

    #[test]
    fn sizes_that_cannot_hold_a_whole_backlog_are_refused() {
        assert_eq!(StreamBytes { commands: 10, outcomes: 10 * OUTCOME_GROWTH_MAX }.check(), Ok(()));
        let error = StreamBytes { commands: 10, outcomes: 10 * OUTCOME_GROWTH_MAX - 1 }.check().unwrap_err();
        assert!(error.to_string().contains("log.outcome_bytes_max is 69"), "{error}");
        assert_eq!(StreamBytes::default().check(), Ok(()));
    }

    #[test]
    fn what_may_come_is_what_is_free_and_what_is_undecided() {
        assert_eq!(may_come(&bounds(10, 400), 10), 600);
        assert_eq!(may_come(&bounds(10, 400), 9), 1000, "one batch may be all of it");
        let large = Bounds { bytes: 10 << 20, bytes_max: 20 << 20, ..bounds(100, 0) };
        assert_eq!(may_come(&large, 98), (10 << 20) + 2 * COMMANDS_STORED_MAX);
    }
}
