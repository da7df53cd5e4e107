//! A policy: word lists, actions and limits of content of one tenant. Data, named by its SHA-256.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::TEXT_SCALARS_MAX;

/// What happens to a text that contains a listed word. Priority: reject, mask, flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The word is replaced in what everybody sees; the original stays in EVT only.
    Mask,
    /// The message is refused.
    Reject,
    /// The message passes and the outcome says which lists it touched.
    Flag,
}

/// Words of one list and what is done about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordList {
    /// The list's name, as outcomes and analysts see it.
    pub name: String,
    /// What is done about its words.
    pub action: Action,
    /// Words and phrases, in any script.
    pub words: Vec<String>,
}

/// A tenant's policy, stored as JSON under its hash before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The word lists; at most [`Policy::LISTS_MAX`].
    #[serde(default)]
    pub lists: Vec<WordList>,
    /// The longest text the tenant allows, in Unicode scalars.
    #[serde(default = "text_scalars_max")]
    pub text_scalars_max: usize,
}

fn text_scalars_max() -> usize {
    TEXT_SCALARS_MAX
}

impl Default for Policy {
    fn default() -> Self {
        Self { lists: Vec::new(), text_scalars_max: TEXT_SCALARS_MAX }
    }
}

impl Policy {
    /// Word lists of one policy.
    pub const LISTS_MAX: usize = 256;

    /// The policy's JSON bytes and their hash.
    pub fn to_stored(&self) -> (Vec<u8>, PolicyHash) {
        let bytes = serde_json::to_vec(self).expect("a policy is plain data");
        let hash = PolicyHash::of(&bytes);
        (bytes, hash)
    }
}

/// The SHA-256 of a stored policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct PolicyHash(pub [u8; 32]);

impl PolicyHash {
    /// The hash of a policy's stored bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for PolicyHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl std::fmt::Debug for PolicyHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}
