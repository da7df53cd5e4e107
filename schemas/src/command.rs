//! Commands as the log holds them (bincode). Every enum here is append-only, and no field is ever added to a variant:
//! bincode is positional, so a new field is a new variant. Golden bytes in [`crate::codec`] hold this.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::id::ConversationId;
use crate::names::{DisplayName, ExternalId, MessageText, Ref, Tenant, UserId};
use crate::policy::PolicyHash;
use crate::slot::Slot;

/// A client's wish that changes state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Command {
    /// The application.
    pub tenant: Tenant,
    /// Who wishes it.
    pub sender: UserId,
    /// The session it came by; 0 for HTTP.
    pub session: u64,
    /// The gateway's clock at receipt, in Unix milliseconds.
    pub received_ms: u64,
    /// The sender's own name of it.
    pub reference: Ref,
    /// By which door it came.
    pub origin: Origin,
    /// What is wished.
    pub body: Body,
    /// What the gateway read for it; clients cannot send any.
    pub evidence: Vec<Evidence>,
}

/// By which door a command came.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Origin {
    /// A client, for the first time as far as it knows.
    Client,
    /// A client that sends it again: its gateway looks the ref up and attaches what it found as evidence.
    Resend,
    /// An existing history, line by line.
    Import(ImportLine),
    /// An operator's tool.
    Operator,
}

/// Where an imported command stands in its source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ImportLine {
    /// First 16 bytes of the SHA-256 of the source; of a line that is the same in every source, of its identity.
    pub source: [u8; 16],
    /// The line's number, from 1.
    pub line: u64,
    /// The number of the line of this source that went to the same aggregate before; 0: none. A gap is refused, so
    /// that no line is passed over when a part of a pipelined import fails.
    pub previous: u64,
    /// When it happened, in Unix milliseconds.
    pub at_ms: u64,
    /// Of a `user.update`: the name is only what the source calls the user, and counts where there is no other.
    pub introduces: bool,
    /// A line of another source that its aggregate must have taken before: the chain of lines whose sources are their
    /// identities, which have no predecessor in their own.
    pub follows: Option<Box<Follows>>,
}

/// The line of another source that an imported line comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Follows {
    /// Its source.
    pub source: [u8; 16],
    /// Its number there.
    pub line: u64,
}

/// How a command names its conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Address {
    /// By id.
    Id(ConversationId),
    /// By the host application's name (`ext:<id>` on the wire).
    External(ExternalId),
}

impl Address {
    /// The slot of the conversation that is meant.
    pub fn slot(&self, tenant: &Tenant) -> Slot {
        match self {
            Self::Id(id) => id.slot(),
            Self::External(external) => Slot::of_external(tenant, external),
        }
    }
}

/// Kinds of conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One per pair of users.
    Direct,
    /// Any number of members.
    Group,
}

/// Who may know of a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Members only.
    #[default]
    Private,
    /// Everybody in the tenant may read about it and join.
    Public,
}

/// What a command wishes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// `conversation.create`: a direct chat; one per pair.
    CreateDirect {
        /// The other user.
        peer: UserId,
    },
    /// `conversation.create`: a group.
    CreateGroup {
        /// Who may know of it.
        visibility: Visibility,
        /// Its display name.
        name: Option<DisplayName>,
        /// The first members beside the sender.
        members: Vec<UserId>,
        /// The host application's own name of it.
        external: Option<ExternalId>,
    },
    /// `conversation.add`.
    Add {
        /// Which conversation.
        conversation: Address,
        /// Who is added.
        members: Vec<UserId>,
    },
    /// `conversation.join`.
    Join {
        /// Which conversation.
        conversation: Address,
    },
    /// `conversation.leave`.
    Leave {
        /// Which conversation.
        conversation: Address,
    },
    /// `conversation.rename`.
    Rename {
        /// Which conversation.
        conversation: Address,
        /// The new name.
        name: DisplayName,
    },
    /// `conversation.read`: moves the sender's cursor up to `seq`.
    Read {
        /// Which conversation.
        conversation: Address,
        /// The last message read.
        seq: u64,
    },
    /// `message.send`.
    Send {
        /// Which conversation.
        conversation: Address,
        /// The text as the sender wrote it.
        text: MessageText,
    },
    /// `user.update`.
    UpdateUser {
        /// The new display name.
        name: DisplayName,
    },
    /// An operator changes the tenant's policy; one command to every partition.
    SetPolicy {
        /// The policy's hash; `None`: back to the default.
        hash: Option<PolicyHash>,
    },
}

impl Body {
    /// The command's name on the wire and in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateDirect { .. } | Self::CreateGroup { .. } => "conversation.create",
            Self::Add { .. } => "conversation.add",
            Self::Join { .. } => "conversation.join",
            Self::Leave { .. } => "conversation.leave",
            Self::Rename { .. } => "conversation.rename",
            Self::Read { .. } => "conversation.read",
            Self::Send { .. } => "message.send",
            Self::UpdateUser { .. } => "user.update",
            Self::SetPolicy { .. } => "policy.set",
        }
    }

    /// The conversation that is named, if one is.
    pub const fn conversation(&self) -> Option<&Address> {
        match self {
            Self::Add { conversation, .. }
            | Self::Join { conversation }
            | Self::Leave { conversation }
            | Self::Rename { conversation, .. }
            | Self::Read { conversation, .. }
            | Self::Send { conversation, .. } => Some(conversation),
            Self::CreateDirect { .. } | Self::CreateGroup { .. } | Self::UpdateUser { .. } | Self::SetPolicy { .. } => {
                None
            }
        }
    }
}

impl Command {
    /// The slot whose partition decides this command; `None` for a command to every partition (`policy.set`).
    pub fn slot(&self) -> Option<Slot> {
        let tenant = &self.tenant;
        Some(match &self.body {
            Body::CreateDirect { peer } => Slot::of_direct(tenant, &self.sender, peer),
            Body::CreateGroup { external: Some(external), .. } => Slot::of_external(tenant, external),
            Body::CreateGroup { external: None, .. } => Slot::of_create(tenant, &self.sender, &self.reference),
            Body::UpdateUser { .. } => Slot::of_user(tenant, &self.sender),
            Body::SetPolicy { .. } => return None,
            other => other.conversation()?.slot(tenant),
        })
    }

    /// When it happened, in Unix milliseconds: an imported line's own time, else the batch's stored time.
    pub const fn at_ms(&self, stored_ms: u64) -> u64 {
        match &self.origin {
            Origin::Import(line) => line.at_ms,
            Origin::Client | Origin::Resend | Origin::Operator => stored_ms,
        }
    }

    /// From when on a name that this gives counts among others of the user, in Unix milliseconds: a later one replaces it.
    ///
    /// No line is later than the log that takes it in, and an introduction is earlier than every name.
    pub fn named_at_ms(&self, stored_ms: u64, log_ms: u64) -> u64 {
        let now_ms = stored_ms.max(log_ms);
        match &self.origin {
            Origin::Import(line) if line.introduces => 0,
            Origin::Import(line) => line.at_ms.min(now_ms),
            Origin::Client | Origin::Resend | Origin::Operator => now_ms,
        }
    }
}
