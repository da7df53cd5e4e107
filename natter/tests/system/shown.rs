//! Every reader of the Redis views against the model.

use natter_nats::LogId;
use natter_projections::facts::{Fact, FactKey, Refs, RunFact, load};
use natter_projections::redis::conversations::Row;
use natter_projections::redis::inbox::Seen;
use natter_projections::redis::{Redis, addresses, inbox, members, messages, users};
use natter_schemas::command::Kind;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::HOT_MESSAGES;
use natter_schemas::names::{ExternalId, UserId};
use natter_schemas::outcome::Run;
use natter_schemas::wire::reads::Message;

use crate::generator::Generator;
use crate::model::Room;

/// As `reader` sees it: refs are the sender's own.
fn seen_by(reader: &UserId, message: &Message) -> Message {
    let mut message = message.clone();
    message.reference = message.reference.filter(|_| message.sender == *reader);
    message
}

fn expected_seen(id: ConversationId, room: &Room, user: &UserId) -> Seen {
    let row = Row {
        conversation: id,
        fact: room.fact.clone(),
        name: room.name.clone(),
        last_seq: room.messages.len() as u64,
        member_count: u32::try_from(room.members.len()).unwrap(),
        version: room.version,
        active_at_ms: room.active_at_ms,
    };
    let membership = room.members.get(user).map(|(role, at)| members::Membership { role: *role, joined_at_ms: *at });
    Seen {
        row,
        last_message: room.messages.last().map(|message| seen_by(user, message)),
        membership,
        read_seq: room.cursors.get(user).copied().unwrap_or(0),
        unread: room.unread(user),
    }
}

/// Every reader against what the generated log comes to.
pub async fn assert_shows(redis: &Redis, generator: &Generator, log: &LogId) {
    for (id, room) in &generator.model.conversations {
        assert_room(redis, generator, *id, room).await;
    }
    assert_users(redis, generator).await;
    assert_facts(redis, generator, log).await;
}

async fn assert_room(redis: &Redis, generator: &Generator, id: ConversationId, room: &Room) {
    let (partition, tenant, last) = (generator.partition, &room.fact.tenant, room.messages.len() as u64);
    let first_hot = (last + 1).saturating_sub(HOT_MESSAGES as u64).max(1);
    for user in &generator.users {
        let (_, seen) = inbox::conversation(redis, partition, id, tenant, user).await.unwrap();
        assert_eq!(seen, Some(expected_seen(id, room, user)));
        let (_, is_member) = members::is_member(redis, partition, tenant, id, user).await.unwrap();
        assert_eq!(is_member, room.members.contains_key(user));
    }
    let reader = &generator.users[0];
    let middle = last / 2;
    for (from, to) in [
        (1, u64::from(u32::MAX)),
        (last.saturating_sub(9).max(1), last),
        (middle.max(1), middle + 5),
        (last + 1, last + 9),
    ] {
        let hot = messages::hot(redis, partition, id, from..=to, reader).await.unwrap();
        assert_eq!((hot.last_seq, hot.first_hot_seq), (last, first_hot));
        let asked = |message: &&Message| message.seq >= from.max(first_hot) && message.seq <= to;
        let expected: Vec<_> = room.messages.iter().filter(asked).map(|message| seen_by(reader, message)).collect();
        assert_eq!(hot.messages, expected, "seqs {from} to {to} of {last}");
    }
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = members::page(redis, partition, tenant, id, after.as_ref(), 3).await.unwrap();
        assert_eq!(page.member_count, u32::try_from(room.members.len()).unwrap());
        after = page.members.last().map(|member| member.user.clone());
        let is_last = page.members.len() < 3;
        found.extend(
            page.members
                .into_iter()
                .map(|member| (member.user, (member.membership.role, member.membership.joined_at_ms), member.read_seq)),
        );
        if is_last {
            break;
        }
    }
    let expected = room.members.iter().map(|(user, member)| (user.clone(), *member, room.cursors[user]));
    assert_eq!(found, expected.collect::<Vec<_>>());
    if let Some(external) = &room.fact.external {
        let found = addresses::external(redis, partition, &room.fact.tenant, external).await.unwrap();
        assert_eq!(found.1, Some(id));
    }
}

async fn assert_users(redis: &Redis, generator: &Generator) {
    let (partition, model) = (generator.partition, &generator.model);
    for tenant in &generator.tenants {
        let (_, names) = users::names(redis, partition, tenant, &generator.users).await.unwrap();
        let expected = generator.users.iter().map(|user| model.names.get(&(tenant.clone(), user.clone())));
        let expected = expected.map(|named| named.map(|(_, name)| name.clone()));
        assert_eq!(names, expected.collect::<Vec<_>>());
        let users: Vec<_> = generator.users.iter().map(|user| (tenant.clone(), user.clone())).collect();
        let (_, memberships) = inbox::memberships(redis, partition, &users).await.unwrap();
        for (user, ids) in generator.users.iter().zip(memberships) {
            let mut expected: Vec<_> = model
                .conversations
                .iter()
                .filter(|(_, room)| room.fact.tenant == *tenant && room.members.contains_key(user))
                .map(|(id, room)| expected_seen(*id, room, user))
                .collect();
            assert_eq!(ids, expected.iter().map(|seen| seen.row.conversation).collect::<Vec<_>>());
            expected.sort_by_key(|seen| std::cmp::Reverse((seen.row.active_at_ms, seen.row.conversation)));
            let mut found = Vec::new();
            loop {
                let after = found.last().map(|seen: &Seen| (seen.row.active_at_ms, seen.row.conversation));
                let page = inbox::page(redis, partition, tenant, user, after, 4).await.unwrap();
                assert_eq!(page.total, expected.len());
                let conversations = page.conversations.expect("one script orders so few");
                let is_last = conversations.len() < 4;
                found.extend(conversations);
                if is_last {
                    break;
                }
            }
            assert_eq!(found, expected, "conversations of {user} in {tenant}");
        }
    }
}

