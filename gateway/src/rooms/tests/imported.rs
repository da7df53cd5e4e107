//! Imports into rooms that people are in.

use natter_schemas::command::ImportLine;
use natter_schemas::outcome::Run;

use super::*;

/// The same event, as an imported line.
fn imported(mut placed: Placed) -> Placed {
    let Received::Command(command) = &mut placed.outcome.received else { panic!("a command") };
    command.origin = Origin::Import(ImportLine {
        source: [1; 16],
        line: 1,
        previous: 0,
        at_ms: 5,
        introduces: false,
        follows: None,
    });
    if let Decision::Accepted(Accepted::Sent { run, .. }) = &mut placed.outcome.decision {
        *run = Some(Run { number: 1, from: 1, before: 0 });
    }
    placed
}

impl World {
    /// What happens at one moment, before anybody is written to.
    fn at_once(&mut self, all: impl IntoIterator<Item = Placed>) {
        for placed in all {
            self.rooms.event(&placed.event().unwrap());
            self.turn(100);
        }
    }

    fn later(&mut self, ms: u64) {
        self.now += std::time::Duration::from_millis(ms);
        while self.rooms.has_turn() || self.rooms.rests_until().is_some_and(|until| until <= self.now) {
            self.turn(100);
        }
    }
}

fn told(first: u64, seq: u64) -> Value {
    serde_json::json!({ "event": "conversation.imported", "conversation": "5", "first": first, "seq": seq,
        "position": format!("0:{seq}:0") })
}

#[test]
fn an_import_is_told_once_a_second_and_not_line_by_line() {
    let mut world = World::new();
    let (ada, stranger) = (world.member("ada"), world.opened("eve", &[]));
    for second in 0..3 {
        world.at_once((1..=500).map(|line| imported(sent(second * 500 + line, "bob"))));
        world.later(999);
        assert_eq!(ada.seen(), [] as [Value; 0], "nothing before a second has passed");
        world.later(1);
        assert_eq!(ada.seen(), [told(second * 500 + 1, second * 500 + 500)]);
    }
    world.later(5000);
    assert_eq!((ada.seen().len(), stranger.seen().len()), (0, 0));
    assert_eq!(world.rooms.rests_until(), None, "there is nothing to wake up for");
}

#[test]
fn a_live_event_tells_the_import_before_it() {
    let mut world = World::new();
    let (ada, bob) = (world.member("ada"), world.member("bob"));
    world.at_once([imported(sent(1, "bob")), imported(sent(2, "ada")), sent(3, "bob"), imported(sent(4, "bob"))]);
    world.later(0);
    for session in [&ada, &bob] {
        let seen = session.seen();
        assert_eq!(
            (&seen[0], seen[1]["event"].as_str(), seen[1]["seq"].as_u64()),
            (&told(1, 2), Some("message.sent"), Some(3))
        );
        assert_eq!(seen.len(), 2);
    }
    world.later(1000);
    assert_eq!((ada.seen(), bob.seen()), (vec![told(4, 4)], vec![told(4, 4)]));
}

#[test]
fn imported_members_see_what_comes_after() {
    let mut world = World::new();
    let (ada, eve) = (world.member("ada"), world.opened("eve", &[]));
    world.at_once([imported(joined(1, "eve"))]);
    world.later(1000);
    let names = |session: &Fake| session.names();
    assert_eq!(
        (names(&ada), names(&eve)),
        (vec!["conversation.imported".to_owned()], vec!["conversation.imported".to_owned()])
    );
    world.happens(&sent(2, "ada"));
    assert_eq!((names(&ada), names(&eve)), (vec!["message.sent".to_owned()], vec!["message.sent".to_owned()]));
    world.at_once([imported(left(3, "eve"))]);
    world.later(0);
    world.happens(&sent(4, "ada"));
    assert_eq!(names(&eve), ["conversation.imported"]);
    assert_eq!(names(&ada), ["conversation.imported", "message.sent"]);
}

#[test]
fn what_is_imported_into_a_room_that_everybody_left_is_forgotten() {
    let mut world = World::new();
    let ada = world.member("ada");
    world.at_once([imported(sent(1, "bob"))]);
    world.rooms.close(ada.id);
    let later = world.member("ada");
    world.later(1000);
    assert_eq!(later.seen(), [] as [Value; 0]);
    world.at_once([imported(sent(2, "bob"))]);
    world.later(1000);
    assert_eq!(later.seen(), [told(2, 2)]);
}
