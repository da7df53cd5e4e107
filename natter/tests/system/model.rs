//! What the views of one partition must show, folded in plain Rust and kept whole: nothing is trimmed here.

use std::collections::BTreeMap;

use natter_projections::facts::{ConversationFact, RefEntry, Refs, Role};
use natter_schemas::command::{Body, Command, Kind, Origin, Visibility};
use natter_schemas::event::{RefScope, content_hash};
use natter_schemas::evidence::Answered;
use natter_schemas::id::ConversationId;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received};
use natter_schemas::policy::PolicyHash;
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;

/// A conversation.
pub struct Room {
    pub fact: ConversationFact,
    pub name: Option<DisplayName>,
    /// Role and time of joining.
    pub members: BTreeMap<UserId, (Role, u64)>,
    pub cursors: BTreeMap<UserId, u64>,
    /// All of them; the seq is the index + 1. With the sender's ref.
    pub messages: Vec<Message>,
    pub version: Position,
    /// Which of the messages are imported lines.
    pub imported: Vec<bool>,
    pub active_at_ms: u64,
}

/// Everything that a partition's views show.
pub struct Model {
    partition: u16,
    pub conversations: BTreeMap<ConversationId, Room>,
    /// Names, and from when on they count.
    pub names: BTreeMap<(Tenant, UserId), (u64, DisplayName)>,
    pub refs: BTreeMap<(Tenant, UserId, RefScope), Refs>,
    pub conversation_lines: BTreeMap<(ConversationId, [u8; 16]), u64>,
    pub user_lines: BTreeMap<(Tenant, UserId, [u8; 16]), u64>,
    pub policies: BTreeMap<Tenant, PolicyHash>,
}

/// One outcome in its place.
struct Happened<'a> {
    position: Position,
    at_ms: u64,
    command: &'a Command,
    accepted: &'a Accepted,
}

impl Model {
    pub const fn new(partition: u16) -> Self {
        Self {
            partition,
            conversations: BTreeMap::new(),
            names: BTreeMap::new(),
            refs: BTreeMap::new(),
            conversation_lines: BTreeMap::new(),
            user_lines: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }

    /// The direct chat of a pair.
    pub fn direct(&self, tenant: &Tenant, one: &UserId, other: &UserId) -> Option<ConversationId> {
        let pair = |fact: &ConversationFact| {
            fact.peer
                .as_ref()
                .is_some_and(|peer| (fact.creator == *one && peer == other) || (fact.creator == *other && peer == one))
        };
        let found = self.conversations.iter().find(|(_, room)| room.fact.tenant == *tenant && pair(&room.fact));
        found.map(|(id, _)| *id)
    }

    /// Takes in the next outcome; log time is the stored time.
    pub fn outcome(&mut self, sequence: u64, index: u32, stored_ms: u64, outcome: &Outcome) {
        let (Received::Command(command), Decision::Accepted(accepted)) = (&outcome.received, &outcome.decision) else {
            return;
        };
        let position = Position::outcome(self.partition, sequence, index);
        let at_ms = match &command.origin {
            Origin::Import(line) => line.at_ms,
            _ => stored_ms,
        };
        let at = Happened { position, at_ms, command, accepted };
        match accepted {
            Accepted::Repeated(_) | Accepted::ImportedBefore { .. } => return,
            // Nothing was left to do, and the ref (or the line) is remembered all the same.
            Accepted::Existing { .. } | Accepted::Unchanged { .. } | Accepted::NameKept => {
                return self.remembers(&at, stored_ms);
            }
            _ => {}
        }
        self.happened(&at);
        self.remembers(&at, stored_ms);
        if let Some(room) = accepted.conversation().and_then(|id| self.conversations.get_mut(&id)) {
            room.version = position;
            let is_read = matches!(accepted, Accepted::Read { .. });
            if !is_read && (!at.is_imported() || room.imported.iter().all(|imported| *imported)) {
                room.active_at_ms = at_ms;
            }
        }
    }

    fn happened(&mut self, at: &Happened<'_>) {
        let (command, sender) = (at.command, &at.command.sender);
        match at.accepted {
            Accepted::Created { conversation, members } => {
                let mut room = Room::made(at, members);
                room.enter(sender, Role::Owner, 0, at.at_ms);
                for user in members {
                    room.enter(user, Role::Member, 0, at.at_ms);
                }
                self.conversations.insert(*conversation, room);
            }
            Accepted::Added { conversation, members, seq, .. } => {
                let room = self.conversations.get_mut(conversation).unwrap();
                for user in members {
                    room.enter(user, Role::Member, *seq, at.at_ms);
                }
            }
            Accepted::Joined { conversation, seq, .. } => {
                self.conversations.get_mut(conversation).unwrap().enter(sender, Role::Member, *seq, at.at_ms);
            }
            Accepted::Left { conversation, .. } => {
                self.conversations.get_mut(conversation).unwrap().members.remove(sender).unwrap();
            }
            Accepted::Renamed { conversation } => {
                let Body::Rename { name, .. } = &command.body else { panic!("renamed by {command:?}") };
                self.conversations.get_mut(conversation).unwrap().name = Some(name.clone());
            }
            Accepted::Read { conversation, seq, .. } => {
                self.conversations.get_mut(conversation).unwrap().cursors.insert(sender.clone(), *seq);
            }
            Accepted::Sent { conversation, .. } => self.conversations.get_mut(conversation).unwrap().sent(at),
            Accepted::UserUpdated => {
                let Body::UpdateUser { name } = &command.body else { panic!("updated by {command:?}") };
                self.names.insert((command.tenant.clone(), sender.clone()), (at.at_ms, name.clone()));
            }
            Accepted::PolicySet { hash: Some(hash) } => drop(self.policies.insert(command.tenant.clone(), *hash)),
            Accepted::PolicySet { hash: None } => drop(self.policies.remove(&command.tenant)),
            other => panic!("no event: {other:?}"),
        }
    }

    /// Lines of imports, and refs of everything else that has one.
    fn remembers(&mut self, at: &Happened<'_>, log_ms: u64) {
        let (tenant, sender) = (&at.command.tenant, &at.command.sender);
        if let Origin::Import(line) = &at.command.origin {
            match at.accepted {
                Accepted::Sent { conversation, .. } => {
                    self.conversation_lines.insert((*conversation, line.source), line.line);
                }
                Accepted::UserUpdated | Accepted::NameKept => {
                    self.user_lines.insert((tenant.clone(), sender.clone(), line.source), line.line);
                }
                _ => {}
            }
            return;
        }
        let scope = match &at.command.body {
            Body::Read { .. } | Body::SetPolicy { .. } => return,
            Body::CreateDirect { peer } => RefScope::Direct(peer.clone()),
            Body::CreateGroup { external: Some(external), .. } => RefScope::External(external.clone()),
            Body::CreateGroup { external: None, .. } => RefScope::Created,
            Body::UpdateUser { .. } => RefScope::User,
            _ => RefScope::Conversation(at.accepted.conversation().unwrap()),
        };
        let (message, seq) = match at.accepted {
            Accepted::Sent { message, seq, .. } => (Some(*message), Some(*seq)),
            _ => (None, None),
        };
        let answered = Answered {
            content: content_hash(&at.command.body),
            sequence: at.position.sequence,
            index: at.position.index.unwrap(),
            at_ms: at.at_ms,
            log_ms,
            conversation: at.accepted.conversation(),
            message,
            seq,
        };
        let refs = self.refs.entry((tenant.clone(), sender.clone(), scope)).or_default();
        refs.extend([RefEntry { reference: at.command.reference.clone(), answered }]);
    }
}

impl Happened<'_> {
    const fn is_imported(&self) -> bool {
        matches!(self.command.origin, Origin::Import(_))
    }
}

