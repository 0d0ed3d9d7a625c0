-- Write the log of a running job, or once of one that ended without it. Nothing else of a terminal record changes.
-- ARGV: now, jid, generation, logs, only_running
local job = key('job', ARGV[2])
local record = redis.call('HMGET', job, 'generation', 'state', 'logs_missing')
if record[1] ~= ARGV[3] then return 0 end
if record[2] ~= 'RUNNING' and (not record[3] or ARGV[5] == '1') then return 0 end
redis.call('HSET', job, 'logs', ARGV[4], 'logs_at', text(now))
redis.call('HDEL', job, 'logs_missing')
return 1
