//! From a client's command to the log, and from its outcome to the answer.

use std::sync::Arc;

use natter_nats::{Answer as Outcome, Full, Overloaded, Publisher, Waiter};
use natter_schemas::codec;
use natter_schemas::command::{Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::Placed;
use natter_schemas::names::Ref;
use natter_schemas::outcome::Received;
use natter_schemas::wire::client::ClientCommand;
use natter_schemas::wire::server::{Answer, ErrorBody, Reply, answer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::auth::Identity;
use crate::frames::write;
use crate::handle::SessionHandle;
use crate::load::{Load, OnItsWay};
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
    })
}

/// Sends commands on their way.
#[derive(Debug, Clone)]
pub struct Commands {
    publisher: Publisher<Waiting>,
    partitions: u16,
    stopped: StoppedPartitions,
    meters: Arc<Meters>,
}

impl Commands {
    /// By way of `publisher`, over so many partitions.
    pub const fn new(
        publisher: Publisher<Waiting>,
        partitions: u16,
        stopped: StoppedPartitions,
        meters: Arc<Meters>,
    ) -> Self {
        Self { publisher, partitions, stopped, meters }
    }

    /// Sends a session's command; the answer goes to its requests `ids`. They are counted as unanswered by the caller
    /// before.
    pub fn submit(&self, session: &Arc<SessionHandle>, ids: Vec<String>, command: &Command) {
        let to = To::Session(Arc::clone(session), ids.clone());
        if let Err(error) = self.send(command, to, &session.load) {
            count_rejected(error.code, ids.len());
            for id in ids {
                // Written by the session's own task, which is what submits.
                session.answered(write::json(&Reply::Error { id: Some(id), error: error.clone() }));
            }
        }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The refusal or the rejection.
    pub async fn ask(&self, command: &Command, load: &Load) -> Result<Answer, ErrorBody> {
        let (to, answer) = oneshot::channel();
        match self.send(command, To::Request(to), load) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(ErrorBody::of(ErrorCode::OutcomeUnknown))),
            Err(error) => {
                count_rejected(error.code, 1);
                Err(error)
            }
        }
    }

    fn send(&self, command: &Command, to: To, load: &Load) -> Result<(), ErrorBody> {
        let slot = command.slot().ok_or_else(|| ErrorBody::of(ErrorCode::Forbidden))?;
        let partition = slot.partition(self.partitions);
        self.stopped.admit(partition)?;
        let too_many = || ErrorBody::new(ErrorCode::Overloaded, "too many commands of this tenant are unanswered");
        let counted = load.add().ok_or_else(too_many)?;
        let waiting = Waiting { to, since: Instant::now(), meters: Arc::clone(&self.meters), _counted: counted };
        self.publisher.send(partition, &codec::encode(command), waiting).map_err(refused)
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
    _counted: OnItsWay,
}

#[derive(Debug)]
enum To {
    /// Requests of a session: more than one where a cursor superseded others.
    Session(Arc<SessionHandle>, Vec<String>),
    /// One HTTP request.
    Request(oneshot::Sender<Result<Answer, ErrorBody>>),
}

impl Waiting {
    /// Answers a request, or queues the answer for a session, which is given back where the answer is to be written
    /// ([`Outbox::queue`](crate::outbox::Outbox::queue)).
    pub fn told(self, outcome: Outcome) -> Option<Arc<SessionHandle>> {
        let answer = match outcome {
            Outcome::Outcome(placed) => answer_of(&placed),
            Outcome::Unsent => Err(ErrorBody::new(ErrorCode::Unavailable, "the log is away; nothing was stored")),
            Outcome::Unknown => Err(ErrorBody::of(ErrorCode::OutcomeUnknown)),
        };
        self.meters.answer.record(self.since.elapsed());
        let count = match &self.to {
            To::Session(_, ids) => ids.len(),
            To::Request(_) => 1,
        };
        match &answer {
            Ok(_) => self.meters.accepted.increment(count as u64),
            Err(error) => count_rejected(error.code, count),
        }
        self.to.told(answer)
    }
}

impl Waiter for Waiting {
    fn answer(self, outcome: Outcome) {
        if let Some(session) = self.told(outcome) {
            session.flush();
        }
    }
}

impl To {
    fn told(self, answer: Result<Answer, ErrorBody>) -> Option<Arc<SessionHandle>> {
        match self {
            Self::Session(session, ids) => {
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
            Self::Request(to) => {
                // Who no longer listens has gone away.
                to.send(answer).ok();
                None
            }
        }
    }
}

fn answer_of(placed: &Placed) -> Result<Answer, ErrorBody> {
    match &placed.outcome.received {
        Received::Command(command) => answer(command, &placed.outcome.decision, placed.stored_ms, placed.position),
        Received::Undecodable(_) => Err(ErrorBody::of(ErrorCode::Undecodable)),
    }
}
