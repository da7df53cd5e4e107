//! Round trips of whatever can be made up.

use natter_schemas::codec::{self, CommandBatch, CommandBatchWriter, OutcomeBatchWriter, Source};
use natter_schemas::command::{Address, Body, Command, Follows, ImportLine, Origin, Visibility};
use natter_schemas::event::{placed, touched};
use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::id::{ConversationId, IdState, MessageId};
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Rejection, Run};
use natter_schemas::policy::PolicyHash;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn user() -> impl Strategy<Value = UserId> {
    any::<String>().prop_map(|text| UserId::trusted(&text))
}

fn conversation() -> impl Strategy<Value = ConversationId> {
    any::<u64>().prop_map(ConversationId::from_raw)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        conversation().prop_map(Address::Id),
        any::<String>().prop_map(|text| Address::External(ExternalId::trusted(&text))),
    ]
}

fn name() -> impl Strategy<Value = DisplayName> {
    any::<String>().prop_map(|text| DisplayName::trusted(&text))
}

fn hash() -> impl Strategy<Value = PolicyHash> {
    any::<[u8; 32]>().prop_map(PolicyHash)
}

fn body() -> impl Strategy<Value = Body> {
    let group = (any::<bool>(), option::of(name()), vec(user(), 0..4), option::of(any::<String>())).prop_map(
        |(public, name, members, external)| Body::CreateGroup {
            visibility: if public { Visibility::Public } else { Visibility::Private },
            name,
            members,
            external: external.map(|text| ExternalId::trusted(&text)),
        },
    );
    prop_oneof![
        user().prop_map(|peer| Body::CreateDirect { peer }),
        group,
        (address(), vec(user(), 0..4)).prop_map(|(conversation, members)| Body::Add { conversation, members }),
        address().prop_map(|conversation| Body::Join { conversation }),
        address().prop_map(|conversation| Body::Leave { conversation }),
        (address(), name()).prop_map(|(conversation, name)| Body::Rename { conversation, name }),
        (address(), any::<u64>()).prop_map(|(conversation, seq)| Body::Read { conversation, seq }),
        (address(), any::<String>())
            .prop_map(|(conversation, text)| Body::Send { conversation, text: MessageText::trusted(&text) }),
        name().prop_map(|name| Body::UpdateUser { name }),
        option::of(hash()).prop_map(|hash| Body::SetPolicy { hash }),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Client),
        Just(Origin::Resend),
        Just(Origin::Operator),
        any::<([u8; 16], u64, u64, u64, bool, Option<([u8; 16], u64)>)>().prop_map(
            |(source, line, previous, at_ms, introduces, follows)| {
                let follows = follows.map(|(source, line)| Box::new(Follows { source, line }));
                Origin::Import(ImportLine { source, line, previous, at_ms, introduces, follows })
            }
        ),
    ]
}

prop_compose! {
    fn command()(
        tenant in any::<String>(),
        sender in user(),
        (session, received_ms) in any::<(u64, u64)>(),
        reference in any::<String>(),
        origin in origin(),
        body in body(),
        evidence in vec(evidence(), 0..2),
    ) -> Command {
        let (tenant, reference) = (Tenant::trusted(&tenant), Ref::trusted(&reference));
        Command { tenant, sender, session, received_ms, reference, origin, body, evidence }
    }
}

prop_compose! {
    fn answered()(
        (content, sequence, at_ms, log_ms) in any::<(u64, u64, u64, u64)>(),
        index in any::<u32>(),
        conversation in option::of(conversation()),
        message in option::of(any::<u64>()),
        seq in option::of(any::<u64>()),
    ) -> Answered {
        Answered { content, sequence, index, at_ms, log_ms, conversation, message: message.map(MessageId::from_raw), seq }
    }
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (option::of(answered()), any::<(u64, u64)>())
        .prop_map(|(first, (sequence, log_ms))| Evidence::Ref { first, complete: Complete { sequence, log_ms } })
}

