//! The second fold: what readers must see, out of outcomes. Small, slow and plain on purpose.
//!
//! It shares nothing with the projections but the words of the log: seqs, cursors and members are counted here again,
//! whatever an outcome says that they are.

use std::collections::{BTreeMap, BTreeSet};

use natter_schemas::command::{Body, Command, Kind, Origin, Visibility};
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::{DisplayName, ExternalId, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received};
use natter_schemas::position::Position;
use xxhash_rust::xxh3::xxh3_64;

use super::Sampling;

/// What a partition's readers must see at a position, as far as it is in the sample.
#[derive(Debug)]
pub(super) struct Model {
    sampling: Sampling,
    /// The last sequence that was folded.
    pub(super) position: u64,
    pub(super) rooms: BTreeMap<ConversationId, Room>,
    pub(super) users: BTreeMap<(Tenant, UserId), User>,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) tenant: Tenant,
    pub(super) kind: &'static str,
    pub(super) visibility: &'static str,
    pub(super) creator: UserId,
    pub(super) peer: Option<UserId>,
    pub(super) external: Option<ExternalId>,
    pub(super) name: Option<DisplayName>,
    pub(super) members: BTreeMap<UserId, Member>,
    /// Of everybody who ever came in.
    pub(super) cursors: BTreeMap<UserId, u64>,
    /// The first has seq 1.
    pub(super) messages: Vec<Said>,
    /// Whether any of them is no line of an import.
    is_live: bool,
    /// Where its events stand, each with its name.
    pub(super) events: BTreeMap<u64, &'static str>,
    /// When something last happened that counts for the order of lists, in Unix milliseconds.
    pub(super) active_at_ms: u64,
}

/// That a user is in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) role: &'static str,
    pub(super) since_ms: u64,
}

/// A message. Of its text only the hash: nobody's words are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) message: MessageId,
    pub(super) sender: UserId,
    pub(super) at_ms: u64,
    pub(super) text: u64,
    pub(super) masked: bool,
    /// A line of an import, which nobody has unread.
    pub(super) imported: bool,
    pub(super) version: u64,
}

/// A user of this partition.
#[derive(Debug, Default)]
pub(super) struct User {
    /// Set in the user's own partition only.
    pub(super) name: Option<DisplayName>,
    pub(super) conversations: BTreeSet<ConversationId>,
    /// The last change of either.
    pub(super) version: u64,
}

impl User {
    fn comes(&mut self, conversation: ConversationId) {
        self.conversations.insert(conversation);
    }

    fn goes(&mut self, conversation: ConversationId) {
        self.conversations.remove(&conversation);
    }
}

/// The hash of a text, as it is compared.
pub(super) fn text_hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// An outcome that changes something, in its place.
struct Happened<'a> {
    command: &'a Command,
    at_ms: u64,
    log_ms: u64,
    version: u64,
}

impl Happened<'_> {
    const fn is_imported(&self) -> bool {
        matches!(self.command.origin, Origin::Import(_))
    }

    /// Its place in the order of lists: of a line its own time, but none is later than the log that takes it in.
    fn active_at_ms(&self) -> u64 {
        if self.is_imported() { self.at_ms.min(self.log_ms) } else { self.log_ms }
    }
}

impl Model {
    pub(super) const fn new(sampling: Sampling) -> Self {
        Self { sampling, position: 0, rooms: BTreeMap::new(), users: BTreeMap::new() }
    }

    /// Takes in the next outcome, whose command was stored at `stored_ms`, at log time `log_ms`.
    pub(super) fn outcome(&mut self, position: Position, stored_ms: u64, log_ms: u64, outcome: &Outcome) {
        let (Received::Command(command), Decision::Accepted(accepted)) = (&outcome.received, &outcome.decision) else {
            return;
        };
        let at_ms = match &command.origin {
            Origin::Import(line) => line.at_ms,
            Origin::Client | Origin::Resend | Origin::Operator => stored_ms,
        };
        let happened = Happened { command, at_ms, log_ms, version: position.version() };
        match accepted {
            Accepted::Created { conversation, members } => self.created(*conversation, members, &happened),
            Accepted::Added { conversation, members, .. } => {
                self.entered(*conversation, members, &happened, "conversation.added");
            }
            Accepted::Joined { conversation, .. } => {
                self.entered(*conversation, std::slice::from_ref(&command.sender), &happened, "conversation.joined");
            }
            Accepted::Left { conversation, .. } => self.left(*conversation, &happened),
            Accepted::Renamed { conversation } => {
                if let (Some(room), Body::Rename { name, .. }) = (self.rooms.get_mut(conversation), &command.body) {
                    room.name = Some(name.clone());
                    room.changed(&happened, "conversation.renamed");
                }
            }
            Accepted::Read { conversation, seq, .. } => {
                if let Some(room) = self.rooms.get_mut(conversation) {
                    room.cursors.insert(command.sender.clone(), *seq);
                    room.events.insert(happened.version, "conversation.read");
                }
            }
            Accepted::Sent { conversation, message, replacement, .. } => {
                if let Some(room) = self.rooms.get_mut(conversation) {
                    room.said(*message, replacement.as_deref(), &happened);
                }
            }
            Accepted::UserUpdated => self.named(&happened),
            Accepted::Existing { .. }
            | Accepted::Unchanged { .. }
            | Accepted::NameKept
            | Accepted::Repeated(_)
            | Accepted::ImportedBefore { .. }
            | Accepted::PolicySet { .. } => {}
        }
    }

