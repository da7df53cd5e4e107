//! The rows of `natter_store`, as they are inserted. Times are Unix milliseconds (`DateTime64(3)`).

use clickhouse::Row;
use serde::{Deserialize, Serialize};

/// The index of a batch's own row in `events`.
pub const BATCH_INDEX: u32 = u32::MAX;

/// `events`: an outcome, or a batch's own row (`idx` = [`BATCH_INDEX`], conversation 0).
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct EventRow {
    /// The partition.
    pub partition: u16,
    /// The batch's sequence in `EVT_p`.
    pub sequence: u64,
    /// The index in the batch.
    pub idx: u32,
    /// The application.
    pub tenant: String,
    /// The conversation; 0: none.
    pub conversation: u64,
    /// When it happened.
    pub at: i64,
    /// When its command batch was stored.
    pub stored_at: i64,
    /// Log time.
    pub log_at: i64,
    /// Who.
    pub sender: String,
    /// The sender's own name of the command.
    pub reference: String,
    /// The command's name; `batch` for a batch's own row.
    pub command: String,
    /// By which door it came: `client`, `resend`, `import` or `operator`.
    pub origin: String,
    /// The event's name; empty: nothing happened.
    pub event: String,
    /// Why it was rejected; empty: accepted.
    pub code: String,
    /// The message; 0: none.
    pub message: u64,
    /// The seq or cursor; 0: none.
    pub seq: u64,
    /// Hash of the command's content.
    pub content: u64,
    /// What else the event says, as JSON; without a message's text.
    pub detail: String,
    /// The policy in force, as hex; empty: the default.
    pub policy: String,
    /// Names of the word lists that the text touched.
    pub lists: Vec<String>,
    /// The log's id.
    pub log: String,
    /// Of a batch's own row: outcomes in it.
    pub records: u32,
    /// Of a batch's own row: its bytes in the log.
    pub bytes: u64,
}

/// `messages`: a message's current text.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct MessageRow {
    /// The application.
    pub tenant: String,
    /// The conversation.
    pub conversation: u64,
    /// Its place in the conversation.
    pub seq: u64,
    /// Its id.
    pub message: u64,
    /// Who sent it.
    pub sender: String,
    /// When it was sent.
    pub at: i64,
    /// When its command batch was stored.
    pub stored_at: i64,
    /// Log time.
    pub log_at: i64,
    /// What everybody sees.
    pub text: String,
    /// Words were masked.
    pub masked: bool,
    /// The sender's own name of the command.
    pub reference: String,
    /// The partition.
    pub partition: u16,
    /// The position within the partition.
    pub version: u64,
}

/// `conversations`: one aspect of a conversation; the analysts' view puts them together.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct ConversationRow {
    /// The application.
    pub tenant: String,
    /// The conversation.
    pub conversation: u64,
    /// `created`, `name`, `members` or `head`.
    pub aspect: String,
    /// Of `created`: `direct` or `group`.
    pub kind: String,
    /// Of `created`: `private` or `public`.
    pub visibility: String,
    /// Of `created`: the host application's name of it.
    pub external: String,
    /// Of `created`: who made it.
    pub creator: String,
    /// Of `name`: its name.
    pub name: String,
    /// Of `members`: how many there are; of `head`: the last seq.
    pub value: u64,
    /// When it happened.
    pub at: i64,
    /// The partition.
    pub partition: u16,
    /// The position within the partition.
    pub version: u64,
}

/// `members`: one aspect of a membership.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct MemberRow {
    /// The application.
    pub tenant: String,
    /// The conversation.
    pub conversation: u64,
    /// The user.
    pub user: String,
    /// `membership` or `cursor`.
    pub aspect: String,
    /// Of `membership`: whether the user is a member.
    pub present: bool,
    /// Of `membership`: `owner` or `member`.
    pub role: String,
    /// Of `cursor`: the last seq read.
    pub read_seq: u64,
    /// When it happened.
    pub at: i64,
    /// The partition.
    pub partition: u16,
    /// The position within the partition.
    pub version: u64,
}

/// `users`: a user's display name.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct UserRow {
    /// The application.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The display name.
    pub name: String,
    /// When it was set.
    pub at: i64,
    /// The partition.
    pub partition: u16,
    /// The position within the partition.
    pub version: u64,
}

/// `watermarks`: how far the history is. When it was noted is filled in by ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct WatermarkRow {
    /// The partition.
    pub partition: u16,
    /// The log's last sequence.
    pub log_last: u64,
    /// The last sequence that was inserted.
    pub applied: u64,
    /// The sequence up to which all was seen to be here: a note vouches for everything below it, so this is what was
    /// looked up, never what was merely inserted.
    pub checked: u64,
    /// The log's id.
    pub log: String,
}
