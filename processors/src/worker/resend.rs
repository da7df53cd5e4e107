//! Refs of resends, which may be older than what the partition's facts remember (invariant 12).

use std::collections::HashMap;

use natter_projections::facts::FactKey;
use natter_schemas::command::Origin;
use natter_schemas::event::{left_ref, placed, remembers_ref};
use natter_schemas::limits::{REF_LIFE_MS, RESEND_BATCHES_MAX};
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
        resends
    }

    /// Looks up those that the facts do not know: in the history, and in the log above it up to `last`. A history that is
    /// away hurts the resends and nothing else.
    pub(super) async fn learn(self, around: &impl Surroundings, last: u64) -> Result<LearntBy, Halt> {
        let Self { mut learnt, asked, places, since_ms } = self;
        if asked.is_empty() {
            return Ok(learnt);
        }
        let found = match around.find(&asked, since_ms).await {
            Ok(found) if last.saturating_sub(found.watermark) <= RESEND_BATCHES_MAX => found,
            Ok(found) => {
                tracing::warn!(watermark = found.watermark, last, "the history is too far behind to know resent refs");
                learnt.extend(places.into_iter().map(|place| (place, Learnt::HistoryUnavailable)));
                return Ok(learnt);
            }
            Err(error) => {
                tracing::warn!(error, "the history is away, resends are refused");
                learnt.extend(places.into_iter().map(|place| (place, Learnt::HistoryUnavailable)));
                return Ok(learnt);
            }
        };
        let mut answers: HashMap<RefQuery, Option<Answered>> = asked.iter().cloned().zip(found.found).collect();
        if found.watermark < last {
            search_log(&mut answers, around, found.watermark, last).await?;
        }
        for (query, place) in asked.iter().zip(places) {
            let answer = answers.get(query).cloned().flatten();
            learnt.insert(place, answer.map_or(Learnt::RefUnknown, Learnt::RefKnown));
        }
        Ok(learnt)
    }
}

async fn search_log(
    answers: &mut HashMap<RefQuery, Option<Answered>>,
    around: &impl Surroundings,
    after: u64,
    through: u64,
) -> Result<(), Halt> {
    let search = |stored: &natter_nats::Stored| {
        for placed in placed(around.partition(), stored.sequence, &stored.payload)? {
            let Some(event) = placed.event() else { continue };
            let Some((scope, reference)) = left_ref(&event) else { continue };
            let (tenant, sender) = (event.command.tenant.clone(), event.command.sender.clone());
            let query = RefQuery { tenant, sender, scope, reference: reference.clone() };
            if let Some(answer) = answers.get_mut(&query) {
                *answer = Some(event.answered());
            }
        }
        Ok(())
    };
    around.read_outcomes(after, through, search).await
}
