//! Given what has happened, when a command comes, then this is decided: every command and every rejection.

mod conversations;
mod imports;
mod messages;
mod refs;

use natter_schemas::command::{Address, Body, Command, ImportLine, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Event;
use natter_schemas::id::{ConversationId, EPOCH_MS, IdState};
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Rejection};
use natter_schemas::policy::{Action, Policy, WordList};
use natter_schemas::position::Position;

use super::needs;
use super::{Context, decide, log_time};
use crate::policy::ContentRules;
use crate::replay::FactBase;

pub(super) const START_MS: u64 = EPOCH_MS + 1_000_000;

/// A partition in memory: what was decided, and the time.
pub(super) struct World {
    facts: FactBase,
    ids: IdState,
    pub(super) stored_ms: u64,
    pub(super) log_ms: u64,
    sequence: u64,
    pub(super) rules: Option<ContentRules>,
    pub(super) learnt: Learnt,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            facts: FactBase::default(),
            ids: IdState::default(),
            stored_ms: START_MS,
            log_ms: 0,
            sequence: 0,
            rules: Some(ContentRules::default()),
            learnt: Learnt::Nothing,
        }
    }

    /// Decides a command in a batch of its own and folds what happened.
    pub(super) fn when(&mut self, command: &Command) -> Decision {
        self.stored_ms += 1;
        self.sequence += 1;
        let before_ms = self.log_ms;
        self.log_ms = log_time(before_ms, self.stored_ms);
        self.ids.advance(self.log_ms);
        let rules = self.rules.as_ref();
        let context = Context { stored_ms: self.stored_ms, log_ms: self.log_ms, before_ms, rules, learnt: self.learnt };
        let checked = Needed::check(command, &self.facts);
        let decision = decide(command, context, &checked, &mut self.ids);
        if let Decision::Accepted(accepted) = &decision {
            let position = Position::outcome(0, self.sequence, 0);
            let (stored_ms, log_ms) = (self.stored_ms, self.log_ms);
            self.facts.fold(&Event { position, stored_ms, log_ms, before_ms, command, accepted });
        }
        decision
    }

    /// The same, of a command that is accepted.
    pub(super) fn given(&mut self, command: &Command) -> Accepted {
        match self.when(command) {
            Decision::Accepted(accepted) => accepted,
            Decision::Rejected(rejection) => panic!("{command:?} is rejected: {rejection:?}"),
        }
    }

    /// A group of `creator` and `members`.
    pub(super) fn group(&mut self, visibility: Visibility, creator: &str, members: &[&str]) -> ConversationId {
        let members = members.iter().map(|name| user(name)).collect();
        let create = by(creator, Body::CreateGroup { visibility, name: None, members, external: None });
        self.given(&create).conversation().expect("a conversation")
    }

    /// A direct chat.
    pub(super) fn direct(&mut self, one: &str, other: &str) -> ConversationId {
        self.given(&by(one, Body::CreateDirect { peer: user(other) })).conversation().expect("a conversation")
    }

    /// `sender` says something.
    pub(super) fn say(&mut self, sender: &str, conversation: ConversationId, text: &str) -> Decision {
        self.when(&by(sender, send(conversation, text)))
    }
}

/// Facts that refuse what `needs` did not name: whatever a decision asks for was loaded before.
struct Needed<'a> {
    facts: &'a FactBase,
    keys: Vec<natter_projections::facts::FactKey>,
}

impl<'a> Needed<'a> {
    fn check(command: &Command, facts: &'a FactBase) -> Self {
        let mut keys = Vec::new();
        needs(command, |key| super::facts::address(super::Facts::fact(facts, key)), &mut keys);
        Self { facts, keys }
    }
}

impl super::Facts for Needed<'_> {
    fn fact(&self, key: &natter_projections::facts::FactKey) -> Option<&natter_projections::facts::Fact> {
        assert!(self.keys.contains(key), "{key:?} is asked for, but not needed");
        super::Facts::fact(self.facts, key)
    }
}

pub(super) fn user(name: &str) -> UserId {
    UserId::try_from(name).expect("a user's id")
}

pub(super) fn external(name: &str) -> ExternalId {
    ExternalId::try_from(name).expect("an external id")
}

pub(super) fn send(conversation: ConversationId, text: &str) -> Body {
    let text = MessageText::try_from(text).expect("a text");
    Body::Send { conversation: Address::Id(conversation), text }
}

