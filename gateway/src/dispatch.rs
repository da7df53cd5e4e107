//! One task per partition: takes its live feed in order, answers commands, and hands events to sessions. It alone owns
//! the partition's routing, so nothing is locked over all sessions.

use std::sync::Arc;

use natter_nats::{Answer, Claimed, LiveBatch, LiveItem, LogError, Publisher, SignalFeed, SignalSender, Waiter as _};
use natter_projections::reads::Memberships;
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::error::CloseCode;
use natter_schemas::event::Placed;
use natter_schemas::id::ConversationId;
use natter_schemas::position::Position;
use natter_schemas::signal::PlacedSignal;
use natter_schemas::wire::client::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::commands::{Commands, Told, Waiting};
use crate::handle::SessionHandle;
use crate::rooms::{Recipient as _, Rooms};
use crate::stopped::StoppedPartitions;
use crate::telemetry::{self, Meters};

/// Requests that wait for one partition's task; sessions that open or close wait their turn.
const REQUESTS_MAX: usize = 1024;
/// Signals are dropped where so many requests wait: they keep no session from being opened.
const SIGNALS_MAX: usize = REQUESTS_MAX / 2;
/// Sessions that are written to in one turn, some 0.2 ms: then other tasks get theirs, and answers go before what is left.
const TURN_SESSIONS: usize = 32;

/// The tasks of all partitions, as sessions reach them.
#[derive(Debug, Clone)]
pub struct Routing {
    partitions: Arc<[mpsc::Sender<Request>]>,
}

/// What sessions want of a partition's task.
#[derive(Debug)]
pub enum Request {
    /// Note from now on what changes for these sessions' users; answered with the position from which on.
    Register(Arc<[Arc<SessionHandle>]>, oneshot::Sender<Position>),
    /// Show the sessions what happens from now on.
    Open(Open),
    /// The session is gone.
    Close(u64),
    /// Pass a signal on, if it comes from a member.
    Signal(Arc<SessionHandle>, ConversationId, Signal),
}

/// Sessions that open.
#[derive(Debug)]
pub struct Open {
    /// Registered before.
    sessions: Arc<[Arc<SessionHandle>]>,
    /// Each session's conversations, as the view gave them, and what it showed.
    memberships: Memberships,
    /// Told the position from which on events are pushed.
    opened: oneshot::Sender<Position>,
}

impl Routing {
    /// Queues for so many partitions, and their receiving ends.
    pub fn new(partitions: u16) -> (Self, Vec<mpsc::Receiver<Request>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..partitions).map(|_| mpsc::channel(REQUESTS_MAX)).unzip();
        (Self { partitions: senders.into() }, receivers)
    }

    /// Registers sessions everywhere; gives what each partition's feed had shown by then. `None`: the gateway is
    /// stopping.
    pub async fn register(&self, sessions: &Arc<[Arc<SessionHandle>]>) -> Option<Vec<Position>> {
        self.ask(self.partitions.iter().map(|_| move |answer| Request::Register(Arc::clone(sessions), answer))).await
    }

    /// Opens registered sessions with their users' conversations, partition by partition. Gives the positions from which
    /// on events are pushed. `None`: the gateway is stopping.
    pub async fn open(
        &self,
        sessions: &Arc<[Arc<SessionHandle>]>,
        memberships: Vec<Memberships>,
    ) -> Option<Vec<Position>> {
        let requests = memberships.into_iter().map(|memberships| {
            move |opened| Request::Open(Open { sessions: Arc::clone(sessions), memberships, opened })
        });
        self.ask(requests).await
    }

    /// Asks every partition, and waits for all.
    async fn ask<R: FnOnce(oneshot::Sender<Position>) -> Request>(
        &self,
        requests: impl Iterator<Item = R>,
    ) -> Option<Vec<Position>> {
        let mut answers = Vec::with_capacity(self.partitions.len());
        for (partition, request) in self.partitions.iter().zip(requests) {
            let (answer, answered) = oneshot::channel();
            partition.send(request(answer)).await.ok()?;
            answers.push(answered);
        }
        let mut positions = Vec::with_capacity(answers.len());
        for answer in answers {
            positions.push(answer.await.ok()?);
        }
        Some(positions)
    }

    /// Forgets a session everywhere.
    pub async fn close(&self, session: u64) {
        for partition in &*self.partitions {
            // A task that has ended has forgotten everybody.
            partition.send(Request::Close(session)).await.ok();
        }
    }

    /// Passes a signal on, or drops it where too much waits.
    pub fn signal(&self, session: &Arc<SessionHandle>, conversation: ConversationId, signal: Signal) {
        let Ok(count) = u16::try_from(self.partitions.len()) else { return };
        let partition = &self.partitions[usize::from(conversation.slot().partition(count))];
        let request = Request::Signal(Arc::clone(session), conversation, signal);
        if partition.capacity() <= REQUESTS_MAX - SIGNALS_MAX || partition.try_send(request).is_err() {
            telemetry::count_crowded_signal();
        }
    }
}

