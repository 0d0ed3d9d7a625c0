-- What still speaks against the removal of a deleted job's object?
-- ARGV: now, jid, generation, fence_ms
-- Returns {1 if its submit lease is live, 1 if its fence stands}
local tomb = key('tomb', ARGV[2])
local lease_until = tonumber(redis.call('HGET', tomb, 'g:' .. ARGV[3]) or 0)
return {lease_until > now and 1 or 0, fenced_until(tomb, ARGV[3], ARGV[4]) > now and 1 or 0}
