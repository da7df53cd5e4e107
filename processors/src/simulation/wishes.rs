//! What clients wish: anything, often the same again, often wrong.

use natter_schemas::codec::{CommandBatchWriter, OutcomeBatch, VERSION, encode};
use natter_schemas::command::{Address, Body, Command, Follows, ImportLine, Origin, Visibility};
use natter_schemas::event::{Event, Placed, RefScope, placed};
use natter_schemas::evidence::{Complete, Evidence};
use natter_schemas::id::ConversationId;
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use natter_schemas::policy::{Action, Policy, PolicyHash, WordList};

use super::memory::{State, is_away};
use natter_schemas::random::Random;

/// The clients of a simulation.
#[derive(Debug)]
pub(super) struct Clients {
    random: Random,
    /// What was sent, to be sent again.
    sent: Vec<Command>,
    /// Conversations that clients have heard of.
    known: Vec<ConversationId>,
    heard: usize,
    references: u64,
    batches: u64,
    pub(super) stored_ms: u64,
}

impl Clients {
    pub(super) fn new(random: Random) -> Self {
        let stored_ms = natter_schemas::id::EPOCH_MS + 1_000_000;
        Self { random, sent: Vec::new(), known: Vec::new(), heard: 0, references: 0, batches: 0, stored_ms }
    }

    /// The policies that are stored; one more hash is known to nobody.
    pub(super) fn policies() -> Vec<(Vec<u8>, PolicyHash)> {
        let of = |action| WordList { name: format!("{action:?}"), action, words: vec!["wally".into()] };
        let policy = |lists| Policy { lists, text_scalars_max: 12 }.to_stored();
        vec![policy(vec![of(Action::Mask)]), policy(vec![of(Action::Reject)]), policy(vec![of(Action::Flag)])]
    }

    /// One more command batch; the broker's clock moves, mostly forwards.
    pub(super) fn publish(&mut self, state: &mut State) {
        self.listen(state);
        self.stored_ms = match self.random.below(60) {
            0 => self.stored_ms + 26 * 3_600_000,
            1 => self.stored_ms + 200_000,
            2 | 3 => self.stored_ms - 5000,
            _ => self.stored_ms + self.random.below(4),
        };
        let mut writer = CommandBatchWriter::default();
        // Some batches are ticks.
        for _ in 0..self.random.below(8) {
            let mut wish = self.wish();
            if wish.origin == Origin::Resend {
                wish.evidence = self.evidence(state, &wish);
            }
            let record = if self.random.once_in(60) { b"no command".to_vec() } else { encode(&wish) };
            writer.push(&record);
        }
        self.batches += 1;
        let payload = if self.random.once_in(100) { vec![VERSION, 2, 3] } else { writer.finish(4, self.batches).1 };
        state.publish(payload, self.stored_ms);
    }

