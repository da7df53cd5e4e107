//! Refs of resends, which may be older than what the partition's facts remember (invariant 12).

use std::collections::HashMap;

use natter_nats::Stored;
use natter_projections::facts::FactKey;
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::command::Origin;
use natter_schemas::event::{left_ref, placed, remembers_ref};
use natter_schemas::limits::{REF_LIFE_MS, REFS_RECENT_MS, RESEND_BATCHES_MAX};
use natter_schemas::outcome::{Answered, Learnt};

use super::commands::StoredCommands;
use super::decider::LearntBy;
use crate::decide::{Facts, log_time, scope};
use crate::error::Halt;
use crate::overlay::Overlay;
use crate::ports::{RefQuery, Surroundings};

/// The resends of a group.
#[derive(Debug, Default)]
pub(super) struct Resends {
    /// Those that the facts know. Recorded all the same, for what other commands of the group leave behind may hide them.
    learnt: LearntBy,
    asked: Vec<RefQuery>,
    places: Vec<(u64, usize)>,
    /// What is older in log time counts no more.
    since_ms: u64,
    /// What is not older than this in log time is among the facts, for every command of the group.
    recent_ms: u64,
}

impl Resends {
    /// The resends in `batches`, which follow a batch of log time `log_ms`.
    pub(super) fn of(batches: &[StoredCommands], overlay: &Overlay, mut log_ms: u64) -> Self {
        let mut resends = Self { since_ms: log_ms.saturating_sub(REF_LIFE_MS), ..Self::default() };
        for batch in batches {
            log_ms = log_time(log_ms, batch.stored_ms);
            for (index, command) in batch.commands.iter().enumerate() {
                let Ok(command) = command else { continue };
                if command.origin != Origin::Resend || !remembers_ref(command) {
                    continue;
                }
                // A conversation that is not there yet can have been the scope of nothing.
                let Some(scope) = scope(command, overlay) else { continue };
                let (tenant, sender) = (command.tenant.clone(), command.sender.clone());
                let reference = command.reference.clone();
                let place = (batch.sequence, index);
                let key = FactKey::Refs(tenant.clone(), sender.clone(), scope.clone());
                if let Some(answered) = overlay.remembered(&key, &reference, log_ms).answered {
                    resends.learnt.insert(place, Learnt::RefKnown(answered.clone()));
                } else {
                    resends.asked.push(RefQuery { tenant, sender, scope, reference });
                    resends.places.push(place);
                }
            }
        }
        resends.recent_ms = log_ms.saturating_sub(REFS_RECENT_MS);
        resends
    }

    /// Looks up those that the facts do not know: in the history, and in the log between its watermark and what the facts
    /// remember, up to `last`. A history that is away, or far behind, hurts the resends and nothing else.
    pub(super) async fn learn(self, around: &impl Surroundings, last: u64) -> Result<LearntBy, Halt> {
        let Self { mut learnt, asked, places, since_ms, recent_ms } = self;
        if asked.is_empty() {
            return Ok(learnt);
        }
        let answers = match around.find(&asked, since_ms).await {
            Ok(found) => {
                let mut answers = asked.iter().cloned().zip(found.found).collect();
                let covered = search_log(&mut answers, around, found.watermark, last, recent_ms).await?;
                if !covered {
                    let watermark = found.watermark;
                    tracing::warn!(watermark, last, "the history is too far behind to know resent refs");
                }
                covered.then_some(answers)
            }
            Err(error) => {
                tracing::warn!(error, "the history is away, resends are refused");
                None
            }
        };
        for (query, place) in asked.iter().zip(places) {
            let what = match &answers {
                Some(answers) => answers.get(query).cloned().flatten().map_or(Learnt::RefUnknown, Learnt::RefKnown),
                None => Learnt::HistoryUnavailable,
            };
            learnt.insert(place, what);
        }
        Ok(learnt)
    }
}

/// Searches the outcomes after the batch `after` up to `through`, until one is not older than `recent_ms`; `false`: there
/// are more than [`RESEND_BATCHES_MAX`] of them.
async fn search_log(
    answers: &mut HashMap<RefQuery, Option<Answered>>,
    around: &impl Surroundings,
    mut after: u64,
    through: u64,
    recent_ms: u64,
) -> Result<bool, Halt> {
    let (partition, most) = (around.partition(), after + RESEND_BATCHES_MAX);
    // Nearly always the first one says that the facts remember the rest.
    let mut step = 1;
    while after < through {
        if after == most {
            return Ok(false);
        }
        let to = (after + step).min(through).min(most);
        let mut log_ms = 0;
        let search = |stored: &Stored| {
            log_ms = search_batch(answers, partition, stored)?;
            Ok(())
        };
        around.read_outcomes(after, to, search).await?;
        if log_ms >= recent_ms {
            break;
        }
        (after, step) = (to, step * 4);
    }
    Ok(true)
}

/// Searches one batch; gives the log time after it.
fn search_batch(
    answers: &mut HashMap<RefQuery, Option<Answered>>,
    partition: u16,
    stored: &Stored,
) -> Result<u64, Halt> {
    for placed in placed(partition, stored.sequence, &stored.payload)? {
        let Some(event) = placed.event() else { continue };
        let Some((scope, reference)) = left_ref(&event) else { continue };
        let (tenant, sender) = (event.command.tenant.clone(), event.command.sender.clone());
        let query = RefQuery { tenant, sender, scope, reference: reference.clone() };
        if let Some(answer) = answers.get_mut(&query) {
            *answer = Some(event.answered());
        }
    }
    Ok(OutcomeBatch::decode(&stored.payload)?.header.log_ms())
}
