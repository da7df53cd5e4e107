//! `natter policy`: a policy is stored under its hash, then a command to every partition puts it in force; from its
//! outcome's position on it is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::message::PublishMessage;
use natter_nats::clock::{Clock, SystemClock};
use natter_nats::{Log, Policies, Reader, ReaderOptions};
use natter_processors::policy::ContentRules;
use natter_projections::facts::{Fact, FactKey};
use natter_projections::redis::{Redis, load};
use natter_schemas::codec::{CommandBatchWriter, CommandHeader, OutcomeBatch, RawOutcome, encode};
use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::limits::TEXT_SCALARS_MAX;
use natter_schemas::names::{Ref, Tenant, UserId};
use natter_schemas::outcome::{Decision, Outcome};
use natter_schemas::policy::{Policy, PolicyHash};
use natter_schemas::subjects::{RECORDS_HEADER, command_subject, outcome_stream};
use tokio::time::timeout;

/// A processor decides within milliseconds; another takes over a dead one's partitions within seconds.
const DECIDED_WITHIN: Duration = Duration::from_secs(20);

/// Reads and checks a policy's file.
///
/// # Errors
/// It cannot be read, is no policy, is beyond a limit, or its words cannot be compiled.
pub fn read(file: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let policy: Policy = serde_json::from_slice(&text).with_context(|| {
        let sample = r#"{"lists":[{"name":"en","action":"mask","words":["darn"]}]}"#;
        format!("{} is no policy, which is JSON such as {sample}", file.display())
    })?;
    // What a processor would refuse, and what would shut everybody up.
    ContentRules::compile(&text).with_context(|| format!("{} cannot be used", file.display()))?;
    if !(1..=TEXT_SCALARS_MAX).contains(&policy.text_scalars_max) {
        let found = policy.text_scalars_max;
        bail!("{}: text_scalars_max is {found}, and may be 1 to {TEXT_SCALARS_MAX}", file.display());
    }
    Ok(policy)
}

/// Puts `policy` (none: the default) in force for a tenant. Returns its hash when every partition has decided so.
///
/// # Errors
/// The log is away, or a partition rejected it.
pub async fn set(log: &Log, tenant: &Tenant, policy: Option<&Policy>) -> anyhow::Result<Option<PolicyHash>> {
    let hash = match policy {
        Some(policy) => Some(Policies::new(log).store(&policy.to_stored().0).await?),
        None => None,
    };
    let publisher = getrandom::u64().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    for partition in 0..log.partitions() {
        set_in(log, partition, tenant, hash, publisher).await.with_context(|| format!("partition {partition}"))?;
    }
    Ok(hash)
}

async fn set_in(
    log: &Log,
    partition: u16,
    tenant: &Tenant,
    hash: Option<PolicyHash>,
    publisher: u64,
) -> anyhow::Result<()> {
    let stream = outcome_stream(partition);
    let last = log.bounds(&stream).await?.last;
    let mut reader = Reader::open(log, &stream, last + 1, ReaderOptions::default()).await?;
    let mut batch = CommandBatchWriter::default();
    batch.push(&encode(&command(tenant, hash, publisher)));
    let (header, bytes) = batch.finish(publisher, u64::from(partition));
    let message = PublishMessage::build()
        .payload(bytes.into())
        .message_id(header.message_id())
        .header(RECORDS_HEADER, header.records.to_string().as_str());
    log.jetstream().send_publish(command_subject(partition), message).await?.await?;
    let decided = async {
        loop {
            let stored = reader.next().await?;
            if let Some(outcome) = outcome_of(&stored.payload, &header)? {
                return anyhow::Ok(outcome.decision);
            }
        }
    };
    let decision = timeout(DECIDED_WITHIN, decided).await.with_context(|| {
        let seconds = DECIDED_WITHIN.as_secs();
        format!("no outcome after {seconds} s: does its processor run? The command is stored and may still take effect")
    })??;
    match decision {
        Decision::Accepted(_) => Ok(()),
        Decision::Rejected(rejection) => bail!("{}: {}", rejection.error_code(), rejection.detail),
    }
}

fn command(tenant: &Tenant, hash: Option<PolicyHash>, publisher: u64) -> Command {
    Command {
        tenant: tenant.clone(),
        sender: UserId::trusted("operator"),
        session: 0,
        received_ms: SystemClock.now_ms(),
        reference: Ref::trusted(&format!("policy-{publisher:016x}")),
        origin: Origin::Operator,
        body: Body::SetPolicy { hash },
        evidence: Vec::new(),
    }
}

/// The outcome of the batch with this header, if it stands in these bytes.
fn outcome_of(bytes: &[u8], header: &CommandHeader) -> anyhow::Result<Option<Outcome>> {
    let batch = OutcomeBatch::decode(bytes)?;
    let mut index = 0;
    for source in &batch.header.sources {
        if (source.publisher, source.number) == (header.publisher, header.number) {
            return Ok(batch.records()?.get(index).map(RawOutcome::decode).transpose()?);
        }
        index += source.records as usize;
    }
    Ok(None)
}

/// A stored policy, as JSON.
///
/// # Errors
/// The log is away, or nothing is stored under the hash.
pub async fn text(log: &Log, hash: PolicyHash) -> anyhow::Result<String> {
    let stored = Policies::new(log).fetch(hash).await?.with_context(|| format!("policy {hash} is not stored"))?;
    Ok(String::from_utf8_lossy(&stored).into_owned())
}

/// The policy in force in each partition, as its view shows it.
///
/// # Errors
/// Redis is away.
pub async fn in_force(redis: &Redis, partitions: u16, tenant: &Tenant) -> anyhow::Result<Vec<Option<PolicyHash>>> {
    let mut hashes = Vec::new();
    for partition in 0..partitions {
        let loaded = load(redis, partition, &[FactKey::Policy(tenant.clone())]).await?;
        hashes.push(match loaded.values.into_iter().next().flatten() {
            Some(Fact::Policy(hash)) => Some(hash),
            _ => None,
        });
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_in_force_is_refused_before_it_is_stored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of_name = |name: &str| format!(r#"{{"lists":[{{"name":"{name}","action":"mask","words":["darn"]}}]}}"#);
        let text_of = |scalars: u32| format!(r#"{{"text_scalars_max":{scalars}}}"#);
        for (text, said) in [
            ("darn".to_owned(), "is no policy, which is JSON such as"),
            (of_name(&"n".repeat(33)), "a list's name has 33 bytes, at most 32"),
            (text_of(0), "text_scalars_max is 0, and may be 1 to 4096"),
            (text_of(4097), "text_scalars_max is 4097"),
        ] {
            std::fs::write(file.path(), &text).unwrap();
            let error = format!("{:#}", read(file.path()).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
        for text in [of_name("en"), text_of(1), "{}".to_owned()] {
            std::fs::write(file.path(), &text).unwrap();
            read(file.path()).unwrap();
        }
    }
}
