//! Outcome batches into rows. Within a group only the newest row of each key is kept where rows replace each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use natter_nats::LogId;
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::command::{Body, Command, Kind, Origin, Visibility};
use natter_schemas::event::{Event, Placed, content_hash, placed};
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Decision, Received};
use natter_schemas::position::Position;
use natter_schemas::wire::server::EventFrame;

use super::rows::{BATCH_INDEX, ConversationRow, EventRow, MemberRow, MessageRow, UserRow, WatermarkRow};
use crate::error::ViewError;
use crate::facts::Role;

/// Raised with every change of what rows a batch comes to. A generation remembers the version that filled it, and one of
/// another version is to be built anew (`natter rebuild clickhouse`).
pub const FOLD_VERSION: u32 = 3;

/// The rows of a group of batches.
#[derive(Debug, Default)]
pub struct Rows {
    /// Every outcome.
    pub events: Vec<EventRow>,
    /// Every batch's own row.
    pub batches: Vec<EventRow>,
    /// Every message.
    pub messages: Vec<MessageRow>,
    /// The newest row of each aspect.
    pub conversations: HashMap<(u64, &'static str), ConversationRow>,
    /// The newest row of each aspect.
    pub members: HashMap<(u64, String, &'static str), MemberRow>,
    /// The newest row of each user.
    pub users: HashMap<(String, String), UserRow>,
    /// How far each partition is with these rows.
    pub watermarks: HashMap<u16, WatermarkRow>,
}

/// The columns are `DateTime64(3)`.
fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

/// Keeps the newest row of a key: two groups of a partition may come in any order, from two projectors.
fn newest<K: Eq + Hash, R>(rows: &mut HashMap<K, R>, key: K, row: R, version: impl Fn(&R) -> u64) {
    match rows.entry(key) {
        Entry::Occupied(mut known) if version(known.get()) <= version(&row) => drop(known.insert(row)),
        Entry::Occupied(_) => {}
        Entry::Vacant(free) => drop(free.insert(row)),
    }
}

impl Rows {
    /// Rows in all tables.
    pub fn len(&self) -> usize {
        let current = self.conversations.len() + self.members.len() + self.users.len();
        self.events.len() + self.batches.len() + self.messages.len() + current
    }

    /// Folds the batch at `sequence` of `EVT_partition` in.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn fold(&mut self, log: &LogId, partition: u16, sequence: u64, bytes: &[u8]) -> Result<(), ViewError> {
        let outcomes = placed(partition, sequence, bytes)?;
        self.fold_placed(log, Position::batch(partition, sequence), bytes, &outcomes)
    }

    /// As [`Rows::fold`], where the batch's outcomes are decoded already.
    ///
    /// # Errors
    /// The batch's header cannot be decoded.
    pub fn fold_placed(
        &mut self,
        log: &LogId,
        batch: Position,
        bytes: &[u8],
        outcomes: &[Placed],
    ) -> Result<(), ViewError> {
        let log = log.to_string();
        self.batches.push(batch_row(&log, batch.partition, batch.sequence, bytes)?);
        for outcome in outcomes {
            self.events.push(outcome_row(&log, outcome));
            if let Some(event) = outcome.event() {
                self.fold_event(&event);
            }
        }
        Ok(())
    }

    fn fold_event(&mut self, event: &Event<'_>) {
        let command = event.command;
        match event.accepted {
            Accepted::Created { conversation, members } => self.created(event, *conversation, members),
            Accepted::Added { conversation, members, seq, member_count } => {
                for user in members {
                    self.entered(event, *conversation, user, Role::Member, *seq);
                }
                self.aspect(event, *conversation, "members", |row| row.value = u64::from(*member_count));
            }
            Accepted::Joined { conversation, seq, member_count } => {
                self.entered(event, *conversation, &command.sender, Role::Member, *seq);
                self.aspect(event, *conversation, "members", |row| row.value = u64::from(*member_count));
            }
            Accepted::Left { conversation, member_count } => {
                self.member(event, *conversation, &command.sender, "membership", |row| row.present = false);
                self.aspect(event, *conversation, "members", |row| row.value = u64::from(*member_count));
            }
            Accepted::Renamed { conversation } => self.name(event, *conversation),
            Accepted::Read { conversation, seq, .. } => self.cursor(event, *conversation, &command.sender, *seq),
            Accepted::Sent { conversation, message, seq, replacement, run, .. } => {
                self.sent(event, *conversation, *message, *seq, replacement.is_some());
                if run.is_none() {
                    self.cursor(event, *conversation, &command.sender, *seq);
                }
            }
            Accepted::UserUpdated => self.user(event),
            _ => {}
        }
    }

    fn created(&mut self, event: &Event<'_>, conversation: ConversationId, members: &[UserId]) {
        let (kind, visibility, external) = match &event.command.body {
            Body::CreateGroup { visibility, external, .. } => (Kind::Group, *visibility, external.as_ref()),
            _ => (Kind::Direct, Visibility::Private, None),
        };
        let creator = &event.command.sender;
        self.aspect(event, conversation, "created", |row| {
            row.kind = word(kind);
            row.visibility = word(visibility);
            row.external = external.map_or(String::new(), ToString::to_string);
            row.creator = creator.to_string();
        });
        self.name(event, conversation);
        self.aspect(event, conversation, "members", |row| row.value = members.len() as u64 + 1);
        self.entered(event, conversation, creator, Role::Owner, 0);
        for user in members {
            self.entered(event, conversation, user, Role::Member, 0);
        }
    }

    fn name(&mut self, event: &Event<'_>, conversation: ConversationId) {
        if let Body::Rename { name, .. } | Body::CreateGroup { name: Some(name), .. } = &event.command.body {
            self.aspect(event, conversation, "name", |row| row.name = name.to_string());
        }
    }

    fn entered(&mut self, event: &Event<'_>, conversation: ConversationId, user: &UserId, role: Role, seq: u64) {
        self.member(event, conversation, user, "membership", |row| {
            row.present = true;
            role.name().clone_into(&mut row.role);
        });
        self.cursor(event, conversation, user, seq);
    }

    fn cursor(&mut self, event: &Event<'_>, conversation: ConversationId, user: &UserId, seq: u64) {
        self.member(event, conversation, user, "cursor", |row| row.read_seq = seq);
    }

    fn sent(&mut self, event: &Event<'_>, conversation: ConversationId, message: MessageId, seq: u64, masked: bool) {
        let command = event.command;
        self.messages.push(MessageRow {
            tenant: command.tenant.to_string(),
            conversation: conversation.get(),
            seq,
            message: message.get(),
            sender: command.sender.to_string(),
            at: milliseconds(event.at_ms()),
            stored_at: milliseconds(event.stored_ms),
            log_at: milliseconds(event.log_ms),
            text: event.visible_text().unwrap_or_default().to_owned(),
            masked,
            reference: command.reference.to_string(),
            partition: event.position.partition,
            version: event.position.version(),
        });
        self.aspect(event, conversation, "head", |row| row.value = seq);
    }

    fn user(&mut self, event: &Event<'_>) {
        let command = event.command;
        let Body::UpdateUser { name } = &command.body else { return };
        let row = UserRow {
            tenant: command.tenant.to_string(),
            user: command.sender.to_string(),
            name: name.to_string(),
            at: milliseconds(event.at_ms()),
            partition: event.position.partition,
            version: event.position.version(),
        };
        newest(&mut self.users, (row.tenant.clone(), row.user.clone()), row, |row| row.version);
    }

    fn aspect(
        &mut self,
        event: &Event<'_>,
        conversation: ConversationId,
        aspect: &'static str,
        fill: impl FnOnce(&mut ConversationRow),
    ) {
        let mut row = ConversationRow {
            tenant: event.command.tenant.to_string(),
            conversation: conversation.get(),
            aspect: aspect.to_owned(),
            kind: String::new(),
            visibility: String::new(),
            external: String::new(),
            creator: String::new(),
            name: String::new(),
            value: 0,
            at: milliseconds(event.at_ms()),
            partition: event.position.partition,
            version: event.position.version(),
        };
        fill(&mut row);
        newest(&mut self.conversations, (conversation.get(), aspect), row, |row| row.version);
    }

    fn member(
        &mut self,
        event: &Event<'_>,
        conversation: ConversationId,
        user: &UserId,
        aspect: &'static str,
        fill: impl FnOnce(&mut MemberRow),
    ) {
        let mut row = MemberRow {
            tenant: event.command.tenant.to_string(),
            conversation: conversation.get(),
            user: user.to_string(),
            aspect: aspect.to_owned(),
            present: false,
            role: String::new(),
            read_seq: 0,
            at: milliseconds(event.at_ms()),
            partition: event.position.partition,
            version: event.position.version(),
        };
        fill(&mut row);
        newest(&mut self.members, (conversation.get(), row.user.clone(), aspect), row, |row| row.version);
    }
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn batch_row(log: &str, partition: u16, sequence: u64, bytes: &[u8]) -> Result<EventRow, ViewError> {
    let header = OutcomeBatch::decode(bytes)?.header;
    let last = header.sources.last();
    let stored_at = milliseconds(last.map_or(0, |source| source.stored_ms));
    Ok(EventRow {
        idx: BATCH_INDEX,
        command: "batch".to_owned(),
        at: stored_at,
        stored_at,
        log_at: milliseconds(header.log_ms()),
        records: header.records(),
        bytes: bytes.len() as u64,
        ..empty_row(log, partition, sequence)
    })
}

fn outcome_row(log: &str, placed: &Placed) -> EventRow {
    let position = placed.position;
    let (stored_at, log_at) = (milliseconds(placed.stored_ms), milliseconds(placed.log_ms));
    let mut row = EventRow {
        idx: position.index.unwrap_or(0),
        at: stored_at,
        stored_at,
        log_at,
        policy: placed.policy.map_or(String::new(), |hash| hash.to_string()),
        ..empty_row(log, position.partition, position.sequence)
    };
    if let Received::Command(command) = &placed.outcome.received {
        fill_command(&mut row, command, placed.stored_ms);
    }
    match &placed.outcome.decision {
        Decision::Rejected(rejection) => {
            rejection.error_code().name().clone_into(&mut row.code);
            row.detail = serde_json::json!({ "reason": rejection.detail }).to_string();
        }
        Decision::Accepted(accepted) => row.conversation = accepted.conversation().map_or(0, ConversationId::get),
    }
    if let Some(accepted) = placed.accepted() {
        // What leaves its ref is found by it.
        row.content = if accepted.left_ref().is_some() { content_hash(&accepted.command.body) } else { 0 };
        if accepted.accepted.is_event() {
            fill_event(&mut row, &accepted);
        }
    }
    row
}

fn fill_command(row: &mut EventRow, command: &Command, stored_ms: u64) {
    row.tenant = command.tenant.to_string();
    row.sender = command.sender.to_string();
    row.reference = command.reference.to_string();
    command.body.name().clone_into(&mut row.command);
    origin_name(&command.origin).clone_into(&mut row.origin);
    row.at = milliseconds(command.at_ms(stored_ms));
}

const fn origin_name(origin: &Origin) -> &'static str {
    match origin {
        Origin::Client => "client",
        Origin::Resend => "resend",
        Origin::Import(_) => "import",
        Origin::Operator => "operator",
    }
}

fn fill_event(row: &mut EventRow, event: &Event<'_>) {
    event.name().clone_into(&mut row.event);
    if let Accepted::Sent { lists, .. } = event.accepted {
        row.lists.clone_from(lists);
    }
    let mut frame = EventFrame::of(event);
    // The text lies in `messages`, once.
    frame.text = None;
    row.message = frame.message.map_or(0, MessageId::get);
    row.seq = frame.seq.unwrap_or(0);
    row.detail = serde_json::to_string(&frame).unwrap_or_default();
}

fn empty_row(log: &str, partition: u16, sequence: u64) -> EventRow {
    EventRow {
        partition,
        sequence,
        idx: 0,
        tenant: String::new(),
        conversation: 0,
        at: 0,
        stored_at: 0,
        log_at: 0,
        sender: String::new(),
        reference: String::new(),
        command: String::new(),
        origin: String::new(),
        event: String::new(),
        code: String::new(),
        message: 0,
        seq: 0,
        content: 0,
        detail: String::new(),
        policy: String::new(),
        lists: Vec::new(),
        log: log.to_owned(),
        records: 0,
        bytes: 0,
    }
}
