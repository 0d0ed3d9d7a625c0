-- The object of an obligation was looked for and is gone.
-- ARGV: now, jid, generation, backend, host, ttl_ms
-- Returns 0 while a submit lease is live (the object may still appear), else 1
local jid, generation, backend = ARGV[2], ARGV[3], ARGV[4]
local tomb = key('tomb', jid)
local lease_until = redis.call('HGET', tomb, 'g:' .. generation)
if lease_until and tonumber(lease_until) > now then return 0 end
redis.call('HDEL', tomb, 'g:' .. generation)
redis.call('ZREM', key('obligations', backend), member(jid, generation, ARGV[5]))
if not is_blocked(tomb) then redis.call('PEXPIRE', tomb, ARGV[6]) end
return 1
