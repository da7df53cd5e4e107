//! What decisions need to know, as a view: keys, values and the fold that gives them.
//!
//! A fact is a value under a key, and every event sets the facts it changes to absolute values, so that folding an
//! event twice is folding it once. The Redis view stores them; a processor keeps those of the partition's later events
//! on top (its overlay). Both use [`changes`], so they cannot disagree. [`load`] reads them from the view.

mod refs;

use bincode::{Decode, Encode};
use natter_schemas::command::{Body, Kind, Origin, Visibility};
use natter_schemas::event::{Event, RefScope};
use natter_schemas::id::ConversationId;
use natter_schemas::names::{ExternalId, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Run};
use natter_schemas::policy::PolicyHash;

pub use self::refs::{RefEntry, Refs, is_hidden};
pub use crate::redis::{Loaded, load};

/// What a fact is about. All keys of one command's facts lie in its partition. What is of somebody or something by name
/// carries the tenant whose name it is, so that no command finds what another tenant's users of the same names left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactKey {
    /// A conversation's [`Fact::Conversation`].
    Conversation(ConversationId),
    /// A conversation's [`Fact::Head`].
    Head(ConversationId),
    /// A conversation's [`Fact::Run`].
    Run(ConversationId),
    /// A conversation's [`Fact::MemberCount`].
    MemberCount(ConversationId),
    /// A user's [`Fact::Member`] in a conversation.
    Member(Tenant, ConversationId, UserId),
    /// A user's [`Fact::Cursor`] in a conversation.
    Cursor(Tenant, ConversationId, UserId),
    /// A sender's remembered [`Fact::Refs`].
    Refs(Tenant, UserId, RefScope),
    /// The conversation with an external id: [`Fact::Address`].
    External(Tenant, ExternalId),
    /// The direct chat of a pair, lower user id first: [`Fact::Address`].
    Direct(Tenant, UserId, UserId),
    /// The highest line of a source in a conversation: [`Fact::Line`].
    ConversationLine(Tenant, ConversationId, [u8; 16]),
    /// The highest line of a source about a user: [`Fact::Line`].
    UserLine(Tenant, UserId, [u8; 16]),
    /// A user's [`Fact::NamedAt`].
    NamedAt(Tenant, UserId),
    /// A tenant's [`Fact::Policy`] in this partition.
    Policy(Tenant),
}

impl FactKey {
    /// The key of a pair's direct chat, whoever is named first.
    pub fn direct(tenant: &Tenant, one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self::Direct(tenant.clone(), low.clone(), high.clone())
    }
}

/// A value; absent facts are `None` wherever a fact is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// What never changes about a conversation.
    Conversation(ConversationFact),
    /// Seq of a conversation's last message.
    Head(u64),
    /// The conversation's last run of imported lines.
    Run(RunFact),
    /// Members now.
    MemberCount(u32),
    /// The user is a member.
    Member(Role),
    /// The user has read up to here. Kept when a member leaves and comes back.
    Cursor(u64),
    /// The sender's remembered refs.
    Refs(Refs),
    /// Which conversation it is.
    Address(ConversationId),
    /// The highest line taken.
    Line(u64),
    /// From when on the user's display name counts ([`natter_schemas::command::Command::named_at_ms`]).
    NamedAt(u64),
    /// The policy in force.
    Policy(PolicyHash),
}

/// Successive imported lines of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RunFact {
    /// Where it begins.
    pub run: Run,
    /// Seq of its last line.
    pub to: u64,
}

impl RunFact {
    /// How many lines it has.
    pub const fn lines(&self) -> u64 {
        self.to + 1 - self.run.from
    }
}

/// What never changes about a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConversationFact {
    /// Whose it is: an id of another tenant is `not_found`.
    pub tenant: Tenant,
    /// Direct or group.
    pub kind: Kind,
    /// Who may know of it.
    pub visibility: Visibility,
    /// Who made it; of a direct chat, one of the two.
    pub creator: UserId,
    /// Of a direct chat, the other.
    pub peer: Option<UserId>,
    /// The host application's name of it.
    pub external: Option<ExternalId>,
}

/// What a member may do; a table of permissions comes with more roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Role {
    /// Made the conversation.
    Owner,
    /// Everybody else in it.
    Member,
}

impl Role {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
        }
    }
}

/// What an event does to one fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The fact has this value now; `None`: it is gone.
    Set(FactKey, Option<Fact>),
    /// One more remembered ref under this [`FactKey::Refs`], of a batch before which it was this log time.
    PushRef(FactKey, RefEntry, u64),
}

