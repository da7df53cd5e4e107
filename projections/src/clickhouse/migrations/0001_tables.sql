-- Tables are idempotent by key: inserting a row twice, or two projectors inserting it, is inserting it once.
--
-- Partitioned by log time, not by the time of storing or of happening: it never goes back and advances at most an hour a
-- batch, so neither a clock that jumps nor an imported history makes partitions; and rows of one place in the log have one
-- log time, so a row inserted twice meets itself.
CREATE TABLE IF NOT EXISTS {store}.events (
    partition UInt16 COMMENT 'The partition of the log',
    sequence UInt64 COMMENT 'The sequence of the batch in EVT of that partition',
    idx UInt32 COMMENT 'The index in the batch; 4294967295: the row of the batch itself',
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation; 0: none',
    at DateTime64(3, 'UTC') COMMENT 'When it happened',
    stored_at DateTime64(3, 'UTC') COMMENT 'When its command batch was stored',
    log_at DateTime64(3, 'UTC') COMMENT 'Log time, which never goes back',
    sender String COMMENT 'Who',
    reference String COMMENT 'The sender''s own name of the command (ref)',
    command LowCardinality(String) COMMENT 'The command; batch: the row of a batch itself',
    origin LowCardinality(String) COMMENT 'By which door it came: client, resend (a client that repeats it), import or operator',
    event LowCardinality(String) COMMENT 'What happened; empty: nothing',
    code LowCardinality(String) COMMENT 'Why it was rejected; empty: it was accepted',
    message UInt64 COMMENT 'The message; 0: none',
    seq UInt64 COMMENT 'The seq or cursor; 0: none',
    content UInt64 COMMENT 'Hash of the content of the command',
    detail String COMMENT 'What else the event says, as JSON, without the text of a message' CODEC(ZSTD(1)),
    policy LowCardinality(String) COMMENT 'SHA-256 of the policy in force; empty: the default',
    lists Array(LowCardinality(String)) COMMENT 'Word lists that the text touched',
    log LowCardinality(String) COMMENT 'The id of the log',
    records UInt32 COMMENT 'Of the row of a batch: outcomes in it',
    bytes UInt64 COMMENT 'Of the row of a batch: its bytes in the log',
    INDEX reference_filter reference TYPE bloom_filter(0.001) GRANULARITY 1
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(log_at) ORDER BY (partition, conversation, sequence, idx)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every outcome of the log, and one row for each batch';

CREATE TABLE IF NOT EXISTS {store}.messages (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    seq UInt64 COMMENT 'Its place in the conversation: 1, 2, 3 and so on',
    message UInt64 COMMENT 'Its id',
    sender String COMMENT 'Who sent it',
    at DateTime64(3, 'UTC') COMMENT 'When it was sent',
    stored_at DateTime64(3, 'UTC') COMMENT 'When its command batch was stored',
    log_at DateTime64(3, 'UTC') COMMENT 'Log time, which never goes back',
    text String COMMENT 'The text as everybody sees it' CODEC(ZSTD(1)),
    masked Bool COMMENT 'Whether words were masked',
    reference String COMMENT 'The sender''s own name of the command (ref)',
    partition UInt16 COMMENT 'The partition of the log',
    version UInt64 COMMENT 'The position of its newest change within the partition',
    INDEX message_range message TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(log_at) ORDER BY (tenant, conversation, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Messages with their current text';

CREATE TABLE IF NOT EXISTS {store}.conversations (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    aspect LowCardinality(String) COMMENT 'Which part of it this row tells: created, name, members or head',
    kind LowCardinality(String) COMMENT 'Of created: direct or group',
    visibility LowCardinality(String) COMMENT 'Of created: private or public',
    external String COMMENT 'Of created: what the host application calls it',
    creator String COMMENT 'Of created: who made it',
    name String COMMENT 'Of name: its name',
    value UInt64 COMMENT 'Of members: how many there are; of head: the seq of its last message',
    at DateTime64(3, 'UTC') COMMENT 'When that happened',
    partition UInt16 COMMENT 'The partition of the log',
    version UInt64 COMMENT 'The position of that within the partition'
) ENGINE = ReplacingMergeTree(version) ORDER BY (tenant, conversation, aspect)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Conversations, a row for each aspect that changes by itself';

CREATE TABLE IF NOT EXISTS {store}.members (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    user String COMMENT 'The user',
    aspect LowCardinality(String) COMMENT 'Which part this row tells: membership or cursor',
    present Bool COMMENT 'Of membership: whether the user is a member',
    role LowCardinality(String) COMMENT 'Of membership: owner or member',
    read_seq UInt64 COMMENT 'Of cursor: the seq of the last message read',
    at DateTime64(3, 'UTC') COMMENT 'When that happened',
    partition UInt16 COMMENT 'The partition of the log',
    version UInt64 COMMENT 'The position of that within the partition'
) ENGINE = ReplacingMergeTree(version) ORDER BY (tenant, conversation, user, aspect)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Memberships and cursors';

CREATE TABLE IF NOT EXISTS {store}.users (
    tenant LowCardinality(String) COMMENT 'The application',
    user String COMMENT 'The user',
    name String COMMENT 'The display name',
    at DateTime64(3, 'UTC') COMMENT 'When it was set',
    partition UInt16 COMMENT 'The partition of the log',
    version UInt64 COMMENT 'The position of that within the partition'
) ENGINE = ReplacingMergeTree(version) ORDER BY (tenant, user)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Users who have a display name';

CREATE TABLE IF NOT EXISTS {store}.watermarks (
    partition UInt16 COMMENT 'The partition of the log',
    log_last UInt64 COMMENT 'The last sequence of EVT of that partition',
    applied UInt64 COMMENT 'The sequence up to which everything was inserted into these tables',
    checked UInt64 COMMENT 'The sequence up to which everything was seen to be in these tables',
    log LowCardinality(String) COMMENT 'The id of the log',
    checked_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this was noted'
) ENGINE = ReplacingMergeTree(checked_at) ORDER BY partition
COMMENT 'How far the history is';
