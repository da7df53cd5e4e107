//! Conversations: what they are, how far they are, and when something last happened in them.
//!
//! ```text
//! c:<conversation>   hash   f: what never changes, n: name, h: seq of the last message, m: members,
//!                           v: version of the last event, a: active at (Unix ms, log time), r: last run of imported lines
//! ```

use std::collections::HashMap;

use natter_schemas::codec;
use natter_schemas::command::Body;
use natter_schemas::event::Event;
use natter_schemas::id::ConversationId;
use natter_schemas::names::DisplayName;
use natter_schemas::position::Position;

use super::operation::{Fields, Operation};
use super::query::{Answers, Query, number};
use crate::error::ViewError;
use crate::facts::{ConversationFact, RunFact};

pub(crate) const FACT: &str = "f";
pub(crate) const HEAD: &str = "h";
pub(crate) const MEMBER_COUNT: &str = "m";
const NAME: &str = "n";
pub(crate) const VERSION: &str = "v";
const ACTIVE_AT: &str = "a";
pub(crate) const RUN: &str = "r";

/// What a [`Row`] is read from, in this order; `inbox.lua` names the same.
pub(crate) const FIELDS: [&str; 6] = [FACT, NAME, HEAD, MEMBER_COUNT, VERSION, ACTIVE_AT];

/// The conversation's hash.
pub(crate) fn key(conversation: ConversationId) -> String {
    format!("c:{conversation}")
}

/// What a step changes about conversations.
#[derive(Debug, Default)]
pub(crate) struct Fold(HashMap<ConversationId, Changed>);

#[derive(Debug, Default)]
struct Changed {
    fact: Option<Vec<u8>>,
    name: Option<DisplayName>,
    head: Option<u64>,
    member_count: Option<u32>,
    version: Option<u64>,
    active_at_ms: Option<u64>,
    run: Option<RunFact>,
}

impl Fold {
    /// Takes in that something happened in a conversation, and its name.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        let Some(conversation) = event.accepted.conversation() else { return };
        let changed = self.0.entry(conversation).or_default();
        changed.version = Some(event.position.version());
        changed.active_at_ms = event.active_at_ms().or(changed.active_at_ms);
        match &event.command.body {
            Body::CreateGroup { name: Some(name), .. } | Body::Rename { name, .. } => changed.name = Some(name.clone()),
            _ => {}
        }
    }

    pub(crate) fn fact(&mut self, conversation: ConversationId, fact: &ConversationFact) {
        self.0.entry(conversation).or_default().fact = Some(codec::encode(fact));
    }

    pub(crate) fn head(&mut self, conversation: ConversationId, seq: u64) {
        self.0.entry(conversation).or_default().head = Some(seq);
    }

    pub(crate) fn run(&mut self, conversation: ConversationId, run: RunFact) {
        self.0.entry(conversation).or_default().run = Some(run);
    }

    pub(crate) fn member_count(&mut self, conversation: ConversationId, count: u32) {
        self.0.entry(conversation).or_default().member_count = Some(count);
    }

    pub(crate) fn operations(self, operations: &mut Vec<Operation>) {
        operations
            .extend(self.0.into_iter().map(|(id, changed)| Operation::Set { key: key(id), fields: changed.fields() }));
    }
}

impl Changed {
    fn fields(self) -> Fields {
        let decimal = |number: u64| number.to_string().into_bytes();
        let fields = [
            (FACT, self.fact),
            (NAME, self.name.map(|name| name.as_str().as_bytes().to_vec())),
            (HEAD, self.head.map(decimal)),
            (MEMBER_COUNT, self.member_count.map(|count| decimal(count.into()))),
            (VERSION, self.version.map(decimal)),
            (ACTIVE_AT, self.active_at_ms.map(decimal)),
            (RUN, self.run.map(|run| codec::encode(&run))),
        ];
        fields.into_iter().filter_map(|(field, value)| Some((field.as_bytes().to_vec(), value?))).collect()
    }
}

/// A conversation as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub conversation: ConversationId,
    /// What never changes about it.
    pub fact: ConversationFact,
    /// Its name.
    pub name: Option<DisplayName>,
    /// Seq of its last message; 0: none.
    pub last_seq: u64,
    /// Members now.
    pub member_count: u32,
    /// Position of its last event.
    pub version: Position,
    /// When something last happened in it that counts for the order of lists ([`Event::active_at_ms`]), in Unix milliseconds.
    pub active_at_ms: u64,
}

/// Asks for a [`Row`].
pub(crate) fn ask(query: &mut Query, conversation: ConversationId) {
    query.fields(&key(conversation), FIELDS.iter());
}

/// The [`Row`] that was asked for; `None`: there is no such conversation.
pub(crate) fn row(
    partition: u16,
    conversation: ConversationId,
    answers: &mut Answers,
) -> Result<Option<Row>, ViewError> {
    let (fact, name) = (answers.bytes()?, answers.text()?);
    let (last_seq, member_count) = (answers.number()?.unwrap_or(0), answers.bytes()?);
    let (version, active_at_ms) = (answers.number()?.unwrap_or(0), answers.number()?.unwrap_or(0));
    let Some(fact) = fact else { return Ok(None) };
    Ok(Some(Row {
        conversation,
        fact: codec::decode("a conversation in redis", &fact)?,
        name: name.map(|name| DisplayName::trusted(&name)),
        last_seq,
        member_count: member_count.map_or(Ok(0), |count| number(&count))?,
        version: Position::from_version(partition, version),
        active_at_ms,
    }))
}
