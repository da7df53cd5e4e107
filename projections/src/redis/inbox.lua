-- A user's conversations in one partition: a page of them in full, newest activity first, or a part of a long list of them with
-- the activity of each.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     'page', tenant, user, limit, active at and conversation after which the page begins ('': from the newest), fields of
--          a conversation
--          'part', tenant, user, cursor
-- Answer   {log id, sequence, conversations in all, conversation, fields, last message, entry in the members, cursor, runs, ...}; the
--          number alone where they are too many to be looked at by one script
--          {log id, sequence, next cursor ('0': that was all), conversation, active at, ...}
local AT_ONCE = 1000

local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation')
local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[3] or '0') .. ':'
local tenant, user = ARGV[2], ARGV[3]
local list = prefix .. 'u:' .. tenant .. ':' .. user

local function active_at(id)
  return redis.call('HGET', prefix .. 'c:' .. id, 'a') or '0'
end

if ARGV[1] == 'part' then
  local found = redis.call('SSCAN', list, ARGV[4], 'COUNT', AT_ONCE)
  local answer = {mark[1] or '', mark[2] or '0', found[1]}
  for _, id in ipairs(found[2]) do
    answer[#answer + 1] = id
    answer[#answer + 1] = active_at(id)
  end
  return answer
end

local total = redis.call('SCARD', list)
local answer = {mark[1] or '', mark[2] or '0', total}
if total > AT_ONCE then
  return answer
end

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
local start = ARGV[5] ~= '' and {at = tonumber(ARGV[5]), id = ARGV[6]}
for _, id in ipairs(redis.call('SMEMBERS', list)) do
  local one = {at = tonumber(active_at(id)), id = id}
  if not start or before(start, one) then
    all[#all + 1] = one
  end
end
table.sort(all, before)

for i = 1, math.min(tonumber(ARGV[4]), #all) do
  local id = all[i].id
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HMGET', prefix .. 'c:' .. id, unpack(ARGV, 7))
  answer[#answer + 1] = redis.call('LINDEX', prefix .. 'l:' .. id, -1)
  local members, from, to = prefix .. 'm:' .. tenant .. ':' .. id, '[' .. user .. '\0', '(' .. user .. '\1'
  answer[#answer + 1] = redis.call('ZRANGEBYLEX', members, from, to, 'LIMIT', 0, 1)[1] or false
  answer[#answer + 1] = redis.call('HGET', prefix .. 'k:' .. tenant .. ':' .. id, user)
  answer[#answer + 1] = redis.call('HVALS', prefix .. 'q:' .. id)
end
return answer
