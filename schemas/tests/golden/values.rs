//! One value, or more, of every variant that the log can hold.

use natter_schemas::codec::{
    self, CommandBatch, CommandBatchWriter, CommandHeader, OutcomeBatch, OutcomeBatchWriter, OutcomeHeader, Source,
};
use natter_schemas::command::{Address, Body, Command, Follows, ImportLine, Kind, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{placed, touched};
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::id::{ConversationId, EPOCH_MS, IdState, MessageId};
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Rejection, Run};
use natter_schemas::policy::PolicyHash;
use natter_schemas::slot::Slot;

/// A value whose bytes are committed.
pub enum Golden {
    Command(&'static str, Command),
    Outcome(&'static str, Outcome),
    Kind(Kind),
    CommandHeader(CommandHeader),
    OutcomeHeader(OutcomeHeader),
    CommandBatch(Vec<u8>),
    OutcomeBatch(Vec<u8>),
}

impl Golden {
    /// The line's name in the file.
    pub fn name(&self) -> String {
        match self {
            Self::Command(name, _) => format!("command.{name}"),
            Self::Outcome(name, _) => format!("outcome.{name}"),
            Self::Kind(kind) => format!("kind.{kind:?}").to_lowercase(),
            Self::CommandHeader(_) => "header.command".into(),
            Self::OutcomeHeader(_) => "header.outcome".into(),
            Self::CommandBatch(_) => "batch.command".into(),
            Self::OutcomeBatch(_) => "batch.outcome".into(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Command(_, value) => codec::encode(value),
            Self::Outcome(_, value) => codec::encode(value),
            Self::Kind(value) => codec::encode(value),
            Self::CommandHeader(value) => codec::encode(value),
            Self::OutcomeHeader(value) => codec::encode(value),
            Self::CommandBatch(bytes) | Self::OutcomeBatch(bytes) => bytes.clone(),
        }
    }

    /// Whether these bytes are it.
    pub fn check_decodes(&self, bytes: &[u8]) {
        match self {
            Self::Command(_, value) => super::check(value, bytes),
            Self::Outcome(_, value) => super::check(value, bytes),
            Self::Kind(value) => super::check(value, bytes),
            Self::CommandHeader(value) => super::check(value, bytes),
            Self::OutcomeHeader(value) => super::check(value, bytes),
            Self::CommandBatch(_) => {
                let batch = CommandBatch::decode(bytes).expect("a command batch");
                assert_eq!(batch.header, command_header());
                assert_eq!(batch.commands, commands().into_iter().map(|(_, command)| Ok(command)).collect::<Vec<_>>());
            }
            Self::OutcomeBatch(_) => {
                let batch = OutcomeBatch::decode(bytes).expect("an outcome batch");
                assert_eq!(batch.header, outcome_header());
                let placed = placed(3, 501, bytes).expect("outcomes");
                let outcomes: Vec<_> = placed.into_iter().map(|placed| placed.outcome).collect();
                assert_eq!(outcomes, self::outcomes().into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>());
            }
        }
    }
}

/// Every golden value.
pub fn all() -> Vec<Golden> {
    let commands = commands().into_iter().map(|(name, command)| Golden::Command(name, command));
    let outcomes = outcomes().into_iter().map(|(name, outcome)| Golden::Outcome(name, outcome));
    let others = [
        Golden::Kind(Kind::Direct),
        Golden::Kind(Kind::Group),
        Golden::CommandHeader(command_header()),
        Golden::OutcomeHeader(outcome_header()),
        Golden::CommandBatch(command_batch()),
        Golden::OutcomeBatch(outcome_batch()),
    ];
    commands.chain(outcomes).chain(others).collect()
}

fn conversation() -> ConversationId {
    let mut ids = IdState::default();
    ids.advance(EPOCH_MS + 86_400_000);
    ConversationId::from_raw(ids.next(Slot::from_bits(741)))
}

fn message() -> MessageId {
    MessageId::from_raw(conversation().get() + 1)
}

fn hash() -> PolicyHash {
    PolicyHash::of(b"{}")
}

/// A command with everything set.
pub fn command(origin: Origin, body: Body) -> Command {
    Command {
        tenant: Tenant::trusted("demo"),
        sender: UserId::trusted("ada"),
        session: 0x0102_0304_0506_0708,
        received_ms: EPOCH_MS + 86_400_123,
        reference: Ref::trusted("r-1"),
        origin,
        body,
        evidence: Vec::new(),
    }
}

/// Every body, both addresses, both visibilities, options set and unset. A new variant fails to compile in [`name_of`].
pub fn bodies() -> Vec<Body> {
    let by_id = || Address::Id(conversation());
    let by_name = || Address::External(ExternalId::trusted("#ubuntu"));
    let users = || vec![UserId::trusted("bob"), UserId::trusted("çelik")];
    vec![
        Body::CreateDirect { peer: UserId::trusted("bob") },
        Body::CreateGroup { visibility: Visibility::Private, name: None, members: vec![], external: None },
        Body::CreateGroup {
            visibility: Visibility::Public,
            name: Some(DisplayName::trusted("Ubuntu")),
            members: users(),
            external: Some(ExternalId::trusted("#ubuntu")),
        },
        Body::Add { conversation: by_id(), members: users() },
        Body::Join { conversation: by_name() },
        Body::Leave { conversation: by_id() },
        Body::Rename { conversation: by_name(), name: DisplayName::trusted("Neu 🙂") },
        Body::Read { conversation: by_id(), seq: 300 },
        Body::Send { conversation: by_name(), text: MessageText::trusted("hi\n\tθ 🙂") },
        Body::UpdateUser { name: DisplayName::trusted("Ada Lovelace") },
        Body::SetPolicy { hash: Some(hash()) },
        Body::SetPolicy { hash: None },
    ]
}

fn name_of(body: &Body) -> &'static str {
    match body {
        Body::CreateDirect { .. } => "create_direct",
        Body::CreateGroup { external: None, .. } => "create_group",
        Body::CreateGroup { external: Some(_), .. } => "create_group_full",
        Body::Add { .. } => "add",
        Body::Join { .. } => "join",
        Body::Leave { .. } => "leave",
        Body::Rename { .. } => "rename",
        Body::Read { .. } => "read",
        Body::Send { .. } => "send",
        Body::UpdateUser { .. } => "update_user",
        Body::SetPolicy { hash: Some(_) } => "set_policy",
        Body::SetPolicy { hash: None } => "reset_policy",
    }
}

/// Every origin. A new variant fails to compile.
fn origins() -> Vec<(&'static str, Origin)> {
    let line = |introduces, follows| ImportLine {
        source: *b"0123456789abcdef",
        line: 70_000,
        previous: 69_999,
        at_ms: 1_100_000_000_000,
        introduces,
        follows,
    };
    let follows = Follows { source: *b"fedcba9876543210", line: 1 };
    let all = vec![
        Origin::Client,
        Origin::Resend,
        Origin::Import(line(false, None)),
        Origin::Import(line(false, Some(Box::new(follows)))),
        Origin::Import(line(true, None)),
        Origin::Operator,
    ];
    all.into_iter()
        .map(|origin| {
            let name = match &origin {
                Origin::Client => "from_client",
                Origin::Resend => "from_resend",
                Origin::Import(line) if line.introduces => "from_introduction",
                Origin::Import(line) if line.follows.is_some() => "from_follower",
                Origin::Import(_) => "from_import",
                Origin::Operator => "from_operator",
            };
            (name, origin)
        })
        .collect()
}

/// A command of every body, and one of every origin.
fn commands() -> Vec<(&'static str, Command)> {
    let by_body = bodies().into_iter().map(|body| (name_of(&body), command(Origin::Client, body)));
    let body = || Body::Leave { conversation: Address::External(ExternalId::trusted("#ubuntu")) };
    let by_origin = origins().into_iter().map(|(name, origin)| (name, command(origin, body())));
    let complete = Complete { sequence: 502, log_ms: EPOCH_MS + 3 };
    let bare = Answered { conversation: None, message: None, seq: None, ..answered() };
    let evidence = [
        ("evidence_ref_unknown", Evidence::Ref { first: None, complete }),
        ("evidence_ref", Evidence::Ref { first: Some(answered()), complete }),
        ("evidence_ref_bare", Evidence::Ref { first: Some(bare), complete }),
    ];
    let by_evidence = evidence
        .map(|(name, evidence)| (name, Command { evidence: vec![evidence], ..command(Origin::Resend, body()) }));
    by_body.chain(by_origin).chain(by_evidence).collect()
}

fn answered() -> Answered {
    Answered {
        content: 0xfeed_beef_dead_cafe,
        sequence: 501,
        index: 17,
        at_ms: EPOCH_MS + 1,
        log_ms: EPOCH_MS + 2,
        conversation: Some(conversation()),
        message: Some(message()),
        seq: Some(12),
    }
}

fn accepted() -> Vec<Accepted> {
    let conversation = conversation();
    let members = || vec![UserId::trusted("bob"), UserId::trusted("eve")];
    vec![
        Accepted::Created { conversation, members: members() },
        Accepted::Existing { conversation },
        Accepted::Added { conversation, members: members(), seq: 12, member_count: 3 },
        Accepted::Joined { conversation, seq: 12, member_count: 4 },
        Accepted::Left { conversation, member_count: 3 },
        Accepted::Renamed { conversation },
        Accepted::Read { conversation, seq: 12, peer: Some(UserId::trusted("bob")) },
        Accepted::Sent {
            conversation,
            message: message(),
            seq: 13,
            replacement: Some("***".into()),
            lists: vec!["rude".into(), "spam".into()],
            run: None,
        },
        Accepted::Sent {
            conversation,
            message: message(),
            seq: 300,
            replacement: None,
            lists: vec![],
            run: Some(Run { number: 3, from: 260, before: 70_000 }),
        },
        Accepted::UserUpdated,
        Accepted::NameKept,
        Accepted::PolicySet { hash: Some(hash()) },
        Accepted::Unchanged { conversation: Some(conversation), seq: Some(12) },
        Accepted::Repeated(answered()),
        Accepted::ImportedBefore { conversation: Some(conversation) },
    ]
}

/// A new variant fails to compile.
fn name_of_accepted(accepted: &Accepted) -> &'static str {
    match accepted {
        Accepted::Created { .. } => "created",
        Accepted::Existing { .. } => "existing",
        Accepted::Added { .. } => "added",
        Accepted::Joined { .. } => "joined",
        Accepted::Left { .. } => "left",
        Accepted::Renamed { .. } => "renamed",
        Accepted::Read { .. } => "read",
        Accepted::Sent { run: None, .. } => "sent",
        Accepted::Sent { run: Some(_), .. } => "sent_imported",
        Accepted::UserUpdated => "user_updated",
        Accepted::NameKept => "name_kept",
        Accepted::PolicySet { .. } => "policy_set",
        Accepted::Unchanged { .. } => "unchanged",
        Accepted::Repeated(_) => "repeated",
        Accepted::ImportedBefore { .. } => "imported_before",
    }
}

fn learnt() -> Vec<(&'static str, Learnt)> {
    let all = [Learnt::Nothing, Learnt::PolicyUnknown, Learnt::PolicyUnusable];
    all.into_iter()
        .map(|learnt| {
            let name = match &learnt {
                Learnt::Nothing => "learnt_nothing",
                Learnt::PolicyUnknown => "learnt_policy_unknown",
                Learnt::PolicyUnusable => "learnt_policy_unusable",
            };
            (name, learnt)
        })
        .collect()
}

/// An outcome of every decision, of every fact learnt, and one of bytes that are no command.
fn outcomes() -> Vec<(&'static str, Outcome)> {
    let received = || Received::Command(command(Origin::Client, bodies().swap_remove(8)));
    let rejected = || Decision::Rejected(Rejection::new(ErrorCode::NotMember, "only members"));
    let outcome = |learnt, decision| Outcome { received: received(), policy: Some(1), learnt, decision };
    let by_decision = accepted().into_iter().map(|accepted| {
        let name = name_of_accepted(&accepted);
        (name, outcome(Learnt::Nothing, Decision::Accepted(accepted)))
    });
    let by_learnt = learnt().into_iter().map(|(name, learnt)| (name, outcome(learnt, rejected())));
    let undecodable = Outcome {
        received: Received::Undecodable(vec![1, 2, 255]),
        policy: None,
        learnt: Learnt::Nothing,
        decision: Decision::Rejected(Rejection::new(ErrorCode::Undecodable, "")),
    };
    by_decision.chain(by_learnt).chain([("undecodable", undecodable)]).collect()
}

fn command_header() -> CommandHeader {
    let records = u32::try_from(commands().len()).expect("few");
    CommandHeader { publisher: 0x1122_3344_5566_7788, number: 300, records }
}

/// All commands as one batch.
pub fn command_batch() -> Vec<u8> {
    let mut writer = CommandBatchWriter::default();
    for (_, command) in commands() {
        writer.push(&codec::encode(&command));
    }
    let header = command_header();
    writer.finish(header.publisher, header.number).1
}

fn sources() -> Vec<Source> {
    let records = u32::try_from(outcomes().len()).expect("few");
    let source = |sequence, records| Source {
        sequence,
        stored_ms: EPOCH_MS + 86_400_200 + sequence,
        log_ms: EPOCH_MS + 86_400_100 + sequence,
        before_ms: EPOCH_MS + 86_400_099 + sequence,
        publisher: 0x1122_3344_5566_7788,
        number: 200 + sequence,
        records,
    };
    vec![source(99, 2), source(100, 0), source(101, records - 2)]
}

fn ids() -> IdState {
    let mut ids = IdState::default();
    ids.advance(EPOCH_MS + 86_400_301);
    ids.next(Slot::from_bits(1));
    ids
}

fn outcome_header() -> OutcomeHeader {
    let touched: Vec<_> = outcomes().iter().map(|(_, outcome)| touched(outcome)).collect();
    let mut conversations: Vec<_> = touched.iter().filter_map(|touched| touched.conversation).collect();
    let mut users: Vec<_> = touched.iter().flat_map(|touched| touched.users.clone()).collect();
    for list in [&mut conversations, &mut users] {
        list.sort_unstable();
        list.dedup();
    }
    let policies = vec![hash(), PolicyHash::of(b"other")];
    OutcomeHeader { lease: 77, sources: sources(), ids: ids(), policies, conversations, users }
}

/// All outcomes as one batch.
pub fn outcome_batch() -> Vec<u8> {
    let mut writer = OutcomeBatchWriter::default();
    for (_, outcome) in outcomes() {
        writer.push(&outcome, &touched(&outcome));
    }
    writer.finish(77, sources(), ids(), outcome_header().policies)
}
