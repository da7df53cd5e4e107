//! Signals go where there is room, and keep nobody from anything else.

use super::*;

fn tape_bytes(world: &World) -> usize {
    world.rooms.conversations[&ROOM.get()].tape.bytes()
}

fn kinds(session: &Fake) -> (usize, usize) {
    let seen = session.seen();
    let signals = seen.iter().filter(|frame| frame.get("signal").is_some()).count();
    (signals, seen.len() - signals)
}

#[test]
fn typing_in_a_large_room_stops_no_event() {
    let mut world = World::new();
    let sessions: Vec<_> = (0..1000).map(|_| world.member("bob")).collect();
    let (mut passed, mut dropped, mut most) = (0, 0, 0);
    for sequence in 1..=100 {
        for _ in 0..1000 {
            match world.signals("ada") {
                Some(_) => passed += 1,
                None => dropped += 1,
            }
        }
        most = most.max(tape_bytes(&world));
        assert!(!world.rooms.is_full(), "the log goes on");
        world.rooms.event(&sent(sequence, "ada").event().unwrap());
        assert!(!world.rooms.is_full());
        // Some of the room, and then a rest: the pass takes longer than what comes meanwhile.
        world.turn(100);
    }
    assert!(most < TAPE_BYTES_MAX / 2, "{most} bytes on the tape, events and all");
    assert!(passed > 0 && dropped > passed, "{passed} passed, {dropped} dropped");
    world.write();
    assert!(sessions.iter().all(|session| kinds(session) == (passed, 100)), "all events, and what was let through");
}

#[test]
fn a_tape_that_is_behind_takes_no_signal() {
    let mut world = World::new();
    let bob = world.member("bob");
    let mut count = 0;
    while tape_bytes(&world) <= SIGNALS_TAPE_BYTES_MAX {
        assert_eq!(world.signals("bob"), Some(0), "to everybody but the one who types");
        count += 1;
        world.rooms.event(&sent(count, "ada").event().unwrap());
    }
    assert_eq!(world.signals("ada"), None);
    world.write();
    assert_eq!(world.signals("ada"), Some(1));
    world.write();
    assert_eq!(kinds(&bob), (1, usize::try_from(count).unwrap()));
}

#[test]
fn a_partition_that_is_behind_takes_no_signal() {
    let mut world = World::new();
    let (bob, quiet) = (world.member("bob"), world.opened("eve", &[6]));
    let mut count = 0;
    while !world.rooms.is_full() {
        count += 1;
        world.rooms.event(&sent(count, "ada").event().unwrap());
    }
    let (tenant, user) = (Tenant::trusted("demo"), UserId::trusted("ada"));
    let elsewhere = PlacedSignal { tenant, conversation: ConversationId::from_raw(6), user, signal: Signal::Typing };
    assert_eq!(world.rooms.signal(&elsewhere), None);
    world.write();
    assert_eq!(world.rooms.signal(&elsewhere), Some(1));
    world.write();
    assert_eq!((kinds(&bob).0, kinds(&quiet)), (0, (1, 0)));
}

#[test]
fn a_signal_before_ones_own_event_is_handed_on_in_order() {
    let mut world = World::new();
    let bob = world.member("bob");
    world.rooms.event(&sent(1, "ada").event().unwrap());
    assert_eq!(world.signals("ada"), Some(1));
    world.happens(&sent(2, "bob"));
    let seen: Vec<_> = bob.seen().iter().map(|frame| frame.get("seq").and_then(Value::as_u64)).collect();
    assert_eq!(seen, [Some(1), None, Some(2)]);
}
