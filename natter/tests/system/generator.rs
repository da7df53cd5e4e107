//! A seeded generator of outcome batches as a processor would write them: the same seed gives the same log.
//!
//! It decides with [`Model`], so that everything in the log is consistent: seqs without holes, members who are members.

use bytes::Bytes;
use natter_nats::Stored;
use natter_schemas::codec::{OutcomeBatchWriter, Source};
use natter_schemas::command::{Address, Body, Command, ImportLine, Kind, Origin, Visibility};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::touched;
use natter_schemas::id::{ConversationId, IdState, MessageId};
use natter_schemas::limits::RUNS_KEPT;
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received, Rejection, Run};
use natter_schemas::policy::PolicyHash;
use natter_schemas::slot::Slot;

use crate::model::Model;

/// SplitMix64: small, and good enough to choose test data.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A log of one partition in the making.
pub struct Generator {
    pub partition: u16,
    pub random: Random,
    /// What the log so far comes to.
    pub model: Model,
    pub tenants: Vec<Tenant>,
    pub users: Vec<UserId>,
    sequence: u64,
    stored_ms: u64,
    /// Log time before the next batch.
    before_ms: u64,
    ids: IdState,
    refs: u64,
    line: u64,
}

const START_MS: u64 = 1_800_000_000_000;
/// Conversations are made rarely once there are so many.
const CONVERSATIONS: usize = 24;
const SOURCE: [u8; 16] = [7; 16];

impl Generator {
    pub fn new(seed: u64, partition: u16) -> Self {
        Self {
            partition,
            random: Random::new(seed),
            model: Model::new(partition),
            tenants: ["acme", "demo"].map(|tenant| Tenant::try_from(tenant).unwrap()).to_vec(),
            // Some that begin alike, and one that needs quoting anywhere.
            users: (0..12)
                .map(|n| format!("u{n}"))
                .chain(["u".into(), "ü:* \"{0}\"".into()])
                .map(|u| UserId::try_from(u.as_str()).unwrap())
                .collect(),
            sequence: 0,
            stored_ms: START_MS,
            before_ms: 0,
            ids: IdState::default(),
            refs: 0,
            line: 0,
        }
    }

    /// The next batch of the log, with `records` outcomes.
    pub fn batch(&mut self, records: u32) -> Stored {
        self.sequence += 1;
        let before_ms = self.before_ms;
        // Now and then long enough that refs are recent no more.
        self.stored_ms += if self.random.one_in(12) { 130_000 } else { self.random.below(400) };
        self.ids.advance(self.stored_ms);
        let mut writer = OutcomeBatchWriter::default();
        for index in 0..records {
            let outcome = self.outcome();
            writer.push(&outcome, &touched(&outcome));
            self.model.outcome(self.sequence, index, self.stored_ms, &outcome);
        }
        self.before_ms = self.stored_ms;
        let source = Source {
            sequence: self.sequence,
            stored_ms: self.stored_ms,
            log_ms: self.stored_ms,
            before_ms,
            publisher: 1,
            number: self.sequence,
            records,
        };
        let payload = Bytes::from(writer.finish(1, vec![source], self.ids, Vec::new()));
        Stored {
            sequence: self.sequence,
            stored_ms: self.stored_ms,
            lease: Some(1),
            records: Some(records),
            behind: 0,
            payload,
        }
    }

    /// Sequence of the last batch.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Lets log time pass.
    pub const fn pause(&mut self, ms: u64) {
        self.stored_ms += ms;
    }

    /// Log time of the last batch.
    pub const fn log_ms(&self) -> u64 {
        self.stored_ms
    }