/// A client's command with a ref of its own.
pub(super) fn by(sender: &str, body: Body) -> Command {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let reference = format!("r{}", COUNT.fetch_add(1, Ordering::Relaxed));
    with_ref(&reference, sender, body)
}

pub(super) fn with_ref(reference: &str, sender: &str, body: Body) -> Command {
    Command {
        tenant: Tenant::try_from("demo").expect("a tenant"),
        sender: user(sender),
        session: 7,
        received_ms: START_MS,
        reference: Ref::try_from(reference).expect("a ref"),
        origin: Origin::Client,
        body,
        evidence: Vec::new(),
    }
}

/// Line `line` of an import, which follows `previous`.
pub(super) fn line(line: u64, previous: u64, sender: &str, body: Body) -> Command {
    let origin =
        Origin::Import(ImportLine { source: [1; 16], line, previous, at_ms: 1000, introduces: false, follows: None });
    Command { origin, ..by(sender, body) }
}

pub(super) fn name(text: &str) -> DisplayName {
    DisplayName::try_from(text).expect("a name")
}

pub(super) fn rules(action: Action, words: &[&str]) -> ContentRules {
    let words = words.iter().map(|&word| word.to_owned()).collect();
    let policy = Policy { lists: vec![WordList { name: "rude".into(), action, words }], ..Policy::default() };
    ContentRules::compile(&policy.to_stored().0).expect("a policy")
}

#[track_caller]
pub(super) fn rejected(decision: &Decision, code: ErrorCode) -> Rejection {
    match decision {
        Decision::Rejected(rejection) if rejection.error_code() == code => rejection.clone(),
        other => panic!("expected {code}, found {other:?}"),
    }
}

#[track_caller]
pub(super) fn accepted(decision: Decision) -> Accepted {
    match decision {
        Decision::Accepted(accepted) => accepted,
        Decision::Rejected(rejection) => panic!("rejected: {rejection:?}"),
    }
}

#[test]
fn log_time_never_goes_back_and_never_leaps() {
    assert_eq!(log_time(0, 500), 500);
    assert_eq!(log_time(500, 400), 500);
    assert_eq!(log_time(500, 600), 600);
    assert_eq!(log_time(500, 500 + 10 * 3_600_000), 500 + 3_600_000);
}

#[test]
fn what_waited_too_long_is_expired_unless_it_is_history() {
    let mut world = World::new();
    let group = world.group(Visibility::Private, "ada", &[]);
    world.stored_ms = START_MS + 60_001;
    let late = by("ada", send(group, "late"));
    let rejection = rejected(&world.when(&late), ErrorCode::Expired);
    assert!(rejection.detail.contains("60000"), "{}", rejection.detail);
    let ahead = Command { received_ms: world.stored_ms + 3_600_000, ..late.clone() };
    accepted(world.when(&ahead));
    accepted(world.when(&line(1, 0, "ada", send(group, "old"))));
    accepted(world.when(&Command { origin: Origin::Operator, ..by("ada", send(group, "by an operator")) }));
}

#[test]
fn only_an_operator_sets_a_policy_and_only_one_that_is_stored() {
    let mut world = World::new();
    let (_, hash) = Policy::default().to_stored();
    let wished = by("ada", Body::SetPolicy { hash: Some(hash) });
    rejected(&world.when(&wished), ErrorCode::Forbidden);
    let wished = Command { origin: Origin::Operator, ..wished };
    world.learnt = Learnt::PolicyUnknown;
    rejected(&world.when(&wished), ErrorCode::UnknownPolicy);
    world.learnt = Learnt::Nothing;
    assert_eq!(world.given(&wished), Accepted::PolicySet { hash: Some(hash) });
    assert_eq!(super::Facts::policy(&world.facts, &wished.tenant), Some(hash));
    let back = Command { body: Body::SetPolicy { hash: None }, ..wished };
    assert_eq!(world.given(&back), Accepted::PolicySet { hash: None });
    assert_eq!(super::Facts::policy(&world.facts, &back.tenant), None);
}

#[test]
fn a_user_has_the_name_it_wishes() {
    let mut world = World::new();
    assert_eq!(world.given(&by("ada", Body::UpdateUser { name: name("Ada") })), Accepted::UserUpdated);
}
