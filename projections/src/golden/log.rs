//! A fixed log of one partition in which every outcome occurs that there is.

use std::collections::BTreeSet;

use natter_schemas::codec::{OutcomeBatchWriter, Source};
use natter_schemas::command::{Address, Body, Command, ImportLine, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::touched;
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::id::{ConversationId, EPOCH_MS, IdState, MessageId};
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Rejection, Run};
use natter_schemas::policy::PolicyHash;

/// Names a value's variant, and lists all names: a new variant does not compile until it is here, and is missed in the log
/// until it occurs there.
macro_rules! variants {
    ($name:ident, $names:ident, $of:ty, $($pattern:pat => $word:literal),+ $(,)?) => {
        const fn $name(value: &$of) -> &'static str {
            match value { $($pattern => $word),+ }
        }
        const $names: &[&str] = &[$($word),+];
    };
}

variants!(accepted, ACCEPTED, Accepted,
    Accepted::Created { .. } => "created",
    Accepted::Existing { .. } => "existing",
    Accepted::Added { .. } => "added",
    Accepted::Joined { .. } => "joined",
    Accepted::Left { .. } => "left",
    Accepted::Renamed { .. } => "renamed",
    Accepted::Read { .. } => "read",
    Accepted::Sent { run: Some(_), .. } => "sent, imported",
    Accepted::Sent { replacement: None, .. } => "sent",
    Accepted::Sent { replacement: Some(_), .. } => "sent, masked",
    Accepted::UserUpdated => "user updated",
    Accepted::PolicySet { hash: Some(_) } => "policy set",
    Accepted::PolicySet { hash: None } => "policy taken away",
    Accepted::Unchanged { .. } => "unchanged",
    Accepted::Repeated(_) => "repeated",
    Accepted::ImportedBefore { .. } => "imported before",
    Accepted::NameKept => "name kept",
);

variants!(body, BODIES, Body,
    Body::CreateDirect { .. } => "create direct",
    Body::CreateGroup { .. } => "create group",
    Body::Add { .. } => "add",
    Body::Join { .. } => "join",
    Body::Leave { .. } => "leave",
    Body::Rename { .. } => "rename",
    Body::Read { .. } => "read",
    Body::Send { .. } => "send",
    Body::UpdateUser { .. } => "update user",
    Body::SetPolicy { .. } => "set policy",
);

variants!(origin, ORIGINS, Origin,
    Origin::Client => "client",
    Origin::Resend => "resend",
    Origin::Import(_) => "import",
    Origin::Operator => "operator",
);

variants!(learnt, LEARNT, Learnt,
    Learnt::Nothing => "nothing",
    Learnt::PolicyUnknown => "policy unknown",
    Learnt::PolicyUnusable => "policy unusable",
);

/// What does not occur in the log, by name.
pub(super) fn missing() -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    for outcome in outcomes().iter().flatten() {
        seen.insert(("learnt", learnt(&outcome.learnt)));
        if let Received::Command(command) = &outcome.received {
            seen.extend([("body", body(&command.body)), ("origin", origin(&command.origin))]);
        } else {
            seen.insert(("received", "undecodable"));
        }
        match &outcome.decision {
            Decision::Accepted(what) => seen.insert(("accepted", accepted(what))),
            Decision::Rejected(_) => seen.insert(("decision", "rejected")),
        };
    }
    let all = [("accepted", ACCEPTED), ("body", BODIES), ("origin", ORIGINS), ("learnt", LEARNT)];
    let all = all.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, *name)));
    let all = all.chain([("received", "undecodable"), ("decision", "rejected")]);
    all.filter(|one| !seen.contains(one)).map(|(_, name)| name).collect()
}

const ROOM: ConversationId = ConversationId::from_raw(4_194_305);
const DIRECT: ConversationId = ConversationId::from_raw(4_198_402);
const POLICY: PolicyHash = PolicyHash([7; 32]);

