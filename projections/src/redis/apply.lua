-- Advances all Redis views of one partition by one step: check first, then write, the watermark last.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     log id, sequence that must stand there ('0': none), sequence after the step, messages kept, slack,
--          refs kept, log time (ms) within which refs are recent, version of the fold, then operations: name, key, count,
--          count items
-- Answer   {log id, sequence, 1 where the step was applied, else 0}
local function standing(applied)
  local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence')
  return {mark[1] or '', mark[2] or '0', applied}
end

local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation', 'begun')
if (mark[1] and mark[1] ~= ARGV[1]) or (mark[2] or '0') ~= ARGV[2] then
  return standing(0)
end

-- Views that are built beside the live ones and have gone meanwhile: nothing is written in the place of others.
local is_live = string.match(KEYS[1], ':watermark$')
if not is_live and not mark[3] then
  return standing(0)
end

local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[3] or '0') .. ':'
local messages_kept, messages_slack = tonumber(ARGV[4]), tonumber(ARGV[5])
local refs_kept, refs_recent_ms = tonumber(ARGV[6]), tonumber(ARGV[7])

-- Lua's stack holds some 8,000 values; even, so that fields and values stay together.
local CHUNK = 4000
local function call(command, key, first, last)
  local answer
  while first <= last do
    local till = math.min(first + CHUNK - 1, last)
    answer = redis.call(command, key, unpack(ARGV, first, till))
    first = till + 1
  end
  return answer
end

-- A script that fails half-way is not rolled back: a step that began and did not end may have left anything behind.
local is_half_written = mark[4] and mark[4] ~= mark[2]
redis.call('HSET', KEYS[1], 'begun', ARGV[3])
if not mark[1] then
  redis.call('HSET', KEYS[1], 'fold', ARGV[8])
end

-- Items begin with a number that rises (8 bytes): those that lie there already are not appended again.
local function append(key, first, last)
  local newest = is_half_written and redis.call('LINDEX', key, -1)
  if newest then
    local order = struct.unpack('>I8', newest)
    while first <= last and struct.unpack('>I8', ARGV[first]) <= order do
      first = first + 1
    end
  end
  return call('RPUSH', key, first, last) or 0
end

-- A ref's second number is its log time; the oldest go in lots when a whole lot is neither recent nor among the newest.
-- Looked at once a lot only, since looking into a list takes time.
local function append_refs(key, first, last)
  local length = append(key, first, last)
  if length % refs_kept > last - first then
    return
  end
  local now = struct.unpack('>I8', ARGV[last], 9)
  while length >= 2 * refs_kept do
    local log_ms = struct.unpack('>I8', redis.call('LINDEX', key, refs_kept - 1), 9)
    if log_ms + refs_recent_ms >= now then
      break
    end
    redis.call('LTRIM', key, refs_kept, -1)
    length = length - refs_kept
  end
end

local apply = {}

function apply.set(key, first, last)
  call('HSET', key, first, last)
end

function apply.unset(key, first, last)
  call('HDEL', key, first, last)
end

function apply.include(key, first, last)
  call('SADD', key, first, last)
end

function apply.exclude(key, first, last)
  call('SREM', key, first, last)
end

-- Members lie in a sorted set as user, NUL, the rest: ordered by user, found by user.
function apply.strike(key, first, last)
  for i = first, last do
    redis.call('ZREMRANGEBYLEX', key, '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1')
  end
end

-- Items come in pairs: user, the rest.
function apply.enrol(key, first, last)
  for i = first, last, 2 do
    redis.call('ZREMRANGEBYLEX', key, '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1')
    redis.call('ZADD', key, 0, ARGV[i] .. '\0' .. ARGV[i + 1])
  end
end

function apply.messages(key, first, last)
  if append(key, first, last) > messages_kept + messages_slack then
    redis.call('LTRIM', key, -messages_kept, -1)
  end
end

function apply.refs(key, first, last)
  append_refs(key, first, last)
end

-- Items come in pairs: key, ref. Most senders send one message a step.
function apply.ref(_, first, last)
  for i = first, last, 2 do
    append_refs(prefix .. ARGV[i], i + 1, i + 1)
  end
end

local at = 9
while ARGV[at] do
  local count = tonumber(ARGV[at + 2])
  apply[ARGV[at]](prefix .. ARGV[at + 1], at + 3, at + 2 + count)
  at = at + 3 + count
end

redis.call('HSET', KEYS[1], 'log', ARGV[1], 'sequence', ARGV[3])
return standing(1)
