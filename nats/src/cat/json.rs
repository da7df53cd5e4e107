//! Commands and outcomes of the log as JSON, for people. The log's types stay free of JSON; the conversion is here.

use std::fmt::Write as _;

use natter_schemas::codec::{CommandBatch, OutcomeHeader};
use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::event::Placed;
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Run};
use natter_schemas::wire::times::rfc3339;
use serde_json::{Value, json};

/// A command batch's own part of its line.
pub(super) fn commands(batch: &CommandBatch) -> Value {
    let commands = batch.commands.iter().map(|command| match command {
        Ok(command) => command_json(command),
        Err(bytes) => json!({ "undecodable": hex(bytes) }),
    });
    json!({
        "publisher": id(batch.header.publisher),
        "number": batch.header.number,
        "commands": commands.collect::<Vec<_>>(),
    })
}

/// An outcome batch's own part of its line.
pub(super) fn outcomes(header: &OutcomeHeader, placed: &[Placed]) -> Value {
    let sources = header.sources.iter().map(|source| {
        json!({
            "sequence": source.sequence,
            "stored_at": rfc3339(source.stored_ms),
            "log_at": rfc3339(source.log_ms),
            "publisher": id(source.publisher),
            "number": source.number,
            "records": source.records,
        })
    });
    let outcomes = placed.iter().map(|placed| {
        let mut value = outcome_json(&placed.outcome);
        value["position"] = json!(placed.position);
        value["policy"] = json!(placed.policy.map(|hash| hash.to_string()));
        value
    });
    json!({
        "lease": header.lease,
        "sources": sources.collect::<Vec<_>>(),
        "ids_at": rfc3339(header.ids.unix_ms()),
        "policies": header.policies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "outcomes": outcomes.collect::<Vec<_>>(),
    })
}

/// A command.
pub fn command_json(command: &Command) -> Value {
    json!({
        "tenant": command.tenant,
        "sender": command.sender,
        "session": id(command.session),
        "received_at": rfc3339(command.received_ms),
        "ref": command.reference,
        "origin": origin(&command.origin),
        "cmd": command.body.name(),
        "body": body(&command.body),
        "evidence": command.evidence.iter().map(evidence).collect::<Vec<_>>(),
    })
}

/// An outcome: the command, what had to be learnt, what was decided.
pub fn outcome_json(outcome: &Outcome) -> Value {
    let received = match &outcome.received {
        Received::Command(command) => command_json(command),
        Received::Undecodable(bytes) => json!({ "undecodable": hex(bytes) }),
    };
    let decision = match &outcome.decision {
        Decision::Accepted(accepted) => json!({ "accepted": self::accepted(accepted) }),
        Decision::Rejected(rejection) => {
            json!({ "rejected": { "code": rejection.error_code(), "detail": rejection.detail } })
        }
    };
    let learnt = match &outcome.learnt {
        Learnt::Nothing => Value::Null,
        Learnt::PolicyUnknown => json!("policy_unknown"),
        Learnt::PolicyUnusable => json!("policy_unusable"),
    };
    json!({ "command": received, "learnt": learnt, "decision": decision })
}

fn evidence(evidence: &Evidence) -> Value {
    match evidence {
        Evidence::Ref { first, complete: Complete { sequence, log_ms } } => json!({ "ref": {
            "first": first.as_ref().map(answered),
            "complete_up_to": sequence,
            "log_at": rfc3339(*log_ms),
        } }),
    }
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Client => json!("client"),
        Origin::Resend => json!("resend"),
        Origin::Operator => json!("operator"),
        Origin::Import(line) => json!({ "import": {
            "source": hex(&line.source),
            "line": line.line,
            "previous": line.previous,
            "at": rfc3339(line.at_ms),
            "introduces": line.introduces,
            "follows": line.follows.as_deref().map(|follows| json!({ "source": hex(&follows.source), "line": follows.line })),
        } }),
    }
}

fn body(body: &Body) -> Value {
    match body {
        Body::CreateDirect { peer } => json!({ "kind": "direct", "peer": peer }),
        Body::CreateGroup { visibility, name, members, external } => {
            json!({ "kind": "group", "visibility": visibility, "name": name, "members": members, "external": external })
        }
        Body::Add { conversation, members } => json!({ "conversation": address(conversation), "members": members }),
        Body::Join { conversation } | Body::Leave { conversation } => json!({ "conversation": address(conversation) }),
        Body::Rename { conversation, name } => json!({ "conversation": address(conversation), "name": name }),
        Body::Read { conversation, seq } => json!({ "conversation": address(conversation), "seq": seq }),
        Body::Send { conversation, text } => json!({ "conversation": address(conversation), "text": text }),
        Body::UpdateUser { name } => json!({ "name": name }),
        Body::SetPolicy { hash } => json!({ "hash": hash.map(|hash| hash.to_string()) }),
    }
}

