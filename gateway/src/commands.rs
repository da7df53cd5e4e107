//! From a client's command to the log, and from its outcome to the answer.

use std::sync::Arc;

use futures_util::future::join_all;
use natter_nats::{Answer as Outcome, Full, Overloaded, Publisher, Waiter};
use natter_schemas::codec;
use natter_schemas::command::{Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::names::Ref;
use natter_schemas::outcome::{Decision, Received};
use natter_schemas::slot::Slot;
use natter_schemas::wire::client::ClientCommand;
use natter_schemas::wire::server::{Answer, ErrorBody, Reply, answer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::auth::Identity;
use crate::evidence::lanes::Entered;
use crate::evidence::{self, Finder};
use crate::frames::write;
use crate::handle::SessionHandle;
use crate::load::{Load, OnItsWay};
use crate::requests::Requests;
use crate::rooms::Recipient as _;
use crate::stopped::StoppedPartitions;
use crate::telemetry::{self, Meters};

/// Stands in for the `ref` of a cursor without one; no answer or event shows it.
pub const NO_REF: &str = "-";

/// The command that a client wishes, as of now.
///
/// # Errors
/// [`ErrorCode::Forbidden`]: `sender` or `import` without a service's token.
pub fn from_client(
    identity: &Identity,
    session: u64,
    client: ClientCommand,
    received_ms: u64,
) -> Result<Command, ErrorBody> {
    let ClientCommand { id: _, reference, resend, sender, import, body } = client;
    if !identity.service && (sender.is_some() || import.is_some()) {
        return Err(ErrorBody::new(ErrorCode::Forbidden, "only a service's token may set `sender` or `import`"));
    }
    let origin = match (import, resend) {
        (Some(line), _) => Origin::Import(line),
        (None, true) => Origin::Resend,
        (None, false) => Origin::Client,
    };
    Ok(Command {
        tenant: identity.tenant.clone(),
        sender: sender.unwrap_or_else(|| identity.user.clone()),
        session,
        received_ms,
        reference: reference.unwrap_or_else(|| Ref::trusted(NO_REF)),
        origin,
        body,
        evidence: Vec::new(),
    })
}

/// Sends commands on their way.
#[derive(Debug, Clone)]
pub struct Commands {
    publisher: Publisher<Waiting>,
    partitions: u16,
    finder: Finder,
    stopped: StoppedPartitions,
    meters: Arc<Meters>,
}

/// A session's command that has not gone yet, and the requests that its outcome answers.
#[derive(Debug)]
pub struct Pending {
    requests: Requests,
    command: Command,
}

impl Commands {
    /// By way of `publisher`, over so many partitions; `finder` looks up what commands need.
    pub const fn new(
        publisher: Publisher<Waiting>,
        partitions: u16,
        finder: Finder,
        stopped: StoppedPartitions,
        meters: Arc<Meters>,
    ) -> Self {
        Self { publisher, partitions, finder, stopped, meters }
    }

    /// What commands go by.
    pub fn publisher(&self) -> Publisher<Waiting> {
        self.publisher.clone()
    }

    /// Sends a session's command; the answer goes to `requests`. They are counted as unanswered by the caller before. One for which something has to be looked up goes later, and what is for the same aggregate goes behind it.
    pub fn submit(&self, session: &Arc<SessionHandle>, requests: Requests, command: Command) {
        let waits = evidence::is_needed(&command);
        let Some(slot) = command.slot() else { return self.send_of(session, Pending { requests, command }) };
        match session.lanes.enter(slot, waits, Pending { requests, command }) {
            Entered::Free(pending) => self.send_of(session, pending),
            Entered::Behind => {}
            Entered::First => {
                tokio::spawn(self.clone().empty(Arc::clone(session), slot));
            }
        }
    }

    /// Sends what waits in a lane, in its order, until it is empty. All that waits is looked up at the same time.
    async fn empty(self, session: Arc<SessionHandle>, slot: Slot) {
        let partition = slot.partition(self.partitions);
        loop {
            let waiting = session.lanes.take(slot);
            if waiting.is_empty() {
                return;
            }
            let ready = waiting.into_iter().map(|Pending { requests, command }| async {
                Pending { requests, command: self.finder.attach(partition, command).await }
            });
            for pending in join_all(ready).await {
                self.send_of(&session, pending);
            }
        }
    }

    fn send_of(&self, session: &Arc<SessionHandle>, Pending { requests, command }: Pending) {
        let to = To::Session(Arc::clone(session), requests.clone());
        if let Err(error) = self.send(command, to, &session.load) {
            refuse(session, requests, &error);
        }
    }

    /// Sends what was superseded by a command that was rejected. Gives the session back: a refusal is to be written.
    pub fn submit_next(&self, next: Next) -> Arc<SessionHandle> {
        let Next { session, requests, command } = next;
        self.submit(&session, requests, command);
        session
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The refusal or the rejection.
    pub async fn ask(&self, command: Command, load: &Load) -> Result<Answer, ErrorBody> {
        let (to, answer) = oneshot::channel();
        let command = match self.partition(&command) {
            Ok(partition) => self.finder.attach(partition, command).await,
            Err(error) => return Err(error),
        };
        match self.send(command, To::Request(to), load) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(ErrorBody::of(ErrorCode::OutcomeUnknown))),
            Err(error) => {
                count_rejected(error.code, 1);
                Err(error)
            }
        }
    }

    fn partition(&self, command: &Command) -> Result<u16, ErrorBody> {
        let slot = command.slot().ok_or_else(|| ErrorBody::of(ErrorCode::Forbidden))?;
        Ok(slot.partition(self.partitions))
    }

    fn send(&self, command: Command, to: To, load: &Load) -> Result<(), ErrorBody> {
        let partition = self.partition(&command)?;
        self.stopped.admit(partition)?;
        let too_many = || ErrorBody::new(ErrorCode::Overloaded, "too many commands of this tenant are unanswered");
        let counted = load.add().ok_or_else(too_many)?;
        let encoded = codec::encode(&command);
        let again = (!command.evidence.is_empty()).then(|| Box::new(Again { commands: self.clone(), command }));
        let meters = Arc::clone(&self.meters);
        let waiting = Waiting { to, since: Instant::now(), meters, again, _counted: counted };
        self.publisher.send(partition, &encoded, waiting).map_err(refused)
    }
}

/// What to do when evidence turned out to be too old: look it up once more.
#[derive(Debug)]
struct Again {
    commands: Commands,
    command: Command,
}

impl Again {
    async fn send(self, mut waiting: Waiting) {
        let Self { commands, command } = self;
        let Ok(partition) = commands.partition(&command) else { return };
        let command = commands.finder.attach(partition, command).await;
        waiting.again = None;
        let session = match &waiting.to {
            To::Session(session, requests) => Some((Arc::clone(session), requests.clone())),
            // Without its waiter the request is told that nobody knows.
            To::Request(_) => None,
        };
        if let Err(overloaded) = commands.publisher.send(partition, &codec::encode(&command), waiting)
            && let Some((session, requests)) = session
        {
            refuse(&session, requests, &refused(overloaded));
        }
    }
}

/// Queues a refusal for all of these requests.
fn refuse(session: &SessionHandle, requests: Requests, error: &ErrorBody) {
    count_rejected(error.code, requests.count());
    let mut first = false;
    for id in requests.into_ids() {
        first |= session.answered(write::json(&Reply::Error { id: Some(id), error: error.clone() }));
    }
    if first {
        session.flush();
    }
}

/// Counts commands that were refused by the gateway or rejected by an outcome.
pub fn count_rejected(code: ErrorCode, count: usize) {
    metrics::counter!(telemetry::COMMANDS_REJECTED, "code" => code.name()).increment(count as u64);
}

fn refused(overloaded: Overloaded) -> ErrorBody {
    let code = match overloaded.reason {
        Full::Queue | Full::Log | Full::Behind => ErrorCode::Overloaded,
        Full::Stopping => ErrorCode::Unavailable,
    };
    ErrorBody::new(code, overloaded.reason.to_string()).retry_after(overloaded.retry_after_ms)
}

/// Who waits for the outcome of a command.
#[derive(Debug)]
pub struct Waiting {
    to: To,
    since: Instant,
    meters: Arc<Meters>,
    again: Option<Box<Again>>,
    _counted: OnItsWay,
}

#[derive(Debug)]
enum To {
    /// Requests of a session: more than one where a cursor superseded others.
    Session(Arc<SessionHandle>, Requests),
    /// One HTTP request.
    Request(oneshot::Sender<Result<Answer, ErrorBody>>),
}

/// What is left to do when an outcome was told.
#[derive(Debug, Default)]
pub struct Told {
    /// The answer is to be written to this session ([`Outbox::queue`](crate::outbox::Outbox::queue)).
    pub session: Option<Arc<SessionHandle>>,
    /// The outcome answers only some of the requests; this is to be tried for the others.
    pub next: Option<Next>,
}

/// A command that was superseded by one that was rejected.
#[derive(Debug)]
pub struct Next {
    session: Arc<SessionHandle>,
    requests: Requests,
    command: Command,
}

impl Waiting {
    /// Answers a request, or queues the answer for a session.
    pub fn told(mut self, outcome: Outcome) -> Told {
        if let Outcome::Outcome(placed) = &outcome
            && is_stale(&placed.outcome.decision)
            && let Some(again) = self.again.take()
        {
            tokio::spawn(again.send(self));
            return Told::default();
        }
        let answer = match outcome {
            Outcome::Outcome(placed) => answer_of(&placed),
            Outcome::Unsent => Err(ErrorBody::new(ErrorCode::Unavailable, "the log is away; nothing was stored")),
            Outcome::Unknown => Err(ErrorBody::of(ErrorCode::OutcomeUnknown)),
        };
        self.meters.answer.record(self.since.elapsed());
        let count = |count: usize| match &answer {
            Ok(_) => self.meters.accepted.increment(count as u64),
            Err(error) => count_rejected(error.code, count),
        };
        match self.to {
            To::Session(session, requests) => {
                let (ids, next) = requests.answered_by(answer.as_ref().err().map(|error| error.code));
                count(ids.len());
                let next = next.map(|(requests, command)| Next { session: Arc::clone(&session), requests, command });
                Told { session: answer_session(session, ids, &answer), next }
            }
            To::Request(to) => {
                count(1);
                // Who no longer listens has gone away.
                to.send(answer).ok();
                Told::default()
            }
        }
    }
}

impl Waiter for Waiting {
    fn answer(self, outcome: Outcome) {
        let Told { session, next } = self.told(outcome);
        if let Some(Next { session, requests, .. }) = next {
            // Only an outcome leads here, and the partition's task takes those itself.
            refuse(&session, requests, &ErrorBody::of(ErrorCode::OutcomeUnknown));
        }
        if let Some(session) = session {
            session.flush();
        }
    }
}

/// Queues the answer; gives the session back where it is to be written.
fn answer_session(
    session: Arc<SessionHandle>,
    ids: Vec<String>,
    answer: &Result<Answer, ErrorBody>,
) -> Option<Arc<SessionHandle>> {
    let mut first = false;
    for id in ids {
        let reply = match answer.clone() {
            Ok(ok) => Reply::Ok { id, ok },
            Err(error) => Reply::Error { id: Some(id), error },
        };
        first |= session.answered(write::json(&reply));
    }
    first.then_some(session)
}

fn is_stale(decision: &Decision) -> bool {
    matches!(decision, Decision::Rejected(rejection) if rejection.error_code() == ErrorCode::StaleEvidence)
}

fn answer_of(placed: &Placed) -> Result<Answer, ErrorBody> {
    match &placed.outcome.received {
        Received::Command(command) => answer(command, &placed.outcome.decision, placed.stored_ms, placed.position),
        Received::Undecodable(_) => Err(ErrorBody::of(ErrorCode::Undecodable)),
    }
}
