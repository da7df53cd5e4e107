//! One step of all views: outcomes in, operations out. Pure.

use natter_schemas::event::{Event, Placed};
use natter_schemas::limits::{COMMAND_MEMBERS_MAX, REFS_RECENT_MS};
use natter_schemas::names::UserId;
use natter_schemas::outcome::Accepted;

use super::members::Membership;
use super::operation::Operation;
use super::{addresses, conversations, inbox, lines, members, messages, policies, refs, runs, users};
use crate::facts::{Change, Fact, FactKey, changes};

/// Raised with every change of what the views hold of an outcome. A generation remembers the version that filled it, and one
/// of another version is to be built anew (`natter rebuild redis`).
pub const FOLD_VERSION: u32 = 3;

/// What some successive outcomes of one partition change, folded: one operation per key, however many they are.
/// Folding an outcome twice is folding it once.
#[derive(Debug, Default)]
pub(crate) struct Step {
    conversations: conversations::Fold,
    messages: messages::Fold,
    members: members::Fold,
    inbox: inbox::Fold,
    users: users::Fold,
    runs: runs::Fold,
    refs: refs::Fold,
    addresses: addresses::Fold,
    lines: lines::Fold,
    policies: policies::Fold,
    size: Size,
    /// Log time of the last outcome's batch, and before it.
    log_ms: u64,
    before_ms: u64,
}

/// What a step costs Redis at most: what is folded together can only be less.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    writes: usize,
    bytes: usize,
}

/// What one script call writes: 2,000 messages, or 3,000 newcomers. Each write is at most a dozen arguments, and Redis takes
/// 1,048,576.
const CALL: Size = Size { writes: 12_288, bytes: 4 * 1024 * 1024 };
/// Writes of an event: conversation, message, cursor, member, a user's conversations, ref.
const EVENT_WRITES: usize = 6;
/// Writes of each further user that it names: member, cursor, a user's conversations with its key.
const MEMBER_WRITES: usize = 4;
/// Keys and numbers of an event, and of each user.
const EVENT_BYTES: usize = 1024;
const MEMBER_BYTES: usize = 256;
const _: () = assert!((CALL.writes + EVENT_WRITES + MEMBER_WRITES * COMMAND_MEMBERS_MAX) * 12 < 1024 * 1024);

impl Size {
    fn of(event: &Event<'_>) -> Self {
        let named: &[UserId] = match event.accepted {
            Accepted::Created { members, .. } | Accepted::Added { members, .. } => members,
            _ => &[],
        };
        // A name stands in the members, in the cursors and in the key of the user's conversations.
        let names = named.iter().map(|user| MEMBER_BYTES + 3 * user.as_str().len()).sum::<usize>();
        let text = event.visible_text().map_or(0, str::len);
        Self { writes: EVENT_WRITES + MEMBER_WRITES * named.len(), bytes: EVENT_BYTES + names + text }
    }
}

impl Step {
    /// A step without outcomes, at the same log time.
    pub(crate) fn of_nothing(&self) -> Self {
        Self { log_ms: self.log_ms, before_ms: self.before_ms, ..Self::default() }
    }

    /// What was left before this log time (ms) is hidden from all commands behind the step, which ends with a batch or
    /// within one.
    pub(crate) const fn hidden_before_ms(&self, is_within: bool) -> u64 {
        let before_ms = if is_within { self.before_ms } else { self.log_ms };
        before_ms.saturating_sub(REFS_RECENT_MS)
    }

    /// Whether one script call can take in this outcome, too. One always can.
    pub(crate) fn has_room_for(&self, placed: &Placed) -> bool {
        let Some(event) = placed.accepted() else { return true };
        let Size { writes, bytes } = Size::of(&event);
        let fits = self.size.writes + writes <= CALL.writes && self.size.bytes + bytes <= CALL.bytes;
        fits || self.size.writes == 0
    }

    /// Takes in the next outcome.
    pub(crate) fn outcome(&mut self, placed: &Placed) {
        (self.log_ms, self.before_ms) = (placed.log_ms, placed.before_ms);
        let Some(accepted) = placed.accepted() else { return };
        let Size { writes, bytes } = Size::of(&accepted);
        self.size = Size { writes: self.size.writes + writes, bytes: self.size.bytes + bytes };
        if accepted.accepted.is_event() {
            self.conversations.event(&accepted);
            self.messages.event(&accepted);
            self.users.event(&accepted);
        }
        for change in changes(&accepted) {
            match change {
                Change::Set(key, fact) => self.set(accepted.at_ms(), key, fact),
                Change::PushRef(FactKey::Refs(tenant, sender, scope), entry, _) => {
                    self.refs.push(&tenant, &sender, &scope, &entry);
                }
                Change::PushRef(..) => unreachable!("only a list of refs takes refs"),
            }
        }
    }

