//! What became of refs that are sent again: looked up in the history, and in the log above it, before the command is sent
//! (invariant 14). A sender sees nothing here but his own past.

use std::collections::HashMap;

use natter_schemas::codec::OutcomeBatch;
use natter_schemas::command::{Address, Body, Command};
use natter_schemas::event::{RefScope, placed};
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::id::ConversationId;
use natter_schemas::limits::{EVIDENCE_AGE_MS_MAX, REF_LIFE_MS};
use natter_schemas::subjects::outcome_stream;

use super::Reads;
use crate::clickhouse::{RefQuery, find_refs};
use crate::error::ViewError;
use crate::facts::{Fact, FactKey};
use crate::redis;
use crate::watermark::Watermark;

/// Outcome batches of the log that are read above a history which is too far behind to count.
const TAIL_BATCHES_MAX: u64 = 1000;
/// Asked for at once.
const FETCH: u64 = 64;
/// A history that is so far behind counts by itself: there is time left until its evidence is stale.
const HISTORY_AGE_MS_MAX: u64 = EVIDENCE_AGE_MS_MAX / 2;

impl Reads {
    /// What became of the refs of `commands`, all of one partition, in their order. Those without a ref that is remembered get no
    /// evidence.
    ///
    /// # Errors
    /// [`ViewError::Transient`]: log, Redis or history is away, or too far behind to know.
    pub async fn refs(&self, partition: u16, commands: &[&Command]) -> Result<Vec<Option<Evidence>>, ViewError> {
        let stream = outcome_stream(partition);
        let newest = match self.log.last_from_leader(&stream).await? {
            Some(stored) => complete(stored.sequence, &stored.payload)?,
            None => Complete::default(),
        };
        let since_ms = newest.log_ms.saturating_sub(REF_LIFE_MS);
        let history = self.tails.complete_history(partition).await?;
        let named = self.named(partition, history.upto, commands).await?;
        let queries: Vec<Option<RefQuery>> =
            commands.iter().zip(named).map(|(command, named)| query(command, named)).collect();
        let asked: Vec<RefQuery> = queries.iter().flatten().cloned().collect();
        let found = find_refs(&history.history, partition, history.upto, since_ms, &asked).await?;
        let mut first: HashMap<RefQuery, Option<Answered>> = asked.into_iter().zip(found).collect();
        let complete = self.above_history(partition, history.upto, newest, &mut first).await?;
        let evidence = |query: RefQuery| Evidence::Ref { first: first.get(&query).cloned().flatten(), complete };
        Ok(queries.into_iter().map(|query| query.map(evidence)).collect())
    }

    /// Searches the log above `upto` where the history is too far behind. Gives up to where everything is known.
    async fn above_history(
        &self,
        partition: u16,
        upto: u64,
        newest: Complete,
        first: &mut HashMap<RefQuery, Option<Answered>>,
    ) -> Result<Complete, ViewError> {
        if upto >= newest.sequence {
            return Ok(newest);
        }
        let stream = outcome_stream(partition);
        let there = match upto {
            0 => Complete::default(),
            _ => match self.log.get_wherever(&stream, upto).await? {
                Some(stored) => complete(upto, &stored.payload)?,
                None => return Err(ViewError::Transient(format!("{stream} does not give {upto}"))),
            },
        };
        if newest.log_ms - there.log_ms <= HISTORY_AGE_MS_MAX {
            return Ok(there);
        }
        if newest.sequence - upto > TAIL_BATCHES_MAX {
            let behind = newest.sequence - upto;
            return Err(ViewError::Transient(format!("the history is {behind} batches behind, too many to read")));
        }
        let mut next = upto + 1;
        while next <= newest.sequence {
            let batches = self.log.get_batch(&stream, next, FETCH.min(newest.sequence + 1 - next)).await?;
            if batches.first().is_none_or(|batch| batch.sequence != next) {
                return Err(ViewError::Transient(format!("{stream} does not give {next}")));
            }
            for batch in batches {
                if batch.sequence != next {
                    break;
                }
                search(partition, batch.sequence, &batch.payload, first)?;
                next += 1;
            }
        }
        Ok(newest)
    }