    /// What a gateway finds about the ref of a resend: the history is as far behind as it likes, or away.
    fn evidence(&mut self, state: &mut State, wish: &Command) -> Vec<Evidence> {
        if is_away(&mut state.away.history) || self.random.once_in(8) {
            return Vec::new();
        }
        let end = usize::try_from(self.random.below(state.outcomes.len() as u64 + 1)).expect("small");
        let known = &state.outcomes[..end];
        let log_ms =
            known.last().map_or(0, |stored| OutcomeBatch::decode(&stored.payload).expect("a batch").header.log_ms());
        let complete = Complete { sequence: end as u64, log_ms };
        let placed: Vec<_> = known
            .iter()
            .flat_map(|stored| placed(0, stored.sequence, &stored.payload).expect("an outcome batch"))
            .collect();
        let accepted =
            || placed.iter().filter_map(Placed::accepted).filter(|event| event.command.tenant == wish.tenant);
        let named = match wish.body.conversation() {
            Some(Address::Id(id)) => Some(*id),
            Some(Address::External(name)) => accepted().find_map(|event| match &event.command.body {
                Body::CreateGroup { external: Some(made), .. } if made == name => event.accepted.conversation(),
                _ => None,
            }),
            None => None,
        };
        let scope = RefScope::of(&wish.body, named);
        let is_first = |event: &Event<'_>| {
            event.command.sender == wish.sender
                && event.left_ref().is_some_and(|(of, reference)| Some(of) == scope && *reference == wish.reference)
        };
        vec![Evidence::Ref { first: accepted().rfind(is_first).map(|event| event.answered()), complete }]
    }

    fn listen(&mut self, state: &State) {
        for stored in &state.outcomes[self.heard..] {
            let placed = placed(0, stored.sequence, &stored.payload).expect("an outcome batch");
            let made = placed.iter().filter_map(|placed| placed.event()?.accepted.conversation());
            self.known.extend(made);
        }
        self.known.sort_unstable();
        self.known.dedup();
        self.heard = state.outcomes.len();
    }

    fn wish(&mut self) -> Command {
        if !self.sent.is_empty() && self.random.once_in(4) {
            return self.again();
        }
        self.references += 1;
        let random = &mut self.random;
        let tenant = Tenant::trusted(if random.once_in(8) { "other" } else { "demo" });
        // Some clients number their commands anew with every start.
        let reference = if random.once_in(8) { random.below(6) } else { self.references };
        let reference = Ref::trusted(&format!("r{reference}"));
        let origin = match random.below(10) {
            0..=6 => Origin::Client,
            7 => Origin::Operator,
            _ => Origin::Import(self.line()),
        };
        let body = self.body();
        let received_ms = if self.random.once_in(40) { self.stored_ms - 70_000 } else { self.stored_ms };
        let (sender, evidence) = (self.user(), Vec::new());
        let command = Command { tenant, sender, session: 3, received_ms, reference, origin, body, evidence };
        self.sent.push(command.clone());
        command
    }

    /// The same once more, by a client that knows so or not, or with other content.
    fn again(&mut self) -> Command {
        let recent = self.sent.len().saturating_sub(if self.random.once_in(3) { self.sent.len() } else { 12 });
        let mut command = self.random.of(&self.sent[recent..]).clone();
        command.received_ms = self.stored_ms;
        if command.origin == Origin::Client && !self.random.once_in(3) {
            command.origin = Origin::Resend;
        }
        if self.random.once_in(10)
            && let Body::Send { text, .. } = &mut command.body
        {
            *text = MessageText::trusted("other");
        }
        command
    }

    fn line(&mut self) -> ImportLine {
        let line = 1 + self.random.below(5);
        let source = [u8::try_from(self.random.below(2)).expect("small"); 16];
        let other = Follows { source: [1 - source[0]; 16], line: 1 + self.random.below(5) };
        ImportLine {
            source,
            line,
            previous: self.random.below(line),
            at_ms: 5,
            introduces: self.random.once_in(3),
            follows: self.random.once_in(4).then_some(Box::new(other)),
        }
    }

    fn user(&mut self) -> UserId {
        UserId::trusted(self.random.of::<&str>(&["ada", "bob", "cy", "dan", "eve"]))
    }

    fn external(&mut self) -> ExternalId {
        ExternalId::trusted(self.random.of::<&str>(&["a", "b", "c", "d"]))
    }

    fn address(&mut self) -> Address {
        match self.random.below(8) {
            0 | 1 => Address::External(self.external()),
            2 => Address::Id(ConversationId::from_raw(99)),
            _ if self.known.is_empty() => Address::External(self.external()),
            _ => Address::Id(*self.random.of(&self.known)),
        }
    }

    fn body(&mut self) -> Body {
        let conversation = self.address();
        let users = [self.user(), self.user()].to_vec();
        let name = DisplayName::trusted("tea");
        match self.random.below(24) {
            0 => Body::CreateDirect { peer: self.user() },
            1..=3 => Body::CreateGroup {
                visibility: if self.random.once_in(2) { Visibility::Public } else { Visibility::Private },
                name: None,
                members: users,
                external: (!self.random.once_in(3)).then(|| self.external()),
            },
            4 | 5 => Body::Add { conversation, members: users },
            6 | 7 => Body::Join { conversation },
            8 => Body::Leave { conversation },
            9 => Body::Rename { conversation, name },
            10..=12 => Body::Read { conversation, seq: self.random.below(20) },
            13 => Body::UpdateUser { name },
            14 => Body::SetPolicy { hash: self.policy() },
            _ => {
                let text = *self.random.of(&["hi", "wally", "you wally", "a text that is too long"]);
                Body::Send { conversation, text: MessageText::trusted(text) }
            }
        }
    }

    fn policy(&mut self) -> Option<PolicyHash> {
        let stored = Self::policies();
        match self.random.below(stored.len() as u64 + 2) {
            0 => None,
            1 => Some(PolicyHash([7; 32])),
            _ => Some(self.random.of(&stored).1),
        }
    }
}
