//! The bare comparison: an echo in the processor's place. It reads command batches, calls every command accepted without
//! looking at it, and writes outcome batches of the same size: what the log alone carries, whatever is decided.

use anyhow::Context;
use natter_nats::{Log, OutcomeWrite, Reader, ReaderOptions};
use natter_schemas::codec::{CommandBatch, OutcomeBatchWriter, Source};
use natter_schemas::event::touched;
use natter_schemas::id::{ConversationId, IdState};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use natter_schemas::subjects::command_stream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::servers::{Roles, Servers};

/// Command batches that one outcome batch answers: four full ones make the largest.
const BATCHES: usize = 4;
/// No lease is held; nobody else is there.
const LEASE: u64 = 1;

/// One echo for each partition.
///
/// # Errors
/// The broker is away.
pub async fn start(servers: &Servers) -> anyhow::Result<Roles> {
    let log = servers.log().await?;
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    for partition in 0..log.partitions() {
        let (log, shutdown) = (log.clone(), shutdown.clone());
        tasks.spawn(async move {
            let echoed = shutdown.run_until_cancelled(echo(log, partition)).await;
            echoed.unwrap_or(Ok(())).context("the echo ended")
        });
    }
    Ok(Roles::new(tasks, shutdown))
}

async fn echo(log: Log, partition: u16) -> anyhow::Result<()> {
    let mut commands = Reader::open(&log, &command_stream(partition), 1, ReaderOptions::default()).await?;
    let accepted = Accepted::Read { conversation: ConversationId::from_raw(1 << 60), seq: 1, peer: None };
    for sequence in 1.. {
        let mut writer = OutcomeBatchWriter::default();
        let mut sources = Vec::new();
        for stored in commands.next_batch(BATCHES).await? {
            let CommandBatch { header, commands } = CommandBatch::decode(&stored.payload)?;
            for command in commands {
                let outcome = Outcome {
                    received: command.map_or_else(Received::Undecodable, Received::Command),
                    policy: None,
                    learnt: Learnt::Nothing,
                    decision: Decision::Accepted(accepted.clone()),
                };
                writer.push(&outcome, &touched(&outcome));
            }
            sources.push(Source {
                sequence: stored.sequence,
                stored_ms: stored.stored_ms,
                log_ms: stored.stored_ms,
                before_ms: stored.stored_ms,
                publisher: header.publisher,
                number: header.number,
                records: header.records,
            });
        }
        let records = sources.iter().map(|source| source.records).sum();
        let payload = writer.finish(LEASE, sources, IdState::default(), vec![]).into();
        log.write_outcomes(&OutcomeWrite { partition, sequence, lease: LEASE, records, payload }).await?;
    }
    Ok(())
}
