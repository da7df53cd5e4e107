//! A client's device: keeps a session open, sends its wishes, resends what was not answered, reads what it missed, and
//! writes everything down.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::SESSION_UNANSWERED_MAX;
use natter_schemas::random::Random;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::socket::Socket;
use super::tally::Tally;
use super::waits::Waits;
use super::wishes::Wishes;
use super::witness::{Account, Entry as Noted, Fate};
use super::world::HALL;

/// Commands of a session on their way at once: a few less than the server takes, so that one partition which stands does
/// not keep the client from the others.
const ON_THEIR_WAY_MAX: usize = 240;
const _: () = assert!(ON_THEIR_WAY_MAX < SESSION_UNANSWERED_MAX);
/// Wishes of a device that are not answered; beyond it, it wishes nothing more, and the report shows a lower offer.
const WISHES_MAX: usize = 4096;
/// A client that is not answered for so long connects anew.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The server pings every 25 s, and there is much to hear: what is silent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A device that does nothing else looks around so often.
const LOOK: Duration = Duration::from_millis(250);
/// Groups that a device makes by itself.
const OWN_GROUPS_MAX: u32 = 2;

/// What all are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Chatting.
    Chat,
    /// No new wishes: what was wished is brought to its end.
    Settle,
    /// Everybody is answered: all that there is up to these positions is seen.
    Read(Arc<str>),
    /// It has taken too long.
    Over,
}

/// What is done to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// Its socket is dropped; the number makes one harm different from the last.
    Cut(u64),
    /// It does not read until then.
    Slow(Instant),
}

/// What a device is told.
#[derive(Debug, Clone)]
pub struct Orders {
    /// What all are doing.
    pub phase: watch::Receiver<Phase>,
    /// What is done to this one.
    pub harm: watch::Receiver<Harm>,
}

/// What a device is made of.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its number.
    pub number: u32,
    /// Whose it is.
    pub user: String,
    /// Of that user.
    pub token: String,
    /// Whether the user comes to the hall and goes.
    pub visits: bool,
    /// Other users, for groups that it makes.
    pub others: Vec<String>,
    /// Rooms that it makes first.
    pub makes: Vec<Value>,
    /// Where it may connect.
    pub gateways: Vec<SocketAddr>,
    /// Between two of its messages, on average.
    pub gap: Duration,
    /// Appended to each text.
    pub padding: String,
}

/// What a device knows of a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// It has seen everything up to here.
    pub last: u64,
}

/// What a device brings home.
#[derive(Debug)]
pub struct Home {
    /// For the witness.
    pub account: Account,
    /// For the report.
    pub tally: Tally,
    /// Of its messages.
    pub waits: Waits,
}

/// A device.
pub struct Device {
    pub(super) who: Identity,
    pub(super) orders: Orders,
    pub(super) random: Random,
    pub(super) account: Account,
    pub(super) tally: Tally,
    pub(super) rooms: BTreeMap<ConversationId, Room>,
    /// Rooms that have to be read on, because something is missing.
    pub(super) behind: BTreeSet<ConversationId>,
    /// The public room, once it is known.
    pub(super) hall: Option<ConversationId>,
    /// The greatest cursor that was answered, by room.
    pub(super) cursors: BTreeMap<ConversationId, u64>,
    /// Where it is connected.
    pub(super) gateway: SocketAddr,
    /// The how-manieth session this is.
    pub(super) session: u32,
    pub(super) wishes: Wishes,
    pub(super) waits: Waits,
    settled: watch::Sender<usize>,
    is_settled: bool,
    pub(super) started: Instant,
    next_wish: Instant,
    own_groups: u32,
    /// Since when this session has nothing more to come but what it waits for.
    pub(super) reading_since: Option<Instant>,
}

impl Device {
    /// One that has done nothing yet. `settled` counts those that have brought all their wishes to an end.
    pub fn new(who: Identity, orders: Orders, random: Random, settled: watch::Sender<usize>, started: Instant) -> Self {
        let account = Account { device: who.number, user: who.user.clone(), ..Account::default() };
        let gateway = who.gateways[0];
        let mut wishes = Wishes::default();
        for room in &who.makes {
            wishes.add(who.number, room.clone(), started);
        }
        Self {
            who,
            orders,
            random,
            account,
            tally: Tally::default(),
            rooms: BTreeMap::new(),
            behind: BTreeSet::new(),
            hall: None,
            cursors: BTreeMap::new(),
            gateway,
            session: 0,
            wishes,
            waits: Waits::default(),
            settled,
            is_settled: false,
            started,
            next_wish: started,
            own_groups: 0,
            reading_since: None,
        }
    }

    /// Chats until all is over.
    pub async fn run(mut self) -> Home {
        loop {
            match self.session().await {
                Ok(()) => break,
                Err(end) => Tally::count(&mut self.tally.ends, format!("{end:#}")),
            }
            self.wishes.lost(Instant::now());
            self.reading_since = None;
            if *self.orders.phase.borrow() == Phase::Over {
                break;
            }
            sleep(Duration::from_millis(self.random.between(20, 400))).await;
        }
        for (number, command) in self.wishes.unsettled() {
            let seen = format!("wish {number} was never answered: {command}");
            self.account.broken.push(self.account.broke("every command is answered", 0, 0, seen));
        }
        Home { account: self.account, tally: self.tally, waits: self.waits }
    }

