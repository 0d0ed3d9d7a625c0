-- Count one complete listing without the job, if the caller leads and the listing is newer than the handle.
-- A listing is known by its time: told twice (the client library repeats a call), it counts once.
-- ARGV: now, jid, generation, scope, token, listed_at
-- Returns {count, ms since the first of them}
local job = key('job', ARGV[2])
local record = redis.call('HMGET', job, 'generation', 'state', 'handle_at', 'absent_since', 'absent',
  'listed_at')
if record[1] ~= ARGV[3] or not is_native(record[2]) then return {0, 0} end
local leader = redis.call('HMGET', key('leader', ARGV[4]), 'token', 'until')
if leader[1] ~= ARGV[5] or tonumber(leader[2]) <= now then return {0, 0} end
if tonumber(record[3] or 0) >= tonumber(ARGV[6]) then return {0, 0} end
local since = tonumber(record[4] or now)
local count = tonumber(record[5] or 0)
if tonumber(record[6] or 0) < tonumber(ARGV[6]) then
  count = count + 1
  redis.call('HSET', job, 'absent', count, 'absent_since', text(since), 'listed_at', ARGV[6])
end
return {count, now - since}
