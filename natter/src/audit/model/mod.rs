//! `natter audit --model`: what readers must see, by a second fold that shares nothing with the projections (`fold.rs`),
//! beside what they see: Redis by the very reads that gateways use (`redis.rs`), the history by its tables (`history.rs`).
//!
//! The rest of the audit folds the log as the projectors do, so it cannot see that they fold it wrongly. A sample of
//! conversations and users bounds time and memory: the model keeps some 100 bytes a message of the sample.

mod fold;
mod history;
mod redis;

use std::fmt;

use natter_nats::Log;
use natter_projections::clickhouse::ClickHouse;
use natter_projections::redis::Redis;
use natter_projections::watermark::Watermark;
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::position::Position;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::fold::Model;
use super::forward::Forward;
use super::report::{Differences, Kind, Store};

/// A store went back to an earlier position in the middle of so many looks: something is wrong with it.
const TRIES_MAX: usize = 3;

/// Which conversations and users are looked at: those whose hash says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sampling {
    /// Another seed takes others.
    pub seed: u64,
    /// One of so many; 1: all.
    pub one_of: u64,
}

impl Sampling {
    fn takes(self, hash: u64) -> bool {
        self.one_of < 2 || hash.is_multiple_of(self.one_of)
    }

    fn takes_conversation(self, conversation: ConversationId) -> bool {
        self.takes(xxh3_64_with_seed(&conversation.get().to_le_bytes(), self.seed))
    }

    fn takes_user(self, tenant: &Tenant, user: &UserId) -> bool {
        self.takes(xxh3_64_with_seed(format!("{tenant}\n{user}").as_bytes(), self.seed))
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Modelled {
    /// Conversations of the sample.
    pub conversations: u64,
    /// Their messages.
    pub messages: u64,
    /// Users of the sample, in each partition where they are in a conversation.
    pub users: u64,
}

impl Modelled {
    /// Both together.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            conversations: self.conversations + other.conversations,
            messages: self.messages + other.messages,
            users: self.users + other.users,
        }
    }
}

impl fmt::Display for Modelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversations, messages, users } = self;
        write!(formatter, "{conversations} conversations with {messages} messages, {users} users")
    }
}

/// The stores that are compared with a model.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) redis: Option<&'a Redis>,
    pub(super) history: Option<&'a ClickHouse>,
}

/// Compares what a partition's readers see with what they must see.
pub(super) async fn compare(
    log: &Log,
    partition: u16,
    stores: Stores<'_>,
    sampling: Sampling,
    found: &mut Differences,
) -> anyhow::Result<Modelled> {
    let mut modelled = Modelled::default();
    if let Some(history) = stores.history {
        let mut folded = Folded::new(log, partition, sampling);
        history::compare(&mut folded, history, found).await?;
        modelled = folded.modelled();
    }
    let Some(redis) = stores.redis else { return Ok(modelled) };
    for _ in 0..TRIES_MAX {
        // From the begin each time: the model cannot go back.
        let mut folded = Folded::new(log, partition, sampling);
        let mut seen = Differences::of(Some(partition), found.kept_max());
        if redis::compare(&mut folded, redis, &mut seen).await?.is_ok() {
            found.extend(seen);
            return Ok(folded.modelled());
        }
    }
    anyhow::bail!("redis fell back to an earlier position {TRIES_MAX} times while it was looked at")
}

/// The store went back to an earlier position.
struct FellBack;

/// A model that goes on with the store that it is compared with.
struct Folded {
    model: Model,
    partition: u16,
    forward: Forward,
}

impl Folded {
    fn new(log: &Log, partition: u16, sampling: Sampling) -> Self {
        Self { model: Model::new(sampling), partition, forward: Forward::new(log, partition) }
    }

    /// Folds the log up to what a store's answer shows.
    async fn reach(&mut self, watermark: &Watermark) -> anyhow::Result<Result<(), FellBack>> {
        if watermark.sequence < self.model.position || !watermark.is_of(self.forward.log().id()) {
            return Ok(Err(FellBack));
        }
        self.fold_to(watermark.sequence).await?;
        Ok(Ok(()))
    }

    async fn fold_to(&mut self, sequence: u64) -> anyhow::Result<()> {
        let model = &mut self.model;
        self.forward
            .fold(model.position, sequence, |stored, _, outcomes| {
                for placed in outcomes {
                    model.outcome(placed.position, placed.stored_ms, placed.log_ms, &placed.outcome);
                }
                model.position = stored.sequence;
                Ok(())
            })
            .await
    }

    /// Where something stands that the model has from `version`.
    fn at(&self, version: u64) -> Position {
        Position::from_version(self.partition, version)
    }

    fn modelled(&self) -> Modelled {
        Modelled {
            conversations: self.model.rooms.len() as u64,
            messages: self.model.rooms.values().map(|room| room.messages.len() as u64).sum(),
            users: self.model.users.len() as u64,
        }
    }
}

/// Differences of one thing, such as a conversation in a store.
struct Things<'a> {
    store: Store,
    place: String,
    at: Position,
    found: &'a mut Differences,
}

impl Things<'_> {
    fn differs(&mut self, kind: Kind, what: &str, detail: impl fmt::Display) {
        let Self { store, place, at, .. } = self;
        let place = if what.is_empty() { place.clone() } else { format!("{place} {what}") };
        self.found.add(*store, kind, place, format!("{detail} (by the second fold at {at})"));
    }

    /// Whether both are the same; notes it where not.
    fn compare<T: PartialEq + fmt::Debug>(&mut self, what: &str, there: &T, due: &T) -> bool {
        if there != due {
            self.differs(Kind::Altered, what, format_args!("it is {there:?}, {due:?} is due"));
        }
        there == due
    }
}