    /// One session, until it is lost; well, when all is over.
    async fn session(&mut self) -> anyhow::Result<()> {
        self.gateway = *self.random.of(&self.who.gateways);
        let mut socket = Socket::open(self.gateway, &self.who.token).await?;
        self.session += 1;
        self.tally.sessions += 1;
        self.catch_up(&socket.opened).await?;
        self.orders.harm.mark_unchanged();
        let opened = Instant::now();
        let (mut heard, mut slow_until, mut next_read) = (opened, None, opened);
        loop {
            let now = Instant::now();
            let phase = self.orders.phase.borrow_and_update().clone();
            match &phase {
                Phase::Chat => self.wish(now),
                Phase::Settle => self.settle(),
                Phase::Read(min) if now >= next_read => {
                    self.settle();
                    next_read = now + LOOK;
                    if self.has_seen_all(min, opened).await? {
                        return Ok(());
                    }
                }
                Phase::Read(_) => {}
                Phase::Over => return Ok(()),
            }
            while self.wishes.on_their_way() < ON_THEIR_WAY_MAX
                && let Some(frame) = self.wishes.next_due(now)
            {
                socket.send(frame).await?;
            }
            slow_until = slow_until.filter(|until| *until > now && phase == Phase::Chat);
            tokio::select! {
                frame = socket.next(), if slow_until.is_none() => {
                    self.heard(&frame?);
                    heard = Instant::now();
                }
                () = sleep_until(self.next_moment(now, &phase)) => {}
                changed = self.orders.phase.changed() => changed?,
                changed = self.orders.harm.changed() => {
                    changed?;
                    match *self.orders.harm.borrow_and_update() {
                        Harm::None => {}
                        Harm::Cut(_) => bail!("its socket was cut"),
                        Harm::Slow(until) => slow_until = Some(until),
                    }
                }
            }
            while let Some(room) = self.behind.pop_first() {
                self.read_on(room, None).await?;
            }
            if slow_until.is_none() && heard.elapsed() > SILENCE_MAX {
                bail!("nothing was heard for {} s", SILENCE_MAX.as_secs());
            }
            if self.wishes.waits_since().is_some_and(|since| now - since > ANSWER_MAX) {
                bail!("no answer for {} s", ANSWER_MAX.as_secs());
            }
        }
    }

    fn next_moment(&self, now: Instant, phase: &Phase) -> Instant {
        let mut next = now + LOOK;
        if *phase == Phase::Chat {
            next = next.min(self.next_wish);
        }
        if self.wishes.on_their_way() < ON_THEIR_WAY_MAX {
            next = next.min(self.wishes.due().unwrap_or(next));
        }
        next
    }

    fn settle(&mut self) {
        if self.wishes.is_empty() && !self.is_settled {
            self.is_settled = true;
            self.settled.send_modify(|settled| *settled += 1);
        }
    }

    /// Wishes what is due: also what became due while it had no session, for the load does not wait for the system.
    fn wish(&mut self, now: Instant) {
        let gap_us = u64::try_from(self.who.gap.as_micros()).unwrap_or(u64::MAX).max(2);
        let rooms: Vec<ConversationId> = self.rooms.keys().copied().collect();
        while self.next_wish <= now {
            let due = self.next_wish;
            self.next_wish += Duration::from_micros(gap_us / 2 + self.random.below(gap_us));
            if rooms.is_empty() || self.wishes.len() >= WISHES_MAX {
                continue;
            }
            let room = *self.random.of(&rooms);
            self.wish_beside(room, due);
            let command = json!({ "cmd": "message.send", "conversation": room, "text": self.who.padding });
            let id = self.wishes.add(self.who.number, command, due);
            self.account.sent.insert(id.number, (room.get(), Fate::Unanswered));
        }
    }

    /// Now and then something else, beside the messages.
    fn wish_beside(&mut self, room: ConversationId, due: Instant) {
        let command = match self.random.below(100) {
            0 if self.own_groups < OWN_GROUPS_MAX => {
                self.own_groups += 1;
                let members = [self.random.of(&self.who.others), &self.who.others[0]];
                let members: BTreeSet<&String> = members.into_iter().collect();
                json!({ "cmd": "conversation.create", "kind": "group", "members": members })
            }
            1..=4 if self.rooms.get(&room).is_some_and(|room| room.last > 0) => {
                let seq = self.rooms[&room].last;
                json!({ "cmd": "conversation.read", "conversation": room, "seq": seq })
            }
            5..=9
                if self.who.visits
                    && !self.wishes.has("conversation.join")
                    && !self.wishes.has("conversation.leave") =>
            {
                let is_in = self.hall.is_some_and(|hall| self.rooms.contains_key(&hall));
                let cmd = if is_in { "conversation.leave" } else { "conversation.join" };
                json!({ "cmd": cmd, "conversation": format!("ext:{HALL}") })
            }
            _ => return,
        };
        self.wishes.add(self.who.number, command, due);
    }

    /// From now on it sees what comes after `after`.
    pub(super) fn open(&mut self, room: ConversationId, after: u64) {
        if let Entry::Vacant(vacant) = self.rooms.entry(room) {
            vacant.insert(Room { last: after });
            self.note(room, Noted::Opened(after));
        }
    }

    pub(super) fn note(&mut self, room: ConversationId, entry: Noted) {
        self.account.seen.entry(room.get()).or_default().push(entry);
    }
}
