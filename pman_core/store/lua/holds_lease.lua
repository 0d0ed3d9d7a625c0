-- Is this token still the live submit lease?
-- ARGV: now, jid, generation, token
local record = redis.call('HMGET', key('job', ARGV[2]), 'generation', 'lease', 'lease_until')
return record[1] == ARGV[3] and record[2] == ARGV[4] and tonumber(record[3]) > now and 1 or 0
