-- Reads keys of the live views of one partition as they lie there, and the watermark, all at the same moment.
--
-- KEYS[1]  {p}:watermark, or {p}:next of the views that are built beside the live ones
-- ARGV     'scan', cursor                 whatever keys come next
--          'keys', key, key, ...          these keys
--          'page', key, cursor            one key, from where its last page ended
-- Answer   {log id, sequence, outcomes of the batch behind it, cursor of the scan, key, type, cursor of the key, items, key, ...};
--          a cursor '0': that was all; a type 'unread': the answer is long enough, and this key is to be asked for again
local KEYS_A_SCAN, ITEMS_A_PAGE, BYTES_MAX = 200, 1000, 4194304

local mark = redis.call('HMGET', KEYS[1], 'log', 'sequence', 'generation', 'index')
local prefix = string.match(KEYS[1], '^{%d+}:') .. (mark[3] or '0') .. ':'
local answers = {mark[1] or '', mark[2] or '0', mark[4] or '0', '0'}
local bytes = 0

local SCANS = {hash = 'HSCAN', set = 'SSCAN', zset = 'ZSCAN'}

local function page(name, cursor)
  local key = prefix .. name
  local kind = bytes > BYTES_MAX and 'unread' or redis.call('TYPE', key).ok
  local items, till = {}, '0'
  if kind == 'list' then
    items = redis.call('LRANGE', key, 0, -1)
  elseif SCANS[kind] then
    local found = redis.call(SCANS[kind], key, cursor, 'COUNT', ITEMS_A_PAGE)
    till, items = found[1], found[2]
  end
  for _, item in ipairs(items) do
    bytes = bytes + #item
  end
  answers[#answers + 1] = name
  answers[#answers + 1] = kind
  answers[#answers + 1] = till
  answers[#answers + 1] = items
end

if ARGV[1] == 'scan' then
  local found = redis.call('SCAN', ARGV[2], 'MATCH', prefix .. '*', 'COUNT', KEYS_A_SCAN)
  answers[4] = found[1]
  for _, key in ipairs(found[2]) do
    page(string.sub(key, #prefix + 1), '0')
  end
elseif ARGV[1] == 'page' then
  page(ARGV[2], ARGV[3])
else
  for i = 2, #ARGV do
    page(ARGV[i], '0')
  end
end
return answers
