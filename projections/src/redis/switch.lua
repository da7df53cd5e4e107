-- Puts the next generation of one partition's views in the place of the live one, where it is not behind it.
--
-- KEYS[1]  {p}:next
-- ARGV     its generation
-- Answer   1 where that generation is live now, 0 where it is behind
local tag = string.match(KEYS[1], '^{%d+}:')
local live = redis.call('HMGET', tag .. 'watermark', 'log', 'sequence', 'generation', 'index')
local following = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation', 'index')
if (live[3] or '0') == ARGV[1] then
  return 1
end
if following[3] ~= ARGV[1] then
  return redis.error_reply('generation ' .. ARGV[1] .. ' is not there any more')
end
if live[1] and following[1] and live[1] ~= following[1] then
  return redis.error_reply('the two generations are of two logs')
end
local function further(a, b)
  local left, right = tonumber(a[2] or '0'), tonumber(b[2] or '0')
  return left > right or (left == right and tonumber(a[4] or '0') > tonumber(b[4] or '0'))
end
if further(live, following) then
  return 0
end
redis.call('HSET', tag .. 'old', 'generation', live[3] or '0')
redis.call('RENAME', KEYS[1], tag .. 'watermark')
return 1
