//! Record batches as bytes: one JetStream message holds many commands or many outcomes.
//!
//! ```text
//! command batch:  version u8 | header length u32 | CommandHeader | records          (none: a tick, which only moves log time)
//! outcome batch:  version u8 | header length u32 | OutcomeHeader | records
//! records:        count times  conversation u64 | length u32 | bytes      (commands: without the conversation)
//! ```
//!
//! Integers outside bincode are little endian. Each record stands behind its length, so that one that does not decode
//! costs only itself, and behind its conversation, so that a gateway can pass over what concerns no session of its own.
//! The version rises when the frame above changes; variants inside are append-only (golden bytes in the tests).

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Decode, Encode};

use crate::command::Command;
use crate::id::IdState;
use crate::outcome::Outcome;
use crate::policy::PolicyHash;

/// The version that this binary writes, and the newest that it reads.
pub const VERSION: u8 = 2;

/// No record is larger than a JetStream message; a damaged length cannot ask for more memory than this.
const DECODE_BYTES_MAX: usize = 8 * 1024 * 1024;
const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODE_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

/// Why bytes of the log could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer binary: the partition stops until a newer reader is rolled out.
    #[error("record batch has version {found}, this binary reads up to {VERSION}: roll out a newer binary")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Fewer bytes than announced.
    #[error("record batch ends within its {0}")]
    Truncated(&'static str),
    /// Bytes that are not what they should be.
    #[error("{what} cannot be decoded: {reason}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
}

/// Nearly every record is shorter.
const RECORD_BYTES_USUAL: usize = 256;

/// `value` in the log's encoding.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES_USUAL);
    encode_into(&mut bytes, value);
    bytes
}

/// Appends `value`. In one pass: `encode_to_vec` encodes all twice, the first time to learn the size.
fn encode_into<T: Encode>(bytes: &mut Vec<u8>, value: &T) {
    bincode::encode_into_std_write(value, bytes, CONFIG).expect("encoding to memory cannot fail");
}

/// The value in `bytes`, which must hold nothing else.
///
/// # Errors
/// [`CodecError::Malformed`] naming `what`.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(what: &'static str, bytes: &'a [u8]) -> Result<T, CodecError> {
    let malformed = |reason: String| CodecError::Malformed { what, reason };
    // Borrowed on the way only: names are copied once, into their own memory.
    let (value, read) =
        bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|error| malformed(error.to_string()))?;
    if read == bytes.len() { Ok(value) } else { Err(malformed(format!("{} bytes left over", bytes.len() - read))) }
}

/// What a command batch begins with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommandHeader {
    /// Random per publisher life; with `number` it is the batch's `Nats-Msg-Id`.
    pub publisher: u64,
    /// Rises by one per batch of this publisher.
    pub number: u64,
    /// Commands in it.
    pub records: u32,
}

impl CommandHeader {
    /// The `Nats-Msg-Id` of this batch.
    pub fn message_id(&self) -> String {
        format!("{:016x}-{}", self.publisher, self.number)
    }
}

/// A command batch in the making.
#[derive(Debug, Default)]
pub struct CommandBatchWriter {
    records: Vec<u8>,
    count: u32,
}

impl CommandBatchWriter {
    /// Appends an encoded command.
    pub fn push(&mut self, encoded: &[u8]) {
        push_record(&mut self.records, encoded);
        self.count += 1;
    }

    /// Commands so far.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// The batch as published by `publisher` under `number`.
    pub fn finish(self, publisher: u64, number: u64) -> (CommandHeader, Vec<u8>) {
        let header = CommandHeader { publisher, number, records: self.count };
        let bytes = frame(&encode(&header), &self.records);
        (header, bytes)
    }
}

/// A command batch as read; commands that do not decode are given as their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandBatch {
    /// Its header.
    pub header: CommandHeader,
    /// Its commands, in order.
    pub commands: Vec<Result<Command, Vec<u8>>>,
}

