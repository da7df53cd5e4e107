//! Events: facts that follow from accepted outcomes. Derived, never stored beside them.

use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{self, CodecError, OutcomeBatch, RawOutcome, Touched};
use crate::command::{Body, Command, Origin};
use crate::evidence::Answered;
use crate::id::ConversationId;
use crate::names::{ExternalId, Ref, UserId};
use crate::outcome::{Accepted, Decision, Outcome, Received};
use crate::policy::PolicyHash;
use crate::position::Position;
use crate::slot::user_hash;

/// An outcome with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where it stands.
    pub position: Position,
    /// When its command batch was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Its log time ([`codec::Source::log_ms`]).
    pub log_ms: u64,
    /// Log time before its command batch ([`codec::Source::before_ms`]).
    pub before_ms: u64,
    /// The hash of the policy in force; `None`: the default.
    pub policy: Option<PolicyHash>,
    /// The outcome.
    pub outcome: Outcome,
}

impl Placed {
    /// The command and what happened, where this outcome is an event.
    pub fn event(&self) -> Option<Event<'_>> {
        self.accepted().filter(|event| event.accepted.is_event())
    }

    /// The same of every accepted outcome: where nothing had to be done it is no event, and leaves its ref all the same.
    pub fn accepted(&self) -> Option<Event<'_>> {
        match (&self.outcome.received, &self.outcome.decision) {
            (Received::Command(command), Decision::Accepted(accepted)) => Some(Event {
                position: self.position,
                stored_ms: self.stored_ms,
                log_ms: self.log_ms,
                before_ms: self.before_ms,
                command,
                accepted,
            }),
            (Received::Undecodable(_), _) | (_, Decision::Rejected(_)) => None,
        }
    }
}

/// A fact: an accepted outcome, seen in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Where it stands.
    pub position: Position,
    /// When its command batch was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Its log time ([`codec::Source::log_ms`]).
    pub log_ms: u64,
    /// Log time before its command batch ([`codec::Source::before_ms`]).
    pub before_ms: u64,
    /// The command as received.
    pub command: &'a Command,
    /// What happened.
    pub accepted: &'a Accepted,
}

impl Event<'_> {
    /// When it happened, in Unix milliseconds.
    pub const fn at_ms(&self) -> u64 {
        self.command.at_ms(self.stored_ms)
    }

    /// When the conversation was active, as lists order it, where this counts: log time, and of what is imported its own time,
    /// which is not later. Reading does not count; imported lines do only where the conversation holds nothing else.
    pub fn active_at_ms(&self) -> Option<u64> {
        let first = match self.accepted {
            Accepted::Read { .. } => return None,
            Accepted::Created { .. } => true,
            Accepted::Sent { run, .. } => run.is_some_and(|run| run.from == 1),
            _ => false,
        };
        match &self.command.origin {
            Origin::Import(line) => first.then_some(line.at_ms.min(self.log_ms)),
            Origin::Client | Origin::Resend | Origin::Operator => Some(self.log_ms),
        }
    }

    /// The event's name on the wire and in the history.
    pub const fn name(&self) -> &'static str {
        match self.accepted {
            Accepted::Created { .. } => "conversation.created",
            Accepted::Added { .. } => "conversation.added",
            Accepted::Joined { .. } => "conversation.joined",
            Accepted::Left { .. } => "conversation.left",
            Accepted::Renamed { .. } => "conversation.renamed",
            Accepted::Read { .. } => "conversation.read",
            Accepted::Sent { .. } => "message.sent",
            Accepted::UserUpdated => "user.updated",
            Accepted::PolicySet { .. } => "policy.set",
            Accepted::Existing { .. }
            | Accepted::Unchanged { .. }
            | Accepted::NameKept
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. } => "none",
        }
    }

    /// The text that everybody sees, of a message.
    pub fn visible_text(&self) -> Option<&str> {
        match (&self.command.body, self.accepted) {
            (Body::Send { .. }, Accepted::Sent { replacement: Some(text), .. }) => Some(text),
            (Body::Send { text, .. }, Accepted::Sent { .. }) => Some(text.as_str()),
            _ => None,
        }
    }

    /// What a repeated command is answered with.
    pub fn answered(&self) -> Answered {
        let (message, seq) = match self.accepted {
            Accepted::Sent { message, seq, .. } => (Some(*message), Some(*seq)),
            Accepted::Created { .. }
            | Accepted::Existing { .. }
            | Accepted::Added { .. }
            | Accepted::Joined { .. }
            | Accepted::Left { .. }
            | Accepted::Renamed { .. }
            | Accepted::Read { .. }
            | Accepted::UserUpdated
            | Accepted::NameKept
            | Accepted::PolicySet { .. }
            | Accepted::Unchanged { .. }
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. } => (None, None),
        };
        Answered {
            content: content_hash(&self.command.body),
            sequence: self.position.sequence,
            index: self.position.index.unwrap_or(0),
            at_ms: self.at_ms(),
            log_ms: self.log_ms,
            conversation: self.accepted.conversation(),
            message,
            seq,
        }
    }

    /// The ref that it leaves behind, with its scope. A repetition leaves none: the first outcome did.
    pub fn left_ref(&self) -> Option<(RefScope, &Ref)> {
        if !remembers_ref(self.command) || matches!(self.accepted, Accepted::Repeated(_)) {
            return None;
        }
        Some((RefScope::of(&self.command.body, self.accepted.conversation())?, &self.command.reference))
    }
}

