//! Messages: ids, seqs and the content of texts.

use natter_schemas::outcome::{Outcome, Received};

use super::*;
use crate::decide::content::{judge, recorded, rejecting_lists};

fn sent(decision: Decision) -> (natter_schemas::id::MessageId, u64, Option<String>, Vec<String>) {
    match accepted(decision) {
        Accepted::Sent { message, seq, replacement, lists, .. } => (message, seq, replacement, lists),
        other => panic!("sent, not {other:?}"),
    }
}

#[test]
fn seqs_have_no_holes_and_ids_rise_in_the_conversations_slot() {
    let mut world = World::new();
    let one = world.group(Visibility::Private, "ada", &["bob"]);
    let other = world.group(Visibility::Private, "ada", &[]);
    let mut last = one.get();
    for seq in 1..=5 {
        let (message, found, ..) = sent(world.say("ada", one, "hi"));
        assert_eq!(found, seq);
        assert!(message.get() > last);
        assert_eq!(message.slot(), one.slot());
        last = message.get();
        // Neither another conversation, nor a rejection, nor a rename takes a seq of this one.
        assert_eq!(sent(world.say("ada", other, "ho")).1, seq);
        rejected(&world.say("eve", one, "no"), ErrorCode::NotFound);
        world.given(&by("bob", Body::Rename { conversation: Address::Id(one), name: name("tea") }));
    }
}

/// Invariant 2: ids are a function of the log, also when the broker's clock steps back.
#[test]
fn ids_rise_when_the_clock_steps_back() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let before = sent(world.say("ada", group, "hi")).0;
    world.stored_ms -= 30_000;
    let after = sent(world.say("ada", group, "ho")).0;
    assert!(after > before);
    assert_eq!(after.unix_ms(), before.unix_ms());
}

#[test]
fn a_text_has_the_tenants_limit() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let mut rules = ContentRules::default();
    rules.text_scalars_max = 5;
    world.rules = Some(rules);
    accepted(world.say("ada", group, "ééééé"));
    let rejection = rejected(&world.say("ada", group, "éééééé"), ErrorCode::TextTooLong);
    assert!(rejection.detail.contains('6') && rejection.detail.contains('5'), "{}", rejection.detail);
}

#[test]
fn listed_words_are_masked_flagged_or_refused() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let lists = vec!["rude".to_owned()];
    for (action, replacement) in [(Action::Mask, Some("you *****!".to_owned())), (Action::Flag, None)] {
        world.rules = Some(rules(action, &["wally"]));
        let (_, _, found, named) = sent(world.say("ada", group, "you wally!"));
        assert_eq!((found, &named), (replacement, &lists));
    }
    world.rules = Some(rules(Action::Reject, &["wally"]));
    let rejection = rejected(&world.say("ada", group, "you wally!"), ErrorCode::Rejected);
    assert!(rejection.detail.contains("rude") && !rejection.detail.contains("wally"), "{}", rejection.detail);
    assert_eq!(sent(world.say("ada", group, "you dear!")).3, Vec::<String>::new());
}

#[test]
fn history_is_at_most_flagged() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    for (previous, action) in [Action::Mask, Action::Flag, Action::Reject].into_iter().enumerate() {
        world.rules = Some(rules(action, &["wally"]));
        let previous = previous as u64;
        let (_, _, replacement, lists) = sent(world.when(&line(previous + 1, previous, "ada", send(group, "wally"))));
        assert_eq!((replacement, lists), (None, vec!["rude".to_owned()]));
    }
}

#[test]
fn what_was_said_about_a_text_is_read_from_its_outcome_and_said_again() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let mut outcome = |rules: ContentRules, command: Command| {
        world.rules = Some(rules);
        let decision = world.when(&command);
        let outcome = Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision };
        (world.rules.take().expect("rules"), outcome)
    };
    let text = "you wally!";
    let short = ContentRules::compile(br#"{"text_scalars_max":3}"#).unwrap();
    let cases = [
        outcome(ContentRules::default(), by("ada", send(group, text))),
        outcome(rules(Action::Mask, &["wally"]), by("ada", send(group, text))),
        outcome(rules(Action::Flag, &["wally"]), by("ada", send(group, text))),
        outcome(rules(Action::Reject, &["wally"]), by("ada", send(group, text))),
        outcome(rules(Action::Reject, &["wally"]), line(1, 0, "ada", send(group, text))),
        outcome(short, by("ada", send(group, text))),
    ];
    let passes = cases.iter().map(|(rules, outcome)| {
        let recorded = recorded(outcome).expect("the text was judged");
        assert_eq!(judge(rules, recorded.text, &recorded.command.origin), recorded.decided);
        recorded.decided.map(|passed| passed.replacement.is_some())
    });
    let passes: Vec<_> = passes.collect();
    assert_eq!(
        passes.iter().map(|one| one.as_ref().ok().copied()).collect::<Vec<_>>(),
        [Some(false), Some(true), Some(false), None, Some(false), None]
    );
    assert_eq!(passes[3].as_ref().err().and_then(rejecting_lists), Some("rude"));
    assert_eq!(passes[5].as_ref().err().and_then(rejecting_lists), None);

    // Something else was against it, or it is no message.
    for command in [by("eve", send(group, text)), by("ada", Body::UpdateUser { name: name("Ada") })] {
        assert!(recorded(&outcome(rules(Action::Reject, &["wally"]), command).1).is_none());
    }
}

/// Nobody knows what a lost policy says: its tenant's texts wait, and nothing else does.
#[test]
fn a_lost_policy_refuses_texts_only() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &["bob"]);
    world.rules = None;
    rejected(&world.say("ada", group, "hi"), ErrorCode::PolicyUnavailable);
    rejected(&world.say("eve", group, "hi"), ErrorCode::NotFound);
    world.given(&by("ada", Body::Rename { conversation: Address::Id(group), name: name("tea") }));
    world.rules = Some(ContentRules::default());
    accepted(world.say("ada", group, "hi"));
}

/// A broker's clock that leaps moves ids like log time: an hour a batch at most.
#[test]
fn a_leap_of_the_clock_moves_ids_by_an_hour() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    let (first, ..) = sent(world.say("ada", group, "before"));
    world.stored_ms += 1000 * 3_600_000;
    let command = by("ada", send(group, "after"));
    let (second, ..) = sent(world.when(&Command { received_ms: world.stored_ms, ..command }));
    let moved_ms = second.unix_ms() - first.unix_ms();
    assert!((3_600_000..3_600_010).contains(&moved_ms), "{moved_ms} ms");
}