fn accepted(accepted: &Accepted) -> Value {
    match accepted {
        Accepted::Created { conversation, members } => {
            json!({ "created": { "conversation": conversation, "members": members } })
        }
        Accepted::Existing { conversation } => json!({ "existing": { "conversation": conversation } }),
        Accepted::Added { conversation, members, seq, member_count } => json!({
            "added": { "conversation": conversation, "members": members, "seq": seq, "member_count": member_count }
        }),
        Accepted::Joined { conversation, seq, member_count } => {
            json!({ "joined": { "conversation": conversation, "seq": seq, "member_count": member_count } })
        }
        Accepted::Left { conversation, member_count } => {
            json!({ "left": { "conversation": conversation, "member_count": member_count } })
        }
        Accepted::Renamed { conversation } => json!({ "renamed": { "conversation": conversation } }),
        Accepted::Read { conversation, seq, peer } => {
            json!({ "read": { "conversation": conversation, "seq": seq, "peer": peer } })
        }
        Accepted::Sent { conversation, message, seq, replacement, lists, run } => json!({ "sent": {
            "conversation": conversation, "message": message, "seq": seq, "replacement": replacement, "lists": lists,
            "run": run.map(|Run { number, from, before }| json!({ "number": number, "from": from, "before": before })),
        } }),
        Accepted::UserUpdated => json!("user_updated"),
        Accepted::NameKept => json!("name_kept"),
        Accepted::PolicySet { hash } => json!({ "policy_set": { "hash": hash.map(|hash| hash.to_string()) } }),
        Accepted::Unchanged { conversation, seq } => {
            json!({ "unchanged": { "conversation": conversation, "seq": seq } })
        }
        Accepted::Repeated(answered) => json!({ "repeated": self::answered(answered) }),
        Accepted::ImportedBefore { conversation } => json!({ "imported_before": { "conversation": conversation } }),
    }
}

fn answered(answered: &Answered) -> Value {
    json!({
        "content": id(answered.content),
        "sequence": answered.sequence,
        "index": answered.index,
        "at": rfc3339(answered.at_ms),
        "log_at": rfc3339(answered.log_ms),
        "conversation": answered.conversation,
        "message": answered.message,
        "seq": answered.seq,
    })
}

fn address(address: &Address) -> String {
    match address {
        Address::Id(id) => id.to_string(),
        Address::External(external) => format!("ext:{external}"),
    }
}

/// Random numbers and hashes: 16 hex digits, because JSON readers lose the last bits of large numbers.
fn id(number: u64) -> String {
    format!("{number:016x}")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter_schemas::id::{ConversationId, MessageId};
    use natter_schemas::names::{MessageText, Ref, Tenant, UserId};

    #[test]
    fn an_outcome_reads_like_a_sentence() {
        let command = Command {
            tenant: Tenant::trusted("demo"),
            sender: UserId::trusted("ada"),
            session: 1,
            received_ms: 1_735_689_600_007,
            reference: Ref::trusted("r1"),
            origin: Origin::Client,
            body: Body::Send {
                conversation: Address::Id(ConversationId::from_raw(77)),
                text: MessageText::trusted("hi"),
            },
            evidence: Vec::new(),
        };
        let outcome = Outcome {
            received: Received::Command(command),
            policy: None,
            learnt: Learnt::Nothing,
            decision: Decision::Accepted(Accepted::Sent {
                conversation: ConversationId::from_raw(77),
                message: MessageId::from_raw(78),
                seq: 5,
                replacement: None,
                lists: vec![],
                run: None,
            }),
        };
        assert_eq!(
            outcome_json(&outcome),
            json!({
                "command": {
                    "tenant": "demo", "sender": "ada", "session": "0000000000000001",
                    "received_at": "2025-01-01T00:00:00.007Z", "ref": "r1", "origin": "client",
                    "cmd": "message.send", "body": { "conversation": "77", "text": "hi" }, "evidence": [],
                },
                "learnt": null,
                "decision": { "accepted": { "sent": {
                    "conversation": "77", "message": "78", "seq": 5, "replacement": null, "lists": [],
                    "run": null,
                } } },
            })
        );
    }
}
