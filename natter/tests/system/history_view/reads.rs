//! Who may read what, in which order, and as of when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use natter_projections::reads::{Asking, MessageRange, Reads};
use natter_schemas::command::{Address, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::limits::READ_WAIT_MS_MAX;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::slot::Slot;
use natter_schemas::wire::reads::Conversation;
use natter_schemas::wire::server::ErrorBody;

use super::World;
use crate::model::Room;

fn asking<'a>(tenant: &'a Tenant, user: &'a UserId) -> Asking<'a> {
    Asking { tenant, user, min: &[] }
}

/// The code that each read of a conversation answers with: itself, messages, events, members.
async fn codes(reads: &Reads, asking: Asking<'_>, address: &Address) -> [Option<ErrorCode>; 4] {
    fn code<T>(read: Result<T, ErrorBody>) -> Option<ErrorCode> {
        read.err().map(|error| error.code)
    }
    [
        code(reads.conversation(asking, address).await),
        code(reads.messages(asking, address, MessageRange::Newest, 5, None).await),
        code(reads.events(asking, address, None, 5).await),
        code(reads.members(asking, address, None, 5, None).await),
    ]
}

/// Members see all. Strangers know of public conversations and see nothing that was said; of private ones (also who has
/// left one) and of other tenants' they know nothing.
#[tokio::test]
async fn strangers_see_what_they_may() {
    let mut world = World::new(91, 1).await;
    world.write(20, 100).await;
    world.insert_all_but(2).await;
    let (reads, generator) = (world.reads(), &world.partitions[0].generator);
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for (id, room) in &generator.model.conversations {
        let by_external = room.fact.external.clone().map(Address::External);
        for address in [Some(Address::Id(*id)), by_external].into_iter().flatten() {
            for user in generator.users.iter().step_by(2) {
                let asking = asking(&room.fact.tenant, user);
                let expected = if room.members.contains_key(user) {
                    *kinds.entry("member").or_default() += 1;
                    [None; 4]
                } else if room.fact.visibility == Visibility::Public {
                    *kinds.entry("public").or_default() += 1;
                    let seen = reads.conversation(asking, &address).await.unwrap().conversation;
                    assert!(!seen.member && seen.last_message.is_none(), "{seen:?}");
                    assert_eq!(seen.member_count as usize, room.members.len());
                    let not_member = Some(ErrorCode::NotMember);
                    [None, not_member, not_member, not_member]
                } else {
                    *kinds.entry(if room.cursors.contains_key(user) { "left" } else { "private" }).or_default() += 1;
                    [Some(ErrorCode::NotFound); 4]
                };
                assert_eq!(codes(&reads, asking, &address).await, expected, "{user} of {address:?}: {:?}", room.fact);
            }
        }
        // By its id, since the other tenant may have an external id of this name.
        let other = generator.tenants.iter().find(|tenant| **tenant != room.fact.tenant).unwrap();
        for user in room.members.keys().take(1) {
            let found = codes(&reads, asking(other, user), &Address::Id(*id)).await;
            assert_eq!(found, [Some(ErrorCode::NotFound); 4], "{other} of {:?}", room.fact);
        }
    }
    let (tenant, user) = (&generator.tenants[0], &generator.users[0]);
    let nowhere = Address::Id(ConversationId::from_raw(77 << 22));
    assert_eq!(codes(&reads, asking(tenant, user), &nowhere).await, [Some(ErrorCode::NotFound); 4]);
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), ["left", "member", "private", "public"]);
}

