-- The submitter of a deleted job has finished: the tombstone need not wait for its lease.
-- ARGV: now, jid, generation
-- Returns 1 if a tombstone covers this generation; it may be settled already, if the submitter was slow
if redis.call('HGET', key('job', ARGV[2]), 'generation') == ARGV[3] then return 0 end -- it took over a later one
local tomb, field = key('tomb', ARGV[2]), 'g:' .. ARGV[3]
if redis.call('HEXISTS', tomb, field) == 1 then redis.call('HSET', tomb, field, '0') end
local upto = redis.call('HGET', tomb, 'upto')
return upto and ARGV[3] <= upto and 1 or 0
