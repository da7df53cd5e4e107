//! What each view holds of an outcome. A view that cannot be asked is a state, not an error: the log has answered already.

use std::time::Duration;

use natter_nats::LogId;
use natter_projections::clickhouse::{StoredOutcome, watermark};
use natter_projections::facts::{Fact, FactKey, load};
use natter_projections::redis::messages::hot;
use natter_projections::watermark::Watermark;
use natter_schemas::event::{Event, Placed};
use natter_schemas::outcome::{Accepted, Decision};
use natter_schemas::wire::reads::Message;
use serde::Serialize;
use tokio::time::timeout;

use crate::config::Config;
use crate::connect;

/// A store that has not answered by then is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How a view stands to an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does not answer.
    Away,
    /// It is of another log.
    Foreign,
    /// It is not so far.
    Behind,
    /// It holds what the log says.
    Holds,
    /// Of Redis: the message is not among its conversation's newest any more, and lies in the history.
    Cold,
    /// It is further, and does not hold it.
    Missing,
    /// It holds something else: `natter audit` says more.
    Differs,
    /// Nothing was looked for, because the outcome is no accepted message.
    NotLookedFor,
}

/// What the Redis views hold of a message.
#[derive(Debug, Serialize)]
pub struct RedisView {
    /// How they stand.
    pub state: State,
    /// Why, where that is to be said.
    pub reason: Option<String>,
    /// The last sequence of `EVT_p` that they show.
    pub watermark: Option<u64>,
    /// The conversation's head: its last message's seq.
    pub head: Option<u64>,
    /// The lowest seq of the conversation that is hot.
    pub first_hot_seq: Option<u64>,
    /// The message in the conversation's list.
    pub message: Option<Message>,
    /// Whether the sender's `ref` is among those that are remembered; `None`: this command leaves none.
    pub ref_remembered: Option<bool>,
}

/// What the history holds of an outcome.
#[derive(Debug, Serialize)]
pub struct HistoryView {
    /// How it stands.
    pub state: State,
    /// Why, where that is to be said.
    pub reason: Option<String>,
    /// The last sequence of `EVT_p` up to which everything is there.
    pub watermark: Option<u64>,
    /// The row in `events`.
    pub event: Option<StoredOutcome>,
    /// The row in `messages`.
    pub message: Option<Message>,
}

impl RedisView {
    const fn of(state: State, reason: Option<String>) -> Self {
        let (watermark, head, first_hot_seq, message, ref_remembered) = (None, None, None, None, None);
        Self { state, reason, watermark, head, first_hot_seq, message, ref_remembered }
    }
}

impl HistoryView {
    const fn of(state: State, reason: Option<String>) -> Self {
        Self { state, reason, watermark: None, event: None, message: None }
    }
}

/// Gives up in time.
async fn answer<T>(asked: impl Future<Output = anyhow::Result<T>>) -> Result<T, Option<String>> {
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer.map_err(|error| Some(format!("{error:#}"))),
        Err(_) => Err(Some(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

pub(super) async fn redis(config: &Config, log: &LogId, placed: &Placed) -> RedisView {
    let Some(event) = placed.event().filter(|event| matches!(event.accepted, Accepted::Sent { .. })) else {
        return RedisView::of(State::NotLookedFor, None);
    };
    match answer(ask_redis(config, log, &event)).await {
        Ok(view) => view,
        Err(reason) => RedisView::of(State::Away, reason),
    }
}

async fn ask_redis(config: &Config, log: &LogId, event: &Event<'_>) -> anyhow::Result<RedisView> {
    let Accepted::Sent { conversation, seq, .. } = event.accepted else {
        return Ok(RedisView::of(State::NotLookedFor, None));
    };
    let (partition, command) = (event.position.partition, event.command);
    let redis = connect::redis(config).await?;
    let found = hot(&redis, partition, *conversation, *seq..=*seq, &command.sender).await?;
    if !found.watermark.is_of(log) {
        return Ok(RedisView::of(State::Foreign, Some(strange(&found.watermark, log))));
    }
    let ref_remembered = match event.left_ref() {
        None => None,
        Some((scope, reference)) => {
            let key = FactKey::Refs(command.tenant.clone(), command.sender.clone(), scope);
            let place = (event.position.sequence, event.position.index.unwrap_or(0));
            let facts = load(&redis, partition, &[key]).await?;
            Some(facts.values.iter().flatten().any(|fact| match fact {
                Fact::Refs(refs) => refs.iter().any(|entry| {
                    entry.reference == *reference && (entry.answered.sequence, entry.answered.index) == place
                }),
                _ => false,
            }))
        }
    };
    let message = found.messages.into_iter().next();
    let state = match &message {
        Some(message) => holds(message, event),
        None if found.watermark.sequence < event.position.sequence => State::Behind,
        None if *seq < found.first_hot_seq => State::Cold,
        None => State::Missing,
    };
    Ok(RedisView {
        state,
        reason: None,
        watermark: Some(found.watermark.sequence),
        head: Some(found.last_seq),
        first_hot_seq: Some(found.first_hot_seq),
        message,
        ref_remembered,
    })
}

pub(super) async fn clickhouse(config: &Config, log: &LogId, placed: &Placed) -> HistoryView {
    match answer(ask_clickhouse(config, log, placed)).await {
        Ok(view) => view,
        Err(reason) => HistoryView::of(State::Away, reason),
    }
}

async fn ask_clickhouse(config: &Config, log: &LogId, placed: &Placed) -> anyhow::Result<HistoryView> {
    let clickhouse = connect::clickhouse(config)?.live().await?;
    let position = placed.position;
    let reached = watermark(&clickhouse, position.partition, 0).await?;
    if !reached.is_of(log) {
        return Ok(HistoryView::of(State::Foreign, Some(strange(&reached, log))));
    }
    let conversation = match &placed.outcome.decision {
        Decision::Accepted(accepted) => accepted.conversation(),
        Decision::Rejected(_) => None,
    };
    let event = clickhouse.outcome(position, conversation).await?;
    let sent = placed.event().filter(|event| matches!(event.accepted, Accepted::Sent { .. }));
    let message = match sent.as_ref().map(|event| (event, event.accepted)) {
        Some((event, Accepted::Sent { conversation, seq, .. })) => {
            let rows = clickhouse.messages(&event.command.tenant, *conversation, *seq, *seq).await?;
            rows.into_iter().next()
        }
        _ => None,
    };
    let is_there = event.is_some() && (sent.is_none() || message.is_some());
    let state = match (&sent, &message) {
        (Some(event), Some(message)) if is_there => holds(message, event),
        _ if is_there => State::Holds,
        // Rows above the watermark may be there already, some or all.
        _ if reached.sequence < position.sequence => State::Behind,
        _ => State::Missing,
    };
    Ok(HistoryView { state, reason: None, watermark: Some(reached.sequence), event, message })
}

/// Whether a view's message is what the event says that everybody sees.
fn holds(message: &Message, event: &Event<'_>) -> State {
    let same = Some(message.text.as_str()) == event.visible_text()
        && message.position == event.position
        && message.sender == event.command.sender
        && message.at == event.at_ms()
        && matches!(event.accepted, Accepted::Sent { message: id, .. } if *id == message.message);
    if same { State::Holds } else { State::Differs }
}

fn strange(found: &Watermark, log: &LogId) -> String {
    format!("it stands at {found}, but this is log {log}")
}
