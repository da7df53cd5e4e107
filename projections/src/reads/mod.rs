//! What clients read: the hot view first, the history behind it, the log for what lies between, one answer.

mod access;
mod conversations;
mod events;
mod messages;
mod refs;
mod tail;
mod then;

use std::sync::Arc;

use natter_nats::Log;
use natter_schemas::error::ErrorCode;
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;
use natter_schemas::wire::server::ErrorBody;

use self::tail::Tails;
pub use self::then::AsOf;
use crate::clickhouse::ClickHouse;
use crate::error::ViewError;
use crate::redis::Waiting;

/// Which messages of a conversation are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRange {
    /// The last ones.
    Newest,
    /// Those below this seq.
    Before(u64),
    /// Those above this seq.
    After(u64),
    /// Those on both sides of this seq.
    Around(u64),
    /// Those on both sides of this message.
    AroundMessage(MessageId),
}

/// The conversations of users in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memberships {
    /// What it shows.
    pub position: Position,
    /// The ids: a list for each user, in the order in which they were asked for.
    pub conversations: Vec<Vec<ConversationId>>,
}

/// Who reads, and what the answer must show.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The application.
    pub tenant: &'a Tenant,
    /// The user.
    pub user: &'a UserId,
    /// What the reader has seen: of each partition that an answer is read from, at least this.
    pub min: &'a [Position],
}

impl Asking<'_> {
    /// The sequence that a read of `partition` must show.
    fn least(&self, partition: u16) -> u64 {
        least(self.min, partition)
    }
}

/// The sequence of `partition` that a read must show where it is to show all of `min`.
fn least(min: &[Position], partition: u16) -> u64 {
    let of_partition = min.iter().filter(|position| position.partition == partition);
    of_partition.map(|position| position.sequence).max().unwrap_or(0)
}

/// Every read of the HTTP interface. Cheap to clone. All reads take the lowest positions that they must show (wait at
/// most a second for them, then `behind`) and say what they show.
#[derive(Clone)]
pub struct Reads {
    log: Log,
    redis: Waiting,
    partitions: u16,
    tails: Arc<Tails>,
}

impl Reads {
    /// Reads from these.
    pub fn new(log: Log, redis: Waiting, history: ClickHouse) -> Self {
        let partitions = log.partitions();
        let tails = Arc::new(Tails::new(log.clone(), history));
        Self { log, redis, partitions, tails }
    }
}

/// What a view's error is to a client.
pub fn error_body(error: &ViewError) -> ErrorBody {
    match error {
        ViewError::Behind { reached } => {
            ErrorBody::new(ErrorCode::Behind, format!("the view has reached {reached}")).retry_after(200)
        }
        ViewError::Transient(reason) => {
            tracing::warn!(%reason, "a read failed");
            ErrorBody::of(ErrorCode::Unavailable)
        }
        ViewError::Corrupt(reason) | ViewError::Mismatch(reason) => {
            tracing::error!(%reason, "a read failed");
            ErrorBody::of(ErrorCode::Internal)
        }
    }
}

/// A message as `reader` sees it: the `ref` is its sender's own.
fn as_seen_by(reader: &UserId, mut message: Message) -> Message {
    if message.sender != *reader {
        message.reference = None;
    }
    message
}