/// One partition's task.
#[derive(Debug)]
pub struct Dispatcher {
    /// The partition.
    pub partition: u16,
    /// The last sequence of `EVT_p` that was handed on.
    pub last: u64,
    /// Where answers are claimed from.
    pub publisher: Publisher<Waiting>,
    /// Where cursors go that a refused one had superseded.
    pub commands: Commands,
    /// Where signals of members go.
    pub signals: SignalSender,
    /// Counters.
    pub meters: Arc<Meters>,
    stopped: StoppedPartitions,
    /// Its log cannot be read on.
    is_stopped: bool,
    rooms: Rooms<SessionHandle>,
    /// Sessions whose view was ahead of the feed: they open when the feed has come as far.
    ahead: Vec<Open>,
}

impl Dispatcher {
    /// A partition whose feed starts behind `last`.
    pub fn new(
        partition: u16,
        last: u64,
        commands: Commands,
        signals: SignalSender,
        meters: Arc<Meters>,
        stopped: StoppedPartitions,
    ) -> Self {
        let (publisher, rooms, ahead) = (commands.publisher(), Rooms::new(), Vec::new());
        Self { partition, last, publisher, commands, signals, meters, stopped, is_stopped: false, rooms, ahead }
    }

    /// Runs until nobody sends requests any more.
    ///
    /// # Errors
    /// The live feed broke. Where the log itself cannot be read on, because it is corrupt or needs a newer binary, the
    /// partition stops, its sessions are closed once, and the gateway serves the other partitions.
    pub async fn run(
        mut self,
        mut live: mpsc::Receiver<LiveItem>,
        mut signals: SignalFeed,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), LogError> {
        let ended = loop {
            let rests_until = self.rooms.rests_until();
            tokio::select! {
                item = live.recv(), if !self.is_stopped && !self.rooms.is_full() => {
                    let item = item.ok_or_else(|| LogError::Transient("the live feed has ended".into()));
                    match item.and_then(|item| self.item(item)) {
                        Ok(()) => {}
                        Err(error @ LogError::Corrupt(_)) => {
                            // The feed ends with its receiver.
                            live.close();
                            self.stop(&error);
                        }
                        Err(error) => break Err(error),
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => break Ok(()),
                },
                Some(signals) = signals.next() => self.hand_on(&signals),
                () = yield_now(), if self.rooms.has_turn() => {}
                () = sleep_until(rests_until.unwrap_or_else(Instant::now)), if rests_until.is_some() => {}
            }
            self.rooms.turn(TURN_SESSIONS, Instant::now());
        };
        self.rooms.close_all(CloseCode::Unavailable);
        ended
    }

    fn stop(&mut self, error: &LogError) {
        self.is_stopped = true;
        self.stopped.stop(self.partition, error.to_string());
        self.rooms.close_all(CloseCode::Unavailable);
        for open in std::mem::take(&mut self.ahead) {
            self.open(open);
        }
    }

    fn item(&mut self, item: LiveItem) -> Result<(), LogError> {
        match item {
            LiveItem::Batch(batch) => {
                let sequence = batch.sequence;
                self.batch(&batch).map_err(|error| {
                    LogError::Corrupt(format!("partition {} at {sequence}: {error}", self.partition))
                })?;
                self.last = sequence;
                self.meters.batches.increment(1);
            }
            LiveItem::Hole { from, to, .. } => {
                tracing::warn!(
                    partition = self.partition,
                    from,
                    to,
                    "events were missed: all sessions have to read again"
                );
                self.rooms.close_all(CloseCode::Resync);
                self.ahead.clear();
                self.last = to;
            }
            LiveItem::Broken { error, .. } => return Err(error),
        }
        self.open_those_ahead();
        Ok(())
    }

    fn batch(&mut self, batch: &LiveBatch) -> Result<(), LogError> {
        let decoded = OutcomeBatch::decode(&batch.payload)?;
        let claimed = self.publisher.claim(self.partition, &decoded.header);
        let mut waiting = in_order(claimed);
        let everything = self.rooms.concerns_users(&decoded.header);
        if waiting.peek().is_none() && !everything && !self.rooms.concerns(&decoded.header) {
            self.meters.skipped.increment(1);
            return Ok(());
        }
        let mut delivered = 0;
        for raw in decoded.records()? {
            let waiter = waiting.next_if(|(index, _)| *index == raw.index).map(|(_, waiter)| waiter);
            let routed = everything || self.rooms.has_room(raw.conversation);
            if waiter.is_none() && !routed {
                continue;
            }
            let outcome = raw.decode()?;
            let policy = outcome.policy.and_then(|at| decoded.header.policies.get(usize::from(at)).copied());
            let position = Position::outcome(self.partition, batch.sequence, raw.index);
            let placed = raw.placed(position, policy, outcome);
            if let Some(event) = placed.event().filter(|_| routed) {
                delivered += self.rooms.event(&event);
            }
            if let Some(waiter) = waiter {
                self.tell(waiter, placed);
            }
        }
        // Fewer outcomes than commands: cannot be, but nobody waits for ever.
        waiting.for_each(|(_, waiter)| waiter.answer(Answer::Unknown));
        self.meters.deliveries.increment(delivered as u64);
        Ok(())
    }

    fn tell(&mut self, waiter: Waiting, placed: Placed) {
        let Told { session, next } = waiter.told(Answer::Outcome(placed));
        if let Some(next) = next {
            let session = self.commands.submit_next(next);
            self.rooms.write_soon(session);
        }
        if let Some(session) = session {
            self.rooms.write_soon(session);
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Register(sessions, registered) => {
                sessions.iter().for_each(|session| self.rooms.register(Arc::clone(session)));
                // Sessions that do not wait any longer say so by `Close`.
                registered.send(Position::batch(self.partition, self.last)).ok();
            }
            Request::Open(open) if open.memberships.position.sequence > self.last && !self.is_stopped => {
                self.ahead.push(open);
            }
            Request::Open(open) => self.open(open),
            Request::Close(session) => self.rooms.close(session),
            Request::Signal(session, conversation, signal) => self.signal(&session, conversation, signal),
        }
    }

    fn hand_on(&mut self, signals: &[PlacedSignal]) {
        let (mut delivered, mut dropped) = (0, 0);
        for signal in signals {
            match self.rooms.signal(signal) {
                Some(sessions) => delivered += sessions,
                None => dropped += 1,
            }
        }
        self.meters.signals.increment(delivered as u64);
        self.meters.signals_behind.increment(dropped);
    }

    /// A session that is gone by now is not opened again.
    fn open(&mut self, open: Open) {
        let Memberships { position, conversations } = open.memberships;
        for (session, conversations) in open.sessions.iter().zip(conversations) {
            self.rooms.open(session.id(), conversations.into_iter().map(ConversationId::get), position);
        }
        open.opened.send(Position::batch(self.partition, self.last)).ok();
    }

    fn open_those_ahead(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let last = self.last;
        let reached = |open: &mut Open| open.memberships.position.sequence <= last;
        for open in self.ahead.extract_if(.., reached).collect::<Vec<_>>() {
            self.open(open);
        }
    }

    fn signal(&self, session: &SessionHandle, conversation: ConversationId, signal: Signal) {
        if self.rooms.is_member(session.id(), conversation.get()) {
            let identity = session.identity();
            let (tenant, user) = (identity.tenant.clone(), identity.user.clone());
            self.signals.send(self.partition, PlacedSignal { tenant, conversation, user, signal });
        }
    }
}

/// Who waits for which outcome of the batch, by index.
fn in_order(claimed: Vec<Claimed<Waiting>>) -> std::iter::Peekable<impl Iterator<Item = (u32, Waiting)>> {
    claimed.into_iter().flat_map(|Claimed { first_index, waiters }| (first_index..).zip(waiters)).peekable()
}
