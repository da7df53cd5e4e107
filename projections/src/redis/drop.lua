-- Drops some keys of a generation that is not live, and at last what says that it is there.
--
-- KEYS[1]  {p}:old or {p}:next
-- ARGV     cursor, '0' at first
-- Answer   {generation, '': there is none, cursor, '0': that was all}
local KEYS_A_SCAN = 500

local tag = string.match(KEYS[1], '^{%d+}:')
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then
  return {'', '0'}
end
if generation == (redis.call('HGET', tag .. 'watermark', 'generation') or '0') then
  return redis.error_reply('generation ' .. generation .. ' is live')
end
local found = redis.call('SCAN', ARGV[1], 'MATCH', tag .. generation .. ':*', 'COUNT', KEYS_A_SCAN)
for _, key in ipairs(found[2]) do
  redis.call('UNLINK', key)
end
if found[1] == '0' then
  redis.call('DEL', KEYS[1])
end
return {generation, found[1]}
