-- Claim the right to enqueue a due job; the next claim is possible after delay_ms.
-- ARGV: now, jid, generation, delay_ms
local jid = ARGV[2]
local job = key('job', jid)
local record = redis.call('HMGET', job, 'generation', 'state', 'backend')
if record[1] ~= ARGV[3] or not is_waiting(record[2]) then return 0 end
local waiting = key('waiting', record[3])
if tonumber(redis.call('ZSCORE', waiting, jid)) > now then return 0 end
redis.call('ZADD', waiting, text(now + tonumber(ARGV[4])), jid)
redis.call('HINCRBY', job, 'enqueues', 1)
return 1
