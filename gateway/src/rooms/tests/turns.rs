//! How what is new is handed on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A message in another conversation.
fn elsewhere(sequence: u64) -> Placed {
    let mut placed = sent(sequence, "ada");
    if let Decision::Accepted(Accepted::Sent { conversation, .. }) = &mut placed.outcome.decision {
        *conversation = ConversationId::from_raw(6);
    }
    placed
}

#[test]
fn frames_that_gather_go_out_as_one_range_of_shared_bytes() {
    let mut world = World::new();
    let (ada, bob, eve) = (world.member("ada"), world.member("bob"), world.member("eve"));
    (1..=5).for_each(|sequence| {
        world.rooms.event(&sent(sequence, "ada").event().unwrap());
    });
    world.write();
    {
        let (bobs, eves) = (bob.got.lock().unwrap(), eve.got.lock().unwrap());
        assert_eq!((bobs.len(), eves.len()), (1, 1));
        assert_eq!(bobs[0].as_ptr(), eves[0].as_ptr());
    }
    assert_eq!((ada.seen().len(), bob.seen().len(), eve.seen().len()), (5, 5, 5));
}

#[test]
fn rooms_take_turns_and_a_hot_one_keeps_nobody_waiting() {
    let mut world = World::new();
    let hot: Vec<_> = (0..100).map(|_| world.member("bob")).collect();
    let quiet = world.opened("eve", &[6]);
    let got =
        |sessions: &[Arc<Fake>]| sessions.iter().filter(|session| !session.got.lock().unwrap().is_empty()).count();
    world.rooms.event(&sent(1, "ada").event().unwrap());
    world.turn(10);
    world.rooms.event(&elsewhere(2).event().unwrap());
    world.turn(10);
    world.turn(10);
    assert_eq!((got(&hot), quiet.seen().len()), (29, 1), "one turn is what the quiet room waits at most");
    let answered = world.member("zoe");
    assert!(answered.queue(write::json(&serde_json::json!({ "id": "1" }))));
    world.rooms.write_soon(Arc::clone(&answered));
    world.turn(1);
    assert_eq!(answered.seen().len(), 1, "answers go first");
    world.write();
    assert_eq!(got(&hot), 100);
}

#[test]
fn a_large_room_rests_between_passes_and_a_small_one_does_not() {
    let mut world = World::new();
    let large: Vec<_> = (0..100).map(|_| world.member("bob")).collect();
    let small = world.opened("eve", &[6]);
    let began = world.now;
    world.happens(&sent(1, "ada"));
    assert_eq!(world.now, began, "after a silence there is nothing to wait for");
    assert!(large.iter().all(|session| session.seen().len() == 1));
    for sequence in 2..=4 {
        world.rooms.event(&sent(sequence, "ada").event().unwrap());
        world.rooms.event(&elsewhere(sequence).event().unwrap());
        world.turn(1000);
    }
    assert_eq!((large[0].seen().len(), small.seen().len()), (0, 3));
    assert!(!world.rooms.has_turn());
    assert_eq!(world.rooms.rests_until(), Some(began + std::time::Duration::from_millis(1)));
    world.write();
    for session in &large {
        let ranges = session.got.lock().unwrap().len();
        assert_eq!((ranges, session.seen().len()), (1, 3));
    }
}

#[test]
fn what_comes_during_a_pass_does_not_wait_for_the_next() {
    let mut world = World::new();
    let sessions: Vec<_> = (0..10).map(|_| world.member("bob")).collect();
    world.rooms.event(&sent(1, "ada").event().unwrap());
    world.turn(5);
    world.rooms.event(&sent(2, "ada").event().unwrap());
    world.turn(5);
    // The later half got both in one write, the other half the first one so far.
    let ranges = || sessions.iter().map(|session| session.got.lock().unwrap().len()).sum::<usize>();
    assert_eq!(ranges(), 10);
    assert_eq!(sessions[0].seen().len(), 2);
    assert_eq!(sessions[9].seen().len(), 1);
    world.write();
    assert_eq!((sessions[0].seen().len(), sessions[9].seen().len()), (0, 1));
    assert!(!world.rooms.conversations[&ROOM.get()].is_behind());
}

