-- Claim the right to read the log of a running job, once per every_ms.
-- ARGV: now, jid, generation, every_ms
local job = key('job', ARGV[2])
local record = redis.call('HMGET', job, 'generation', 'state', 'logs_at')
if record[1] ~= ARGV[3] or record[2] ~= 'RUNNING' then return 0 end
if tonumber(record[3] or 0) + tonumber(ARGV[4]) > now then return 0 end
redis.call('HSET', job, 'logs_at', text(now))
return 1