/// All of a user's conversations, paged.
async fn listed(reads: &Reads, asking: Asking<'_>, limit: u32) -> Vec<Conversation> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = reads.conversations(asking, cursor.as_deref(), limit).await.unwrap();
        assert!(page.conversations.len() <= limit as usize);
        found.extend(page.conversations);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

fn newest_first(world: &World, tenant: &Tenant, user: &UserId) -> Vec<ConversationId> {
    let rooms = world.partitions.iter().flat_map(|part| &part.generator.model.conversations);
    let own = rooms.filter(|(_, room)| room.fact.tenant == *tenant && room.members.contains_key(user));
    let mut own: Vec<_> = own.map(|(id, room)| (room.active_at_ms, *id)).collect();
    own.sort_unstable();
    own.into_iter().rev().map(|(_, id)| id).collect()
}

fn room(world: &World, id: ConversationId) -> &Room {
    world.partitions.iter().find_map(|part| part.generator.model.conversations.get(&id)).unwrap()
}

#[tokio::test]
async fn a_users_conversations_are_listed_over_all_partitions() {
    let mut world = World::new(92, 4).await;
    world.write(10, 80).await;
    let reads = world.reads();
    let (tenants, users) = (world.partitions[0].generator.tenants.clone(), world.partitions[0].generator.users.clone());
    for (tenant, user) in tenants.iter().flat_map(|tenant| users.iter().map(move |user| (tenant, user))) {
        let expected = newest_first(&world, tenant, user);
        let all = expected.len().try_into().unwrap();
        // Also where a page ends with the list.
        for limit in [1, 3, all, 200_u32] {
            let found = listed(&reads, asking(tenant, user), limit.max(1)).await;
            assert_eq!(found.iter().map(|seen| seen.conversation).collect::<Vec<_>>(), expected, "{limit} a page");
            for seen in &found {
                let room = room(&world, seen.conversation);
                let last = room.messages.last().map(|message| (message.seq, message.text.clone()));
                assert_eq!(seen.last_message.as_ref().map(|message| (message.seq, message.text.clone())), last);
                assert_eq!((seen.version, seen.read_seq), (room.version, room.cursors[user]));
                assert_eq!(seen.unread, room.unread(user));
            }
        }
        let full = reads.conversations(asking(tenant, user), None, 200).await.unwrap();
        assert_eq!(full.next_cursor, None);
        assert_eq!(full.positions, (0..4).map(|p| Position::batch(p, 10)).collect::<Vec<_>>());
    }
    let refused = reads.conversations(asking(&tenants[0], &users[0]), Some("7"), 5).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidField);

    // While messages arrive between the pages, whatever stays where it is is found, and nothing twice.
    let asking = asking(&tenants[0], &users[0]);
    let before = newest_first(&world, &tenants[0], &users[0]);
    let active: Vec<_> = before.iter().map(|id| (*id, room(&world, *id).active_at_ms)).collect();
    let first = reads.conversations(asking, None, 5).await.unwrap();
    world.write(1, 12).await;
    let mut found: Vec<_> = first.conversations.iter().map(|seen| seen.conversation).collect();
    let mut cursor = first.next_cursor;
    while let Some(after) = cursor {
        let page = reads.conversations(asking, Some(&after), 5).await.unwrap();
        found.extend(page.conversations.iter().map(|seen| seen.conversation));
        cursor = page.next_cursor;
    }
    let once: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "nothing twice");
    let stayed = |(id, at): &&(ConversationId, u64)| {
        room(&world, *id).active_at_ms == *at && room(&world, *id).members.contains_key(&users[0])
    };
    for (id, _) in active.iter().filter(stayed) {
        assert!(once.contains(id), "{id} stayed where it was");
    }
}

/// Reads show at least `min_position` in every partition that they are read from, or say how far they are.
#[tokio::test]
async fn reads_wait_for_what_was_seen() {
    let mut world = World::new(93, 2).await;
    world.write(8, 80).await;
    world.insert_all_but(0).await;
    let reads = world.reads();
    let model = &world.partitions[0].generator.model;
    let (id, room) = model.conversations.iter().find(|(_, room)| room.messages.len() > 3).unwrap();
    let (tenant, user) = (&room.fact.tenant, room.members.keys().next().unwrap());
    let address = Address::Id(*id);
    let named = room.members.keys().map(|user| Slot::of_user(tenant, user).partition(2)).collect::<BTreeSet<_>>();
    assert_eq!(named, BTreeSet::from([0, 1]), "names lie in both partitions");

    // Reached, in both partitions.
    let min = [Position::outcome(0, 8, 3), Position::batch(1, 8)];
    let reached = Asking { tenant, user, min: &min };
    assert_eq!(codes(&reads, reached, &address).await, [None; 4]);
    // Not reached where the conversation lies.
    let behind = Some(ErrorCode::Behind);
    let ahead = Asking { tenant, user, min: &[Position::batch(0, 9)] };
    let started = Instant::now();
    assert_eq!(codes(&reads, ahead, &address).await, [behind; 4]);
    assert!(started.elapsed() >= Duration::from_millis(4 * READ_WAIT_MS_MAX));
    let error = reads.conversation(ahead, &address).await.unwrap_err();
    assert!(error.message.contains("0:8"), "{}", error.message);
    assert_eq!(reads.conversations(ahead, None, 5).await.unwrap_err().code, ErrorCode::Behind);
    let users = [(tenant.clone(), user.clone())];
    assert_eq!(reads.memberships(&users, ahead.min).await.unwrap_err().code, ErrorCode::Behind);
    // Not reached elsewhere: only what is read from there waits for it, which is the members' names.
    let elsewhere = Asking { tenant, user, min: &[Position::batch(1, 9)] };
    assert_eq!(codes(&reads, elsewhere, &address).await, [None, None, None, behind]);
    // Who reads on after a position has seen it.
    let after = |sequence| reads.events(asking(tenant, user), &address, Some(Position::batch(0, sequence)), 5);
    assert_eq!(after(9).await.unwrap_err().code, ErrorCode::Behind);
    let end = after(8).await.unwrap();
    assert_eq!((end.events.len(), end.next_after, end.position), (0, None, Position::batch(0, 8)));
    let other = reads.events(asking(tenant, user), &address, Some(Position::batch(1, 3)), 5).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::InvalidField);

    // It arrives while the read waits.
    let (tenant, user) = (tenant.clone(), user.clone());
    let ahead = Asking { tenant: &tenant, user: &user, min: &[Position::batch(0, 9), Position::batch(1, 9)] };
    let (list, ()) = tokio::join!(reads.conversations(ahead, None, 5), world.write(1, 20));
    assert_eq!(list.unwrap().positions, [Position::batch(0, 9), Position::batch(1, 9)]);
}

