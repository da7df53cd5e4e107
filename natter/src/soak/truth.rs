//! What the log says, read to its end when all is over.

use anyhow::Context;
use natter_nats::{Log, Reader, ReaderOptions};
use natter_schemas::event::{Event, placed};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::subjects::outcome_stream;

use super::witness::{Message, Truth, WishId};

/// The last positions of all partitions.
///
/// # Errors
/// The broker does not answer.
pub async fn ends(log: &Log) -> anyhow::Result<Vec<Position>> {
    let mut ends = Vec::new();
    for partition in 0..log.partitions() {
        let bounds = log.bounds(&outcome_stream(partition)).await.context("cannot see the log's end")?;
        ends.push(Position::batch(partition, bounds.last));
    }
    Ok(ends)
}

/// What the log says up to `ends`.
///
/// # Errors
/// The log cannot be read.
pub async fn truth(log: &Log, ends: &[Position]) -> anyhow::Result<Truth> {
    let mut truth = Truth::default();
    for end in ends.iter().filter(|end| end.sequence > 0) {
        let stream = outcome_stream(end.partition);
        let mut reader = Reader::open(log, &stream, 1, ReaderOptions::default()).await?;
        loop {
            let stored = reader.next().await.with_context(|| format!("cannot read {stream}"))?;
            for placed in placed(end.partition, stored.sequence, &stored.payload)? {
                if let Some(event) = placed.event() {
                    fold(&mut truth, &event);
                }
            }
            if stored.sequence >= end.sequence {
                break;
            }
        }
    }
    Ok(truth)
}

fn fold(truth: &mut Truth, event: &Event<'_>) {
    let sender = event.command.sender.to_string();
    match event.accepted {
        Accepted::Created { conversation, members } => {
            let all = members.iter().map(ToString::to_string).chain([sender]).collect();
            truth.members.insert(conversation.get(), all);
        }
        Accepted::Added { conversation, members, .. } => {
            let added = members.iter().map(ToString::to_string);
            truth.members.entry(conversation.get()).or_default().extend(added);
        }
        Accepted::Joined { conversation, .. } => {
            truth.members.entry(conversation.get()).or_default().insert(sender);
        }
        Accepted::Left { conversation, .. } => {
            truth.members.entry(conversation.get()).or_default().remove(&sender);
        }
        Accepted::Sent { conversation, message, seq, .. } => {
            let wish = event.visible_text().and_then(WishId::parse);
            let message = Message { seq: *seq, id: message.get(), wish };
            truth.messages.entry(conversation.get()).or_default().push(message);
        }
        _ => {}
    }
}
