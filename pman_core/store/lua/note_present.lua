-- The scheduler has shown the job again: earlier absences count no more.
-- ARGV: now, jid, generation
local job = key('job', ARGV[2])
if redis.call('HGET', job, 'generation') == ARGV[3] then redis.call('HDEL', job, 'absent', 'absent_since') end
return 1
