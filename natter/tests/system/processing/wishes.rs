//! Commands of a few users about a few rooms, which they name by external ids.

use natter_nats::clock::{Clock as _, SystemClock};
use natter_schemas::command::{Address, Body, Command, ImportLine, Origin, Visibility};
use natter_schemas::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};

/// A client's command, received just now, with a ref of its own.
pub fn by(sender: &str, body: Body) -> Command {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let reference = Ref::trusted(&format!("r{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let (tenant, sender) = (Tenant::trusted("demo"), UserId::trusted(sender));
    let received_ms = SystemClock.now_ms();
    Command { tenant, sender, session: 1, received_ms, reference, origin: Origin::Client, body, evidence: Vec::new() }
}

/// Makes the public room `named`.
pub fn create(named: &str) -> Body {
    let external = Some(ExternalId::trusted(named));
    Body::CreateGroup { visibility: Visibility::Public, name: None, members: Vec::new(), external }
}

/// Says something in the room `named`.
pub fn send(named: &str, text: &str) -> Body {
    Body::Send { conversation: address(named), text: MessageText::trusted(text) }
}

fn address(named: &str) -> Address {
    Address::External(ExternalId::trusted(named))
}

/// Clients that wish anything, often the same again; the same for the same seed.
pub struct Clients {
    state: u64,
    sent: Vec<Command>,
    lines: u64,
}

impl Clients {
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, sent: Vec::new(), lines: 0 }
    }

    /// A batch of up to 20.
    pub fn batch(&mut self) -> Vec<Command> {
        (0..=self.below(20)).map(|_| self.wish()).collect()
    }

    /// SplitMix64.
    const fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn of(&mut self, some: &[&'static str]) -> &'static str {
        some[usize::try_from(self.below(some.len() as u64)).unwrap()]
    }

    fn user(&mut self) -> &'static str {
        self.of(&["ada", "bob", "cy", "dan", "eve", "fay"])
    }

    fn wish(&mut self) -> Command {
        if !self.sent.is_empty() && self.below(6) == 0 {
            let newest = self.sent.len() as u64 - 1;
            let which = newest.saturating_sub(self.below(30));
            return self.sent[usize::try_from(which).unwrap()].clone();
        }
        let room = self.of(&["tea", "coffee", "water", "milk"]);
        let (sender, other) = (self.user(), self.user());
        let conversation = address(room);
        let body = match self.below(20) {
            0 => create(room),
            1 => Body::CreateDirect { peer: UserId::trusted(other) },
            2 | 3 => Body::Join { conversation },
            4 => Body::Leave { conversation },
            5 => Body::Add { conversation, members: vec![UserId::trusted(other)] },
            6 => Body::Rename { conversation, name: DisplayName::trusted(other) },
            7..=9 => Body::Read { conversation, seq: self.below(60) },
            10 => Body::UpdateUser { name: DisplayName::trusted(other) },
            _ => send(room, self.of(&["hello", "how are you", "fine"])),
        };
        let mut command = by(sender, body);
        if self.below(8) == 0 {
            self.lines += 1;
            let (line, previous) = (self.lines, self.lines - self.below(2).min(self.lines));
            command.origin = Origin::Import(ImportLine {
                source: [9; 16],
                line,
                previous,
                at_ms: 1,
                introduces: false,
                follows: None,
            });
        }
        self.sent.push(command.clone());
        command
    }
}