/// The batches, with their sequences.
pub(super) fn batches() -> Vec<(u64, Vec<u8>)> {
    let mut before_ms = 0;
    let mut batches = Vec::new();
    for (sequence, outcomes) in (1..).zip(outcomes()) {
        let mut writer = OutcomeBatchWriter::default();
        for outcome in &outcomes {
            writer.push(outcome, &touched(outcome));
        }
        let stored_ms = at(sequence);
        let records = u32::try_from(outcomes.len()).expect("a few");
        let source =
            Source { sequence, stored_ms, log_ms: stored_ms, before_ms, publisher: 5, number: sequence, records };
        batches.push((sequence, writer.finish(3, vec![source], IdState::default(), vec![POLICY])));
        before_ms = stored_ms;
    }
    batches
}

/// When a batch was stored.
const fn at(sequence: u64) -> u64 {
    EPOCH_MS + sequence * 1000
}

fn outcomes() -> Vec<Vec<Outcome>> {
    vec![made(), said(), moved(), without_effect(), imported(), Vec::new(), after_two_hours()]
}

fn user(name: &str) -> UserId {
    UserId::trusted(name)
}

fn room() -> Address {
    Address::Id(ROOM)
}

fn outcome(sender: &str, reference: &str, origin: Origin, body: Body, decision: Decision) -> Outcome {
    let command = Command {
        tenant: Tenant::trusted("demo"),
        sender: user(sender),
        session: 9,
        received_ms: at(0),
        reference: Ref::trusted(reference),
        origin,
        body,
        evidence: Vec::new(),
    };
    Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision }
}

fn ok(sender: &str, reference: &str, body: Body, accepted: Accepted) -> Outcome {
    outcome(sender, reference, Origin::Client, body, Decision::Accepted(accepted))
}

fn send(text: &str) -> Body {
    Body::Send { conversation: room(), text: MessageText::trusted(text) }
}

fn sent(seq: u64, replacement: Option<&str>) -> Accepted {
    let lists = replacement.iter().map(|_| "rude".to_owned()).collect();
    let message = MessageId::from_raw(4_194_400 + seq);
    Accepted::Sent { conversation: ROOM, message, seq, replacement: replacement.map(str::to_owned), lists, run: None }
}

fn line_of_old(seq: u64, run: Run) -> Accepted {
    let message = MessageId::from_raw(4_194_400 + seq);
    Accepted::Sent { conversation: ROOM, message, seq, replacement: None, lists: Vec::new(), run: Some(run) }
}

fn made() -> Vec<Outcome> {
    let group = Body::CreateGroup {
        visibility: Visibility::Public,
        name: Some(DisplayName::trusted("Tea")),
        members: vec![user("bob"), user("cy")],
        external: Some(ExternalId::trusted("tea")),
    };
    let other = |mut outcome: Outcome| {
        if let Received::Command(command) = &mut outcome.received {
            command.tenant = Tenant::trusted("other");
        }
        outcome
    };
    vec![
        ok("ada", "a1", group, Accepted::Created { conversation: ROOM, members: vec![user("bob"), user("cy")] }),
        ok(
            "bob",
            "b1",
            Body::CreateDirect { peer: user("ada") },
            Accepted::Created { conversation: DIRECT, members: vec![user("ada")] },
        ),
        ok("ada", "a2", Body::UpdateUser { name: DisplayName::trusted("Ada") }, Accepted::UserUpdated),
        other(ok("ada", "a2", Body::UpdateUser { name: DisplayName::trusted("Eve") }, Accepted::UserUpdated)),
        policy(Some(POLICY), Accepted::PolicySet { hash: Some(POLICY) }),
    ]
}

fn policy(hash: Option<PolicyHash>, accepted: Accepted) -> Outcome {
    outcome("ops", "p", Origin::Operator, Body::SetPolicy { hash }, Decision::Accepted(accepted))
}

fn said() -> Vec<Outcome> {
    let masked = Outcome { policy: Some(0), ..ok("bob", "b2", send("you wally"), sent(2, Some("you *****"))) };
    vec![
        ok("ada", "a3", send("hello"), sent(1, None)),
        masked,
        ok(
            "ada",
            "a4",
            Body::Read { conversation: room(), seq: 2 },
            Accepted::Read { conversation: ROOM, seq: 2, peer: None },
        ),
        ok(
            "ada",
            "a5",
            Body::Read { conversation: Address::Id(DIRECT), seq: 0 },
            Accepted::Read { conversation: DIRECT, seq: 0, peer: Some(user("bob")) },
        ),
    ]
}