impl CommandBatch {
    /// Reads a stored command batch.
    ///
    /// # Errors
    /// The whole batch cannot be read. A single command that cannot is an `Err` in [`CommandBatch::commands`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (header, mut rest) = unframe(bytes)?;
        let header: CommandHeader = decode("command batch header", header)?;
        let mut commands = Vec::with_capacity(header.records.min(4096) as usize);
        for _ in 0..header.records {
            let record = take_record(&mut rest)?;
            commands.push(decode("command", record).map_err(|_| record.to_vec()));
        }
        ends(rest)?;
        Ok(Self { header, commands })
    }
}

/// One command batch that an outcome batch answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Source {
    /// Its sequence in `CMD_p`; the sources of successive outcome batches rise without a hole.
    pub sequence: u64,
    /// When the broker stored it, in Unix milliseconds.
    pub stored_ms: u64,
    /// Log time: the highest stored time so far, advancing at most [`crate::limits::LOG_TIME_STEP_MS_MAX`] a batch.
    /// Never goes back; what expires is measured by it.
    pub log_ms: u64,
    /// Log time before this batch; 0: it is the log's first. What was known lately is measured by it, so that a leap of this
    /// batch's own clock forgets nothing that its commands ask for.
    pub before_ms: u64,
    /// Echo of [`CommandHeader::publisher`].
    pub publisher: u64,
    /// Echo of [`CommandHeader::number`].
    pub number: u64,
    /// Its commands, and so its outcomes here.
    pub records: u32,
}

/// What an outcome batch begins with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OutcomeHeader {
    /// Revision of the lease under which it was written.
    pub lease: u64,
    /// The command batches that it answers, in order.
    pub sources: Vec<Source>,
    /// The id fold after this batch.
    pub ids: IdState,
    /// The policies in force, named by index in the outcomes.
    pub policies: Vec<PolicyHash>,
    /// Conversations with an event in this batch, rising, each once.
    pub conversations: Vec<u64>,
    /// Users ([`crate::slot::user_hash`]) whom an event of this batch concerns beyond their conversations' members
    /// (membership, cursors, profiles), rising, each once.
    pub users: Vec<u64>,
}

impl OutcomeHeader {
    /// The `CMD_p` sequence that is answered up to here.
    pub fn command_sequence(&self) -> u64 {
        self.sources.last().map_or(0, |source| source.sequence)
    }

    /// When the last command batch that it answers was stored, in Unix milliseconds.
    pub fn stored_ms(&self) -> u64 {
        self.sources.last().map_or(0, |source| source.stored_ms)
    }

    /// Log time after this batch, in Unix milliseconds.
    pub fn log_ms(&self) -> u64 {
        self.sources.last().map_or(0, |source| source.log_ms)
    }

    /// Outcomes in the batch.
    pub fn records(&self) -> u32 {
        // Saturating, for the header may be damaged.
        self.sources.iter().fold(0, |sum, source| sum.saturating_add(source.records))
    }
}

/// An outcome batch in the making. The header's touch lists are kept sorted by [`OutcomeBatchWriter::finish`].
#[derive(Debug, Default)]
pub struct OutcomeBatchWriter {
    records: Vec<u8>,
    conversations: Vec<u64>,
    users: Vec<u64>,
}

impl OutcomeBatchWriter {
    /// Makes room for so many bytes of outcomes more, where they are known to come.
    pub fn reserve(&mut self, bytes: usize) {
        self.records.reserve(bytes);
    }

    /// Appends an outcome and notes whom it concerns: the conversation of its event and users by hash.
    pub fn push(&mut self, outcome: &Outcome, touched: &Touched) {
        self.records.extend_from_slice(&touched.conversation.unwrap_or(0).to_le_bytes());
        push_encoded(&mut self.records, outcome);
        self.conversations.extend(touched.conversation);
        self.users.extend_from_slice(&touched.users);
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// The batch's bytes.
    pub fn finish(mut self, lease: u64, sources: Vec<Source>, ids: IdState, policies: Vec<PolicyHash>) -> Vec<u8> {
        for list in [&mut self.conversations, &mut self.users] {
            list.sort_unstable();
            list.dedup();
        }
        let header =
            OutcomeHeader { lease, sources, ids, policies, conversations: self.conversations, users: self.users };
        frame(&encode(&header), &self.records)
    }
}

/// Whom an outcome concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The conversation of its event.
    pub conversation: Option<u64>,
    /// Users beyond the conversation's members, by [`crate::slot::user_hash`].
    pub users: Vec<u64>,
}

