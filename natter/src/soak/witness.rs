//! The witness: what was promised against what was seen. Pure.
//!
//! Clients write down everything in the order in which it came ([`Account`]); the log is read when all is over
//! ([`Truth`]); [`judge`] names every promise that does not hold, with who saw what where.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

/// A wish of a client, unique in a round: which device, and its how-manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WishId {
    /// The device.
    pub device: u32,
    /// From 1.
    pub number: u32,
}

impl fmt::Display for WishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}-{}", self.device, self.number)
    }
}

impl WishId {
    /// Out of a `ref`, or a text that begins with it.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, number) = text.split(' ').next()?.strip_prefix('w')?.split_once('-')?;
        Some(Self { device: device.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A message's place: its conversation's seq, its id, and whose wish it is (`None`: nobody's of this round).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The seq.
    pub seq: u64,
    /// The id.
    pub id: u64,
    /// The wish that its text names.
    pub wish: Option<WishId>,
}

/// What a device writes down about a conversation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// From here on it sees what comes after this seq.
    Opened(u64),
    /// A message came by itself, in the device's so-manieth session.
    Live(u32, Message),
    /// A message was read.
    Read(Message),
    /// It does not see it any more; whether it saw everything up to there.
    Left(bool),
}

/// What became of a message that a device wished to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Answered: its seq and id.
    Answered(u64, u64),
    /// Refused for good.
    Refused,
    /// Never answered.
    Unanswered,
}

/// Everything that one device did and saw.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Its number.
    pub device: u32,
    /// Whose it is.
    pub user: String,
    /// Messages that it sent: the conversation, and what became of it.
    pub sent: BTreeMap<u32, (u64, Fate)>,
    /// What it saw, by conversation.
    pub seen: BTreeMap<u64, Vec<Entry>>,
    /// What it noticed itself.
    pub broken: Vec<Broken>,
}

/// What the log says.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// The messages of each conversation, by seq from 1.
    pub messages: BTreeMap<u64, Vec<Message>>,
    /// Who is a member at the end.
    pub members: BTreeMap<u64, BTreeSet<String>>,
}

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which.
    pub promise: &'static str,
    /// Who saw it.
    pub client: String,
    /// The conversation; 0: none.
    pub conversation: u64,
    /// The seq; 0: none.
    pub seq: u64,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, client, conversation, seq, seen } = self;
        write!(f, "{promise}: client {client}, conversation {conversation}, seq {seq}: {seen}")
    }
}

/// Every promise that the accounts and the log break.
pub fn judge(accounts: &[Account], truth: &Truth) -> Vec<Broken> {
    let mut broken: Vec<Broken> = accounts.iter().flat_map(|account| account.broken.clone()).collect();
    log_holds_what_was_wished(accounts, truth, &mut broken);
    for account in accounts {
        log_holds_what_was_answered(account, truth, &mut broken);
        for (conversation, entries) in &account.seen {
            saw_all_in_order(account, *conversation, entries, truth, &mut broken);
        }
        for (conversation, _) in truth.members.iter().filter(|(_, members)| members.contains(&account.user)) {
            let is_empty = truth.messages.get(conversation).is_none_or(Vec::is_empty);
            if !is_empty && !account.seen.contains_key(conversation) {
                broken.push(account.broke("all is seen", *conversation, 1, "the member saw nothing of it".to_owned()));
            }
        }
    }
    broken
}

impl Account {
    /// A promise that this device found broken.
    pub fn broke(&self, promise: &'static str, conversation: u64, seq: u64, seen: String) -> Broken {
        let client = format!("{} (device {})", self.user, self.device);
        Broken { promise, client, conversation, seq, seen }
    }
}

