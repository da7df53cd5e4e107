-- A user's conversations in one partition: newest activity first, a page of them in full.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     user's key, user, limit, active at and conversation after which the page begins ('': from the newest),
--          fields of a conversation
-- Answer   {log id, sequence, conversations in all, conversation, fields, last message, entry in the members, cursor, runs, ...}
local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation')
local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[3] or '0') .. ':'
local user, limit = ARGV[2], tonumber(ARGV[3])

-- Ids are compared as texts, since Lua's numbers hold 53 bits only; none begins with a zero.
local function before(a, b)
  if a.at ~= b.at then return a.at > b.at end
  if #a.id ~= #b.id then return #a.id > #b.id end
  for i = 1, #a.id do
    local left, right = string.byte(a.id, i), string.byte(b.id, i)
    if left ~= right then return left > right end
  end
  return false
end

local all = {}
local ids = redis.call('SMEMBERS', prefix .. ARGV[1])
local start = ARGV[4] ~= '' and {at = tonumber(ARGV[4]), id = ARGV[5]}
for _, id in ipairs(ids) do
  local one = {at = tonumber(redis.call('HGET', prefix .. 'c:' .. id, 'a') or '0'), id = id}
  if not start or before(start, one) then
    all[#all + 1] = one
  end
end
table.sort(all, before)

local answer = {mark[1] or '', mark[2] or '0', #ids}
for i = 1, math.min(limit, #all) do
  local id = all[i].id
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HMGET', prefix .. 'c:' .. id, unpack(ARGV, 6))
  answer[#answer + 1] = redis.call('LINDEX', prefix .. 'l:' .. id, -1)
  local range = {'[' .. user .. '\0', '(' .. user .. '\1'}
  answer[#answer + 1] = redis.call('ZRANGEBYLEX', prefix .. 'm:' .. id, range[1], range[2], 'LIMIT', 0, 1)[1] or false
  answer[#answer + 1] = redis.call('HGET', prefix .. 'k:' .. id, user)
  answer[#answer + 1] = redis.call('HVALS', prefix .. 'q:' .. id)
end
return answer
