//! Which part of the log is judged.

use std::str::FromStr;

use anyhow::{Context, bail};
use natter_nats::{Log, Stored};
use natter_schemas::codec::{OutcomeBatch, RawOutcome};
use natter_schemas::position::{INDEX_MAX, Position, version};
use natter_schemas::subjects::outcome_stream;
use natter_schemas::wire::times::parse_rfc3339;
use serde::Serialize;

use super::{CHUNK_BATCHES, CHUNK_BYTES};

/// Where a range begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At this log time, in Unix milliseconds: the time of storing, but that it never goes back.
    Time(u64),
    /// At this position: only its partition is meant.
    Position(Position),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let refused =
            || format!("`{text}` is neither a time such as 2026-01-02T03:04:05Z nor a position such as 2:501");
        parse_rfc3339(text).map(Self::Time).ok_or_else(refused)
    }
}

/// A part of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The partition.
    pub partition: u16,
    /// The first batch.
    pub first: u64,
    /// The last batch; below the first where there is none.
    pub last: u64,
    /// Outcomes of these batches that count: from this version of a position to that.
    #[serde(skip)]
    versions: (u64, u64),
    /// And from this log time until before that.
    #[serde(skip)]
    log_ms: (u64, u64),
    /// Batches in a chunk.
    #[serde(skip)]
    step: u64,
}

impl Span {
    /// Whether this outcome of batch `sequence` is in it.
    pub(super) fn holds(&self, sequence: u64, raw: &RawOutcome<'_>) -> bool {
        let version = version(sequence, raw.index);
        (self.versions.0..=self.versions.1).contains(&version) && (self.log_ms.0..self.log_ms.1).contains(&raw.log_ms)
    }

    /// The same in parts.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Self> + use<> {
        let (whole, step) = (self.clone(), self.step);
        (whole.first..=whole.last).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(move |first| {
            let last = whole.last.min(first + step - 1);
            Self { first, last, ..whole.clone() }
        })
    }
}

/// The range in each partition that it touches, as the log is now.
pub(super) async fn spans(log: &Log, from: Option<&Bound>, to: Option<&Bound>) -> anyhow::Result<Vec<Span>> {
    let mut only = None;
    for bound in [from, to].into_iter().flatten() {
        let Bound::Position(Position { partition, .. }) = bound else { continue };
        if *partition >= log.partitions() {
            bail!("there is no partition {partition}: the log has {}, the first is 0", log.partitions());
        }
        if only.replace(*partition).is_some_and(|other| other != *partition) {
            bail!("a range begins and ends in one partition, or is given by times");
        }
    }
    let is_backwards = match (from, to) {
        (Some(Bound::Time(from)), Some(Bound::Time(to))) => from >= to,
        (Some(Bound::Position(from)), Some(Bound::Position(to))) => {
            version(from.sequence, from.index.unwrap_or(0)) > version(to.sequence, to.index.unwrap_or(INDEX_MAX))
        }
        _ => false,
    };
    if is_backwards {
        bail!("the range ends before it begins: nothing lies between");
    }
    let mut spans = Vec::new();
    for partition in (0..log.partitions()).filter(|partition| only.is_none_or(|only| only == *partition)) {
        spans.push(span(log, partition, from, to).await.context("cannot search the log")?);
    }
    Ok(spans)
}

async fn span(log: &Log, partition: u16, from: Option<&Bound>, to: Option<&Bound>) -> anyhow::Result<Span> {
    let stream = outcome_stream(partition);
    let kept = log.bounds(&stream).await?;
    let bytes = (kept.bytes / kept.messages().max(1)).max(1);
    let bounds = log.whole_bounds(&stream).await?;
    let mut span = Span {
        partition,
        first: bounds.first,
        last: bounds.last,
        versions: (0, u64::MAX),
        log_ms: (0, u64::MAX),
        step: (CHUNK_BYTES / bytes).clamp(1, CHUNK_BATCHES),
    };
    match from {
        None => {}
        Some(Bound::Time(ms)) => {
            let before = |stored: &Stored| Ok(OutcomeBatch::decode(&stored.payload)?.header.log_ms() < *ms);
            span.first = log.first_not(&stream, before).await?;
            span.log_ms.0 = *ms;
        }
        Some(Bound::Position(Position { sequence, index, .. })) => {
            if *sequence < bounds.first {
                bail!("{stream} begins at batch {}: {sequence} is not there any more", bounds.first);
            }
            span.first = *sequence;
            span.versions.0 = version(*sequence, index.unwrap_or(0));
        }
    }
    match to {
        None => {}
        Some(Bound::Time(ms)) => {
            let begins = |stored: &Stored| {
                let header = OutcomeBatch::decode(&stored.payload)?.header;
                Ok(header.sources.first().is_some_and(|source| source.log_ms < *ms))
            };
            span.last = span.last.min(log.first_not(&stream, begins).await?.saturating_sub(1));
            span.log_ms.1 = *ms;
        }
        Some(Bound::Position(Position { sequence, index, .. })) => {
            span.last = span.last.min(*sequence);
            span.versions.1 = version(*sequence, index.unwrap_or(INDEX_MAX));
        }
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_time_or_a_position() {
        assert_eq!("2025-01-01T01:00:00+01:00".parse(), Ok(Bound::Time(1_735_689_600_000)));
        assert_eq!("2:501".parse(), Ok(Bound::Position(Position::batch(2, 501))));
        assert_eq!("2:501:3".parse(), Ok(Bound::Position(Position::outcome(2, 501, 3))));
        for text in ["", "yesterday", "501", "2026-01-02"] {
            assert!(text.parse::<Bound>().unwrap_err().contains("neither a time"), "{text}");
        }
    }

    #[test]
    fn chunks_are_the_span_once() {
        let of = |first, last, step| {
            let span = Span { partition: 1, first, last, versions: (0, u64::MAX), log_ms: (0, u64::MAX), step };
            span.chunks().map(|chunk| (chunk.first, chunk.last)).collect::<Vec<_>>()
        };
        assert_eq!(of(3, 9, 3), [(3, 5), (6, 8), (9, 9)]);
        assert_eq!(of(3, 3, 10), [(3, 3)]);
        assert_eq!(of(1, 0, 10), []);
    }
}
