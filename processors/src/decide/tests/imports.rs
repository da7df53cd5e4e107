//! Imported lines.

use proptest::prelude::*;

use natter_schemas::command::Follows;

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
    let other = Origin::Import(ImportLine {
        source: [2; 16],
        line: 1,
        previous: 0,
        at_ms: 1000,
        introduces: false,
        follows: None,
    });
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

/// A line whose source is its own identity, after the line of `follows`.
fn identified(source: u8, follows: Option<u8>, sender: &str, body: Body) -> Command {
    let follows = follows.map(|source| Box::new(Follows { source: [source; 16], line: 1 }));
    let line = ImportLine { source: [source; 16], line: 1, previous: 0, at_ms: 1000, introduces: false, follows };
    Command { origin: Origin::Import(line), ..by(sender, body) }
}

#[test]
fn a_line_follows_one_of_another_source() {
    let mut world = World::new();
    let id = world.given(&line(1, 0, "ada", room("tea"))).conversation().expect("made");
    let before = Accepted::ImportedBefore { conversation: Some(id) };
    let rejection = rejected(&world.when(&identified(7, Some(6), "ada", send(id, "second"))), ErrorCode::ImportGap);
    assert!(rejection.detail.contains(&"06".repeat(16)), "{}", rejection.detail);
    // Entering is no line of its own.
    accepted(world.when(&identified(7, Some(6), "bob", join(id))));
    accepted(world.when(&identified(6, None, "ada", send(id, "first"))));
    accepted(world.when(&identified(7, Some(6), "ada", send(id, "second"))));
    // Once, whichever line it comes after now, and whoever brings it.
    for follows in [None, Some(6), Some(9)] {
        assert_eq!(world.given(&identified(7, follows, "bob", send(id, "second"))), before);
    }
    // A user's lines are no room's.
    rejected(&world.when(&identified(8, Some(7), "ada", Body::UpdateUser { name: name("Ada") })), ErrorCode::ImportGap);
    assert_eq!(world.given(&identified(8, None, "ada", Body::UpdateUser { name: name("Ada") })), Accepted::UserUpdated);
    assert_eq!(
        world.given(&identified(9, Some(8), "ada", Body::UpdateUser { name: name("Ada L") })),
        Accepted::UserUpdated
    );
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

/// `user.update` by the next line about a user; `at_ms` is its time.
fn named(number: u64, to: &str, at_ms: u64, introduces: bool) -> Command {
    let line = ImportLine { source: [1; 16], line: number, previous: number - 1, at_ms, introduces, follows: None };
    Command { origin: Origin::Import(line), ..by("ada", Body::UpdateUser { name: name(to) }) }
}

#[test]
fn an_import_does_not_take_a_live_name() {
    let mut world = World::new();
    assert_eq!(world.given(&by("ada", Body::UpdateUser { name: name("Ada Live") })), Accepted::UserUpdated);
    assert_eq!(world.given(&named(1, "ada", 1000, true)), Accepted::NameKept);
    assert_eq!(world.given(&named(2, "Ada Once", 1000, false)), Accepted::NameKept);
    // Its line is taken, so the next one follows it, and it is a duplicate when it comes again.
    assert_eq!(world.given(&named(2, "Ada Once", 1000, false)), Accepted::ImportedBefore { conversation: None });
    // No line is later than the log: neither this one counts for ever, nor does the user's next wish wait for 2099.
    assert_eq!(world.given(&named(3, "Ada 2099", 4_070_908_800_000, false)), Accepted::UserUpdated);
    assert_eq!(world.given(&by("ada", Body::UpdateUser { name: name("Ada Now") })), Accepted::UserUpdated);
    assert_eq!(world.given(&named(4, "Ada Late", START_MS, false)), Accepted::NameKept);
}

#[test]
fn every_name_replaces_an_introduction() {
    let mut world = World::new();
    assert_eq!(world.given(&named(1, "ada", 5000, true)), Accepted::UserUpdated);
    assert_eq!(world.given(&named(2, "ada again", 6000, true)), Accepted::NameKept);
    assert_eq!(world.given(&named(3, "Ada", 1000, false)), Accepted::UserUpdated);
    // Of lines of one second the later counts.
    assert_eq!(world.given(&named(4, "Ada L", 1000, false)), Accepted::UserUpdated);
    assert_eq!(world.given(&named(5, "Ada Before", 999, false)), Accepted::NameKept);
}

proptest! {
    /// However live and imported names come, the latest by time stays; of equal times, the one that came last.
    #[test]
    fn the_latest_name_stays(wishes in prop::collection::vec((0..3_u8, START_MS - 20..START_MS + 60), 1..40)) {
        let mut world = World::new();
        let (mut shown, mut names) = (None, Vec::new());
        let mut lines = 0;
        for (number, (kind, at_ms)) in wishes.into_iter().enumerate() {
            let to = format!("name {number}");
            let now_ms = world.stored_ms + 1;
            let command = if kind == 0 {
                by("ada", Body::UpdateUser { name: name(&to) })
            } else {
                lines += 1;
                named(lines, &to, at_ms, kind == 1)
            };
            match kind {
                0 => names.push((now_ms, to.clone())),
                1 if names.is_empty() => names.push((0, to.clone())),
                1 => {}
                _ => names.push((at_ms.min(now_ms), to.clone())),
            }
            match world.given(&command) {
                Accepted::UserUpdated => shown = Some(to),
                Accepted::NameKept => {}
                other => panic!("{other:?}"),
            }
            let latest = names.iter().max_by_key(|(at_ms, _)| *at_ms).map(|(_, to)| to.clone());
            prop_assert_eq!(&shown, &latest);
        }
    }

    /// The runs that outcomes tell are the imported lines, and these move nobody's cursor.
    #[test]
    fn runs_are_the_imported_lines(messages in prop::collection::vec(any::<bool>(), 1..60)) {
        let mut world = World::new();
        let id = world.given(&line(1, 0, "ada", room("tea"))).conversation().expect("made");
        accepted(world.when(&by("bob", join(id))));
        let (mut lines, mut cursor, mut before) = (0, 0, false);
        for (index, imported) in messages.iter().enumerate() {
            let seq = index as u64 + 1;
            let command = if *imported {
                lines += 1;
                line(lines, lines - 1, "bob", send(id, "old"))
            } else {
                cursor = seq;
                by("bob", send(id, "new"))
            };
            let Accepted::Sent { seq: found, run, .. } = world.given(&command) else { panic!("sent") };
            prop_assert_eq!((found, run.is_some()), (seq, *imported));
            if let Some(run) = run {
                let from = usize::try_from(run.from).expect("small");
                prop_assert!(messages[from - 1..=index].iter().all(|imported| *imported));
                prop_assert!(from == 1 || !messages[from - 2], "it begins behind a live message");
                let earlier = messages[..from - 1].iter().filter(|imported| **imported).count();
                let runs = messages[..=index].chunk_by(|a, b| a == b).filter(|run| run[0]).count();
                prop_assert_eq!((run.before, run.number), (earlier as u64, runs as u64));
            }
            before |= *imported;
            let (facts, tenant) = (&world.facts, natter_schemas::names::Tenant::trusted("demo"));
            prop_assert_eq!(crate::decide::Facts::cursor(facts, &tenant, id, &user("bob")), cursor);
            prop_assert_eq!(crate::decide::Facts::run(facts, id).is_some(), before);
        }
    }
}