fn accepted() -> impl Strategy<Value = Accepted> {
    let run = option::of(any::<(u64, u64, u64)>());
    let text = (option::of(any::<String>()), vec(any::<String>(), 0..3));
    let sent = (conversation(), any::<(u64, u64)>(), text, run).prop_map(
        |(conversation, (message, seq), (replacement, lists), run)| Accepted::Sent {
            conversation,
            message: MessageId::from_raw(message),
            seq,
            replacement,
            lists,
            run: run.map(|(number, from, before)| Run { number, from, before }),
        },
    );
    prop_oneof![
        (conversation(), vec(user(), 0..4))
            .prop_map(|(conversation, members)| Accepted::Created { conversation, members }),
        conversation().prop_map(|conversation| Accepted::Existing { conversation }),
        (conversation(), vec(user(), 0..4), any::<u64>(), any::<u32>()).prop_map(
            |(conversation, members, seq, member_count)| Accepted::Added { conversation, members, seq, member_count }
        ),
        (conversation(), any::<u64>(), any::<u32>()).prop_map(|(conversation, seq, member_count)| Accepted::Joined {
            conversation,
            seq,
            member_count
        }),
        (conversation(), any::<u32>())
            .prop_map(|(conversation, member_count)| Accepted::Left { conversation, member_count }),
        conversation().prop_map(|conversation| Accepted::Renamed { conversation }),
        (conversation(), any::<u64>(), option::of(user())).prop_map(|(conversation, seq, peer)| Accepted::Read {
            conversation,
            seq,
            peer
        }),
        sent,
        Just(Accepted::UserUpdated),
        Just(Accepted::NameKept),
        option::of(hash()).prop_map(|hash| Accepted::PolicySet { hash }),
        (option::of(conversation()), option::of(any::<u64>()))
            .prop_map(|(conversation, seq)| Accepted::Unchanged { conversation, seq }),
        answered().prop_map(Accepted::Repeated),
        option::of(conversation()).prop_map(|conversation| Accepted::ImportedBefore { conversation }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let received = prop_oneof![
        9 => command().prop_map(Received::Command),
        1 => any::<Vec<u8>>().prop_map(Received::Undecodable),
    ];
    let decision = prop_oneof![
        accepted().prop_map(Decision::Accepted),
        (any::<u16>(), any::<String>()).prop_map(|(code, detail)| Decision::Rejected(Rejection { code, detail })),
    ];
    let learnt = prop_oneof![Just(Learnt::Nothing), Just(Learnt::PolicyUnknown), Just(Learnt::PolicyUnusable),];
    (received, option::of(any::<u16>()), learnt, decision).prop_map(|(received, policy, learnt, decision)| Outcome {
        received,
        policy,
        learnt,
        decision,
    })
}

proptest! {
    #[test]
    fn command_batches_round_trip(commands in vec(command(), 0..8), publisher in any::<u64>(), number in any::<u64>()) {
        let mut writer = CommandBatchWriter::default();
        for command in &commands {
            writer.push(&codec::encode(command));
        }
        let (header, bytes) = writer.finish(publisher, number);
        let read = CommandBatch::decode(&bytes).expect("a batch");
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(read.commands, commands.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn outcome_batches_round_trip(outcomes in vec(outcome(), 0..8), policies in vec(hash(), 0..3), lease in any::<u64>()) {
        let mut writer = OutcomeBatchWriter::default();
        for outcome in &outcomes {
            writer.push(outcome, &touched(outcome));
        }
        let records = u32::try_from(outcomes.len()).expect("few");
        let source = Source { sequence: 9, stored_ms: 8, log_ms: 7, before_ms: 4, publisher: 6, number: 5, records };
        let bytes = writer.finish(lease, vec![source], IdState::default(), policies.clone());
        let read = placed(3, 501, &bytes).expect("a batch");
        prop_assert_eq!(read.len(), outcomes.len());
        for (index, (placed, outcome)) in read.into_iter().zip(outcomes).enumerate() {
            let policy = outcome.policy.and_then(|at| policies.get(usize::from(at)).copied());
            prop_assert_eq!((placed.position.partition, placed.position.sequence), (3, 501));
            prop_assert_eq!(placed.position.index.map(|index| index as usize), Some(index));
            prop_assert_eq!((placed.stored_ms, placed.log_ms, placed.policy), (8, 7, policy));
            prop_assert_eq!(placed.outcome, outcome);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        CommandBatch::decode(&bytes).ok();
        placed(0, 1, &bytes).ok();
        codec::decode::<Command>("command", &bytes).ok();
        codec::decode::<Outcome>("outcome", &bytes).ok();
    }
}
