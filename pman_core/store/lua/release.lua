-- The submitter of a deleted job has finished: the tombstone need not wait for its lease.
-- ARGV: now, jid, generation
local tomb, field = key('tomb', ARGV[2]), 'g:' .. ARGV[3]
if redis.call('HEXISTS', tomb, field) == 1 then redis.call('HSET', tomb, field, '0') end
return 1
