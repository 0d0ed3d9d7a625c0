-- The submitter of a deleted job has finished: the tombstone need not wait for its lease.
-- ARGV: now, jid, generation
-- Returns 1 if a tombstone holds this generation
local tomb, field = key('tomb', ARGV[2]), 'g:' .. ARGV[3]
if redis.call('HEXISTS', tomb, field) == 0 then return 0 end
redis.call('HSET', tomb, field, '0')
return 1
