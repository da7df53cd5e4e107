-- Advances all Redis views of one partition by one part of a step: check first, then write, the place last.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     log id, place that must stand there (sequence, outcomes of the batch behind it), place after this part, both places
--          as one number each, version of the fold, messages kept, slack, log time (ms) before which refs are hidden,
--          refs of a lot, lists to forget at most, then operations: name, key, count, count items
-- Answer   {log id, sequence, 1 where the part was applied, else 0, outcomes of the batch behind it, 1 where there is more to forget}
local ARGS = 14
local function standing(applied, more)
  local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'index')
  return {mark[1] or '', mark[2] or '0', applied, mark[3] or '0', more}
end

local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'index', 'generation', 'begun')
if (mark[1] and mark[1] ~= ARGV[1]) or (mark[2] or '0') ~= ARGV[2] or (mark[3] or '0') ~= ARGV[3] then
  return standing(0, 0)
end

-- Views that are built beside the live ones and have gone meanwhile: nothing is written in the place of others.
local is_live = string.match(KEYS[1], ':watermark$')
if not is_live and not mark[4] then
  return standing(0, 0)
end

local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[4] or '0') .. ':'
local messages_kept, messages_slack = tonumber(ARGV[9]), tonumber(ARGV[10])
local hidden_before_ms, refs_lot, forget_max = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])

-- Lua's stack holds some 8,000 values; even, so that fields and values stay together.
local CHUNK = 4000
local function call_with(command, key, items, first, last)
  local answer
  while first <= last do
    local till = math.min(first + CHUNK - 1, last)
    answer = redis.call(command, key, unpack(items, first, till))
    first = till + 1
  end
  return answer
end

local function call(command, key, first, last)
  return call_with(command, key, ARGV, first, last)
end

-- A script that fails half-way is not rolled back: one that began and did not end may have left anything up to where it was
-- to end, until that is passed, however the same outcomes are cut when they come again.
local begun = tonumber(mark[5] or '0')
local is_half_written = begun > tonumber(ARGV[6])
if begun < tonumber(ARGV[7]) then
  redis.call('HSET', KEYS[1], 'begun', ARGV[7])
end
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

-- A ref's second number is its log time. The queue has each list once, by the time of its newest ref.
local queue, queued = prefix .. 'q', {}
local function append_refs(name, first, last)
  queued[#queued + 1] = string.format('%.0f', (struct.unpack('>I8', ARGV[last], 9)))
  queued[#queued + 1] = name
  local key = prefix .. name
  local length = append(key, first, last)
  -- A list that never rests loses what is hidden by lots, looked at once a lot only, since looking into a list takes time.
  if length % refs_lot > last - first then
    return
  end
  while length >= refs_lot do
    if struct.unpack('>I8', redis.call('LINDEX', key, refs_lot - 1), 9) >= hidden_before_ms then
      break
    end
    redis.call('LTRIM', key, refs_lot, -1)
    length = length - refs_lot
  end
end

local apply = {}

function apply.set(name, first, last)
  call('HSET', prefix .. name, first, last)
end

function apply.unset(name, first, last)
  call('HDEL', prefix .. name, first, last)
end

function apply.include(name, first, last)
  call('SADD', prefix .. name, first, last)
end

function apply.exclude(name, first, last)
  call('SREM', prefix .. name, first, last)
end

-- Members lie in a sorted set as user, NUL, the rest: ordered by user, found by user.
function apply.strike(name, first, last)
  for i = first, last do
    redis.call('ZREMRANGEBYLEX', prefix .. name, '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1')
  end
end

-- Items come in pairs: user, the rest.
function apply.enrol(name, first, last)
  local key = prefix .. name
  for i = first, last, 2 do
    redis.call('ZREMRANGEBYLEX', key, '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1')
    redis.call('ZADD', key, 0, ARGV[i] .. '\0' .. ARGV[i + 1])
  end
end

function apply.messages(name, first, last)
  local key = prefix .. name
  if append(key, first, last) > messages_kept + messages_slack then
    redis.call('LTRIM', key, -messages_kept, -1)
  end
end

apply.refs = append_refs

-- Items come in pairs: key, ref. Most senders send one message a step.
function apply.ref(_, first, last)
  for i = first, last, 2 do
    append_refs(ARGV[i], i + 1, i + 1)
  end
end

-- Lists whose newest ref is hidden go, oldest first, some at a time.
local function forget()
  local gone = redis.call('ZRANGEBYSCORE', queue, '-inf', '(' .. ARGV[11], 'LIMIT', 0, forget_max)
  for _, name in ipairs(gone) do
    redis.call('LTRIM', prefix .. name, 1, 0)
  end
  call_with('ZREM', queue, gone, 1, #gone)
  return #gone == forget_max and 1 or 0
end

local at = ARGS
while ARGV[at] do
  local count = tonumber(ARGV[at + 2])
  apply[ARGV[at]](ARGV[at + 1], at + 3, at + 2 + count)
  at = at + 3 + count
end
call_with('ZADD', queue, queued, 1, #queued)
local more = forget()

redis.call('HSET', KEYS[1], 'log', ARGV[1], 'sequence', ARGV[4], 'index', ARGV[5])
return standing(1, more)