#[test]
fn a_tape_that_grows_faster_than_it_is_handed_on_stops_the_log() {
    let mut world = World::new();
    let bob = world.member("bob");
    let mut count = 0;
    while !world.rooms.is_full() {
        count += 1;
        world.rooms.event(&sent(count, "ada").event().unwrap());
    }
    assert!(world.rooms.conversations[&ROOM.get()].tape.bytes() > TAPE_BYTES_MAX);
    world.turn(1);
    assert!(!world.rooms.is_full() && !world.rooms.has_turn());
    assert_eq!(bob.seen().len() as u64, count);
}

#[test]
fn everybody_gets_the_same_bytes() {
    let mut world = World::new();
    let (bob, eve) = (world.member("bob"), world.member("eve"));
    world.happens(&sent(1, "ada"));
    let (bobs, eves) = (bob.got.lock().unwrap(), eve.got.lock().unwrap());
    assert_eq!(bobs[0].as_ptr(), eves[0].as_ptr());
}

const USERS: [&str; 4] = ["ada", "bob", "eve", "zoe"];

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Join(usize),
    Leave(usize),
    Read(usize),
    Signal(usize),
    Open(usize),
    Close(prop::sample::Index),
    Turn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..USERS.len();
    prop_oneof![
        6 => user().prop_map(Step::Send),
        2 => user().prop_map(Step::Join),
        1 => user().prop_map(Step::Leave),
        1 => user().prop_map(Step::Read),
        1 => user().prop_map(Step::Signal),
        2 => user().prop_map(Step::Open),
        1 => any::<prop::sample::Index>().prop_map(Step::Close),
        4 => (1..5_usize).prop_map(Step::Turn),
    ]
}

/// What a session is to see of an event: its position, and whether it is told the `ref`; of a signal: 0.
type Expected = Vec<(u64, bool)>;

fn shown(frame: &Value) -> (u64, bool) {
    let sequence = frame["position"].as_str().and_then(|position| position.split(':').nth(1)?.parse().ok());
    (sequence.unwrap_or(0), frame.get("ref").is_some())
}

proptest! {
    /// Whoever comes, leaves and is written to in whatever turns: each session sees what is for it, once and in order.
    #[test]
    fn every_session_sees_what_is_for_it_in_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        let mut members = [true, true, false, false];
        let mut sessions: BTreeMap<u64, (Arc<Fake>, usize, Expected)> = BTreeMap::new();
        let mut sequence = 0;
        for step in steps {
            sequence += 1;
            let mut expect = |members: &[bool; 4], by: usize, sequence: u64, is_shown: &dyn Fn(usize) -> bool| {
                for (_, user, expected) in sessions.values_mut().filter(|(_, user, _)| members[*user] && is_shown(*user)) {
                    expected.push((sequence, sequence > 0 && *user == by));
                }
            };
            match step {
                Step::Send(by) => {
                    world.rooms.event(&sent(sequence, USERS[by]).event().unwrap());
                    expect(&members, by, sequence, &|_| true);
                }
                Step::Join(by) => {
                    world.rooms.event(&joined(sequence, USERS[by]).event().unwrap());
                    members[by] = true;
                    expect(&members, by, sequence, &|_| true);
                }
                Step::Leave(by) => {
                    world.rooms.event(&left(sequence, USERS[by]).event().unwrap());
                    expect(&members, by, sequence, &|_| true);
                    members[by] = false;
                }
                Step::Read(by) => {
                    world.rooms.event(&read(sequence, USERS[by], None).event().unwrap());
                    expect(&[true; 4], by, sequence, &|user| user == by);
                }
                Step::Signal(by) => {
                    world.signals(USERS[by]);
                    expect(&members, by, 0, &|user| user != by);
                }
                Step::Open(user) => {
                    let conversations: &[u64] = if members[user] { &[ROOM.get()] } else { &[] };
                    let session = world.opened(USERS[user], conversations);
                    sessions.insert(session.id, (session, user, Vec::new()));
                }
                Step::Close(which) => {
                    if let Some(id) = sessions.keys().nth(which.index(sessions.len().max(1))).copied() {
                        world.rooms.close(id);
                        let (session, _, expected) = sessions.remove(&id).unwrap();
                        session.flush();
                        let seen: Expected = session.seen().iter().map(shown).collect();
                        prop_assert_eq!(&expected[..seen.len()], &seen[..]);
                    }
                }
                Step::Turn(count) => world.turn(count),
            }
        }
        world.write();
        for (session, user, expected) in sessions.values() {
            let seen: Expected = session.seen().iter().map(shown).collect();
            prop_assert_eq!(&seen, expected, "{}", USERS[*user]);
        }
    }
}
