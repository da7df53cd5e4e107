//! Who sees what.

use natter_schemas::codec::{OutcomeBatch, OutcomeBatchWriter, Source};
use natter_schemas::command::Visibility;
use natter_schemas::event::touched;
use natter_schemas::id::IdState;
use natter_schemas::names::DisplayName;

use super::*;

#[test]
fn members_see_a_message_and_only_the_sender_its_ref() {
    let mut world = World::new();
    let (ada, phone, bob, eve) = (world.member("ada"), world.member("ada"), world.member("bob"), world.register("eve"));
    assert_eq!(world.happens(&sent(1, "ada")), 3);
    for own in [ada, phone] {
        assert_eq!(own.seen()[0]["ref"], "r1");
    }
    let seen = bob.seen();
    assert_eq!((seen.len(), &seen[0]["text"], seen[0].get("ref")), (1, &Value::from("hi"), None));
    assert_eq!(eve.seen(), Vec::<Value>::new());
}

#[test]
fn who_comes_sees_what_follows_and_who_leaves_sees_the_leave_last() {
    let mut world = World::new();
    let (ada, bob) = (world.member("ada"), world.opened("bob", &[]));
    world.happens(&sent(1, "ada"));
    world.happens(&joined(2, "bob"));
    world.happens(&sent(3, "ada"));
    world.happens(&left(4, "bob"));
    world.happens(&sent(5, "ada"));
    assert_eq!(bob.names(), ["conversation.joined", "message.sent", "conversation.left"]);
    assert_eq!(ada.seen().len(), 5);
    world.happens(&added(6, "ada", &["bob", "eve"]));
    assert_eq!(bob.names(), ["conversation.added"]);
    assert!(world.rooms.is_member(bob.id, ROOM.get()));
}

#[test]
fn first_members_see_the_creation() {
    let mut world = World::new();
    let (ada, bob) = (world.opened("ada", &[]), world.opened("bob", &[]));
    let name = Some(DisplayName::trusted("tea"));
    let body = Body::CreateGroup { visibility: Visibility::Private, name, members: users(&["bob"]), external: None };
    let made = placed(1, "ada", body, Accepted::Created { conversation: ROOM, members: users(&["bob"]) });
    assert_eq!(world.happens(&made), 2);
    assert_eq!(bob.seen()[0]["name"], "tea");
    assert_eq!(ada.seen()[0]["ref"], "r1");
}

#[test]
fn cursors_go_to_the_readers_own_sessions_and_the_peer() {
    let mut world = World::new();
    let (ada, phone, bob, eve) = (world.member("ada"), world.member("ada"), world.member("bob"), world.member("eve"));
    assert_eq!(world.happens(&read(1, "ada", None)), 2);
    assert_eq!(world.happens(&read(2, "ada", Some("bob"))), 3);
    assert_eq!((ada.seen().len(), phone.seen().len(), bob.seen().len(), eve.seen().len()), (2, 2, 1, 0));
}

#[test]
fn what_changes_while_a_session_opens_is_applied_on_top_of_the_view() {
    let mut world = World::new();
    let (early, late) = (world.register("bob"), world.register("bob"));
    world.happens(&joined(10, "bob"));
    world.happens(&left(20, "bob"));
    // This view showed the join and not yet the leave, the other both.
    world.rooms.open(early.id, [ROOM.get()].into_iter(), Position::batch(0, 15));
    assert!(!world.rooms.is_member(early.id, ROOM.get()));
    world.happens(&joined(30, "bob"));
    world.rooms.open(late.id, [].into_iter(), Position::batch(0, 20));
    assert!(world.rooms.is_member(late.id, ROOM.get()));
    assert_eq!(late.names(), Vec::<String>::new(), "nothing is pushed before it is open");
    assert_eq!(early.names(), ["conversation.joined"]);
}

#[test]
fn a_view_that_is_ahead_is_not_undone() {
    let mut world = World::new();
    let bob = world.register("bob");
    world.happens(&left(10, "bob"));
    world.rooms.open(bob.id, [ROOM.get()].into_iter(), Position::batch(0, 12));
    assert!(world.rooms.is_member(bob.id, ROOM.get()));
}

#[test]
fn a_hash_is_no_identity() {
    let mut world = World::new();
    let impostor = world.opened("impostor", &[]);
    world.happens(&added(1, "bob", &["ada"]));
    assert!(!world.rooms.is_member(impostor.id, ROOM.get()));
    let member = world.member("impostor");
    world.happens(&sent(2, "ada"));
    assert_eq!(member.seen()[0].get("ref"), None);
    assert_eq!(impostor.seen(), Vec::<Value>::new());
}

#[test]
fn a_closed_session_leaves_nothing_behind() {
    let mut world = World::new();
    let (ada, opening) = (world.member("ada"), world.register("bob"));
    world.rooms.close(ada.id);
    world.rooms.close(opening.id);
    world.rooms.close(99);
    assert!(world.rooms.conversations.is_empty() && world.rooms.users.is_empty() && world.rooms.sessions.is_empty());
    assert_eq!(world.happens(&sent(1, "ada")), 0);
}

#[test]
fn closing_all_reaches_those_that_open_too() {
    let mut world = World::new();
    let (ada, bob) = (world.member("ada"), world.register("bob"));
    world.rooms.close_all(CloseCode::Resync);
    for session in [ada, bob] {
        assert_eq!(*session.closed.lock().unwrap(), Some(CloseCode::Resync));
    }
}

#[test]
fn signals_reach_the_others() {
    let mut world = World::new();
    let (ada, phone, bob) = (world.member("ada"), world.member("ada"), world.member("bob"));
    assert_eq!(world.signals("ada"), 1);
    world.write();
    assert_eq!((bob.seen()[0]["signal"].as_str(), ada.seen().len(), phone.seen().len()), (Some("typing"), 0, 0));
}

#[test]
fn a_batch_that_concerns_nobody_here_is_passed_over() {
    let mut world = World::new();
    let header = |outcomes: &[Placed]| {
        let mut writer = OutcomeBatchWriter::default();
        for placed in outcomes {
            writer.push(&placed.outcome, &touched(&placed.outcome));
        }
        let records = u32::try_from(outcomes.len()).unwrap();
        let source = Source { sequence: 1, stored_ms: 0, log_ms: 0, before_ms: 0, publisher: 1, number: 1, records };
        let bytes = writer.finish(1, vec![source], IdState::default(), vec![]);
        OutcomeBatch::decode(&bytes).unwrap().header
    };
    assert!(!world.rooms.concerns(&header(&[sent(1, "ada"), joined(2, "bob")])));
    let bob = world.register("bob");
    assert!(!world.rooms.concerns(&header(&[sent(1, "ada")])), "not a member");
    assert!(world.rooms.concerns_users(&header(&[added(1, "ada", &["bob"])])));
    world.rooms.open(bob.id, [ROOM.get()].into_iter(), Position::batch(0, 0));
    assert!(world.rooms.concerns(&header(&[sent(1, "ada")])));
    assert!(!world.rooms.concerns_users(&header(&[sent(1, "ada")])));
}
