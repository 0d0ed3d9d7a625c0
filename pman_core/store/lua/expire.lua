-- Drop a terminal record; its tombstone keeps a late listing from adopting the job again.
-- ARGV: now, jid, generation, ttl_ms
local jid, generation = ARGV[2], ARGV[3]
local record = redis.call('HMGET', key('job', jid), 'generation', 'state', 'backend')
if record[1] ~= generation or is_waiting(record[2]) or is_native(record[2]) then return 0 end
forget(jid, generation, record[3])
bury(jid, generation, ARGV[4])
return 1
