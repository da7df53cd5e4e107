//! What the commands answer.

use std::fmt;

use natter_nats::{Bounds, Stored};
use natter_projections::archive::{Caught, Manifest, Span};
use natter_schemas::wire::times::rfc3339;
use serde::Serialize;

/// `natter archive status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The log's id.
    pub log: String,
    /// One for each.
    pub partitions: Vec<Standing>,
}

/// A partition: what is in the bucket, and what NATS still has.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// The partition.
    pub partition: u16,
    /// Segments in the bucket.
    pub segments: u64,
    /// Up to this batch nothing is missing in the bucket; 0: nothing is there.
    pub archived_to: u64,
    /// When that was stored, in Unix milliseconds; 0: nothing is there.
    pub archived_to_ms: u64,
    /// Outcomes in the bucket.
    pub outcomes: u64,
    /// Bytes of the batches in the bucket, as the log had them.
    pub log_bytes: u64,
    /// Bytes of the objects.
    pub object_bytes: u64,
    /// The first batch that NATS still has.
    pub kept_from: u64,
    /// The log's last batch.
    pub last: u64,
    /// Batches that are not in the bucket.
    pub waiting: u64,
}

impl Standing {
    pub(super) fn new(partition: u16, bounds: &Bounds, end: u64) -> Self {
        Self {
            partition,
            segments: 0,
            archived_to: end,
            archived_to_ms: 0,
            outcomes: 0,
            log_bytes: 0,
            object_bytes: 0,
            kept_from: bounds.first,
            last: bounds.last,
            waiting: bounds.last.saturating_sub(end),
        }
    }

    pub(super) fn add(&mut self, segment: &Manifest) {
        self.segments += 1;
        self.outcomes += segment.outcomes;
        self.log_bytes += segment.log_bytes;
        self.object_bytes += segment.object_bytes;
        if segment.last == self.archived_to {
            self.archived_to_ms = segment.stored_ms;
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "log {}\n{:>9} {:>9} {:>12} {:>24} {:>11} {:>13} {:>13} {:>10} {:>10} {:>9}",
            self.log,
            "partition",
            "segments",
            "archived to",
            "stored at",
            "outcomes",
            "log bytes",
            "object bytes",
            "NATS from",
            "to",
            "waiting"
        )?;
        for of in &self.partitions {
            let at = if of.archived_to_ms == 0 { "-".to_owned() } else { rfc3339(of.archived_to_ms) };
            write!(
                formatter,
                "\n{:>9} {:>9} {:>12} {at:>24} {:>11} {:>13} {:>13} {:>10} {:>10} {:>9}",
                of.partition,
                of.segments,
                of.archived_to,
                of.outcomes,
                of.log_bytes,
                of.object_bytes,
                of.kept_from,
                of.last,
                of.waiting
            )?;
        }
        Ok(())
    }
}

/// `natter archive verify`.
#[derive(Debug, Default, Serialize)]
pub struct Verified {
    /// One for each.
    pub partitions: Vec<Checked>,
    /// What is not as it must be.
    pub wrong: Vec<Wrong>,
}

/// What was read of a partition.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// The partition.
    pub partition: u16,
    /// Segments that are what their manifests say.
    pub segments: u64,
    /// Batches in them.
    pub batches: u64,
    /// Outcomes in them.
    pub outcomes: u64,
    /// Bytes of the batches.
    pub log_bytes: u64,
    /// Batches that NATS still has, and that were found equal.
    pub compared: u64,
}

/// A segment that is not as it must be.
#[derive(Debug, Serialize)]
pub struct Wrong {
    /// The partition.
    pub partition: u16,
    /// The segment's first batch.
    pub first: u64,
    /// Its last.
    pub last: u64,
    /// In what.
    pub what: String,
}

impl Checked {
    pub(super) fn add(&mut self, batches: &[Stored], outcomes: u64) {
        self.segments += 1;
        self.batches += batches.len() as u64;
        self.outcomes += outcomes;
        self.log_bytes += batches.iter().map(|batch| batch.payload.len() as u64).sum::<u64>();
    }
}

impl Verified {
    pub(super) fn wrong(&mut self, partition: u16, span: Span, what: String) {
        self.wrong.push(Wrong { partition, first: span.first, last: span.last, what });
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Checked { partition, segments, batches, outcomes, log_bytes, compared } in &self.partitions {
            writeln!(
                formatter,
                "partition {partition}: {segments} segments, {batches} batches, {outcomes} outcomes, {log_bytes} bytes; {compared} batches compared with NATS"
            )?;
        }
        for Wrong { partition, first, last, what } in &self.wrong {
            writeln!(formatter, "wrong: partition {partition}, segment {first} to {last}: {what}")?;
        }
        match self.wrong.len() {
            0 => write!(formatter, "all segments are what was put there"),
            count => write!(formatter, "{count} differences"),
        }
    }
}

/// `natter archive now`.
#[derive(Debug, Serialize)]
pub struct Done {
    /// One for each.
    pub partitions: Vec<Put>,
}

/// What was done in a partition.
#[derive(Debug, Serialize)]
pub struct Put {
    /// The partition.
    pub partition: u16,
    /// Segments that were put.
    pub segments: u64,
    /// Bytes of their batches, as the log has them.
    pub log_bytes: u64,
    /// Bytes of their objects.
    pub object_bytes: u64,
    /// Batches that NATS dropped.
    pub trimmed: u64,
}

impl Put {
    pub(super) fn of(partition: u16, caught: Caught) -> Self {
        let Caught { segments, log_bytes, object_bytes, trimmed } = caught;
        Self { partition, segments, log_bytes, object_bytes, trimmed }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.partitions.iter().map(|of| {
            let Put { partition, segments, log_bytes, object_bytes, trimmed } = of;
            format!("partition {partition}: {segments} segments put ({log_bytes} bytes of the log, {object_bytes} in the bucket), {trimmed} batches trimmed")
        });
        formatter.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}
