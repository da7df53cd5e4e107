//! The direct chats that records go to, and the records.

use std::sync::Arc;

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use natter_nats::clock::{Clock as _, SystemClock};
use natter_nats::{Answer, LiveFeed, LiveItem, LiveStart, Log, Publisher};
use natter_schemas::codec::{self, OutcomeBatch};
use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::id::ConversationId;
use natter_schemas::limits::SLOTS;
use natter_schemas::names::{MessageText, Ref, Tenant, UserId};
use natter_schemas::outcome::Decision;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Live batches that wait to be looked at.
const ITEMS_MAX: usize = 64;

/// Direct chats of two users each.
#[derive(Debug, Clone)]
pub struct Chats {
    tenant: Tenant,
    chats: Arc<[Chat]>,
}

#[derive(Debug)]
struct Chat {
    users: [UserId; 2],
    conversation: ConversationId,
}

impl Chats {
    /// Chats that were never made, all over the partitions: nobody decides anything about them.
    pub fn invented(count: u32) -> Self {
        let chat = |index: u32| {
            let slot = u64::from(index) % u64::from(SLOTS);
            // The slot stands above the 12 bits of the counter.
            Chat { users: users(index), conversation: ConversationId::from_raw(1 << 60 | slot << 12) }
        };
        Self { tenant: tenant(), chats: (0..count).map(chat).collect() }
    }

    /// Makes chats by commands, as clients would.
    ///
    /// # Errors
    /// The log is away, or one is refused.
    pub async fn made(log: &Log, count: u32) -> anyhow::Result<Self> {
        let publisher = Publisher::<oneshot::Sender<Answer>>::start(log)?;
        let mut answering = JoinSet::new();
        let mut feeds = Vec::new();
        for partition in 0..log.partitions() {
            let (into, items) = mpsc::channel(ITEMS_MAX);
            feeds.push(LiveFeed::open(log, partition, LiveStart::Tail, Arc::new(|_| true), into).await?);
            answering.spawn(answer(publisher.clone(), items));
        }
        let tenant = tenant();
        let make = async |index| {
            let [one, other] = users(index);
            let command = Command {
                tenant: tenant.clone(),
                sender: one.clone(),
                session: 1,
                received_ms: SystemClock.now_ms(),
                reference: Ref::trusted("make"),
                origin: Origin::Client,
                body: Body::CreateDirect { peer: other.clone() },
                evidence: Vec::new(),
            };
            let partition = command.slot().context("a chat has a slot")?.partition(log.partitions());
            let (waiter, answered) = oneshot::channel();
            publisher.send(partition, &codec::encode(&command), waiter)?;
            let Answer::Outcome(placed) = answered.await? else { bail!("no outcome in time") };
            let Decision::Accepted(accepted) = placed.outcome.decision else {
                bail!("refused: {:?}", placed.outcome.decision)
            };
            let conversation = accepted.conversation().context("a conversation")?;
            Ok(Chat { users: [one, other], conversation })
        };
        let chats = try_join_all((0..count).map(make)).await.context("cannot make the chats")?;
        Ok(Self { tenant: tenant.clone(), chats: chats.into() })
    }

    /// A message, encoded, and its partition. `number` names it among all of this log.
    pub fn record(&self, number: u64, text: &MessageText, partitions: u16) -> (u16, Vec<u8>) {
        let count = self.chats.len() as u64;
        let chat = &self.chats[usize::try_from(number % count).unwrap_or(0)];
        // Both write, each in every other round.
        let sender = &chat.users[usize::from(!(number / count).is_multiple_of(2))];
        let encoded = codec::encode(&Command {
            tenant: self.tenant.clone(),
            sender: sender.clone(),
            session: 1,
            received_ms: SystemClock.now_ms(),
            reference: Ref::trusted(&number.to_string()),
            origin: Origin::Client,
            body: Body::Send { conversation: Address::Id(chat.conversation), text: text.clone() },
            evidence: Vec::new(),
        });
        (chat.conversation.slot().partition(partitions), encoded)
    }
}

fn tenant() -> Tenant {
    Tenant::trusted("bench")
}

fn users(index: u32) -> [UserId; 2] {
    ["a", "b"].map(|side| UserId::trusted(&format!("bench-{index}-{side}")))
}

async fn answer(publisher: Publisher<oneshot::Sender<Answer>>, mut items: mpsc::Receiver<LiveItem>) {
    while let Some(item) = items.recv().await {
        if let LiveItem::Batch(live) = item
            && let Ok(batch) = OutcomeBatch::decode(&live.payload)
            // Who waits for one that cannot be decoded is told.
            && let Err(error) = publisher.outcomes_seen(live.partition, live.sequence, &batch)
        {
            tracing::warn!(%error, "an outcome cannot be decoded");
        }
    }
}
