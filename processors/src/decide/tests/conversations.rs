//! Making conversations, entering and leaving them.

use super::*;

fn to(id: ConversationId) -> Address {
    Address::Id(id)
}

fn add(id: ConversationId, members: &[&str]) -> Body {
    Body::Add { conversation: to(id), members: members.iter().map(|name| user(name)).collect() }
}

fn join(id: ConversationId) -> Body {
    Body::Join { conversation: to(id) }
}

fn leave(id: ConversationId) -> Body {
    Body::Leave { conversation: to(id) }
}

fn rename(id: ConversationId) -> Body {
    Body::Rename { conversation: to(id), name: name("tea") }
}

fn read(id: ConversationId, seq: u64) -> Body {
    Body::Read { conversation: to(id), seq }
}

fn named_group(visibility: Visibility, named: &str) -> Body {
    Body::CreateGroup { visibility, name: None, members: Vec::new(), external: Some(external(named)) }
}

#[test]
fn a_direct_chat_is_one_per_pair() {
    let mut world = World::new();
    rejected(&world.when(&by("ada", Body::CreateDirect { peer: user("ada") })), ErrorCode::WrongKind);
    let Accepted::Created { conversation, members } = world.given(&by("ada", Body::CreateDirect { peer: user("bob") }))
    else {
        panic!("made")
    };
    assert_eq!(members, [user("bob")]);
    for (one, other) in [("bob", "ada"), ("ada", "bob")] {
        let again = world.given(&by(one, Body::CreateDirect { peer: user(other) }));
        assert_eq!(again, Accepted::Existing { conversation });
    }
}

#[test]
fn a_direct_chat_stays_as_it_is() {
    let mut world = World::new();
    let chat = world.direct("ada", "bob");
    for body in [add(chat, &["eve"]), leave(chat), rename(chat)] {
        rejected(&world.when(&by("bob", body)), ErrorCode::WrongKind);
    }
    assert_eq!(world.given(&by("bob", join(chat))), Accepted::Unchanged { conversation: Some(chat), seq: None });
    for body in [add(chat, &["eve"]), leave(chat), rename(chat), join(chat), read(chat, 0), send(chat, "hi")] {
        rejected(&world.when(&by("eve", body)), ErrorCode::NotFound);
    }
}

#[test]
fn members_of_a_new_group_are_named_once() {
    let mut world = World::new();
    let members = ["bob", "ada", "bob", "cy"].map(user).to_vec();
    let create = by("ada", Body::CreateGroup { visibility: Visibility::Private, name: None, members, external: None });
    let Accepted::Created { conversation, members } = world.given(&create) else { panic!("made") };
    assert_eq!(members, ["bob", "cy"].map(user));
    assert_eq!(conversation.slot(), create.slot().expect("a slot"));
    assert_eq!(crate::decide::Facts::member_count(&world.facts, conversation), 3);
}

#[test]
fn an_external_id_is_taken_once_and_tells_its_id_to_those_who_may_know() {
    let mut world = World::new();
    for (visibility, named, told) in [(Visibility::Private, "p", false), (Visibility::Public, "q", true)] {
        let id = world.given(&by("ada", named_group(visibility, named))).conversation().expect("made");
        assert_eq!(id.slot(), natter_schemas::slot::Slot::of_external(&by("a", join(id)).tenant, &external(named)));
        let again = rejected(&world.when(&by("eve", named_group(visibility, named))), ErrorCode::AlreadyExists);
        assert_eq!(again.detail.contains(&id.to_string()), told, "{}", again.detail);
        let own = rejected(&world.when(&by("ada", named_group(visibility, named))), ErrorCode::AlreadyExists);
        assert!(own.detail.contains(&id.to_string()));
        let imported = world.given(&line(1, 0, "eve", named_group(visibility, named)));
        assert_eq!(imported, Accepted::Existing { conversation: id });
    }
}

#[test]
fn an_external_id_is_an_address() {
    let mut world = World::new();
    let id = world.given(&by("ada", named_group(Visibility::Private, "room"))).conversation().expect("made");
    let text = MessageText::try_from("hi").expect("a text");
    let send = |named: &str| Body::Send { conversation: Address::External(external(named)), text: text.clone() };
    let Accepted::Sent { conversation, seq, .. } = world.given(&by("ada", send("room"))) else { panic!("sent") };
    assert_eq!((conversation, seq), (id, 1));
    rejected(&world.when(&by("ada", send("mooR"))), ErrorCode::NotFound);
    let foreign = Command { tenant: Tenant::try_from("other").expect("a tenant"), ..by("ada", send("room")) };
    rejected(&world.when(&foreign), ErrorCode::NotFound);
}

#[test]
fn another_tenants_conversation_is_not_found() {
    let mut world = World::new();
    let id = world.group(Visibility::Public, "ada", &[]);
    for body in [join(id), send(id, "hi"), leave(id), read(id, 0), rename(id), add(id, &["bob"])] {
        let foreign = Command { tenant: Tenant::try_from("other").expect("a tenant"), ..by("ada", body) };
        rejected(&world.when(&foreign), ErrorCode::NotFound);
    }
}

