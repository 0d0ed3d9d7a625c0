-- What still speaks against the removal of a deleted job's object?
-- ARGV: now, jid, generation
-- Returns {1 if its submit lease is live, 1 if its fence stands}
local tomb = key('tomb', ARGV[2])
local times = redis.call('HMGET', tomb, 'g:' .. ARGV[3], 'f:' .. ARGV[3])
return {tonumber(times[1] or 0) > now and 1 or 0, tonumber(times[2] or 0) > now and 1 or 0}
