-- Count one complete listing without the job, if the caller led when it began, and it is newer than the handle.
-- A listing is known by its time: told twice (the client library repeats a call), it counts once.
-- ARGV: now, jid, generation, scope, token, listed_at
-- Who led before may have seen the job since, and sleep before it could say so: a new leader counts anew.
-- Returns {count, ms since the first of them}
local job = key('job', ARGV[2])
local record = redis.call('HMGET', job, 'generation', 'state', 'handle_at', 'absent_since', 'absent',
  'listed_at')
if record[1] ~= ARGV[3] or not is_native(record[2]) then return {0, 0} end
local leader = redis.call('HMGET', key('leader', ARGV[4]), 'token', 'until', 'since')
if leader[1] ~= ARGV[5] or tonumber(leader[2]) <= now then return {0, 0} end
if tonumber(record[3] or 0) >= tonumber(ARGV[6]) then return {0, 0} end
local leads_since = tonumber(leader[3] or 0)
if tonumber(ARGV[6]) <= leads_since then return {0, 0} end
local since, count = tonumber(record[4] or now), tonumber(record[5] or 0)
if since <= leads_since then since, count = now, 0 end
if tonumber(record[6] or 0) < tonumber(ARGV[6]) then
  count = count + 1
  redis.call('HSET', job, 'absent', count, 'absent_since', text(since), 'listed_at', ARGV[6])
end
return {count, now - since}
