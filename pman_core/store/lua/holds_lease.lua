-- Is this token still the live submit lease, and is there still something to submit?
-- ARGV: now, jid, generation, token
local record = redis.call('HMGET', key('job', ARGV[2]), 'generation', 'state', 'lease', 'lease_until')
if record[1] ~= ARGV[3] or record[2] ~= 'SUBMITTING' then return 0 end
return record[3] == ARGV[4] and tonumber(record[4]) > now and 1 or 0
