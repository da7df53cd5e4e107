//! Every limit in one place, with the relations between them checked at compile time.

/// Slots that conversations and users hash to; 10 bits of every id.
pub const SLOTS: u16 = 1024;
/// Partitions a deployment may have at most: every partition owns at least one slot.
pub const PARTITIONS_MAX: u16 = SLOTS;

/// A tenant's name, in bytes (`[a-z0-9-]`).
pub const TENANT_BYTES_MAX: usize = 32;
/// A user's id, in bytes.
pub const USER_BYTES_MAX: usize = 128;
/// A host application's own name of a conversation, in bytes.
pub const EXTERNAL_BYTES_MAX: usize = 128;
/// A command's `ref`, in bytes.
pub const REF_BYTES_MAX: usize = 64;
/// A frame's `id`, in bytes.
pub const FRAME_ID_BYTES_MAX: usize = 64;
/// A conversation's or a user's display name, in Unicode scalars.
pub const NAME_SCALARS_MAX: usize = 128;
/// A message's text, in Unicode scalars.
pub const TEXT_SCALARS_MAX: usize = 4096;
/// Members named by one command.
pub const COMMAND_MEMBERS_MAX: usize = 100;
/// Members of one conversation.
pub const CONVERSATION_MEMBERS_MAX: u32 = 1_000_000;

/// One WebSocket message or HTTP command body, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Records in one command batch.
pub const COMMAND_BATCH_RECORDS_MAX: usize = 1000;
/// Bytes of one command batch; a single command always fits.
pub const COMMAND_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one outcome batch, which holds whole command batches. Counted for the longest outcomes that there may be: a full
/// batch of short messages is a third of it.
pub const OUTCOME_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Command batches that one outcome batch answers.
pub const OUTCOME_BATCH_SOURCES_MAX: usize = 64;

/// The last moment that an imported line may name, in Unix milliseconds, which is the last that the history's columns hold
/// (`DateTime64`): 2299-12-31T23:59:59.999Z.
pub const IMPORT_AT_MS_MAX: u64 = 10_413_791_999_999;
/// Runs of imported lines that the hot view keeps of a conversation, the newest: whose cursor is behind more of them is told
/// fewer unread messages than there are rather than more.
pub const RUNS_KEPT: u64 = 64;
/// A room's sessions hear at most once in so many milliseconds that its history grew, and before its next live event.
pub const IMPORTED_EVERY_MS: u64 = 1000;

/// Word lists that one outcome names; a text that touches more is decided by all of them.
pub const OUTCOME_LISTS_MAX: usize = 8;
/// A word list's name, in bytes.
pub const LIST_NAME_BYTES_MAX: usize = 32;
/// What an outcome holds beside its command and as much again (a replacement, members), in bytes.
pub const OUTCOME_EXTRA_BYTES: usize = 400;

/// Facts that a processor keeps of one partition, a remembered ref counting as one; it keeps more only while the Redis
/// view is behind.
pub const OVERLAY_FACTS_MAX: usize = 262_144;
/// Outcome batches that the Redis view may be behind before a processor pauses its partition.
pub const OVERLAY_BATCHES_MAX: u64 = 10_000;
/// Facts asked of the Redis view in one script.
pub const FACTS_LOAD_MAX: usize = 4096;

/// Messages on one page of history.
pub const PAGE_MESSAGES_MAX: u32 = 200;
/// Conversations or members on one page.
pub const PAGE_ITEMS_MAX: u32 = 200;
/// Newest messages of a conversation that the hot view keeps.
pub const HOT_MESSAGES: usize = 200;
/// Records read from EVT to fill a hole between the hot view and the history.
pub const HOLE_RECORDS_MAX: u64 = 10_000;
/// Outcome batches that a gateway refills from EVT before it asks its sessions to resync.
pub const REFILL_BATCHES_MAX: u64 = 1000;

/// A `ref` is remembered by the facts for so long in log time, in milliseconds, and no longer.
pub const REFS_RECENT_MS: u64 = 120_000;
/// Remembered refs of one sender in one conversation within [`REFS_RECENT_MS`].
pub const REFS_RECENT_MAX: usize = 8192;
/// How long the same `ref` gets the first accepted outcome again by a resend, in milliseconds of log time: a phone that
/// was off for a long weekend, and a few days more.
pub const REF_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Evidence counts up to this long after the batch that it is complete up to, in milliseconds of log time.
pub const EVIDENCE_AGE_MS_MAX: u64 = 60_000;

/// A command received longer than this before its batch was stored is `expired`, in milliseconds.
pub const COMMAND_AGE_MS_MAX: u64 = 60_000;
/// How long a publisher retries one batch, in milliseconds.
pub const PUBLISH_RETRY_MS_MAX: u64 = 60_000;
/// How long a read waits for `min_position`, in milliseconds.
pub const READ_WAIT_MS_MAX: u64 = 1000;
/// A partition where nobody says anything gets a tick once in so many milliseconds.
pub const TICK_INTERVAL_MS: u64 = 600_000;
/// What expires by log time advances at most this much per batch, in milliseconds.
pub const LOG_TIME_STEP_MS_MAX: u64 = 3_600_000;

/// Unanswered commands of one session.
pub const SESSION_UNANSWERED_MAX: usize = 256;
/// Unanswered commands of one service session (an import), which is slowed down instead of refused.
pub const SERVICE_UNANSWERED_MAX: usize = 8192;
/// Commands that wait for one partition's publisher.
pub const PUBLISHER_QUEUE_MAX: usize = 32_768;
/// Bytes that may wait for one session: with more when there is something new, it is closed as slow.
pub const SESSION_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// What waits for one session at any moment is written within this time, in milliseconds, or it is closed as slow.
pub const SESSION_BACKLOG_MS_MAX: u64 = 10_000;
/// Bytes on one room's tape that have not been handed to everybody: with more, no more is taken from the log.
pub const TAPE_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(TEXT_SCALARS_MAX * 4 < FRAME_BYTES_MAX, "every allowed text fits a frame");
const _: () = assert!(COMMAND_MEMBERS_MAX * USER_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < COMMAND_BATCH_BYTES_MAX);
const _: () = assert!(
    2 * COMMAND_BATCH_BYTES_MAX + COMMAND_BATCH_RECORDS_MAX * OUTCOME_EXTRA_BYTES <= OUTCOME_BATCH_BYTES_MAX,
    "the outcomes of one full command batch always fit"
);
const _: () = assert!(OUTCOME_BATCH_BYTES_MAX < 8 * 1024 * 1024, "the broker takes messages up to 8 MiB");
const _: () = assert!(OUTCOME_LISTS_MAX * (LIST_NAME_BYTES_MAX + 1) < OUTCOME_EXTRA_BYTES);
const _: () =
    assert!(EVIDENCE_AGE_MS_MAX < REFS_RECENT_MS, "what changed after evidence that counts is among the facts");
const _: () = assert!(REFS_RECENT_MS < REF_LIFE_MS);
const _: () = assert!(PUBLISH_RETRY_MS_MAX <= REFS_RECENT_MS, "a retried batch still finds its refs");
const _: () = assert!(SERVICE_UNANSWERED_MAX < PUBLISHER_QUEUE_MAX);
const _: () = assert!(TAPE_BYTES_MAX < SESSION_QUEUE_BYTES_MAX, "one pass makes nobody slow");
