//! An outcome batch in the making.

use bytes::Bytes;
use natter_schemas::codec::{OutcomeBatchWriter, Source};
use natter_schemas::event::touched;
use natter_schemas::id::IdState;
use natter_schemas::outcome::{Decision, Outcome};
use natter_schemas::policy::PolicyHash;

use crate::telemetry::Tally;

/// What nearly every outcome adds to its command.
const DECISION_BYTES_USUAL: usize = 48;

/// An outcome batch, ready to be stored.
#[derive(Debug, Clone)]
pub struct OutcomeMessage {
    /// Its sequence in `EVT_p`.
    pub sequence: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// Outcomes in it.
    pub records: u32,
    /// What they are.
    pub tally: Tally,
}

/// An outcome batch in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    writer: OutcomeBatchWriter,
    sources: Vec<Source>,
    policies: Vec<PolicyHash>,
    records: u32,
    tally: Tally,
}

impl Draft {
    /// The next outcome's index in the batch.
    pub(crate) const fn index(&self) -> u32 {
        self.records
    }

    /// How outcomes of this batch name a policy.
    pub(crate) fn policy(&mut self, hash: Option<PolicyHash>) -> Option<u16> {
        let hash = hash?;
        let found = self.policies.iter().rposition(|known| *known == hash);
        let index = found.unwrap_or_else(|| {
            self.policies.push(hash);
            self.policies.len() - 1
        });
        // An outcome batch has fewer outcomes than there are numbers, and each names one policy.
        Some(u16::try_from(index).expect("a batch has at most 64,000 outcomes"))
    }

    /// Makes room for outcomes of so many bytes of commands.
    pub(crate) fn reserve(&mut self, commands: usize, bytes: usize) {
        self.writer.reserve(bytes + commands * DECISION_BYTES_USUAL);
    }

    pub(crate) fn push(&mut self, outcome: &Outcome) {
        self.writer.push(outcome, &touched(outcome));
        self.records += 1;
        self.tally.count(match &outcome.decision {
            Decision::Accepted(_) => "accepted",
            Decision::Rejected(rejection) => rejection.error_code().name(),
        });
    }

    pub(crate) fn answers(&mut self, source: Source) {
        self.sources.push(source);
    }

    pub(crate) fn finish(self, sequence: u64, lease: u64, ids: IdState) -> OutcomeMessage {
        let bytes = self.writer.finish(lease, self.sources, ids, self.policies).into();
        OutcomeMessage { sequence, bytes, records: self.records, tally: self.tally }
    }
}
