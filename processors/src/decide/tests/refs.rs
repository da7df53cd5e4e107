//! Idempotency (invariant 12) and the interleavings that reviewers found.

use std::collections::HashSet;

use natter_schemas::evidence::{Answered, Complete, Evidence};
use natter_schemas::limits::{EVIDENCE_AGE_MS_MAX, REF_LIFE_MS, REFS_RECENT_MAX, REFS_RECENT_MS};

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

/// What the gateway found about a ref, complete up to now.
fn found(world: &World, first: Option<Answered>) -> Vec<Evidence> {
    vec![Evidence::Ref { first, complete: Complete { sequence: 9, log_ms: world.log_ms } }]
}

fn resent(wish: &Command, evidence: Vec<Evidence>) -> Command {
    Command { origin: Origin::Resend, evidence, ..wish.clone() }
}

/// A sender's message of long ago, as a history answers.
fn long_ago(world: &World, wish: &Command, age_ms: u64) -> Answered {
    Answered {
        content: natter_schemas::event::content_hash(&wish.body),
        sequence: 3,
        index: 1,
        at_ms: world.log_ms - age_ms,
        log_ms: world.log_ms - age_ms,
        conversation: None,
        message: Some(natter_schemas::id::MessageId::from_raw(77)),
        seq: Some(9),
    }
}

/// Days ahead, hour by hour: log time advances no faster.
fn days_later(world: &mut World, days: u64) {
    for hour in 0..24 * days {
        let other = by("bob", Body::UpdateUser { name: name(&format!("{hour}")) });
        accepted(later(world, 3_600_000, &other));
    }
}

#[test]
fn evidence_of_a_resend_counts() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    days_later(&mut world, 8);
    let wish = Command { received_ms: world.stored_ms, ..by("ada", send(group, "hi")) };
    let known = long_ago(&world, &wish, REF_LIFE_MS - 1000);
    assert_eq!(answered(world.when(&resent(&wish, found(&world, Some(known.clone()))))), known);
    let other = Answered { content: known.content + 1, ..known.clone() };
    rejected(&world.when(&resent(&wish, found(&world, Some(other)))), ErrorCode::Conflict);
    // Too old, or nothing: it is new.
    let old = long_ago(&world, &wish, REF_LIFE_MS + 1000);
    let Accepted::Sent { seq, .. } = accepted(world.when(&resent(&wish, found(&world, Some(old))))) else {
        panic!("sent")
    };
    assert_eq!(seq, 1);
    let wish = Command { received_ms: world.stored_ms, ..by("ada", send(group, "hi")) };
    let Accepted::Sent { seq, .. } = accepted(world.when(&resent(&wish, found(&world, None)))) else { panic!("sent") };
    assert_eq!(seq, 2);
}

/// Without evidence only what the facts remember is known; nobody guesses.
#[test]
fn a_resend_without_evidence_waits_for_the_history() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = by("ada", send(group, "hi"));
    rejected(&world.when(&resent(&wish, Vec::new())), ErrorCode::Unavailable);
    world.given(&wish);
    assert_eq!(answered(world.when(&resent(&wish, Vec::new()))).seq, Some(1));
}

/// Evidence of another moment would hide what was accepted since.
#[test]
fn stale_evidence_is_refused() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = by("ada", send(group, "hi"));
    let evidence = found(&world, None);
    world.given(&wish);
    accepted(later(&mut world, EVIDENCE_AGE_MS_MAX / 2, &by("ada", send(group, "later"))));
    // Within the bound the facts have whatever was accepted since.
    assert_eq!(answered(later(&mut world, 0, &resent(&wish, evidence.clone()))).seq, Some(1));
    for _ in 0..4 {
        accepted(later(&mut world, REFS_RECENT_MS / 2, &by("ada", send(group, "later"))));
    }
    rejected(&later(&mut world, 0, &resent(&wish, evidence)), ErrorCode::StaleEvidence);
    rejected(&later(&mut world, 0, &resent(&wish, Vec::new())), ErrorCode::Unavailable);
}