/// What an accepted outcome does to the facts. One that is no event leaves its ref all the same.
pub fn changes(event: &Event<'_>) -> Vec<Change> {
    let command = event.command;
    let mut changes = accepted_changes(event);
    if let Some((scope, reference)) = event.left_ref() {
        let key = FactKey::Refs(command.tenant.clone(), command.sender.clone(), scope);
        let entry = RefEntry { reference: reference.clone(), answered: event.answered() };
        changes.push(Change::PushRef(key, entry, event.before_ms));
    }
    // A room that an import makes or enters is not a line of its own; only the line's principal command counts.
    if let Origin::Import(line) = &command.origin
        && !matches!(event.accepted, Accepted::ImportedBefore { .. })
    {
        let key = match (&command.body, event.accepted.conversation()) {
            (Body::Send { .. }, Some(conversation)) => {
                Some(FactKey::ConversationLine(command.tenant.clone(), conversation, line.source))
            }
            (Body::UpdateUser { .. }, _) => {
                Some(FactKey::UserLine(command.tenant.clone(), command.sender.clone(), line.source))
            }
            _ => None,
        };
        changes.extend(key.map(|key| Change::Set(key, Some(Fact::Line(line.line)))));
    }
    changes
}

fn accepted_changes(event: &Event<'_>) -> Vec<Change> {
    let command = event.command;
    let (tenant, sender) = (&command.tenant, &command.sender);
    let set = |key, fact| Change::Set(key, Some(fact));
    match event.accepted {
        Accepted::Created { conversation, members } => created(event, *conversation, members),
        Accepted::Added { conversation, members, seq, member_count } => {
            let mut changes = vec![set(FactKey::MemberCount(*conversation), Fact::MemberCount(*member_count))];
            for user in members {
                changes.extend(entered(tenant, *conversation, user, Role::Member, *seq));
            }
            changes
        }
        Accepted::Joined { conversation, seq, member_count } => {
            let mut changes = entered(tenant, *conversation, sender, Role::Member, *seq).to_vec();
            changes.push(set(FactKey::MemberCount(*conversation), Fact::MemberCount(*member_count)));
            changes
        }
        Accepted::Left { conversation, member_count } => vec![
            Change::Set(FactKey::Member(tenant.clone(), *conversation, sender.clone()), None),
            set(FactKey::MemberCount(*conversation), Fact::MemberCount(*member_count)),
        ],
        Accepted::Read { conversation, seq, .. } => {
            vec![set(FactKey::Cursor(tenant.clone(), *conversation, sender.clone()), Fact::Cursor(*seq))]
        }
        Accepted::Sent { conversation, seq, run, .. } => {
            let head = set(FactKey::Head(*conversation), Fact::Head(*seq));
            // What somebody said long ago does not say what he has read by now.
            let other = match run {
                Some(run) => set(FactKey::Run(*conversation), Fact::Run(RunFact { run: *run, to: *seq })),
                None => set(FactKey::Cursor(tenant.clone(), *conversation, sender.clone()), Fact::Cursor(*seq)),
            };
            vec![head, other]
        }
        Accepted::UserUpdated => {
            let at_ms = command.named_at_ms(event.stored_ms, event.log_ms);
            vec![set(FactKey::NamedAt(command.tenant.clone(), sender.clone()), Fact::NamedAt(at_ms))]
        }
        Accepted::PolicySet { hash } => {
            vec![Change::Set(FactKey::Policy(command.tenant.clone()), hash.map(Fact::Policy))]
        }
        Accepted::Renamed { .. }
        | Accepted::NameKept
        | Accepted::Existing { .. }
        | Accepted::Unchanged { .. }
        | Accepted::Repeated(_)
        | Accepted::ImportedBefore { .. } => Vec::new(),
    }
}

fn created(event: &Event<'_>, conversation: ConversationId, members: &[UserId]) -> Vec<Change> {
    let (tenant, sender) = (&event.command.tenant, &event.command.sender);
    let (kind, visibility, peer, external) = match &event.command.body {
        Body::CreateGroup { visibility, external, .. } => (Kind::Group, *visibility, None, external.clone()),
        _ => (Kind::Direct, Visibility::Private, members.first().cloned(), None),
    };
    let set = |key, fact| Change::Set(key, Some(fact));
    let member_count = u32::try_from(members.len() + 1).unwrap_or(u32::MAX);
    let mut changes = vec![set(FactKey::MemberCount(conversation), Fact::MemberCount(member_count))];
    changes.extend(entered(tenant, conversation, sender, Role::Owner, 0));
    for user in members {
        changes.extend(entered(tenant, conversation, user, Role::Member, 0));
    }
    if let Some(external) = &external {
        changes.push(set(FactKey::External(tenant.clone(), external.clone()), Fact::Address(conversation)));
    }
    if let Some(peer) = &peer {
        changes.push(set(FactKey::direct(tenant, sender, peer), Fact::Address(conversation)));
    }
    let fact = ConversationFact { tenant: tenant.clone(), kind, visibility, creator: sender.clone(), peer, external };
    changes.push(set(FactKey::Conversation(conversation), Fact::Conversation(fact)));
    changes
}

/// Newcomers read all history and start with nothing unread.
fn entered(tenant: &Tenant, conversation: ConversationId, user: &UserId, role: Role, seq: u64) -> [Change; 2] {
    [
        Change::Set(FactKey::Member(tenant.clone(), conversation, user.clone()), Some(Fact::Member(role))),
        Change::Set(FactKey::Cursor(tenant.clone(), conversation, user.clone()), Some(Fact::Cursor(seq))),
    ]
}