/// Pages of members with their names, and the bounds of pages.
#[tokio::test]
async fn members_are_listed_by_user_with_their_names() {
    let mut world = World::new(94, 2).await;
    world.write(12, 80).await;
    let reads = world.reads();
    let names: BTreeMap<(Tenant, UserId, u16), DisplayName> = world
        .partitions
        .iter()
        .flat_map(|part| part.generator.model.names.iter().map(|(who, name)| (who, name, part.generator.partition)))
        .map(|((tenant, user), (_, name), partition)| ((tenant.clone(), user.clone(), partition), name.clone()))
        .collect();
    for (id, room) in &world.partitions[1].generator.model.conversations {
        let Some(reader) = room.members.keys().next() else { continue };
        let (asking, address) = (asking(&room.fact.tenant, reader), Address::Id(*id));
        for limit in [0, 2, 1000] {
            let (mut found, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let page = reads.members(asking, &address, cursor.as_deref(), limit, None).await.unwrap();
                assert_eq!((page.member_count as usize, page.position), (room.members.len(), Position::batch(1, 12)));
                found.extend(page.members);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found.len(), room.members.len());
            for (member, (user, (role, joined_at))) in found.iter().zip(&room.members) {
                let own = Slot::of_user(&room.fact.tenant, user).partition(2);
                let name = names.get(&(room.fact.tenant.clone(), user.clone(), own)).cloned();
                assert_eq!((&member.user, &member.name, &*member.role), (user, &name, role.name()));
                assert_eq!((member.joined_at, member.read_seq), (*joined_at, room.cursors[user]));
            }
        }
    }
}

/// Ranges at and beyond both ends.
#[tokio::test]
async fn ranges_of_messages_end_where_the_conversation_does() {
    let mut world = World::new(95, 1).await;
    world.partitions[0].generator.users.truncate(3);
    world.write(12, 250).await;
    world.insert_all_but(3).await;
    let reads = world.reads();
    let model = &world.partitions[0].generator.model;
    let (id, room) = model.conversations.iter().max_by_key(|(_, room)| room.messages.len()).unwrap();
    let last = room.messages.len() as u64;
    let (asking, address) = (asking(&room.fact.tenant, room.members.keys().next().unwrap()), Address::Id(*id));
    let id_of = |seq: u64| room.messages[usize::try_from(seq - 1).unwrap()].message;
    let none_from = |seq: u64| seq..=seq - 1;
    let cases = [
        (MessageRange::Newest, last - 9..=last),
        (MessageRange::Before(last), last - 10..=last - 1),
        (MessageRange::Before(u64::MAX), last - 9..=last),
        (MessageRange::Before(4), 1..=3),
        (MessageRange::Before(0), none_from(1)),
        (MessageRange::After(0), 1..=10),
        (MessageRange::After(last - 2), last - 1..=last),
        (MessageRange::After(last), none_from(last + 1)),
        (MessageRange::After(u64::MAX), none_from(last + 1)),
        (MessageRange::Around(1), 1..=10),
        (MessageRange::Around(last), last - 5..=last),
        (MessageRange::Around(u64::MAX), none_from(last + 1)),
        (MessageRange::AroundMessage(id_of(last)), last - 5..=last),
        (MessageRange::AroundMessage(id_of(7)), 2..=11),
    ];
    for (range, seqs) in cases {
        let page = reads.messages(asking, &address, range, 10, None).await.unwrap();
        let found: Vec<_> = page.messages.iter().map(|message| message.seq).collect();
        assert_eq!(found, seqs.clone().collect::<Vec<_>>(), "{range:?} of {last}");
        assert_eq!(page.last_seq, last);
        assert_eq!(page.more_after, *seqs.end() < last, "{range:?} of {last}");
        assert_eq!(page.more_before, *seqs.start() > 1, "{range:?} of {last}");
    }
    let nowhere = MessageRange::AroundMessage(MessageId::from_raw(7));
    assert_eq!(reads.messages(asking, &address, nowhere, 10, None).await.unwrap_err().code, ErrorCode::NotFound);
    for (limit, length) in [(0, 1), (1000, 200.min(last))] {
        let page = reads.messages(asking, &address, MessageRange::Newest, limit, None).await.unwrap();
        assert_eq!(page.messages.len() as u64, length);
    }
}