/// Each message in the log was wished for, once, there; its seqs are dense.
fn log_holds_what_was_wished(accounts: &[Account], truth: &Truth, broken: &mut Vec<Broken>) {
    let by_device: HashMap<u32, &Account> = accounts.iter().map(|account| (account.device, account)).collect();
    let mut first: HashMap<WishId, (u64, u64)> = HashMap::new();
    for (conversation, messages) in &truth.messages {
        for (message, due) in messages.iter().zip(1..) {
            let mut say = |promise, seen| {
                let (client, conversation) = ("the log".to_owned(), *conversation);
                broken.push(Broken { promise, client, conversation, seq: message.seq, seen });
            };
            if message.seq != due {
                say("seqs are dense", format!("{due} was due"));
            }
            let Some(wish) = message.wish else {
                say("nothing appears by itself", format!("message {} is nobody's wish", message.id));
                continue;
            };
            let sent = by_device.get(&wish.device).and_then(|account| account.sent.get(&wish.number));
            if sent.is_none_or(|(to, _)| to != conversation) {
                say("nothing appears by itself", format!("message {} of {wish}, who never sent it there", message.id));
            }
            if let Some((other, seq)) = first.insert(wish, (*conversation, message.seq)) {
                say("a wish is fulfilled once", format!("{wish} stands at {other}:{seq} too"));
            }
        }
    }
}

/// Each answered message stands in the log where the answer said.
fn log_holds_what_was_answered(account: &Account, truth: &Truth, broken: &mut Vec<Broken>) {
    for (number, (conversation, fate)) in &account.sent {
        let Fate::Answered(seq, id) = *fate else { continue };
        let wish = WishId { device: account.device, number: *number };
        let stands = at(truth, *conversation, seq);
        if stands != Some(Message { seq, id, wish: Some(wish) }) {
            let seen = format!("{wish} was answered with message {id}, the log has {}", shown(stands));
            broken.push(account.broke("what is answered is stored", *conversation, seq, seen));
        }
    }
}

/// The device saw each message of its time in the conversation, once, in order, as the log has it.
fn saw_all_in_order(account: &Account, conversation: u64, entries: &[Entry], truth: &Truth, broken: &mut Vec<Broken>) {
    let mut say = |promise, seq, seen| broken.push(account.broke(promise, conversation, seq, seen));
    // The last seq seen in this stay; what came live in this session.
    let mut last: Option<u64> = None;
    let mut live: Option<(u32, u64)> = None;
    for entry in entries {
        let (message, session) = match *entry {
            Entry::Opened(after) => {
                (last, live) = (Some(after), None);
                continue;
            }
            Entry::Left(complete) => {
                // What came after the last that it saw before its leave, it cannot read any more; it may have been cut off.
                if complete && last.is_none() {
                    say("a leave ends a stay", 0, "it left what it had not joined".to_owned());
                }
                (last, live) = (None, None);
                continue;
            }
            Entry::Live(session, message) => (message, Some(session)),
            Entry::Read(message) => (message, None),
        };
        let stands = at(truth, conversation, message.seq);
        if stands != Some(message) {
            let seen = format!("it saw message {} of {}, the log has {}", message.id, wish(message), shown(stands));
            say("all see what is stored", message.seq, seen);
        }
        if let Some(session) = session {
            let before = live.filter(|(of, _)| *of == session).map(|(_, seq)| seq);
            match before {
                Some(before) if message.seq <= before => {
                    say("live comes once and in order", message.seq, format!("{before} had come in the same session"));
                }
                Some(before) if message.seq > before + 1 && Some(message.seq) <= last => {
                    say("no silent gap", message.seq, format!("came live, but {} was due in this session", before + 1));
                }
                _ => {}
            }
            live = Some((session, message.seq));
        }
        let Some(reached) = last else {
            say("nobody sees what is not theirs", message.seq, "it was no member then".to_owned());
            continue;
        };
        if message.seq > reached + 1 {
            let how = if session.is_some() { "live" } else { "by reading" };
            say("no silent gap", message.seq, format!("came {how}, but {} was due", reached + 1));
        }
        last = Some(reached.max(message.seq));
    }
    let is_member = truth.members.get(&conversation).is_some_and(|members| members.contains(&account.user));
    let end = truth.messages.get(&conversation).map_or(0, |messages| messages.len() as u64);
    match last {
        Some(last) if is_member && last < end => {
            say("all is seen", last + 1, format!("it has seen up to {last}, the conversation ends at {end}"));
        }
        None if is_member => say("all is seen", 0, "the log says that it is a member, its reads do not".to_owned()),
        _ => {}
    }
}

