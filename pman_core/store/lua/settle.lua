-- The object of an obligation was looked for and is gone, or has ended behind its fence.
-- ARGV: now, jid, generation, backend, host, ttl_ms, fence_ms
-- Returns 0 while a submit lease is live (the object may still appear), else 1. While the fence stands, the jid is free
-- again but the obligation stays: the ended object is to be removed after it.
local jid, generation, backend = ARGV[2], ARGV[3], ARGV[4]
local tomb = key('tomb', jid)
local lease_until = redis.call('HGET', tomb, 'g:' .. generation)
if lease_until and tonumber(lease_until) > now then return 0 end
local fence_until = fenced_until(tomb, generation, ARGV[7])
redis.call('HDEL', tomb, 'g:' .. generation)
local obligation, obligations = member(jid, generation, ARGV[5]), key('obligations', backend)
redis.call('ZREM', obligations, member(jid, generation, '')) -- written before the job had a host
if fence_until > now then
  redis.call('HSET', tomb, 'f:' .. generation, text(fence_until))
  redis.call('ZADD', obligations, text(fence_until), obligation)
else
  redis.call('HDEL', tomb, 'f:' .. generation)
  redis.call('ZREM', obligations, obligation)
end
if not is_blocked(tomb) then redis.call('PEXPIRE', tomb, ARGV[6]) end
return 1