/// An outcome batch as read: the header decoded, the outcomes not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeBatch<'a> {
    /// Its header.
    pub header: OutcomeHeader,
    records: &'a [u8],
}

impl<'a> OutcomeBatch<'a> {
    /// Reads a stored outcome batch's header.
    ///
    /// # Errors
    /// Unknown version, or no outcome batch.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let (header, records) = unframe(bytes)?;
        Ok(Self { header: decode("outcome batch header", header)?, records })
    }

    /// The outcomes, in order and not yet decoded: (index, conversation or 0, bytes).
    ///
    /// # Errors
    /// The records do not fill the batch exactly.
    pub fn records(&self) -> Result<Vec<RawOutcome<'a>>, CodecError> {
        let mut rest = self.records;
        let mut records = Vec::with_capacity(self.header.records().min(65_536) as usize);
        for source in &self.header.sources {
            for _ in 0..source.records {
                let conversation = u64::from_le_bytes(take::<8>(&mut rest, "record's conversation")?);
                let bytes = take_record(&mut rest)?;
                let index = u32::try_from(records.len()).unwrap_or(u32::MAX);
                records.push(RawOutcome {
                    index,
                    stored_ms: source.stored_ms,
                    log_ms: source.log_ms,
                    before_ms: source.before_ms,
                    conversation,
                    bytes,
                });
            }
        }
        ends(rest)?;
        Ok(records)
    }
}

/// One outcome of a batch, not yet decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawOutcome<'a> {
    /// Its index in the batch.
    pub index: u32,
    /// When its command batch was stored, in Unix milliseconds.
    pub stored_ms: u64,
    /// Its log time ([`Source::log_ms`]).
    pub log_ms: u64,
    /// Log time before its command batch ([`Source::before_ms`]).
    pub before_ms: u64,
    /// The conversation of its event; 0: none.
    pub conversation: u64,
    bytes: &'a [u8],
}

impl RawOutcome<'_> {
    /// The outcome.
    ///
    /// # Errors
    /// It cannot be decoded: the log is damaged or a newer binary wrote it.
    pub fn decode(&self) -> Result<Outcome, CodecError> {
        decode("outcome", self.bytes)
    }
}

fn frame(header: &[u8], records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + header.len() + records.len());
    bytes.push(VERSION);
    push_record(&mut bytes, header);
    bytes.extend_from_slice(records);
    bytes
}

fn unframe(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let (version, mut rest) = bytes.split_first().ok_or(CodecError::Truncated("version"))?;
    if *version != VERSION {
        return Err(CodecError::Version { found: *version });
    }
    let header = take_record(&mut rest)?;
    Ok((header, rest))
}

fn push_record(bytes: &mut Vec<u8>, record: &[u8]) {
    bytes.extend_from_slice(&record_length(record.len()));
    bytes.extend_from_slice(record);
}

/// Appends a record that is not encoded yet; its length is filled in when it is known.
fn push_encoded<T: Encode>(bytes: &mut Vec<u8>, record: &T) {
    let at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    encode_into(bytes, record);
    let length = record_length(bytes.len() - at - 4);
    bytes[at..at + 4].copy_from_slice(&length);
}

fn record_length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a record is smaller than a JetStream message").to_le_bytes()
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let length = u32::from_le_bytes(take::<4>(rest, "record's length")?) as usize;
    let (record, after) = rest.split_at_checked(length).ok_or(CodecError::Truncated("record"))?;
    *rest = after;
    Ok(record)
}

fn take<const N: usize>(rest: &mut &[u8], what: &'static str) -> Result<[u8; N], CodecError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(CodecError::Truncated(what))?;
    *rest = after;
    Ok(*taken)
}

fn ends(rest: &[u8]) -> Result<(), CodecError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(CodecError::Malformed { what: "record batch", reason: format!("{} bytes left over", rest.len()) })
    }
}