fn at(truth: &Truth, conversation: u64, seq: u64) -> Option<Message> {
    let index = usize::try_from(seq.checked_sub(1)?).ok()?;
    truth.messages.get(&conversation)?.get(index).copied()
}

fn wish(message: Message) -> String {
    message.wish.map_or_else(|| "nobody".to_owned(), |wish| wish.to_string())
}

fn shown(message: Option<Message>) -> String {
    message.map_or_else(|| "nothing there".to_owned(), |found| format!("message {} of {} there", found.id, wish(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 77;

    fn message(seq: u64) -> Message {
        let wish = WishId { device: 1, number: u32::try_from(seq).unwrap() };
        Message { seq, id: 1000 + seq, wish: Some(wish) }
    }

    /// Ada sent four messages; she saw them live, Bob two live, and the rest by reading.
    fn world() -> (Vec<Account>, Truth) {
        let all: Vec<Message> = (1..=4).map(message).collect();
        let members = ["ada", "bob"].map(str::to_owned).into();
        let truth = Truth { messages: [(ROOM, all.clone())].into(), members: [(ROOM, members)].into() };
        let answered = |found: &Message| {
            let number = found.wish.unwrap().number;
            (number, (ROOM, Fate::Answered(found.seq, found.id)))
        };
        let live = |session: u32| move |found: &Message| Entry::Live(session, *found);
        let ada = Account {
            device: 1,
            user: "ada".to_owned(),
            sent: all.iter().map(answered).collect(),
            seen: [(ROOM, std::iter::once(Entry::Opened(0)).chain(all.iter().map(live(1))).collect())].into(),
            broken: Vec::new(),
        };
        let mut entries = vec![Entry::Opened(0)];
        entries.extend(all[..2].iter().map(live(1)));
        entries.extend(all[2..].iter().map(|found| Entry::Read(*found)));
        // What it read came live too: allowed, the reading was the faster way.
        entries.extend(all[3..].iter().map(live(2)));
        let seen = [(ROOM, entries)].into();
        let bob = Account { device: 2, user: "bob".to_owned(), seen, ..Account::default() };
        (vec![ada, bob], truth)
    }

    /// The promises that are broken once `damage` is done.
    fn broken<R>(damage: impl FnOnce(&mut Vec<Account>, &mut Truth) -> R) -> Vec<&'static str> {
        let (mut accounts, mut truth) = world();
        damage(&mut accounts, &mut truth);
        let mut promises: Vec<_> = judge(&accounts, &truth).into_iter().map(|broken| broken.promise).collect();
        promises.dedup();
        promises
    }

    fn entries(accounts: &mut [Account], of: usize) -> &mut Vec<Entry> {
        accounts[of].seen.get_mut(&ROOM).unwrap()
    }

    #[test]
    fn a_world_in_order_breaks_nothing() {
        assert_eq!(broken(|_, _| {}), [""; 0]);
    }

    #[test]
    fn a_missing_message_is_named() {
        assert_eq!(broken(|accounts, _| entries(accounts, 0).remove(2)), ["no silent gap"]);
        assert_eq!(broken(|accounts, _| entries(accounts, 0).pop()), ["all is seen"]);
        assert_eq!(broken(|accounts, _| accounts[1].seen.clear()), ["all is seen"]);
        assert_eq!(broken(|accounts, _| entries(accounts, 1).truncate(1)), ["all is seen"]);
    }

    #[test]
    fn a_doubled_or_reordered_message_is_named() {
        let doubled = |accounts: &mut Vec<Account>, _: &mut Truth| {
            let entry = entries(accounts, 0)[3];
            entries(accounts, 0).insert(4, entry);
        };
        assert_eq!(broken(doubled), ["live comes once and in order"]);
        let swapped = broken(|accounts, _| entries(accounts, 0).swap(2, 3));
        assert_eq!(swapped, ["no silent gap", "live comes once and in order"]);
    }

    #[test]
    fn an_altered_or_foreign_message_is_named() {
        let altered = broken(|accounts, _| {
            entries(accounts, 1)[1] = Entry::Live(1, Message { id: 5, ..message(1) });
        });
        assert_eq!(altered, ["all see what is stored"]);
        let phantom = broken(|accounts, _| entries(accounts, 1).push(Entry::Live(2, message(5))));
        assert_eq!(phantom, ["all see what is stored"]);
        let stranger = broken(|accounts, _| accounts[0].seen.insert(8, vec![Entry::Live(1, message(1))]));
        assert_eq!(stranger, ["all see what is stored", "nobody sees what is not theirs"]);
    }

    #[test]
    fn what_the_log_lost_doubled_or_made_up_is_named() {
        let lost = broken(|accounts, truth| {
            truth.messages.get_mut(&ROOM).unwrap().pop();
            entries(accounts, 0).pop();
            entries(accounts, 1).truncate(4);
        });
        assert_eq!(lost, ["what is answered is stored"]);
        let twice = |accounts: &mut Vec<Account>, truth: &mut Truth| {
            let again = Message { seq: 5, id: 2000, ..message(4) };
            truth.messages.get_mut(&ROOM).unwrap().push(again);
            (0..2).for_each(|of| entries(accounts, of).push(Entry::Read(again)));
        };
        assert_eq!(broken(twice), ["a wish is fulfilled once"]);
        let phantom = broken(|accounts, truth| {
            let nobody = Message { wish: None, ..message(5) };
            truth.messages.get_mut(&ROOM).unwrap().push(nobody);
            (0..2).for_each(|of| entries(accounts, of).push(Entry::Read(nobody)));
        });
        assert_eq!(phantom, ["nothing appears by itself"]);
    }

    #[test]
    fn a_leaver_need_not_see_the_rest_and_must_not() {
        let left = |accounts: &mut Vec<Account>, truth: &mut Truth| {
            truth.members.get_mut(&ROOM).unwrap().remove("bob");
            entries(accounts, 1).truncate(3);
            entries(accounts, 1).push(Entry::Left(true));
        };
        assert_eq!(broken(left), [""; 0]);
        let after = broken(|accounts, truth| {
            left(accounts, truth);
            entries(accounts, 1).push(Entry::Live(1, message(3)));
        });
        assert_eq!(after, ["nobody sees what is not theirs"]);
        let again = broken(|accounts, _| {
            entries(accounts, 1).truncate(3);
            entries(accounts, 1).extend([Entry::Left(true), Entry::Opened(3), Entry::Live(2, message(4))]);
        });
        assert_eq!(again, [""; 0]);
    }

    #[test]
    fn an_unanswered_wish_may_stand_in_the_log_or_not() {
        assert_eq!(broken(|accounts, _| accounts[0].sent.insert(4, (ROOM, Fate::Unanswered))), [""; 0]);
        assert_eq!(broken(|accounts, _| accounts[0].sent.insert(9, (ROOM, Fate::Unanswered))), [""; 0]);
    }

    #[test]
    fn wishes_are_found_in_their_texts() {
        let wish = WishId { device: 12, number: 345 };
        assert_eq!(WishId::parse(&format!("{wish} and more")), Some(wish));
        assert_eq!(WishId::parse("hello"), None);
    }
}