impl Room {
    /// What the user has not read of what was said here.
    pub fn unread(&self, user: &UserId) -> u64 {
        let cursor = self.cursors.get(user).copied().unwrap_or(0);
        let after = self.imported.iter().skip(usize::try_from(cursor).unwrap());
        after.filter(|imported| !**imported).count() as u64
    }

    /// The runs of imported lines: first and last seq.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (seq, _) in (1..).zip(&self.imported).filter(|(_, imported)| **imported) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => runs.push((seq, seq)),
            }
        }
        runs
    }

    fn made(at: &Happened<'_>, members: &[UserId]) -> Self {
        let (kind, visibility, peer, name, external) = match &at.command.body {
            Body::CreateGroup { visibility, name, external, .. } => {
                (Kind::Group, *visibility, None, name.clone(), external.clone())
            }
            _ => (Kind::Direct, Visibility::Private, members.first().cloned(), None, None),
        };
        let (tenant, creator) = (at.command.tenant.clone(), at.command.sender.clone());
        Self {
            fact: ConversationFact { tenant, kind, visibility, creator, peer, external },
            name,
            members: BTreeMap::new(),
            cursors: BTreeMap::new(),
            messages: Vec::new(),
            imported: Vec::new(),
            version: at.position,
            active_at_ms: at.at_ms,
        }
    }

    fn enter(&mut self, user: &UserId, role: Role, seq: u64, at_ms: u64) {
        self.members.insert(user.clone(), (role, at_ms));
        self.cursors.insert(user.clone(), seq);
    }

    fn sent(&mut self, at: &Happened<'_>) {
        let (Accepted::Sent { message, seq, replacement, .. }, Body::Send { text, .. }) =
            (at.accepted, &at.command.body)
        else {
            panic!("sent by {:?}", at.command);
        };
        assert_eq!(self.messages.len() as u64 + 1, *seq, "seqs have no holes");
        if !at.is_imported() {
            self.cursors.insert(at.command.sender.clone(), *seq);
        }
        self.imported.push(at.is_imported());
        self.messages.push(Message {
            message: *message,
            seq: *seq,
            sender: at.command.sender.clone(),
            at: at.at_ms,
            text: replacement.clone().unwrap_or_else(|| text.as_str().to_owned()),
            masked: replacement.is_some(),
            position: at.position,
            reference: Some(at.command.reference.as_str().to_owned()),
        });
    }
}