    fn outcome(&mut self) -> Outcome {
        let tenant = self.random.pick(&self.tenants).clone();
        let sender = self.random.pick(&self.users).clone();
        let room = self.room(&tenant);
        let (body, decision, origin) = match (self.random.below(100), room) {
            (0..=2, _) => self.update_user(&tenant, &sender),
            (3, _) => self.set_policy(),
            (4..=9, _) | (_, None) => self.create(&tenant, &sender),
            (_, Some(room)) => self.in_room(room, &sender),
        };
        self.refs += 1;
        let reference = Ref::try_from(format!("r{}", self.refs).as_str()).unwrap();
        let command = Command {
            tenant,
            sender,
            session: 1,
            received_ms: self.stored_ms,
            reference,
            origin,
            body,
            evidence: Vec::new(),
        };
        Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision }
    }

    fn room(&mut self, tenant: &Tenant) -> Option<ConversationId> {
        let rooms: Vec<_> = self
            .model
            .conversations
            .iter()
            .filter(|(_, room)| room.fact.tenant == *tenant)
            .map(|(id, _)| *id)
            .collect();
        (!rooms.is_empty()).then(|| *self.random.pick(&rooms))
    }

    fn update_user(&mut self, tenant: &Tenant, sender: &UserId) -> (Body, Decision, Origin) {
        let name = self.name();
        let origin = if self.random.one_in(3) { self.import() } else { Origin::Client };
        let in_force = self.model.names.get(&(tenant.clone(), sender.clone()));
        let is_earlier = |line: &ImportLine| in_force.is_some_and(|(at_ms, _)| line.at_ms < *at_ms);
        let accepted = match &origin {
            Origin::Import(line) if is_earlier(line) => Accepted::NameKept,
            _ => Accepted::UserUpdated,
        };
        (Body::UpdateUser { name }, Decision::Accepted(accepted), origin)
    }

    fn set_policy(&mut self) -> (Body, Decision, Origin) {
        let byte = u8::try_from(self.random.below(200)).unwrap();
        let hash = (!self.random.one_in(3)).then_some(PolicyHash([byte; 32]));
        (Body::SetPolicy { hash }, Decision::Accepted(Accepted::PolicySet { hash }), Origin::Operator)
    }

    fn create(&mut self, tenant: &Tenant, sender: &UserId) -> (Body, Decision, Origin) {
        let known = self.model.conversations.len();
        if known >= CONVERSATIONS && !self.random.one_in(40) {
            return Self::rejected(Body::CreateDirect { peer: sender.clone() });
        }
        let conversation = ConversationId::from_raw(self.ids.next(Slot::from_bits(u64::from(self.partition))));
        let others: Vec<_> = self.users.iter().filter(|user| *user != sender).cloned().collect();
        if self.random.one_in(3) {
            let peer = self.random.pick(&others).clone();
            if self.model.direct(tenant, sender, &peer).is_some() {
                return Self::rejected(Body::CreateDirect { peer });
            }
            let members = vec![peer.clone()];
            return (
                Body::CreateDirect { peer },
                Decision::Accepted(Accepted::Created { conversation, members }),
                Origin::Client,
            );
        }
        let members: Vec<_> = others.into_iter().filter(|_| self.random.one_in(3)).collect();
        let visibility = if self.random.one_in(2) { Visibility::Public } else { Visibility::Private };
        let name = self.random.one_in(2).then(|| self.name());
        let external = self.random.one_in(2).then(|| ExternalId::try_from(format!("#room {known}").as_str()).unwrap());
        let body = Body::CreateGroup { visibility, name, members: members.clone(), external };
        (body, Decision::Accepted(Accepted::Created { conversation, members }), Origin::Client)
    }

    fn in_room(&mut self, conversation: ConversationId, sender: &UserId) -> (Body, Decision, Origin) {
        let address = Address::Id(conversation);
        let accepted = Decision::Accepted;
        let room = &self.model.conversations[&conversation];
        let (seq, count) = (room.messages.len() as u64, u32::try_from(room.members.len()).unwrap());
        if !room.members.contains_key(sender) {
            let body = Body::Join { conversation: address };
            if room.fact.kind == Kind::Group && room.fact.visibility == Visibility::Public && self.random.one_in(2) {
                return (
                    body,
                    accepted(Accepted::Joined { conversation, seq, member_count: count + 1 }),
                    Origin::Client,
                );
            }
            return Self::rejected(body);
        }
        let is_group = room.fact.kind == Kind::Group;
        match self.random.below(20) {
            0 if is_group => {
                let left = Accepted::Left { conversation, member_count: count - 1 };
                (Body::Leave { conversation: address }, accepted(left), Origin::Client)
            }
            1 if is_group => self.add(conversation),
            2 => {
                let body = Body::Rename { conversation: address, name: self.name() };
                (body, accepted(Accepted::Renamed { conversation }), Origin::Client)
            }
            3..=5 => self.read(conversation, sender),
            _ => self.send(conversation, seq + 1),
        }
    }

    fn add(&mut self, conversation: ConversationId) -> (Body, Decision, Origin) {
        let room = &self.model.conversations[&conversation];
        let strangers: Vec<_> = self.users.iter().filter(|user| !room.members.contains_key(*user)).cloned().collect();
        let (seq, before) = (room.messages.len() as u64, room.members.len());
        let members: Vec<_> = strangers.into_iter().filter(|_| self.random.one_in(2)).collect();
        let body = Body::Add { conversation: Address::Id(conversation), members: members.clone() };
        if members.is_empty() {
            let unchanged = Accepted::Unchanged { conversation: Some(conversation), seq: None };
            return (body, Decision::Accepted(unchanged), Origin::Client);
        }
        let member_count = u32::try_from(before + members.len()).unwrap();
        (body, Decision::Accepted(Accepted::Added { conversation, members, seq, member_count }), Origin::Client)
    }

    fn read(&mut self, conversation: ConversationId, sender: &UserId) -> (Body, Decision, Origin) {
        let room = &self.model.conversations[&conversation];
        let (cursor, last) = (room.cursors.get(sender).copied().unwrap_or(0), room.messages.len() as u64);
        let body = |seq| Body::Read { conversation: Address::Id(conversation), seq };
        if cursor == last {
            let unchanged = Accepted::Unchanged { conversation: Some(conversation), seq: Some(cursor) };
            return (body(cursor), Decision::Accepted(unchanged), Origin::Client);
        }
        let peer = room.fact.peer.clone();
        let seq = cursor + 1 + self.random.below(last - cursor);
        (body(seq), Decision::Accepted(Accepted::Read { conversation, seq, peer }), Origin::Client)
    }

    fn send(&mut self, conversation: ConversationId, seq: u64) -> (Body, Decision, Origin) {
        let text = MessageText::try_from(format!("text {seq} ünd {}", self.random.next()).as_str()).unwrap();
        let message = MessageId::from_raw(self.ids.next(conversation.slot()));
        let replacement = self.random.one_in(10).then(|| "***".to_owned());
        let lists = replacement.iter().map(|_| "list".to_owned()).collect();
        let runs = self.model.conversations[&conversation].runs();
        // No more runs than views keep.
        let may_import = (runs.len() as u64) < RUNS_KEPT || runs.last().is_some_and(|(_, last)| last + 1 == seq);
        let origin = if may_import && self.random.one_in(6) { self.import() } else { Origin::Client };
        let run = matches!(origin, Origin::Import(_)).then(|| run(&runs, seq));
        let sent = Accepted::Sent { conversation, message, seq, replacement, lists, run };
        (Body::Send { conversation: Address::Id(conversation), text }, Decision::Accepted(sent), origin)
    }

    fn rejected(body: Body) -> (Body, Decision, Origin) {
        (body, Decision::Rejected(Rejection::new(ErrorCode::NotMember, "no")), Origin::Client)
    }

    fn import(&mut self) -> Origin {
        self.line += 1;
        let at_ms = START_MS - 1_000_000_000 + self.line * 1000;
        Origin::Import(ImportLine {
            source: SOURCE,
            line: self.line,
            previous: 0,
            at_ms,
            introduces: false,
            follows: None,
        })
    }

    fn name(&mut self) -> DisplayName {
        DisplayName::try_from(format!("Name {}", self.random.below(1000)).as_str()).unwrap()
    }
}

/// The run that an imported line at `seq` extends.
fn run(runs: &[(u64, u64)], seq: u64) -> Run {
    let earlier = match runs {
        [earlier @ .., (_, last)] if last + 1 == seq => earlier,
        all => all,
    };
    let from = runs.get(earlier.len()).map_or(seq, |(from, _)| *from);
    let before = earlier.iter().map(|(from, last)| last + 1 - from).sum();
    Run { number: earlier.len() as u64 + 1, from, before }
}
