-- Views as whoever made them, so that an analyst needs no right on a table: what reads a table's indexes is then refused, and the rows that somebody may
-- see are a policy on the view. (The embedded engine has one user, and its policies stay on the tables.)
-- A view with PREWHERE is read in the plain way: with query_plan_optimize_lazy_final a condition of the statement may come before the policy's (tried
-- with 26.7), and its failure would show what it failed at. Every row that is shown has a tenant.
-- Times have no zone of their own, so that they are read and written in the session's (session_timezone). A column that is only declared so keeps the
-- table's zone, because ClickHouse takes two types that differ in it for the same; hence by way of the number. Hours are counted by hand, because
-- what ClickHouse counts them by gives a DateTime, which ends in 2106.
CREATE OR REPLACE VIEW {views}.events (
    position String COMMENT 'Where it stands in the log: partition:sequence:index',
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation; 0: none',
    at DateTime64(3) COMMENT 'When it happened',
    stored_at DateTime64(3) COMMENT 'When its command batch was stored',
    sender String COMMENT 'Who',
    reference String COMMENT 'The sender''s own name of the command (ref)',
    command LowCardinality(String) COMMENT 'The command',
    origin LowCardinality(String) COMMENT 'By which door it came: client, resend (a client that repeats it), import or operator',
    event LowCardinality(String) COMMENT 'What happened; empty: nothing',
    code LowCardinality(String) COMMENT 'Why it was rejected; empty: it was accepted',
    message UInt64 COMMENT 'The message; 0: none',
    seq UInt64 COMMENT 'The seq or cursor; 0: none',
    detail String COMMENT 'What else the event says, as JSON, without the text of a message',
    policy LowCardinality(String) COMMENT 'SHA-256 of the policy in force; empty: the default',
    lists Array(LowCardinality(String)) COMMENT 'Word lists that the text touched'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT concat(toString(partition), ':', toString(sequence), ':', toString(idx)) AS position, tenant, conversation,
fromUnixTimestamp64Milli(toUnixTimestamp64Milli(at)) AS at, fromUnixTimestamp64Milli(toUnixTimestamp64Milli(stored_at)) AS stored_at,
sender, reference, command, origin, event, code, message, seq, detail, policy, lists
FROM {store}.events FINAL PREWHERE tenant != '' WHERE command != 'batch'
COMMENT 'Every outcome: commands as they were decided, accepted and rejected';

CREATE OR REPLACE VIEW {views}.messages (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    seq UInt64 COMMENT 'Its place in the conversation: 1, 2, 3 and so on',
    message UInt64 COMMENT 'Its id',
    sender String COMMENT 'Who sent it',
    at DateTime64(3) COMMENT 'When it was sent',
    stored_at DateTime64(3) COMMENT 'When its command batch was stored',
    text String COMMENT 'The text as everybody sees it',
    masked Bool COMMENT 'Whether words were masked'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT tenant, conversation, seq, message, sender,
fromUnixTimestamp64Milli(toUnixTimestamp64Milli(at)) AS at, fromUnixTimestamp64Milli(toUnixTimestamp64Milli(stored_at)) AS stored_at,
text, masked FROM {store}.messages FINAL PREWHERE tenant != ''
COMMENT 'Messages, each once, with their current text';

CREATE OR REPLACE VIEW {views}.conversations (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    kind LowCardinality(String) COMMENT 'direct or group',
    visibility LowCardinality(String) COMMENT 'private or public',
    external String COMMENT 'What the host application calls it; empty: nothing',
    name String COMMENT 'Its name; empty: none',
    creator String COMMENT 'Who made it',
    created_at DateTime64(3) COMMENT 'When it was made',
    members UInt64 COMMENT 'Members now',
    last_seq UInt64 COMMENT 'The seq of its last message, which is how many there are'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT c.tenant AS tenant, c.conversation AS conversation, anyIf(c.kind, c.aspect = 'created') AS kind,
anyIf(c.visibility, c.aspect = 'created') AS visibility, anyIf(c.external, c.aspect = 'created') AS external,
anyIf(c.name, c.aspect = 'name') AS name, anyIf(c.creator, c.aspect = 'created') AS creator,
fromUnixTimestamp64Milli(toUnixTimestamp64Milli(anyIf(c.at, c.aspect = 'created'))) AS created_at, anyIf(c.value, c.aspect = 'members') AS members,
anyIf(c.value, c.aspect = 'head') AS last_seq
FROM {store}.conversations AS c FINAL PREWHERE c.tenant != '' GROUP BY c.tenant, c.conversation HAVING countIf(c.aspect = 'created') > 0
COMMENT 'Conversations as they are now';

CREATE OR REPLACE VIEW {views}.members (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    user String COMMENT 'The user',
    role LowCardinality(String) COMMENT 'owner or member',
    joined_at DateTime64(3) COMMENT 'When the user came',
    read_seq UInt64 COMMENT 'The seq of the last message read'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT m.tenant AS tenant, m.conversation AS conversation, m.user AS user, anyIf(m.role, m.aspect = 'membership') AS role,
fromUnixTimestamp64Milli(toUnixTimestamp64Milli(anyIf(m.at, m.aspect = 'membership'))) AS joined_at, anyIf(m.read_seq, m.aspect = 'cursor') AS read_seq
FROM {store}.members AS m FINAL PREWHERE m.tenant != '' GROUP BY m.tenant, m.conversation, m.user HAVING countIf(m.aspect = 'membership' AND m.present) > 0
COMMENT 'Members of conversations as they are now';

CREATE OR REPLACE VIEW {views}.users (
    tenant LowCardinality(String) COMMENT 'The application',
    user String COMMENT 'The user',
    name String COMMENT 'The display name',
    named_at DateTime64(3) COMMENT 'When it was set'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT tenant, user, name, fromUnixTimestamp64Milli(toUnixTimestamp64Milli(at)) AS named_at FROM {store}.users FINAL PREWHERE tenant != ''
COMMENT 'Users who have a display name';

CREATE OR REPLACE VIEW {views}.watermarks (
    partition UInt16 COMMENT 'The partition of the log',
    log_last UInt64 COMMENT 'The last sequence of EVT of that partition',
    applied UInt64 COMMENT 'The sequence up to which everything is in these views',
    checked_at DateTime64(3) COMMENT 'When that was looked up'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT partition, log_last, applied, fromUnixTimestamp64Milli(toUnixTimestamp64Milli(checked_at)) AS checked_at FROM {store}.watermarks FINAL
COMMENT 'How fresh these views are';

CREATE OR REPLACE VIEW {views}.messages_by_hour (
    tenant LowCardinality(String) COMMENT 'The application',
    hour DateTime64(0) COMMENT 'The hour, by its begin',
    messages UInt64 COMMENT 'Messages that were sent in it',
    masked UInt64 COMMENT 'Of these, those that were masked',
    people UInt64 COMMENT 'Users who sent any',
    conversations UInt64 COMMENT 'Conversations in which any were sent'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT m.tenant AS tenant, toDateTime64(m.at - toIntervalSecond(toMinute(m.at) * 60 + toSecond(m.at)), 0) AS hour, count() AS messages, countIf(m.masked) AS masked,
uniqExact(m.sender) AS people, uniqExact(m.conversation) AS conversations
FROM {views}.messages AS m GROUP BY m.tenant, hour
COMMENT 'Messages and active users by hour';

CREATE OR REPLACE VIEW {views}.response_times (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    seq UInt64 COMMENT 'The seq of the answer',
    at DateTime64(3) COMMENT 'When it was sent',
    sender String COMMENT 'Who answered',
    answered String COMMENT 'Who was answered',
    seconds Float64 COMMENT 'Since the message that it answers'
) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT tenant, conversation, seq, at, sender, answered, dateDiff('millisecond', answered_at, at) / 1000 AS seconds
FROM (SELECT m.tenant AS tenant, m.conversation AS conversation, m.seq AS seq, m.at AS at, m.sender AS sender,
lagInFrame(m.sender) OVER room AS answered, lagInFrame(m.at) OVER room AS answered_at FROM {views}.messages AS m
WINDOW room AS (PARTITION BY m.tenant, m.conversation ORDER BY m.seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))
WHERE seq > 1 AND sender != answered
COMMENT 'Answers: each message right after one of somebody else in its conversation';
