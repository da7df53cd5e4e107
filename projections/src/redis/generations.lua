-- Which generations of one partition's views there are.
--
-- KEYS[1]  {p}:watermark, or {p}:next
-- Answer   {log id and sequence of KEYS[1], its generation ('': none), its fold, live one, its fold, next one ('': none), its fold, old one ('': none)}
local tag = string.match(KEYS[1], '^{%d+}:')
local function of(key)
  return redis.call('HMGET', key, 'generation', 'fold', 'log', 'sequence')
end

-- The first views had neither number nor version.
local live = of(tag .. 'watermark')
live[1], live[2] = live[1] or '0', live[2] or '1'
local following, old = of(tag .. 'next'), of(tag .. 'old')
local own = KEYS[1] == tag .. 'watermark' and live or following
return {
  own[3] or '', own[4] or '0', own[1] or '', own[2] or '',
  live[1], live[2], following[1] or '', following[2] or '', old[1] or ''
}