fn moved() -> Vec<Outcome> {
    vec![
        ok(
            "dan",
            "d1",
            Body::Join { conversation: room() },
            Accepted::Joined { conversation: ROOM, seq: 2, member_count: 4 },
        ),
        ok("cy", "c1", Body::Leave { conversation: room() }, Accepted::Left { conversation: ROOM, member_count: 3 }),
        ok(
            "ada",
            "a6",
            Body::Add { conversation: room(), members: vec![user("eve"), user("bob")] },
            Accepted::Added { conversation: ROOM, members: vec![user("eve")], seq: 2, member_count: 4 },
        ),
        ok(
            "ada",
            "a7",
            Body::Rename { conversation: room(), name: DisplayName::trusted("Coffee") },
            Accepted::Renamed { conversation: ROOM },
        ),
    ]
}

fn without_effect() -> Vec<Outcome> {
    let create = Body::CreateDirect { peer: user("ada") };
    let first = Answered {
        content: 1,
        sequence: 2,
        index: 0,
        at_ms: at(2),
        log_ms: at(2),
        conversation: Some(ROOM),
        message: Some(MessageId::from_raw(4_194_401)),
        seq: Some(1),
    };
    let complete = Complete { sequence: 3, log_ms: at(3) };
    let mut again =
        outcome("ada", "a3", Origin::Resend, send("hello"), Decision::Accepted(Accepted::Repeated(first.clone())));
    if let Received::Command(command) = &mut again.received {
        command.evidence = vec![Evidence::Ref { first: Some(first), complete }];
    }
    let no = |code| Decision::Rejected(Rejection::new(code, "no"));
    let unknown =
        outcome("ops", "q", Origin::Operator, Body::SetPolicy { hash: Some(POLICY) }, no(ErrorCode::UnknownPolicy));
    let unusable = outcome("bob", "b4", Origin::Client, send("hi"), no(ErrorCode::Unavailable));
    let undecodable = Outcome {
        received: Received::Undecodable(vec![1, 2, 3]),
        policy: None,
        learnt: Learnt::Nothing,
        decision: no(ErrorCode::Undecodable),
    };
    vec![
        ok("bob", "b3", create, Accepted::Existing { conversation: DIRECT }),
        ok(
            "dan",
            "d2",
            Body::Join { conversation: room() },
            Accepted::Unchanged { conversation: Some(ROOM), seq: None },
        ),
        again,
        Outcome { learnt: Learnt::PolicyUnknown, ..unknown },
        Outcome { learnt: Learnt::PolicyUnusable, policy: Some(0), ..unusable },
        undecodable,
        outcome("zed", "z1", Origin::Client, send("let me in"), no(ErrorCode::NotMember)),
    ]
}

fn imported() -> Vec<Outcome> {
    let line = |line| {
        let introduces = line == 1;
        Origin::Import(ImportLine {
            source: [9; 16],
            line,
            previous: line - 1,
            at_ms: at(0) - 500,
            introduces,
            follows: None,
        })
    };
    let run = Run { number: 1, from: 3, before: 0 };
    let yes = Decision::Accepted;
    vec![
        outcome("cy", "i1", line(1), Body::UpdateUser { name: DisplayName::trusted("Cy") }, yes(Accepted::UserUpdated)),
        outcome("bob", "i2", line(2), send("of old"), yes(line_of_old(3, run))),
        outcome("bob", "i3", line(2), send("of old"), yes(Accepted::ImportedBefore { conversation: Some(ROOM) })),
        outcome("cy", "i4", line(3), Body::UpdateUser { name: DisplayName::trusted("C") }, yes(Accepted::NameKept)),
    ]
}

fn after_two_hours() -> Vec<Outcome> {
    vec![ok("eve", "e1", send("late"), sent(4, None)), policy(None, Accepted::PolicySet { hash: None })]
}
