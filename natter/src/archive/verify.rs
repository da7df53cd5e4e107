//! Whether the archive is what was put there.

use anyhow::Context;
use natter_nats::{Log, Stored};
use natter_projections::archive::{Segments, Span};
use natter_projections::error::ViewError;
use natter_schemas::subjects::outcome_stream;

use super::report::{Checked, Verified};
use crate::config::Config;
use crate::connect;

/// Batches of the log that are compared at once.
const COMPARED_AT_ONCE: u64 = 1024;

/// Reads every segment back.
///
/// # Errors
/// NATS or S3 is away; what is wrong with a segment is no error but an answer.
pub async fn verify(config: &Config) -> anyhow::Result<Verified> {
    let log = connect::log(config, "archive").await?;
    let segments = super::segments(config, &log)?;
    let mut verified = Verified::default();
    for partition in 0..log.partitions() {
        let spans = segments.spans(partition).await.context("cannot see the archive")?;
        let mut checked = Checked { partition, ..Checked::default() };
        let mut end = 0;
        for span in &spans {
            let Span { first, last } = *span;
            if first > end + 1 {
                verified.wrong(
                    partition,
                    *span,
                    format!("batches {} to {} are in no segment before it", end + 1, first - 1),
                );
            }
            end = end.max(last);
            match read(&segments, partition, *span).await {
                Ok((batches, outcomes)) => {
                    checked.add(&batches, outcomes);
                    if let Some(wrong) = differs(&log, partition, &batches, &mut checked.compared).await? {
                        verified.wrong(partition, *span, wrong);
                    }
                }
                Err(error) if error.is_transient() => return Err(error).context("cannot read a segment"),
                Err(error) => verified.wrong(partition, *span, error.to_string()),
            }
        }
        verified.partitions.push(checked);
    }
    Ok(verified)
}

async fn read(segments: &Segments, partition: u16, span: Span) -> Result<(Vec<Stored>, u64), ViewError> {
    let manifest = segments.manifest(partition, span).await?;
    Ok((segments.fetch(&manifest).await?, manifest.outcomes))
}

/// In what the log has other batches than the segment, as far as it still has them.
async fn differs(log: &Log, partition: u16, batches: &[Stored], compared: &mut u64) -> anyhow::Result<Option<String>> {
    let stream = outcome_stream(partition);
    let Some(last) = batches.last().map(|batch| batch.sequence) else { return Ok(None) };
    let begin = log.bounds(&stream).await.context("cannot see the log")?.first;
    let kept = batches.partition_point(|batch| batch.sequence < begin);
    let mut archived = batches[kept..].iter();
    while let Some(next) = archived.as_slice().first().map(|batch| batch.sequence) {
        let count = COMPARED_AT_ONCE.min(last + 1 - next);
        let stored = log.get_batch(&stream, next, count).await.context("cannot read the log")?;
        if stored.first().is_none_or(|first| first.sequence != next) {
            // Trimmed meanwhile, or missing, which `natter audit` says.
            return Ok(None);
        }
        for stored in stored {
            let Some(batch) = archived.next() else { break };
            if (Stored { behind: 0, ..stored }) != *batch {
                return Ok(Some(format!("batch {} is another than in the log", batch.sequence)));
            }
            *compared += 1;
        }
    }
    Ok(None)
}