/// A batch whose own clock leaps forgets nothing that evidence which counts does not show.
#[test]
fn a_leap_of_the_clock_hides_no_recent_ref() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = by("ada", send(group, "hi"));
    let evidence = found(&world, None);
    world.given(&wish);
    assert_eq!(answered(later(&mut world, 3_000_000, &resent(&wish, evidence))).seq, Some(1));
}

#[test]
fn a_ref_without_resend_is_new_after_two_minutes() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let wish = with_ref("r", "ada", send(group, "hi"));
    world.given(&wish);
    assert_eq!(answered(later(&mut world, REFS_RECENT_MS, &wish)).seq, Some(1));
    accepted(later(&mut world, 1000, &by("ada", send(group, "later"))));
    let Accepted::Sent { seq, .. } = accepted(later(&mut world, 0, &wish)) else { panic!("sent") };
    assert_eq!(seq, 3);
}

/// Interleaving: a join that changes nothing, a leave, and the join's resend.
#[test]
fn what_changed_nothing_is_answered_again() {
    let mut world = World::new();
    let group = world.group(Visibility::Public, "ada", &["bob"]);
    let at = Address::Id(group);
    let join = by("bob", Body::Join { conversation: at.clone() });
    assert!(matches!(world.given(&join), Accepted::Unchanged { .. }));
    world.given(&by("bob", Body::Leave { conversation: at.clone() }));
    assert_eq!(answered(world.when(&join)).conversation, Some(group));
    rejected(&world.say("bob", group, "still out"), ErrorCode::NotMember);

    let add = by("ada", Body::Add { conversation: at.clone(), members: vec![user("ada")] });
    assert!(matches!(world.given(&add), Accepted::Unchanged { .. }));
    world.given(&by("ada", Body::Leave { conversation: at }));
    answered(world.when(&add));

    let direct = world.direct("cy", "dan");
    let create = by("dan", Body::CreateDirect { peer: user("cy") });
    assert_eq!(world.given(&create), Accepted::Existing { conversation: direct });
    assert_eq!(answered(world.when(&create)).conversation, Some(direct));
}

/// The scope of a create includes what it names, however many partitions there are.
#[test]
fn a_creates_scope_is_its_target() {
    let mut world = World::new();
    let named = |external: Option<&str>| Body::CreateGroup {
        visibility: Visibility::Private,
        name: None,
        members: Vec::new(),
        external: external.map(super::external),
    };
    let ids: Vec<_> = [named(Some("tea")), named(Some("milk")), named(None), Body::CreateDirect { peer: user("bob") }]
        .into_iter()
        .map(|body| world.given(&with_ref("r", "ada", body)).conversation())
        .collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4);
    let other = Body::CreateGroup {
        visibility: Visibility::Public,
        name: None,
        members: Vec::new(),
        external: Some(external("tea")),
    };
    rejected(&world.when(&with_ref("r", "ada", other)), ErrorCode::Conflict);
}

/// Invariant 15: an id of another tenant is none, whatever its namesakes did there.
#[test]
fn another_tenants_refs_are_no_answer() {
    let mut world = World::new();
    let room = Body::CreateGroup {
        visibility: Visibility::Public,
        name: None,
        members: Vec::new(),
        external: Some(external("tea")),
    };
    let group = world.given(&with_ref("room", "ada", room)).conversation().expect("a conversation");
    let said = with_ref("r", "ada", send(group, "hi"));
    world.given(&said);
    let lines =
        [line(1, 0, "ada", send(group, "first")), line(1, 0, "ada", Body::Join { conversation: Address::Id(group) })];
    world.given(&lines[0]);
    let abroad = |command: &Command| Command { tenant: Tenant::try_from("evil").expect("a tenant"), ..command.clone() };
    let guess = with_ref("r", "ada", send(group, "a guess"));
    for command in [&said, &guess, &lines[0], &lines[1]] {
        rejected(&world.when(&abroad(command)), ErrorCode::NotFound);
        let resend = Command { origin: Origin::Resend, evidence: found(&world, None), ..abroad(&said) };
        rejected(&world.when(&resend), ErrorCode::NotFound);
    }
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
    accepted(later(&mut world, REFS_RECENT_MS + 1000, &by("bob", send(group, "much later"))));
    accepted(later(&mut world, 0, &more));
}
