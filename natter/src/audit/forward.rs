//! The log, further on: batches from where a fold stands to where it is to stand.

use natter_nats::{Log, Stored};
use natter_schemas::codec::{OutcomeBatch, OutcomeHeader};
use natter_schemas::event::{Placed, placed};
use natter_schemas::subjects::outcome_stream;

use super::reading::Tail;

/// Reads `EVT_p` for one fold; where the fold goes on, so does the reader.
pub(crate) struct Forward {
    log: Log,
    partition: u16,
    tail: Option<Tail>,
}

impl Forward {
    pub(crate) fn new(log: &Log, partition: u16) -> Self {
        Self { log: log.clone(), partition, tail: None }
    }

    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    /// Folds the batches after `after`, the one at `upto` included; all of them are there.
    pub(crate) async fn fold(
        &mut self,
        after: u64,
        upto: u64,
        mut fold: impl FnMut(&Stored, &OutcomeHeader, &[Placed]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if after >= upto {
            return Ok(());
        }
        let stream = outcome_stream(self.partition);
        let mut tail = match self.tail.take() {
            Some(tail) if tail.next_sequence() == after + 1 => tail,
            _ => Tail::open(&self.log, &stream, after + 1).await?,
        };
        while tail.next_sequence() <= upto {
            let stored = tail.next().await?;
            let header = OutcomeBatch::decode(&stored.payload)?.header;
            let outcomes = placed(self.partition, stored.sequence, &stored.payload)?;
            fold(&stored, &header, &outcomes)?;
        }
        self.tail = Some(tail);
        Ok(())
    }
}