    /// The conversations that commands name, or would make, as far as they exist.
    async fn named(
        &self,
        partition: u16,
        least: u64,
        commands: &[&Command],
    ) -> Result<Vec<Option<ConversationId>>, ViewError> {
        let keys: Vec<Option<FactKey>> = commands.iter().map(|command| address_key(command)).collect();
        let asked: Vec<FactKey> = keys.iter().flatten().cloned().collect();
        let mut found = HashMap::new();
        if !asked.is_empty() {
            let asked = &asked;
            let read = |redis: redis::Redis| async move {
                let loaded = redis::load(&redis, partition, asked).await?;
                Ok((Watermark { log: loaded.log, sequence: loaded.watermark }, loaded.values))
            };
            let (watermark, values) = self.redis.at_least(partition, least, |(shown, _)| shown, read).await?;
            if !watermark.is_of(self.log.id()) {
                return Err(ViewError::Mismatch(format!(
                    "the redis views of partition {partition} are of another log"
                )));
            }
            found.extend(asked.iter().cloned().zip(values));
        }
        let resolved = |(command, key): (&&Command, Option<FactKey>)| match key {
            Some(key) => match found.get(&key) {
                Some(Some(Fact::Address(id))) => Some(*id),
                Some(_) | None => None,
            },
            None => match command.body.conversation() {
                Some(Address::Id(id)) => Some(*id),
                Some(Address::External(_)) | None => None,
            },
        };
        Ok(commands.iter().zip(keys).map(resolved).collect())
    }
}

/// The fact that says which conversation a command names or has made before.
fn address_key(command: &Command) -> Option<FactKey> {
    let external = |external| FactKey::External(command.tenant.clone(), external);
    match &command.body {
        Body::CreateDirect { peer } => Some(FactKey::direct(&command.tenant, &command.sender, peer)),
        Body::CreateGroup { external: name, .. } => name.clone().map(external),
        Body::Add { conversation, .. }
        | Body::Join { conversation }
        | Body::Leave { conversation }
        | Body::Rename { conversation, .. }
        | Body::Read { conversation, .. }
        | Body::Send { conversation, .. } => match conversation {
            Address::External(name) => Some(external(name.clone())),
            Address::Id(_) => None,
        },
        Body::UpdateUser { .. } | Body::SetPolicy { .. } => None,
    }
}

fn query(command: &Command, named: Option<ConversationId>) -> Option<RefQuery> {
    if !natter_schemas::event::remembers_ref(command) {
        return None;
    }
    let (tenant, sender) = (command.tenant.clone(), command.sender.clone());
    // In a conversation that is not there nobody has done anything; its evidence says so too.
    let scope = RefScope::of(&command.body, Some(named.unwrap_or(ConversationId::from_raw(0))))?;
    Some(RefQuery { tenant, sender, scope, reference: command.reference.clone(), conversation: named })
}

fn complete(sequence: u64, payload: &[u8]) -> Result<Complete, ViewError> {
    Ok(Complete { sequence, log_ms: OutcomeBatch::decode(payload)?.header.log_ms() })
}

fn search(
    partition: u16,
    sequence: u64,
    payload: &[u8],
    first: &mut HashMap<RefQuery, Option<Answered>>,
) -> Result<(), ViewError> {
    for placed in placed(partition, sequence, payload)? {
        let Some(accepted) = placed.accepted() else { continue };
        let Some((scope, reference)) = accepted.left_ref() else { continue };
        let command = accepted.command;
        let is_asked = |(query, _): &(&RefQuery, &mut Option<Answered>)| {
            query.tenant == command.tenant
                && query.sender == command.sender
                && query.scope == scope
                && query.reference == *reference
        };
        if let Some((_, answer)) = first.iter_mut().find(is_asked) {
            *answer = Some(accepted.answered());
        }
    }
    Ok(())
}