    fn created(&mut self, conversation: ConversationId, members: &[UserId], happened: &Happened<'_>) {
        let command = happened.command;
        if self.sampling.takes_conversation(conversation) {
            let mut room = Room::new(command, members, happened.active_at_ms());
            room.enter(&command.sender, "owner", happened.at_ms);
            for user in members {
                room.enter(user, "member", happened.at_ms);
            }
            room.changed(happened, "conversation.created");
            self.rooms.insert(conversation, room);
        }
        for user in members.iter().chain([&command.sender]) {
            self.user(happened, user, |user| user.comes(conversation));
        }
    }

    fn entered(
        &mut self,
        conversation: ConversationId,
        users: &[UserId],
        happened: &Happened<'_>,
        event: &'static str,
    ) {
        if let Some(room) = self.rooms.get_mut(&conversation) {
            for user in users {
                room.enter(user, "member", happened.at_ms);
            }
            room.changed(happened, event);
        }
        for user in users {
            self.user(happened, user, |user| user.comes(conversation));
        }
    }

    fn left(&mut self, conversation: ConversationId, happened: &Happened<'_>) {
        let command = happened.command;
        if let Some(room) = self.rooms.get_mut(&conversation) {
            room.members.remove(&command.sender);
            room.changed(happened, "conversation.left");
        }
        self.user(happened, &command.sender, |user| user.goes(conversation));
    }

    fn named(&mut self, happened: &Happened<'_>) {
        if let Body::UpdateUser { name } = &happened.command.body {
            self.user(happened, &happened.command.sender, |user| user.name = Some(name.clone()));
        }
    }

    fn user(&mut self, happened: &Happened<'_>, user: &UserId, change: impl FnOnce(&mut User)) {
        let tenant = &happened.command.tenant;
        if self.sampling.takes_user(tenant, user) {
            let user = self.users.entry((tenant.clone(), user.clone())).or_default();
            change(user);
            user.version = happened.version;
        }
    }
}

impl Room {
    fn new(command: &Command, members: &[UserId], active_at_ms: u64) -> Self {
        let (kind, visibility, peer, external, name) = match &command.body {
            Body::CreateGroup { visibility, external, name, .. } => {
                (Kind::Group, *visibility, None, external.clone(), name.clone())
            }
            _ => (Kind::Direct, Visibility::Private, members.first().cloned(), None, None),
        };
        Self {
            tenant: command.tenant.clone(),
            kind: word_of_kind(kind),
            visibility: word_of_visibility(visibility),
            creator: command.sender.clone(),
            peer,
            external,
            name,
            members: BTreeMap::new(),
            cursors: BTreeMap::new(),
            messages: Vec::new(),
            is_live: false,
            events: BTreeMap::new(),
            active_at_ms,
        }
    }

    /// Who comes has read everything that there is.
    fn enter(&mut self, user: &UserId, role: &'static str, since_ms: u64) {
        self.members.insert(user.clone(), Member { role, since_ms });
        self.cursors.insert(user.clone(), self.head());
    }

    fn said(&mut self, message: MessageId, replacement: Option<&str>, happened: &Happened<'_>) {
        let Body::Send { text, .. } = &happened.command.body else { return };
        self.messages.push(Said {
            message,
            sender: happened.command.sender.clone(),
            at_ms: happened.at_ms,
            text: text_hash(replacement.unwrap_or(text.as_str())),
            masked: replacement.is_some(),
            imported: happened.is_imported(),
            version: happened.version,
        });
        if !happened.is_imported() {
            // What somebody said long ago does not say what he has read by now.
            self.cursors.insert(happened.command.sender.clone(), self.head());
        }
        self.is_live |= !happened.is_imported();
        self.changed(happened, "message.sent");
        if !self.is_live {
            self.active_at_ms = happened.active_at_ms();
        }
    }

    /// What is imported does not bring a conversation to the top of lists.
    fn changed(&mut self, happened: &Happened<'_>, event: &'static str) {
        self.events.insert(happened.version, event);
        if !happened.is_imported() {
            self.active_at_ms = happened.active_at_ms();
        }
    }

    /// Messages that a user has not read, and in how many runs imported lines lie among all.
    pub(super) fn unread(&self, user: &UserId) -> u64 {
        let read = usize::try_from(self.cursor(user)).unwrap_or(usize::MAX);
        self.messages.iter().skip(read).filter(|said| !said.imported).count() as u64
    }

    /// How often a line of an import follows something else.
    pub(super) fn runs(&self) -> u64 {
        let next =
            |(runs, before): (u64, bool), said: &Said| (runs + u64::from(said.imported && !before), said.imported);
        self.messages.iter().fold((0, false), next).0
    }

    /// Seq of the last message.
    pub(super) fn head(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The last event's version.
    pub(super) fn version(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// How far a user has read.
    pub(super) fn cursor(&self, user: &UserId) -> u64 {
        self.cursors.get(user).copied().unwrap_or(0)
    }

    /// The message with this seq.
    pub(super) fn message(&self, seq: u64) -> Option<&Said> {
        self.messages.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }
}

/// The word of readers for it.
pub(super) const fn word_of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "direct",
        Kind::Group => "group",
    }
}

/// The word of readers for it.
pub(super) const fn word_of_visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

#[cfg(test)]
mod tests {
    /// A fault of the projections' folds must not be here too.
    #[test]
    fn it_shares_only_the_words_of_the_log() {
        let source = include_str!("fold.rs").split("#[cfg(test)]").next().unwrap_or_default();
        for shared in ["natter_projections", "natter_processors", "schemas::event", "schemas::wire"] {
            assert!(!source.contains(shared), "the second fold uses {shared}");
        }
    }
}