    fn set(&mut self, at_ms: u64, key: FactKey, fact: Option<Fact>) {
        match (key, fact) {
            (FactKey::Conversation(id), Some(Fact::Conversation(fact))) => self.conversations.fact(id, &fact),
            (FactKey::Head(id), Some(Fact::Head(seq))) => self.conversations.head(id, seq),
            (FactKey::Run(id), Some(Fact::Run(run))) => {
                self.conversations.run(id, run);
                self.runs.run(id, run);
            }
            (FactKey::MemberCount(id), Some(Fact::MemberCount(count))) => self.conversations.member_count(id, count),
            (FactKey::Member(tenant, id, user), fact) => {
                let membership = match fact {
                    Some(Fact::Member(role)) => Some(Membership { role, joined_at_ms: at_ms }),
                    _ => None,
                };
                self.members.member(&tenant, id, &user, membership);
                self.inbox.member(&tenant, &user, id, membership.is_some());
            }
            (FactKey::Cursor(tenant, id, user), Some(Fact::Cursor(seq))) => {
                self.members.cursor(&tenant, id, &user, seq);
            }
            (FactKey::External(tenant, external), Some(Fact::Address(id))) => {
                self.addresses.external(&tenant, &external, id);
            }
            (FactKey::Direct(tenant, low, high), Some(Fact::Address(id))) => {
                self.addresses.direct(&tenant, &low, &high, id);
            }
            (FactKey::ConversationLine(tenant, id, source), Some(Fact::Line(line))) => {
                self.lines.conversation(&tenant, id, source, line);
            }
            (FactKey::UserLine(tenant, user, source), Some(Fact::Line(line))) => {
                self.lines.user(&tenant, &user, source, line);
            }
            (FactKey::NamedAt(tenant, user), Some(Fact::NamedAt(at_ms))) => self.users.named_at(&tenant, &user, at_ms),
            (FactKey::Policy(tenant), Some(Fact::Policy(hash))) => self.policies.policy(&tenant, Some(hash)),
            (FactKey::Policy(tenant), None) => self.policies.policy(&tenant, None),
            (key, fact) => unreachable!("no event sets {key:?} to {fact:?}"),
        }
    }

    /// What is to be written.
    pub(crate) fn operations(self) -> Vec<Operation> {
        let mut operations = Vec::new();
        self.conversations.operations(&mut operations);
        self.messages.operations(&mut operations);
        self.members.operations(&mut operations);
        self.inbox.operations(&mut operations);
        self.users.operations(&mut operations);
        self.runs.operations(&mut operations);
        self.refs.operations(&mut operations);
        self.addresses.operations(&mut operations);
        self.lines.operations(&mut operations);
        self.policies.operations(&mut operations);
        operations
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
    use natter_schemas::id::{ConversationId, MessageId};
    use natter_schemas::limits::HOT_MESSAGES;
    use natter_schemas::names::{DisplayName, MessageText, Ref, Tenant, UserId};
    use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Run};
    use natter_schemas::position::Position;
    use proptest::prelude::*;

    use super::*;
    use crate::facts::RunFact;

    /// What `apply.lua` does, in memory.
    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    struct Store {
        hashes: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
        sets: BTreeMap<String, BTreeSet<String>>,
        users: BTreeMap<String, BTreeMap<String, String>>,
        lists: BTreeMap<String, Vec<Vec<u8>>>,
    }

    impl Store {
        fn apply(&mut self, outcomes: &[Placed]) {
            let mut step = Step::default();
            for outcome in outcomes {
                step.outcome(outcome);
            }
            for operation in step.operations() {
                match operation {
                    Operation::Set { key, fields } => self.hashes.entry(key).or_default().extend(fields),
                    Operation::Unset { key, fields } => {
                        self.hashes.entry(key).or_default().retain(|field, _| !fields.contains(field));
                    }
                    Operation::Include { key, items } => self.sets.entry(key).or_default().extend(items),
                    Operation::Exclude { key, items } => {
                        self.sets.entry(key).or_default().retain(|item| !items.contains(item));
                    }
                    Operation::Enrol { key, items } => self.users.entry(key).or_default().extend(items),
                    Operation::Strike { key, users } => {
                        self.users.entry(key).or_default().retain(|user, _| !users.contains(user));
                    }
                    Operation::Messages { key, items } => {
                        let list = self.append(key, items);
                        list.drain(..list.len().saturating_sub(HOT_MESSAGES));
                    }
                    Operation::Refs { key, items } => {
                        self.append(key, items);
                    }
                    Operation::Ref { items } => {
                        for (key, item) in items {
                            self.append(key, vec![item]);
                        }
                    }
                }
            }
        }

        fn append(&mut self, key: String, items: Vec<Vec<u8>>) -> &mut Vec<Vec<u8>> {
            let list = self.lists.entry(key).or_default();
            let newest = list.last().map(|item| item[..8].to_vec());
            list.extend(items.into_iter().filter(|item| newest.as_ref().is_none_or(|newest| item[..8] > newest[..])));
            list
        }