async fn assert_facts(redis: &Redis, generator: &Generator, log: &LogId) {
    let model = &generator.model;
    let mut expected: Vec<(FactKey, Option<Fact>)> = Vec::new();
    for (id, room) in &model.conversations {
        let (tenant, last) = (&room.fact.tenant, room.messages.len() as u64);
        expected.push((FactKey::Conversation(*id), Some(Fact::Conversation(room.fact.clone()))));
        expected.push((FactKey::Head(*id), (last > 0).then_some(Fact::Head(last))));
        let count = u32::try_from(room.members.len()).unwrap();
        expected.push((FactKey::MemberCount(*id), Some(Fact::MemberCount(count))));
        for user in &generator.users {
            let role = room.members.get(user).map(|(role, _)| Fact::Member(*role));
            expected.push((FactKey::Member(tenant.clone(), *id, user.clone()), role));
            let cursor = room.cursors.get(user).map(|seq| Fact::Cursor(*seq));
            expected.push((FactKey::Cursor(tenant.clone(), *id, user.clone()), cursor));
        }
        if let Some(external) = &room.fact.external {
            expected.push((FactKey::External(tenant.clone(), external.clone()), Some(Fact::Address(*id))));
        }
        if let (Kind::Direct, Some(peer)) = (room.fact.kind, &room.fact.peer) {
            expected.push((FactKey::direct(tenant, peer, &room.fact.creator), Some(Fact::Address(*id))));
        }
    }
    expected.extend(model.conversation_lines.iter().map(|((id, source), line)| {
        let tenant = model.conversations[id].fact.tenant.clone();
        (FactKey::ConversationLine(tenant, *id, *source), Some(Fact::Line(*line)))
    }));
    for (id, room) in &model.conversations {
        let found = room.runs();
        let lines = |runs: &[(u64, u64)]| runs.iter().map(|(from, last)| last + 1 - from).sum::<u64>();
        let fact = found.split_last().map(|((from, to), earlier)| {
            let run = Run { number: found.len() as u64, from: *from, before: lines(earlier) };
            Fact::Run(RunFact { run, to: *to })
        });
        expected.push((FactKey::Run(*id), fact));
    }
    expected.extend(model.names.iter().map(|((tenant, user), (at_ms, _))| {
        (FactKey::NamedAt(tenant.clone(), user.clone()), Some(Fact::NamedAt(*at_ms)))
    }));
    expected.extend(model.user_lines.iter().map(|((tenant, user, source), line)| {
        (FactKey::UserLine(tenant.clone(), user.clone(), *source), Some(Fact::Line(*line)))
    }));
    expected.extend(
        generator
            .tenants
            .iter()
            .map(|tenant| (FactKey::Policy(tenant.clone()), model.policies.get(tenant).copied().map(Fact::Policy))),
    );
    expected.push((FactKey::External(generator.tenants[0].clone(), ExternalId::try_from("none").unwrap()), None));
    // In another order than they lie in, so that places matter.
    expected.sort_by_key(|(key, _)| {
        natter_schemas::event::content_hash(&natter_schemas::command::Body::UpdateUser {
            name: natter_schemas::names::DisplayName::trusted(&format!("{key:?}")),
        })
    });
    let refs: Vec<_> = model.refs.iter().collect();
    let mut keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
    keys.extend(
        refs.iter().map(|((tenant, user, scope), _)| FactKey::Refs(tenant.clone(), user.clone(), scope.clone())),
    );
    let loaded = load(redis, generator.partition, &keys).await.unwrap();
    assert_eq!((loaded.log, loaded.watermark), (Some(log.clone()), generator.sequence()));
    for ((key, value), found) in expected.iter().zip(&loaded.values) {
        assert_eq!(found, value, "{key:?}");
    }
    for ((key, whole), found) in refs.iter().zip(&loaded.values[expected.len()..]) {
        // A list of which nothing is seen any more may be gone.
        let gone = Refs::default();
        let found = match found {
            Some(Fact::Refs(found)) => found,
            None => &gone,
            Some(other) => panic!("{key:?}: {other:?}"),
        };
        assert_same_refs(found, whole, generator.log_ms());
    }
}

/// What is visible is the same, however much of the rest is still there.
fn assert_same_refs(found: &Refs, whole: &Refs, log_ms: u64) {
    for log_ms in [log_ms, log_ms + 60_000, log_ms + 200_000] {
        assert_eq!(found.recent(log_ms), whole.recent(log_ms));
        for entry in whole.iter() {
            assert_eq!(found.find(&entry.reference, log_ms), whole.find(&entry.reference, log_ms));
        }
    }
}
