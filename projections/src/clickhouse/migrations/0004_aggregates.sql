-- Aggregates of the views, computed when they are read, so exact under replay and as fresh as these.
CREATE OR REPLACE VIEW {views}.messages_by_hour (
    tenant LowCardinality(String) COMMENT 'The application',
    hour DateTime('UTC') COMMENT 'The hour, by its begin',
    messages UInt64 COMMENT 'Messages that were sent in it',
    masked UInt64 COMMENT 'Of these, those that were masked',
    people UInt64 COMMENT 'Users who sent any',
    conversations UInt64 COMMENT 'Conversations in which any were sent'
) AS SELECT m.tenant AS tenant, toStartOfHour(m.at) AS hour, count() AS messages, countIf(m.masked) AS masked,
uniqExact(m.sender) AS people, uniqExact(m.conversation) AS conversations
FROM {views}.messages AS m GROUP BY m.tenant, hour
COMMENT 'Messages and active users by hour';

CREATE OR REPLACE VIEW {views}.response_times (
    tenant LowCardinality(String) COMMENT 'The application',
    conversation UInt64 COMMENT 'The conversation',
    seq UInt64 COMMENT 'The seq of the answer',
    at DateTime64(3, 'UTC') COMMENT 'When it was sent',
    sender String COMMENT 'Who answered',
    answered String COMMENT 'Who was answered',
    seconds Float64 COMMENT 'Since the message that it answers'
) AS SELECT tenant, conversation, seq, at, sender, answered, dateDiff('millisecond', answered_at, at) / 1000 AS seconds
FROM (SELECT m.tenant AS tenant, m.conversation AS conversation, m.seq AS seq, m.at AS at, m.sender AS sender,
lagInFrame(m.sender) OVER room AS answered, lagInFrame(m.at) OVER room AS answered_at FROM {views}.messages AS m
WINDOW room AS (PARTITION BY m.tenant, m.conversation ORDER BY m.seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))
WHERE seq > 1 AND sender != answered
COMMENT 'Answers: each message right after one of somebody else in its conversation';