#[test]
fn strangers() {
    let mut world = World::new();
    let private = world.group(Visibility::Private, "ada", &[]);
    let public = world.group(Visibility::Public, "ada", &[]);
    let unknown = ConversationId::from_raw(12345);
    for id in [private, unknown] {
        for body in [join(id), send(id, "hi"), leave(id), read(id, 0), rename(id), add(id, &["bob"])] {
            rejected(&world.when(&by("eve", body)), ErrorCode::NotFound);
        }
    }
    for body in [send(public, "hi"), read(public, 0), rename(public), add(public, &["bob"])] {
        rejected(&world.when(&by("eve", body)), ErrorCode::NotMember);
    }
    let left = world.given(&by("eve", leave(public)));
    assert_eq!(left, Accepted::Unchanged { conversation: Some(public), seq: None });
}

#[test]
fn members_come_once() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    world.say("ada", group, "before");
    let added = world.given(&by("bob", add(group, &["cy", "bob", "cy", "dan"])));
    let members = ["cy", "dan"].map(user).to_vec();
    assert_eq!(added, Accepted::Added { conversation: group, members, seq: 1, member_count: 4 });
    let again = world.given(&by("ada", add(group, &["cy", "ada"])));
    assert_eq!(again, Accepted::Unchanged { conversation: Some(group), seq: None });
    // A newcomer starts with nothing unread.
    let cursor = world.given(&by("cy", read(group, 1)));
    assert_eq!(cursor, Accepted::Unchanged { conversation: Some(group), seq: Some(1) });
}

#[test]
fn everybody_may_join_a_public_group() {
    let mut world = World::new();
    let group = world.group(Visibility::Public, "ada", &[]);
    world.say("ada", group, "before");
    let joined = Accepted::Joined { conversation: group, seq: 1, member_count: 2 };
    assert_eq!(world.given(&by("eve", join(group))), joined);
    let unchanged = Accepted::Unchanged { conversation: Some(group), seq: None };
    assert_eq!(world.given(&by("eve", join(group))), unchanged);
    accepted(world.say("eve", group, "hi"));
}

#[test]
fn the_last_member_may_leave_too() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    let left = |member_count| Accepted::Left { conversation: group, member_count };
    assert_eq!(world.given(&by("ada", leave(group))), left(1));
    rejected(&world.say("ada", group, "hi"), ErrorCode::NotFound);
    assert_eq!(world.given(&by("bob", leave(group))), left(0));
    rejected(&world.when(&by("bob", leave(group))), ErrorCode::NotFound);
}

#[test]
fn any_member_renames_a_group() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    assert_eq!(world.given(&by("bob", rename(group))), Accepted::Renamed { conversation: group });
}

#[test]
fn a_group_has_a_limit() {
    use natter_projections::facts::{Fact, FactKey};
    use natter_schemas::limits::CONVERSATION_MEMBERS_MAX;
    let mut world = World::new();
    let group = world.group(Visibility::Public, "ada", &[]);
    world.facts.insert(FactKey::MemberCount(group), Fact::MemberCount(CONVERSATION_MEMBERS_MAX - 1));
    rejected(&world.when(&by("ada", add(group, &["bob", "cy"]))), ErrorCode::TooManyMembers);
    accepted(world.when(&by("bob", join(group))));
    rejected(&world.when(&by("cy", join(group))), ErrorCode::TooManyMembers);
}

#[test]
fn a_cursor_only_rises_and_never_passes_the_end() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    for _ in 0..3 {
        world.say("ada", group, "hi");
    }
    let rejection = rejected(&world.when(&by("bob", read(group, 4))), ErrorCode::SeqBeyondEnd);
    assert!(rejection.detail.contains('3') && rejection.detail.contains('4'), "{}", rejection.detail);
    let moved = world.given(&by("bob", read(group, 2)));
    assert_eq!(moved, Accepted::Read { conversation: group, seq: 2, peer: None });
    for seq in [0, 1, 2] {
        let unmoved = world.given(&by("bob", read(group, seq)));
        assert_eq!(unmoved, Accepted::Unchanged { conversation: Some(group), seq: Some(2) });
    }
    // Sending moves the sender's.
    let own = world.given(&by("ada", read(group, 3)));
    assert_eq!(own, Accepted::Unchanged { conversation: Some(group), seq: Some(3) });
}

#[test]
fn the_other_of_a_pair_is_told_of_a_cursor() {
    let mut world = World::new();
    let chat = world.direct("ada", "bob");
    world.say("ada", chat, "hi");
    world.say("bob", chat, "ho");
    let seen = |seq, peer: &str| Accepted::Read { conversation: chat, seq, peer: Some(user(peer)) };
    assert_eq!(world.given(&by("ada", read(chat, 2))), seen(2, "bob"));
    world.say("ada", chat, "hm");
    assert_eq!(world.given(&by("bob", read(chat, 3))), seen(3, "ada"));
}
