//! Idempotency (invariant 12) and the interleavings that reviewers found.

use natter_schemas::limits::{REF_LIFE_MS, REFS_KEPT, REFS_RECENT_MAX, REFS_RECENT_MS};
use natter_schemas::outcome::Answered;

use super::*;

fn answered(decision: Decision) -> Answered {
    match accepted(decision) {
        Accepted::Repeated(answered) => answered,
        other => panic!("repeated, not {other:?}"),
    }
}

/// A batch of its own, `after_ms` later, in which the command has just been received.
fn later(world: &mut World, after_ms: u64, command: &Command) -> Decision {
    world.stored_ms += after_ms;
    let received_ms = world.stored_ms;
    world.when(&Command { received_ms, ..command.clone() })
}

#[test]
fn the_same_ref_gets_the_first_outcome_again() {
    let mut world = World::new();
    let group = world.group(Visibility::Public, "ada", &[]);
    let once = by("ada", send(group, "once"));
    let Accepted::Sent { message, seq, .. } = world.given(&once) else { panic!("sent") };
    let again = answered(world.when(&once));
    assert_eq!((again.conversation, again.message, again.seq), (Some(group), Some(message), Some(seq)));
    let resent = Command { origin: Origin::Resend, ..once.clone() };
    assert_eq!(answered(world.when(&resent)), again);
    // Also when the sender could not do it any more.
    world.given(&by("ada", Body::Leave { conversation: Address::Id(group) }));
    assert_eq!(answered(world.when(&once)), again);
    let Accepted::Joined { seq, .. } = world.given(&by("bob", Body::Join { conversation: Address::Id(group) })) else {
        panic!("joined")
    };
    assert_eq!(seq, 1);
}

#[test]
fn the_same_ref_with_other_content_is_a_conflict() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    world.given(&with_ref("r", "ada", send(group, "one")));
    rejected(&world.when(&with_ref("r", "ada", send(group, "two"))), ErrorCode::Conflict);
    // The scope is (tenant, sender, conversation).
    accepted(world.when(&with_ref("r", "bob", send(group, "two"))));
    let other = world.group(Visibility::Private, "ada", &[]);
    accepted(world.when(&with_ref("r", "ada", send(other, "two"))));
    accepted(world.when(&with_ref("r", "ada", Body::UpdateUser { name: name("Ada") })));
}

/// Interleaving: a refused ref is sent again after joining.
#[test]
fn a_refused_ref_is_decided_afresh() {
    let mut world = World::new();
    let group = world.group(Visibility::Public, "ada", &[]);
    let wish = with_ref("r", "eve", send(group, "hi"));
    rejected(&world.when(&wish), ErrorCode::NotMember);
    world.given(&by("eve", Body::Join { conversation: Address::Id(group) }));
    let Accepted::Sent { seq, .. } = world.given(&wish) else { panic!("sent") };
    assert_eq!(seq, 1);
    assert_eq!(answered(world.when(&wish)).seq, Some(1));
}

/// Interleaving: a create is sent again by another gateway. Its slot is that of its ref, so it meets the first.
#[test]
fn a_resent_create_gives_one_conversation() {
    let mut world = World::new();
    let body =
        Body::CreateGroup { visibility: Visibility::Private, name: None, members: vec![user("bob")], external: None };
    let create = with_ref("r", "ada", body);
    let id = world.given(&create).conversation();
    let by_another = Command { session: 99, origin: Origin::Resend, ..create.clone() };
    assert_eq!(by_another.slot(), create.slot());
    assert_eq!(answered(world.when(&by_another)).conversation, id);
    let named = Body::CreateGroup {
        visibility: Visibility::Private,
        name: None,
        members: Vec::new(),
        external: Some(external("tea")),
    };
    let create = with_ref("s", "ada", named);
    let id = world.given(&create).conversation();
    assert_eq!(answered(world.when(&create)).conversation, id);
}

#[test]
fn what_the_history_knows_counts_for_a_day() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = Command { origin: Origin::Resend, ..by("ada", send(group, "hi")) };
    let known = |log_ms, content| Answered {
        content,
        sequence: 3,
        index: 1,
        at_ms: log_ms,
        log_ms,
        conversation: Some(group),
        message: Some(natter_schemas::id::MessageId::from_raw(77)),
        seq: Some(9),
    };
    let content = natter_schemas::event::content_hash(&wish.body);
    let now = world.stored_ms + 1;
    world.learnt = Learnt::RefKnown(known(now, content));
    assert_eq!(answered(world.when(&wish)).seq, Some(9));
    world.learnt = Learnt::RefKnown(known(now, content + 1));
    rejected(&world.when(&wish), ErrorCode::Conflict);
    world.learnt = Learnt::HistoryUnavailable;
    rejected(&world.when(&wish), ErrorCode::Unavailable);
    world.learnt = Learnt::RefKnown(known(now - REF_LIFE_MS - 10, content));
    accepted(world.when(&wish));
    // Facts are asked first: no history is needed for what is remembered.
    world.learnt = Learnt::HistoryUnavailable;
    assert_eq!(answered(world.when(&wish)).seq, Some(1));
}

#[test]
fn a_day_later_a_ref_is_new() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = with_ref("r", "ada", send(group, "hi"));
    world.given(&wish);
    assert_eq!(answered(later(&mut world, 3_600_000, &wish)).seq, Some(1));
    for hour in 0..25 {
        let say = by("bob", Body::UpdateUser { name: name(&format!("{hour}")) });
        accepted(later(&mut world, 3_600_000, &say));
    }
    let Accepted::Sent { seq, .. } = accepted(later(&mut world, 0, &wish)) else { panic!("sent") };
    assert_eq!(seq, 2);
}

#[test]
fn the_newest_refs_are_remembered_however_old() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wishes: Vec<Command> = (0..=REFS_KEPT).map(|n| by("ada", send(group, &format!("{n}")))).collect();
    for wish in &wishes {
        world.given(wish);
    }
    world.stored_ms += REFS_RECENT_MS + 1000;
    answered(later(&mut world, 0, &wishes[1]));
    // The one before them is not, and a client that does not say that it resends is taken at its word.
    let Accepted::Sent { seq, .. } = accepted(later(&mut world, 0, &wishes[0])) else { panic!("sent") };
    assert_eq!(seq, REFS_KEPT as u64 + 2);
}

#[test]
fn too_many_recent_refs_slow_a_sender_down() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    for _ in 0..REFS_RECENT_MAX {
        accepted(world.say("ada", group, "hi"));
    }
    let more = by("ada", send(group, "one more"));
    rejected(&later(&mut world, 0, &more), ErrorCode::RefsFull);
    accepted(later(&mut world, 0, &by("bob", send(group, "me too"))));
    accepted(later(&mut world, 0, &by("ada", Body::Read { conversation: Address::Id(group), seq: 1 })).clone());
    accepted(later(&mut world, REFS_RECENT_MS, &more));
}
