-- Reads keys of one partition and its watermark, all at the same moment.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     questions: name, key, count, count arguments
-- Answer   {log id, sequence, answer, answer, ...}; fewer than questions, where the answers before are long
local ITEMS_MAX, SET_PAGE = 16384, 4096

local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation')
local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[3] or '0') .. ':'
local answers = {mark[1] or '', mark[2] or '0'}

local ask = {}

function ask.fields(key, first, last)
  return redis.call('HMGET', key, unpack(ARGV, first, last))
end

function ask.list(key)
  return redis.call('LRANGE', key, 0, -1)
end

-- Members of a set after a cursor of SSCAN, the next cursor first.
function ask.some(key, first)
  local found = redis.call('SSCAN', key, ARGV[first], 'COUNT', SET_PAGE)
  table.insert(found[2], 1, found[1])
  return found[2]
end

function ask.values(key)
  return redis.call('HVALS', key)
end

function ask.last(key)
  return redis.call('LINDEX', key, -1)
end

-- Messages from one seq to another. Seqs have no holes, so a seq says how far from the end it lies.
function ask.seqs(key, first, last)
  local newest = redis.call('LINDEX', key, -1)
  if not newest then
    return {}
  end
  local head = struct.unpack('>I8', newest)
  local from, to = tonumber(ARGV[first]) - head - 1, tonumber(ARGV[last]) - head - 1
  if from >= 0 then
    return {}
  end
  return redis.call('LRANGE', key, from, math.min(to, -1))
end

-- One user of an ordered list of users: user, NUL, the rest.
function ask.user(key, first)
  local user = ARGV[first]
  return redis.call('ZRANGEBYLEX', key, '[' .. user .. '\0', '(' .. user .. '\1', 'LIMIT', 0, 1)[1] or false
end

-- Users after one ('': from the first), and the cursor of each: user, NUL, the rest, cursor, ...
function ask.users(key, first)
  local after, limit, cursors = ARGV[first], ARGV[first + 1], prefix .. ARGV[first + 2]
  local from = after == '' and '-' or '(' .. after .. '\1'
  local page = {}
  for _, entry in ipairs(redis.call('ZRANGEBYLEX', key, from, '+', 'LIMIT', 0, limit)) do
    local user = string.sub(entry, 1, string.find(entry, '\0', 1, true) - 1)
    page[#page + 1] = entry
    page[#page + 1] = redis.call('HGET', cursors, user)
  end
  return page
end

local at, items = 1, 0
while ARGV[at] and items < ITEMS_MAX do
  local count = tonumber(ARGV[at + 2])
  local answer = ask[ARGV[at]](prefix .. ARGV[at + 1], at + 3, at + 2 + count)
  answers[#answers + 1] = answer
  items = items + 1 + (type(answer) == 'table' and #answer or 0)
  at = at + 3 + count
end
return answers
