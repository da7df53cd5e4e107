-- Begins the next generation of one partition's views beside the live one, where there is none.
--
-- KEYS[1]  {p}:next
-- ARGV     version of the fold
-- Answer   1 where one was begun, else 0
local tag = string.match(KEYS[1], '^{%d+}:')
if redis.call('HGET', KEYS[1], 'generation') or redis.call('HGET', tag .. 'old', 'generation') then
  return 0
end
local live = redis.call('HGET', tag .. 'watermark', 'generation') or '0'
redis.call('HSET', KEYS[1], 'generation', tostring(tonumber(live) + 1), 'fold', ARGV[1])
return 1