/// The scope in which a command's `ref` is unique, beside tenant and sender: what the command names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefScope {
    /// Commands in a conversation.
    Conversation(ConversationId),
    /// Commands about the sender.
    User,
    /// Creates of the direct chat with this user.
    Direct(UserId),
    /// Creates of the conversation with this external id.
    External(ExternalId),
    /// Any other create: the ref alone names what it makes.
    Created,
}

impl RefScope {
    /// The scope of a command whose `body` names `conversation`; `None`: the conversation that it names is unknown, or it has no
    /// ref to remember.
    pub fn of(body: &Body, conversation: Option<ConversationId>) -> Option<Self> {
        match body {
            Body::CreateDirect { peer } => Some(Self::Direct(peer.clone())),
            Body::CreateGroup { external: Some(external), .. } => Some(Self::External(external.clone())),
            Body::CreateGroup { external: None, .. } => Some(Self::Created),
            Body::UpdateUser { .. } => Some(Self::User),
            Body::Add { .. }
            | Body::Join { .. }
            | Body::Leave { .. }
            | Body::Rename { .. }
            | Body::Read { .. }
            | Body::Send { .. } => conversation.map(Self::Conversation),
            Body::SetPolicy { .. } => None,
        }
    }
}

/// Whether this command's `ref` is remembered: imports are known by their lines, cursors and policies are idempotent by
/// what they say.
pub const fn remembers_ref(command: &Command) -> bool {
    !matches!(command.origin, Origin::Import(_)) && !matches!(command.body, Body::Read { .. } | Body::SetPolicy { .. })
}

/// Hash of a command's content: the same `ref` with another content is a conflict. XXH3-64 of the log's encoding.
pub fn content_hash(body: &Body) -> u64 {
    xxh3_64(&codec::encode(body))
}

/// Whom an outcome concerns (the touch lists of its batch).
pub fn touched(outcome: &Outcome) -> Touched {
    let (Received::Command(command), Decision::Accepted(accepted)) = (&outcome.received, &outcome.decision) else {
        return Touched::default();
    };
    if !accepted.is_event() {
        return Touched::default();
    }
    let hash = |user: &UserId| user_hash(&command.tenant, user);
    let users = match accepted {
        Accepted::Created { members, .. } | Accepted::Added { members, .. } => {
            let mut users: Vec<u64> = members.iter().map(hash).collect();
            users.push(hash(&command.sender));
            users
        }
        Accepted::Joined { .. } | Accepted::Left { .. } | Accepted::UserUpdated => vec![hash(&command.sender)],
        Accepted::Read { peer, .. } => peer.iter().chain([&command.sender]).map(hash).collect(),
        _ => Vec::new(),
    };
    Touched { conversation: accepted.conversation().map(ConversationId::get), users }
}

impl RawOutcome<'_> {
    /// `outcome`, which is this one decoded, in its place.
    pub const fn placed(&self, position: Position, policy: Option<PolicyHash>, outcome: Outcome) -> Placed {
        let Self { stored_ms, log_ms, before_ms, .. } = *self;
        Placed { position, stored_ms, log_ms, before_ms, policy, outcome }
    }
}

/// All outcomes of a stored batch with their places.
///
/// # Errors
/// The batch or one of its outcomes cannot be decoded.
pub fn placed(partition: u16, sequence: u64, bytes: &[u8]) -> Result<Vec<Placed>, CodecError> {
    let batch = OutcomeBatch::decode(bytes)?;
    batch
        .records()?
        .into_iter()
        .map(|raw| {
            let outcome = raw.decode()?;
            let policy = outcome.policy.and_then(|index| batch.header.policies.get(usize::from(index)).copied());
            let position = Position::outcome(partition, sequence, raw.index);
            Ok(raw.placed(position, policy, outcome))
        })
        .collect()
}
