-- Hide the record at once; remember what must still be removed.
-- ARGV: now, jid, generation that covers all earlier ones, ttl_ms
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
redis.call('HSET', tomb, 'g:' .. generation, record[4] and record[5] or '0')
if record[6] and tonumber(record[6]) > now then redis.call('HSET', tomb, 'f:' .. generation, record[6]) end
redis.call('PERSIST', tomb)
bury(jid, generation, ttl_ms)
redis.call('ZADD', key('obligations', backend), text(now), member(jid, generation, host))
forget(jid, generation, backend)
return {generation, host, backend}
