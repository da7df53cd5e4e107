//! `natter what-if`: the decisions that other rules would change, over a range of history. Nothing is written to the log.
//!
//! `EVT` alone has it all: each outcome repeats its command, so each text is judged again by the very function that judges it in `decide`. Every message is
//! judged by itself: that somebody whose text had been refused would have said something else is not followed up.

mod args;
mod change;
mod csv;
mod judging;
mod range;
mod report;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use natter_nats::Log;
use natter_processors::ports::OutcomeLog as _;
use natter_processors::shell::PartitionLog;
use tokio::task::spawn_blocking;

pub use self::args::WhatIf;
use self::change::Rules;
use self::judging::{Judged, judge};
pub use self::range::Bound;
use self::range::Span;
pub use self::report::{Counts, Kind, Report, Row};
use crate::config::Config;
use crate::connect;

/// Bytes of the log that are judged in one go, about.
const CHUNK_BYTES: u64 = 2 << 20;
/// Batches of it at most, where they are small.
const CHUNK_BATCHES: u64 = 2048;

/// Judges a range of history by other rules.
///
/// # Errors
/// The rules cannot be used, the range is not one of this log's, the log cannot be read, or the file not written.
pub async fn what_if(config: &Config, args: &WhatIf) -> anyhow::Result<Report> {
    let change = args.change()?;
    let log = connect::log(config, "what-if").await?;
    let mut report = Report::new(&args.tenant, &change, args.rows);
    let mut csv = args.csv.as_deref().map(create).transpose()?;
    let spans = range::spans(&log, args.from.as_ref(), args.to.as_ref()).await?;
    report.spans.clone_from(&spans);
    let began = Instant::now();
    let rules = Arc::new(Rules::new(&log, change));
    let tenant = Arc::new(args.tenant.clone());
    let chunks = spans.iter().flat_map(Span::chunks);
    // Each is fetched and judged by a task of its own, several at a time, and counted in order.
    let judging = chunks.map(|chunk| tokio::spawn(one(log.clone(), chunk, Arc::clone(&rules), Arc::clone(&tenant))));
    let at_once = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    let mut judged = stream::iter(judging).buffered(at_once);
    while let Some(judged) = judged.try_next().await? {
        let judged = judged?;
        if let Some(csv) = &mut csv {
            judged.rows.iter().try_for_each(|row| csv::write(csv, row)).context("cannot write the file")?;
        }
        report.take(judged);
    }
    if let Some(mut csv) = csv {
        csv.flush().context("cannot write the file")?;
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

fn create(path: &std::path::Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    csv::head(&mut file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// Fetches and judges a part of a partition.
async fn one(
    log: Log,
    chunk: Span,
    rules: Arc<Rules>,
    tenant: Arc<natter_schemas::names::Tenant>,
) -> anyhow::Result<Judged> {
    let mut batches = Vec::new();
    let collect = |stored: &natter_nats::Stored| {
        batches.push(stored.clone());
        Ok(())
    };
    PartitionLog::new(&log, chunk.partition)
        .read_outcomes(chunk.first - 1, chunk.last, collect)
        .await
        .context("cannot read the log")?;
    let rules = rules.of(&batches).await?;
    spawn_blocking(move || judge(&chunk, &batches, &tenant, &rules)).await?
}
