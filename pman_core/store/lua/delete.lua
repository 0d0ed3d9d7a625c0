-- Hide the record at once; remember what must still be removed.
-- ARGV: now, jid, generation that covers all earlier ones, ttl_ms, claim_ms
-- Returns {generation, host, backend} | {} when nothing is known to be left
local jid, ttl_ms = ARGV[2], ARGV[4]
local tomb = key('tomb', jid)
local record = redis.call('HMGET', key('job', jid), 'generation', 'host', 'backend', 'lease', 'lease_until',
  'fence_until')
if not record[1] then
  bury(jid, ARGV[3], ttl_ms)
  return {}
end
local generation, host, backend = record[1], record[2] or '', record[3]
forget(jid, generation, backend) -- first: a full server still lets itself be emptied, and what follows then fits

local lease_until, fence_until = record[4] and tonumber(record[5]) or 0, tonumber(record[6] or 0)
redis.call('HSET', tomb, 'g:' .. generation, text(lease_until))
if fence_until > now then redis.call('HSET', tomb, 'f:' .. generation, text(fence_until)) end
redis.call('PERSIST', tomb)
bury(jid, generation, ttl_ms)
local obligations = key('obligations', backend)
redis.call('ZADD', obligations, text(now + tonumber(ARGV[5])), member(jid, generation, host))
-- Objects that only held this job back are covered by its deletion.
for _, field in ipairs(redis.call('HKEYS', tomb)) do
  local other = string.sub(field, 3)
  if string.sub(field, 1, 2) == 'g:' and other ~= generation then
    redis.call('ZADD', obligations, 'NX', text(now), member(jid, other, ''))
  end
end
return {generation, host, backend}
