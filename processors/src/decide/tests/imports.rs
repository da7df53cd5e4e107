//! Imported lines.

use super::*;

fn room(named: &str) -> Body {
    Body::CreateGroup {
        visibility: Visibility::Public,
        name: None,
        members: Vec::new(),
        external: Some(external(named)),
    }
}

fn join(id: ConversationId) -> Body {
    Body::Join { conversation: Address::Id(id) }
}

/// A line that was taken once is a duplicate for ever, with all that belongs to it.
#[test]
fn a_line_is_taken_once() {
    let mut world = World::new();
    let id = world.given(&line(1, 0, "ada", room("tea"))).conversation().expect("made");
    accepted(world.when(&line(1, 0, "ada", send(id, "first"))));
    accepted(world.when(&line(4, 1, "bob", join(id))));
    accepted(world.when(&line(4, 1, "bob", send(id, "second"))));
    let before = Accepted::ImportedBefore { conversation: Some(id) };
    for again in [
        line(1, 0, "ada", room("tea")),
        line(1, 0, "ada", send(id, "first")),
        line(4, 1, "bob", join(id)),
        line(4, 1, "bob", send(id, "second")),
        // Whatever the line says now.
        line(3, 1, "eve", send(id, "other")),
    ] {
        assert_eq!(world.given(&again), before, "{again:?}");
    }
    accepted(world.when(&line(5, 4, "bob", send(id, "third"))));
}

#[test]
fn lines_of_another_source_are_others() {
    let mut world = World::new();
    let id = world.given(&line(1, 0, "ada", room("tea"))).conversation().expect("made");
    accepted(world.when(&line(1, 0, "ada", send(id, "first"))));
    let other = Origin::Import(ImportLine { source: [2; 16], line: 1, previous: 0, at_ms: 1000 });
    accepted(world.when(&Command { origin: other, ..by("ada", send(id, "first of another")) }));
}

#[test]
fn no_line_is_passed_over() {
    let mut world = World::new();
    let id = world.given(&line(1, 0, "ada", room("tea"))).conversation().expect("made");
    accepted(world.when(&line(1, 0, "ada", send(id, "first"))));
    let rejection = rejected(&world.when(&line(9, 5, "ada", send(id, "third"))), ErrorCode::ImportGap);
    assert!(rejection.detail.contains('9') && rejection.detail.contains('1'), "{}", rejection.detail);
    // Entering is no line of its own.
    accepted(world.when(&line(9, 5, "bob", join(id))));
    accepted(world.when(&line(5, 1, "ada", send(id, "second"))));
    accepted(world.when(&line(9, 5, "ada", send(id, "third"))));
}

#[test]
fn a_users_lines_are_its_own() {
    let mut world = World::new();
    let rename = |to: &str| Body::UpdateUser { name: name(to) };
    assert_eq!(world.given(&line(3, 0, "ada", rename("Ada"))), Accepted::UserUpdated);
    assert_eq!(world.given(&line(3, 0, "ada", rename("Ada"))), Accepted::ImportedBefore { conversation: None });
    rejected(&world.when(&line(9, 5, "ada", rename("Ada L"))), ErrorCode::ImportGap);
    assert_eq!(world.given(&line(7, 0, "bob", rename("Bob"))), Accepted::UserUpdated);
}
