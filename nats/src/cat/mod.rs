//! The log, readable without code: any range of any stream as JSON, one value per record batch.

mod json;

use natter_schemas::codec::{CommandBatch, OutcomeBatch};
use natter_schemas::event;
use natter_schemas::wire::times::rfc3339;
use serde_json::{Value, json};

use crate::connection::Log;
use crate::error::LogError;
use crate::stored::Stored;

pub use self::json::{command_json, outcome_json};

/// Batches that are fetched at once.
const STEP: u64 = 64;

/// Gives the batches of `stream` (`CMD_p` or `EVT_p`) from `from` (else its first) to `to` (else its last now) to `line`,
/// in order, until that says `false`.
///
/// # Errors
/// [`LogError::Mismatch`]: no such stream. [`LogError::Corrupt`]: a batch of the range is missing; names it.
/// [`LogError::Transient`]. A batch that cannot be decoded is a line that says so, not an error.
pub async fn cat(
    log: &Log,
    stream: &str,
    from: Option<u64>,
    to: Option<u64>,
    mut line: impl FnMut(Value) -> bool,
) -> Result<(), LogError> {
    let Some((kind, partition)) = parse(stream, log.partitions()) else {
        let last = log.partitions() - 1;
        return Err(LogError::Mismatch(format!(
            "no stream `{stream}`: there are CMD_0 to CMD_{last} and EVT_0 to EVT_{last}"
        )));
    };
    let bounds = log.whole_bounds(stream).await?;
    let mut next = from.unwrap_or(bounds.first).max(1);
    let last = to.unwrap_or(bounds.last).min(bounds.last);
    if next < bounds.first {
        return Err(LogError::Corrupt(format!("stream {stream} begins at {}, {next} was asked for", bounds.first)));
    }
    while next <= last {
        let batches = log.get_batch(stream, next, (last - next + 1).min(STEP)).await?;
        if batches.is_empty() {
            return Err(LogError::Transient(format!("stream {stream} does not give {next} of {last} yet")));
        }
        for stored in batches {
            if stored.sequence != next {
                let found = stored.sequence;
                return Err(LogError::Corrupt(format!("stream {stream} jumps from {} to {found}", next - 1)));
            }
            if !line(batch_json(kind, partition, stream, &stored)) {
                return Ok(());
            }
            next += 1;
        }
    }
    Ok(())
}

/// Why [`cat`] gave nothing of a stream, for people.
///
/// # Errors
/// As [`cat`].
pub async fn nothing_of(log: &Log, stream: &str) -> Result<String, LogError> {
    let bounds = log.whole_bounds(stream).await?;
    Ok(if bounds.last < bounds.first {
        format!("{stream} holds nothing so far: a conversation is in one of {} partitions", log.partitions())
    } else {
        format!("{stream} holds {} to {}: nothing of it is in this range", bounds.first, bounds.last)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commands,
    Outcomes,
}

fn parse(stream: &str, partitions: u16) -> Option<(Kind, u16)> {
    let (kind, partition) = stream.split_once('_')?;
    let kind = match kind {
        "CMD" => Kind::Commands,
        "EVT" => Kind::Outcomes,
        _ => return None,
    };
    let partition = partition.parse().ok().filter(|of: &u16| *of < partitions && of.to_string() == partition)?;
    Some((kind, partition))
}

fn batch_json(kind: Kind, partition: u16, stream: &str, stored: &Stored) -> Value {
    let mut value = json!({
        "stream": stream,
        "sequence": stored.sequence,
        "stored_at": rfc3339(stored.stored_ms),
        "bytes": stored.payload.len(),
    });
    let read = match kind {
        Kind::Commands => CommandBatch::decode(&stored.payload).map(|batch| json::commands(&batch)),
        Kind::Outcomes => OutcomeBatch::decode(&stored.payload).and_then(|batch| {
            let placed = event::placed(partition, stored.sequence, &stored.payload)?;
            Ok(json::outcomes(&batch.header, &placed))
        }),
    };
    let read =
        read.unwrap_or_else(|error| json!({ "error": error.to_string(), "payload": json::hex(&stored.payload) }));
    if let (Value::Object(line), Value::Object(read)) = (&mut value, read) {
        line.extend(read);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_streams_of_the_log_have_names() {
        assert_eq!(parse("CMD_3", 4), Some((Kind::Commands, 3)));
        assert_eq!(parse("EVT_0", 4), Some((Kind::Outcomes, 0)));
        for other in ["EVT_4", "EVT_00", "KV_leases", "CMD", "CMD_", "cmd_0"] {
            assert_eq!(parse(other, 4), None, "{other}");
        }
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_shown_as_it_is() {
        let payload = bytes::Bytes::from_static(&[9, 1]);
        let stored = Stored { sequence: 3, stored_ms: 0, lease: None, records: None, behind: 0, payload };
        let line = batch_json(Kind::Commands, 0, "CMD_0", &stored);
        assert_eq!(line["payload"], "0901");
        assert!(line["error"].as_str().unwrap().contains("version 9"), "{line}");
    }
}
