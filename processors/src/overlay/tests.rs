//! What an overlay knows, and what it only seems to know.

use natter_projections::facts::{RefEntry, Role};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::evidence::Answered;
use natter_schemas::id::MessageId;
use natter_schemas::names::{MessageText, Tenant, UserId};
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;

use super::*;

const ROOM: ConversationId = ConversationId::from_raw(5);

fn ada() -> UserId {
    UserId::trusted("ada")
}

fn demo() -> Tenant {
    Tenant::trusted("demo")
}

fn refs_key() -> FactKey {
    FactKey::Refs(demo(), ada(), RefScope::Conversation(ROOM))
}

/// Ada makes the room, or says something in it, in the batch at `sequence`.
fn fold(overlay: &mut Overlay, sequence: u64, seq: Option<u64>) {
    let body = match seq {
        None => Body::CreateGroup { visibility: Visibility::Private, name: None, members: Vec::new(), external: None },
        Some(seq) => {
            Body::Send { conversation: Address::Id(ROOM), text: MessageText::trusted(&format!("message {seq}")) }
        }
    };
    let accepted = match seq {
        None => Accepted::Created { conversation: ROOM, members: Vec::new() },
        Some(seq) => {
            let (replacement, lists, run) = (None, Vec::new(), None);
            let message = MessageId::from_raw(100 + seq);
            Accepted::Sent { conversation: ROOM, message, seq, replacement, lists, run }
        }
    };
    let command = Command {
        tenant: Tenant::trusted("demo"),
        sender: ada(),
        session: 1,
        received_ms: 0,
        reference: Ref::trusted(&format!("r{sequence}")),
        origin: Origin::Client,
        body,
        evidence: Vec::new(),
    };
    let position = Position::outcome(0, sequence, 0);
    let (stored_ms, log_ms, before_ms) = (sequence, sequence, sequence - 1);
    overlay.fold(&Event { position, stored_ms, log_ms, before_ms, command: &command, accepted: &accepted });
}

fn loaded_refs(sequences: std::ops::RangeInclusive<u64>) -> Fact {
    let entry = |sequence| RefEntry {
        reference: Ref::trusted(&format!("r{sequence}")),
        answered: Answered {
            content: 0,
            sequence,
            index: 0,
            at_ms: sequence,
            log_ms: sequence,
            conversation: None,
            message: None,
            seq: None,
        },
    };
    Fact::Refs(sequences.map(entry).collect())
}

fn remembers(overlay: &Overlay, sequence: u64) -> bool {
    overlay.remembered(&refs_key(), &Ref::trusted(&format!("r{sequence}")), sequence).answered.is_some()
}

#[test]
fn of_a_room_that_was_made_here_everything_is_known() {
    let mut overlay = Overlay::above(10, 100);
    assert!(!overlay.touch(&FactKey::Head(ROOM)));
    fold(&mut overlay, 11, None);
    for key in [FactKey::Head(ROOM), FactKey::Cursor(demo(), ROOM, UserId::trusted("bob")), refs_key()] {
        assert!(overlay.touch(&key), "{key:?}");
    }
    assert_eq!(overlay.head(ROOM), 0);
    assert!(overlay.is_member(&demo(), ROOM, &ada()));
    fold(&mut overlay, 12, Some(1));
    assert!(remembers(&overlay, 12));
    assert!(!overlay.touch(&FactKey::Policy(Tenant::trusted("demo"))));
}

#[test]
fn later_changes_win_over_what_a_view_has() {
    let mut overlay = Overlay::above(10, 100);
    fold(&mut overlay, 11, Some(7));
    assert!(overlay.touch(&FactKey::Head(ROOM)));
    overlay.settle(FactKey::Head(ROOM), Some(Fact::Head(6)));
    assert_eq!(overlay.head(ROOM), 7);
}

#[test]
fn later_refs_follow_those_of_a_view_that_has_some_of_them_too() {
    let mut overlay = Overlay::above(10, 1000);
    for sequence in 11..=60 {
        fold(&mut overlay, sequence, Some(sequence));
    }
    // What they follow is not known.
    assert!(!overlay.touch(&refs_key()));
    assert!(!remembers(&overlay, 60));
    overlay.settle(refs_key(), Some(loaded_refs(1..=40)));
    assert!(overlay.touch(&refs_key()));
    for sequence in 1..=60 {
        assert!(remembers(&overlay, sequence), "{sequence}");
    }
    assert!(!remembers(&overlay, 61));
    let Some(Fact::Refs(refs)) = overlay.fact(&refs_key()) else { panic!("refs") };
    assert_eq!(refs.len(), 60);
}

#[test]
fn forgetting_a_change_raises_the_floor() {
    let mut overlay = Overlay::above(10, 8);
    fold(&mut overlay, 11, None);
    fold(&mut overlay, 12, Some(1));
    assert!(overlay.is_full());
    overlay.begin_round();
    // The view stands before the message: what it changed stays.
    overlay.sweep(11);
    assert_eq!(overlay.floor(), 11);
    assert_eq!(overlay.head(ROOM), 1);
    assert!(!overlay.touch(&FactKey::Conversation(ROOM)));
    // Since the making of the room may be forgotten, nothing is known of whoever is not here.
    assert!(!overlay.touch(&FactKey::Cursor(demo(), ROOM, UserId::trusted("bob"))));
    overlay.begin_round();
    // What was used last goes last.
    overlay.sweep(12);
    assert_eq!(overlay.weight(), 1);
    overlay.sweep(12);
    assert_eq!((overlay.floor(), overlay.weight()), (12, 0));
}

#[test]
fn what_a_batch_uses_is_not_forgotten() {
    let mut overlay = Overlay::above(10, 4);
    let key = FactKey::Member(demo(), ROOM, ada());
    overlay.settle(key.clone(), Some(Fact::Member(Role::Member)));
    overlay.settle(FactKey::Head(ROOM), None);
    overlay.begin_round();
    assert!(overlay.touch(&key));
    overlay.sweep(10);
    assert!(overlay.touch(&key));
    assert!(!overlay.touch(&FactKey::Head(ROOM)));
    assert_eq!(overlay.floor(), 10);
}

/// A value that was loaded above the floor counts as changed where the log says so: else, forgotten below a lowered floor,
/// it would be loaded again from a view that does not have it yet.
#[test]
fn what_lies_under_a_loaded_value_dates_it() {
    let mut overlay = Overlay::above(20, 100);
    overlay.settle(FactKey::Head(ROOM), Some(Fact::Head(3)));
    let mut older = Overlay::above(10, 100);
    fold(&mut older, 15, Some(3));
    overlay.lower(older);
    assert_eq!((overlay.floor(), overlay.head(ROOM)), (10, 3));
    overlay.begin_round();
    overlay.sweep(10);
    assert_eq!(overlay.head(ROOM), 3);
    overlay.begin_round();
    overlay.sweep(15);
    overlay.sweep(15);
    assert_eq!(overlay.floor(), 15);
    assert!(!overlay.touch(&FactKey::Head(ROOM)));
}