        /// Without what holds nothing any more.
        fn settled(mut self) -> Self {
            self.hashes.retain(|_, fields| !fields.is_empty());
            self.sets.retain(|_, items| !items.is_empty());
            self.users.retain(|_, users| !users.is_empty());
            self
        }
    }

    /// A log of two conversations and four users; `actions` choose what happens next.
    fn log(actions: &[(u8, u8, u8)]) -> Vec<Placed> {
        let rooms = [ConversationId::from_raw(1 << 40), ConversationId::from_raw(1 << 41)];
        let user = |number: u8| UserId::trusted(&format!("u{}", number % 4));
        let mut seqs = [0, 0];
        let mut runs = [None, None];
        let mut placed: Vec<Placed> = Vec::new();
        for (at, room) in rooms.iter().enumerate() {
            let body = Body::CreateGroup {
                visibility: Visibility::Public,
                name: None,
                members: vec![user(1)],
                external: None,
            };
            let accepted = Accepted::Created { conversation: *room, members: vec![user(1)] };
            placed.push(outcome(at as u64 + 1, user(0), body, accepted));
        }
        for (number, (what, who, which)) in actions.iter().enumerate() {
            let index = usize::from(which % 2);
            let (conversation, seq, sender) = (rooms[index], seqs[index], user(*who));
            let address = Address::Id(conversation);
            let (body, accepted) = match what % 6 {
                0 => (Body::Join { conversation: address }, Accepted::Joined { conversation, seq, member_count: 3 }),
                1 => (Body::Leave { conversation: address }, Accepted::Left { conversation, member_count: 2 }),
                2 => (Body::UpdateUser { name: DisplayName::trusted("Ada") }, Accepted::UserUpdated),
                3 => (Body::Read { conversation: address, seq }, Accepted::Read { conversation, seq, peer: None }),
                _ => {
                    seqs[index] += 1;
                    let message = MessageId::from_raw(number as u64 + 1);
                    let text = MessageText::trusted(&number.to_string());
                    let run = (what % 6 == 5).then(|| extended(&mut runs[index], seq + 1));
                    let (seq, replacement, lists) = (seq + 1, None, Vec::new());
                    let sent = Accepted::Sent { conversation, message, seq, replacement, lists, run };
                    (Body::Send { conversation: address, text }, sent)
                }
            };
            placed.push(outcome(number as u64 + 3, sender, body, accepted));
        }
        placed
    }

    fn extended(last: &mut Option<RunFact>, seq: u64) -> Run {
        let run = match *last {
            Some(last) if last.to + 1 == seq => last.run,
            Some(last) => Run { number: last.run.number + 1, from: seq, before: last.run.before + last.lines() },
            None => Run { number: 1, from: seq, before: 0 },
        };
        *last = Some(RunFact { run, to: seq });
        run
    }

    fn outcome(sequence: u64, sender: UserId, body: Body, accepted: Accepted) -> Placed {
        let command = Command {
            tenant: Tenant::trusted("demo"),
            sender,
            session: 1,
            received_ms: 0,
            reference: Ref::trusted(&format!("r{sequence}")),
            origin: Origin::Client,
            body,
            evidence: Vec::new(),
        };
        let decision = Decision::Accepted(accepted);
        let outcome = Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision };
        let position = Position::outcome(0, sequence, 0);
        Placed {
            position,
            stored_ms: sequence * 10,
            log_ms: sequence * 10,
            before_ms: sequence * 10 - 10,
            policy: None,
            outcome,
        }
    }

    proptest! {
        /// Invariant 5: it does not matter how the log is cut into steps, and a part that is applied twice is applied once.
        #[test]
        fn steps_and_repetitions_come_to_the_same(
            actions in prop::collection::vec(any::<(u8, u8, u8)>(), 0..600),
            cuts in prop::collection::vec(1..200_usize, 1..20),
            back in 0..100_usize,
        ) {
            let log = log(&actions);
            let mut whole = Store::default();
            whole.apply(&log);

            let (mut cut, mut at) = (Store::default(), 0);
            for length in cuts.iter().cycle() {
                let end = (at + length).min(log.len());
                // What came before is applied again, as after a restart that lost the watermark.
                cut.apply(&log[at.saturating_sub(back)..end]);
                at = end;
                if at == log.len() {
                    break;
                }
            }
            prop_assert_eq!(cut.settled(), whole.settled());
        }
    }

    #[test]
    fn a_step_writes_each_key_once() {
        let actions: Vec<_> = (0..1000_u16).map(|number| (5, 0, u8::try_from(number % 2).unwrap())).collect();
        let mut step = Step::default();
        for outcome in log(&actions) {
            step.outcome(&outcome);
        }
        let mut lists = 0;
        for operation in step.operations() {
            if let Operation::Messages { items, .. } = operation {
                assert_eq!(items.len(), HOT_MESSAGES, "only what stays is written");
                lists += 1;
            }
        }
        assert_eq!(lists, 2);
    }
}
