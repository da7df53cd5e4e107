-- Hours over all the times that the tables hold: what counts the hour by itself gives a DateTime, which ends in 2106.
CREATE OR REPLACE VIEW {views}.messages_by_hour (
    tenant LowCardinality(String) COMMENT 'The application',
    hour DateTime64(0, 'UTC') COMMENT 'The hour, by its begin',
    messages UInt64 COMMENT 'Messages that were sent in it',
    masked UInt64 COMMENT 'Of these, those that were masked',
    people UInt64 COMMENT 'Users who sent any',
    conversations UInt64 COMMENT 'Conversations in which any were sent'
) AS SELECT m.tenant AS tenant, toDateTime64(intDiv(toUnixTimestamp64Milli(m.at), 3600000) * 3600, 0, 'UTC') AS hour,
count() AS messages, countIf(m.masked) AS masked, uniqExact(m.sender) AS people, uniqExact(m.conversation) AS conversations
FROM {views}.messages AS m GROUP BY m.tenant, hour
COMMENT 'Messages and active users by hour';
